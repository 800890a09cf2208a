"""Iface records: making, changing and deleting them together with the node records bound to them.

Rules and texts of open-iscsi usr/iscsiadm.c (exec_iface_op) and usr/iface.c.
"""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument, PyIscsiError, RecordError, SessionExists, TransportError
from pyiscsi.names import Pattern
from pyiscsi.ops import nodes
from pyiscsi.ops.modules import ensure_transport
from pyiscsi.transports import traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context
    from pyiscsi.records.record import Record

_NAME = "iface.iscsi_ifacename"
_TRANSPORT = "iface.transport_name"
_VLAN_PREFIX = "iface.vlan"
_RUNNING = (
    "Updating iface while iscsi sessions are using it. You must logout the running sessions then "
    "log back in for the new settings to take affect."
)


def all_ifaces(context: Context) -> Iterator[Record]:
    """Stored ifaces bytewise, then the built-in ones; unreadable files become `problems`."""
    from pyiscsi.records.ifaces import BUILT_IN

    yield from context.ifaces.records()
    for name in BUILT_IN:
        yield context.ifaces.read(name)


def read(context: Context, name: str) -> Record:
    """One iface for showing. Raises RecordError (6) for one that is not there."""
    try:
        return context.ifaces.read(name)
    except RecordError as error:
        if error.exit_code == RecordError.exit_code:
            raise
        raise RecordError(
            f"Failed to open {context.env.db_root}/ifaces/{name} using read mode: "
            "2 No such file or directory"
        ) from error


def read_for_driver(context: Context, name: str) -> Record:
    """One iface whose driver is about to be asked something. Raises RecordError (6)."""
    try:
        return context.ifaces.read(name)
    except RecordError as error:
        raise RecordError(f"Could not read iface {name} ({RecordError.exit_code}).") from error


def bound_nodes(context: Context) -> dict[str, list[NodeKey]]:
    """Keys of all node records by the name of their iface."""
    bound: dict[str, list[NodeKey]] = {}
    keys = context.nodes.keys()
    for key in keys:
        bound.setdefault(key.iface, []).append(key)
    return bound


def is_running(context: Context, name: str) -> bool:
    """Whether a session uses this iface."""
    from pyiscsi.sysfs.sessions import sessions

    return any(session.ifacename == name for session in sessions(context.tree))


def create(context: Context, name: str) -> None:
    """Write an iface with default values, in place of an older one.

    Raises SessionExists while a session uses it, InvalidArgument for built-in names, RecordError.
    """
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import IFACE

    if is_running(context, name):
        raise SessionExists()
    context.ifaces.write(Record(IFACE, {_NAME: name, _TRANSPORT: "tcp"}, context.env.record_format))


def update(context: Context, name: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Set values in an iface and in every node record bound to it; returns warning lines.

    Raises InvalidArgument when a name or a value is refused; nothing is changed then.
    """
    context.ifaces.read(name)
    if is_running(context, name):
        context.notices.append(_RUNNING)
    if not pairs:
        return []
    lines = context.ifaces.update(name, pairs)
    after = context.ifaces.read(name)
    lines += context.ifaces.propagate(context.nodes, after, pairs)
    vlan = [pair for pair in pairs if pair[0].startswith(_VLAN_PREFIX)]
    for other in sharing_vlan(context, name) if vlan else ():
        if other == name:
            continue
        lines += context.ifaces.update(other, vlan)
        changed = context.ifaces.read(other)
        lines += context.ifaces.propagate(context.nodes, changed, vlan)
    return lines


def sharing_vlan(context: Context, name: str) -> list[str]:
    """Names of all ifaces of an adapter that has one VLAN setting for them; none for others."""
    iface = context.ifaces.read(name)
    if not traits(iface[_TRANSPORT]).shares_vlan:
        return []
    keys = (_TRANSPORT, "iface.hwaddress", "iface.iface_num")
    return [
        other[_NAME]
        for other in context.ifaces.records()
        if all(other[key] == iface[key] for key in keys)
    ]


def require_transport(context: Context, name: str) -> None:
    """Load the driver the iface uses now. Raises RecordError (7), InvalidArgument (7).

    Built-in ifaces are not asked about: they cannot be changed, which is the better answer.
    """
    from pyiscsi.records.ifaces import BUILT_IN

    if name in BUILT_IN:
        return
    record = context.ifaces.read(name)
    try:
        ensure_transport(context.tree, record[_TRANSPORT])
    except TransportError as error:
        raise InvalidArgument(f"{error}\nCound not locate transport for iface {name}") from error


def delete(context: Context, name: str) -> None:
    """Delete the node records bound to an iface, then the iface.

    Raises InvalidArgument for built-in names, RecordError (7) for one that is not there, and the
    first error of a node record; the iface stays then, the other node records do not.
    """
    from pyiscsi.records.ifaces import BUILT_IN

    if name in BUILT_IN:
        raise InvalidArgument(f"iface {name} is a special interface and cannot be deleted.")
    context.ifaces.read(name)
    outcomes = nodes.delete_all(context, Pattern(iface=name))
    failures = [outcome for _, outcome in outcomes if isinstance(outcome, PyIscsiError)]
    if failures:
        lines = "\n".join(str(error) for error in failures)
        raise PyIscsiError(lines, failures[0].exit_code)
    context.ifaces.delete(name)
