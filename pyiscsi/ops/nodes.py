"""Node records by hand: which ones a command means, making, changing and deleting them."""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument, RecordError, SessionExists
from pyiscsi.names import (
    ANY_PORT,
    DEFAULT_IFACE,
    UNKNOWN_TPGT,
    NodeKey,
    Pattern,
    check_path_component,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyiscsi.ops.context import Context
    from pyiscsi.records.node_bulk import Outcome
    from pyiscsi.records.record import Record

_IFACE_PREFIX = "iface."
_TRANSPORT_KEY = "iface.transport_name"
_TRANSPORT_ALIAS = "node.transport_name"


def matching(context: Context, pattern: Pattern) -> list[NodeKey]:
    """Keys of the records a change or a login means, in directory order as the original has it.

    Addresses match by name resolution too. A record of an iface other than `default` matches only
    while its transport is still that of the iface's own record (open-iscsi iface_match). Raises
    RecordError for an iface without a record.
    """
    keys = context.nodes.keys(pattern, resolve=True, ordered=False, checked=False)
    if pattern.iface in ("", DEFAULT_IFACE):
        return keys
    transport = context.ifaces.read(pattern.iface)[_TRANSPORT_KEY]
    return [key for key in keys if _transport_of(context, key) in (transport, None)]


def _transport_of(context: Context, key: NodeKey) -> str | None:
    """None for a record that is torn or cannot be read: whoever goes on with it reports why."""
    record = context.nodes.peek(key)
    return None if record is None else record[_TRANSPORT_KEY]


def add(context: Context, pattern: Pattern, tpgt: int) -> Iterator[Record]:
    """`-o new`: make records from iscsid.conf and the iface, replacing what exists; yields each.

    Without a target or an address every known portal that fits is made anew, with its own tpgt.
    Raises InvalidArgument when there is none, RecordError when one cannot be written.
    """
    from pyiscsi.records.discovery import Source
    from pyiscsi.records.merge import new_node_record
    from pyiscsi.records.schema import NODE

    portals = _portals(context, pattern, tpgt)
    if not pattern.iface:
        context.ifaces.ensure_dir()
    iface = context.ifaces.read(pattern.iface or DEFAULT_IFACE)
    defaults = context.config.defaults(NODE, context.env.record_format)
    source = Source("static", "", 0)
    for key in portals:
        record = new_node_record(
            defaults, key.target, key.address, key.port, key.tpgt, iface, source
        )
        context.nodes.add(record)
        yield record


def _portals(context: Context, pattern: Pattern, tpgt: int) -> list[NodeKey]:
    target, address, port = pattern.target, pattern.address, pattern.port
    if target and address:
        check_path_component(target, "target name")
        check_path_component(address, "address")
        if tpgt < UNKNOWN_TPGT:
            raise InvalidArgument(f"invalid portal group tag {tpgt}")
        if tpgt == UNKNOWN_TPGT and context.env.record_format == "master":
            tpgt = _known_tpgt(context, target, address, port)
        return [NodeKey(target, address, port, tpgt)]
    known = context.nodes.keys(Pattern(target, address, port))
    portals = {key.fields()[:4]: key for key in known}
    if not portals:
        raise InvalidArgument(_nothing_known(target, address, port))
    return list(portals.values())


def _nothing_known(target: str, address: str, port: int) -> str:
    from pyiscsi.records.values import printable

    target, address = printable(target), printable(address)
    if target:
        return f"there is no record of target {target}; name its portal with -p"
    if address or port != ANY_PORT:
        return f"there is no record with portal {address},{port}; name its target with -T"
    return "there are no records; name a target with -T and its portal with -p"


def _known_tpgt(context: Context, target: str, address: str, port: int) -> int:
    """The tpgt of a portal that has a directory already (open-iscsi 2.1.9 and later)."""
    known = context.nodes.keys(Pattern(target, address, port))
    tags = sorted({key.tpgt for key in known} - {UNKNOWN_TPGT})
    if not tags:
        return UNKNOWN_TPGT
    if len(tags) > 1:
        context.notices.append(f"multiple tpg records for portal {target}/{address}:{port} found")
    context.notices.append(f"using tpgt {tags[0]} from existing record")
    return tags[0]


def checked_pairs(
    context: Context, pattern: Pattern, pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """What `-o update` may do at all, before any record is read; with old key names translated.

    Raises InvalidArgument, or SessionExists for a change of transport below a running session.
    """
    if not pairs:
        raise InvalidArgument("update requires name and value")
    checked = []
    for name, value in pairs:
        if name.startswith(_IFACE_PREFIX) and name != _TRANSPORT_KEY:
            raise InvalidArgument(f"Cannot modify {name}. Use iface mode to update this value.")
        key = _TRANSPORT_KEY if name == _TRANSPORT_ALIAS else name
        if key == _TRANSPORT_KEY and _is_running(context, pattern):
            raise SessionExists(
                "Cannot modify node/iface transport name while a session is using it. "
                "Log out the session then update record."
            )
        checked.append((key, value))
    return checked


def _is_running(context: Context, pattern: Pattern) -> bool:
    from pyiscsi.sysfs.sessions import matches, sessions

    return any(matches(session, pattern) for session in sessions(context.tree))


def in_use_test(context: Context) -> Callable[[NodeKey], bool]:
    """A test for whether a running session uses a record; sessions are listed once, now."""
    from pyiscsi.sysfs.sessions import by_target, sessions, uses

    running = by_target(sessions(context.tree))
    return lambda key: any(uses(session, key) for session in running.get(key.target, ()))


def update_all(
    context: Context, pattern: Pattern, pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[NodeKey, Outcome]]:
    """Set checked_pairs() in every matching record; yields warning lines or the error of each.

    One that somebody has deleted since it was listed is left out. Raises what matching() does.
    """
    return _without_vanished(context.nodes.update_all(matching(context, pattern), pairs))


def delete_all(context: Context, pattern: Pattern) -> Iterator[tuple[NodeKey, Outcome]]:
    """Delete every matching record, its back link and directories it leaves empty.

    Yields no lines or the error of each: SessionExists while a session uses it. One that somebody
    has deleted since it was listed is left out. Raises what matching() does.
    """
    in_use = in_use_test(context)
    keys = matching(context, pattern)
    used = {key for key in keys if in_use(key)}
    deleted = context.nodes.delete_all([key for key in keys if key not in used])
    return _without_vanished((key, _used(key)) if key in used else next(deleted) for key in keys)


def _without_vanished(
    outcomes: Iterable[tuple[NodeKey, Outcome]],
) -> Iterator[tuple[NodeKey, Outcome]]:
    from pyiscsi.records.files import has_vanished

    for key, outcome in outcomes:
        if not (isinstance(outcome, RecordError) and has_vanished(outcome)):
            yield key, outcome


def _used(key: NodeKey) -> SessionExists:
    return SessionExists(
        f"This command will remove the record [iface: {key.iface}, target: {key.target}, "
        f"portal: {key.address},{key.port}], but a session is using it. "
        "Logout session then rerun command to remove record."
    )
