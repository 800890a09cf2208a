"""What boot firmware names: showing it, logging in to it, node records of it."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, InvalidArgument, NoObjectsFound, RecordError
from pyiscsi.firmware import find, node
from pyiscsi.names import is_discovered_name_valid
from pyiscsi.ops import login

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.firmware.entry import BootEntry
    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context
    from pyiscsi.ops.discover import Wish
    from pyiscsi.ops.login import Report
    from pyiscsi.records.record import Record

_NOT_FOUND = "Could not get list of targets from firmware. (err {})"
_FIXED = frozenset({"iface.net_ifacename", "iface.hwaddress", "iface.transport_name"})
"""The firmware's own, which no pair may change."""
_NOT_MERGED = "Could not merge user params"
_TYPE = "fw"


def entries(context: Context) -> list[BootEntry]:
    """Every target that can be used; notices tell of the others. Raises NoObjectsFound (21)."""
    found = find.entries(context.env, context.tree, context.notices)
    if not found:
        raise NoObjectsFound(_NOT_FOUND.format(NoObjectsFound.exit_code))
    return found


def shown(context: Context) -> list[tuple[BootEntry, str]]:
    """Each target with the transport its session will have. Raises NoObjectsFound (21)."""
    notices = context.notices
    return [(one, node.transport_name(one, context.tree, notices)) for one in entries(context)]


def log_in(
    context: Context, pairs: Sequence[tuple[str, str]], report: Report, *, wait: bool
) -> int:
    """Log in to every target; nothing is stored. `pairs` change the settings of these logins.

    Returns 0 when a target has a session in the end, else the status of the first failure. Raises
    NoObjectsFound (21), InvalidArgument (7).
    """
    records = _login_records(context, pairs)
    statuses = login.log_in_at_once(context, records, report, wait=wait)
    is_in = any(status in (0, ExitCode.SESSION_EXISTS) for status in statuses)
    if is_in or login.have_session(context, records):
        return ExitCode.SUCCESS
    return statuses[0]


def _login_records(context: Context, pairs: Sequence[tuple[str, str]]) -> list[Record]:
    from pyiscsi.records.schema import NODE

    found = entries(context)
    if any(name in _FIXED for name, _ in pairs):
        lines = "Cannot override interface parameters for firmware logins"
        raise InvalidArgument(f"{lines}\n{_NOT_MERGED}")
    defaults = context.config.defaults(NODE, context.env.record_format)
    records = [node.login_record(defaults, one, context.tree, context.notices) for one in found]
    for record in records:
        _merge(record, pairs)
    return node.without_repeats(records)


def _merge(record: Record, pairs: Sequence[tuple[str, str]]) -> None:
    for name, value in pairs:
        try:
            record.set(name, value)
        except InvalidArgument as error:
            known = name in record.kind.fields
            more = f"\nUnknown parameter {name}." if known else ""
            raise InvalidArgument(f"{error}{more}\n{_NOT_MERGED}") from error


class Bound:
    """A target seen through an iface: its key, and the settings its node record begins with."""

    __slots__ = ("defaults", "iface", "key")

    def __init__(self, key: NodeKey, iface: Record, defaults: Record) -> None:
        self.key = key
        self.iface = iface
        self.defaults = defaults


def discover(context: Context, wish: Wish) -> list[Bound]:
    """Bind every target to ifaces and bring the node records in line, as `wish` says.

    Ifaces are those of -I, without it those of adapters that booted (which are stored), else those
    a discovery without -I uses. Raises NoObjectsFound (21), RecordError (6).
    """
    found = [one for one in entries(context) if _is_valid(context, one)]
    if not found:
        raise NoObjectsFound(_NOT_FOUND.format(NoObjectsFound.exit_code))
    bound = [_bind(context, one, iface) for iface in _ifaces(context, found, wish) for one in found]
    if wish.persist and (wish.new or wish.update or wish.delete):
        _store(context, bound, wish)
    return bound


def _is_valid(context: Context, entry: BootEntry) -> bool:
    if is_discovered_name_valid(entry.target_name):
        return True
    context.notices.append("FW discovery Target Name invalid: ignoring it")
    return False


def _ifaces(context: Context, found: Sequence[BootEntry], wish: Wish) -> list[Record]:
    if wish.ifaces is not None:
        named = [context.ifaces.read(name) for name in wish.ifaces]
        return named or context.ifaces.for_discovery()
    fmt, tree, notices = context.env.record_format, context.tree, context.notices
    adapters: dict[str, Record] = {}
    for one in found:
        iface = node.iface_of(one, tree, notices, fmt)
        if iface is not None:
            adapters[iface["iface.iscsi_ifacename"]] = iface
    for iface in adapters.values():
        context.ifaces.write(iface)
    return [*adapters.values()] or context.ifaces.for_discovery()


def _bind(context: Context, entry: BootEntry, iface: Record) -> Bound:
    from pyiscsi.names import NodeKey
    from pyiscsi.records.schema import NODE

    defaults = context.config.defaults(NODE, context.env.record_format)
    name = iface["iface.iscsi_ifacename"]
    key = NodeKey(entry.target_name, entry.address, entry.port, node.TPGT, name)
    return Bound(key, iface, node.with_login(defaults, entry))


def _store(context: Context, bound: Sequence[Bound], wish: Wish) -> None:
    from pyiscsi.records.links import Source
    from pyiscsi.records.merge import Found, apply_discovery
    from pyiscsi.records.schema import NODE
    from pyiscsi.sysfs.sessions import is_in_use, is_same_address

    lines = apply_discovery(
        context.env,
        Source(_TYPE),
        [Found(*one.key.fields(), defaults=one.defaults) for one in bound],
        new=wish.new,
        update=wish.update,
        delete=wish.delete,
        defaults=context.config.defaults(NODE, context.env.record_format),
        iface_records={one.key.iface: one.iface for one in bound},
        in_use=lambda key: is_in_use(context.tree, key),
        is_same_address=is_same_address,
    )
    if any(line.startswith("Could not add/update ") for line in lines):
        raise RecordError("\n".join(lines))
    context.notices.extend(lines)


def records_of(context: Context, bound: Sequence[Bound]) -> list[Record]:
    """Node records to log in with: the stored ones; where there is none, as it would be made."""
    from pyiscsi.records.links import Source
    from pyiscsi.records.merge import new_node_record

    known = set(context.nodes.keys())
    return [
        context.nodes.read(one.key)
        if one.key in known
        else new_node_record(one.defaults, *one.key.fields()[:4], one.iface, Source(_TYPE))
        for one in bound
    ]
