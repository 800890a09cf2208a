"""Discovery records, and discoveries: the daemon discovers and writes node records, we ask."""

from __future__ import annotations

from pyiscsi.errors import RecordError, TransportError
from pyiscsi.names import NodeKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.ops.context import Context
    from pyiscsi.records.discovery import Source
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import Kind

_ADDRESS = "discovery.sendtargets.address"
_PORT = "discovery.sendtargets.port"


class Wish:
    """What to do with what a discovery finds.

    `new`, `update`, `delete`: effects on node records; `persist` false: touch no record at all.
    `ifaces`: names from -I, None to bind as iface records say.
    """

    __slots__ = ("delete", "ifaces", "new", "persist", "update")

    def __init__(
        self,
        *,
        new: bool,
        update: bool,
        delete: bool,
        persist: bool = True,
        ifaces: Sequence[str] | None = None,
    ) -> None:
        self.new = new
        self.update = update
        self.delete = delete
        self.persist = persist
        self.ifaces = ifaces


def default_record(context: Context, kind: Kind, address: str, port: int) -> Record:
    """A discovery record as iscsid.conf makes it, not yet written."""
    record = context.config.defaults(kind, context.env.record_format).copy()
    return _at(record, address, port)


def stored_record(context: Context, kind: Kind, address: str, port: int) -> Record | None:
    """A record of the database, None when there is none. Its place says where it is for."""
    record = context.discovery.read(kind, address, port)
    return None if record is None else _at(record, address, port)


def where(record: Record) -> tuple[str, int]:
    """Address and port of a discovery record; iSNS records use the same keys."""
    return record[_ADDRESS], record.get_int(_PORT)


def _at(record: Record, address: str, port: int) -> Record:
    record.set(_ADDRESS, address)
    record.values[_ADDRESS] = address  # not stripped: it is the name of a directory
    record.set(_PORT, str(port))
    return record


def usable_ifaces(context: Context, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names from -I that a discovery can use, and a line about each that it cannot."""
    usable: list[str] = []
    problems: list[str] = []
    for name in names:
        try:
            transport = _read_iface(context, name)["iface.transport_name"]
        except RecordError:
            context.ifaces.ensure_dir()
            problems.append(
                f"Could not read iface info for {name}. Make sure an iface config with the file "
                f"name and iface.iscsi_ifacename {name} is in {context.env.db_root}/ifaces."
            )
            continue
        if _is_loadable(context, transport):
            usable.append(name)
        else:
            problems.append(f"Could not load transport {transport}.Dropping interface {name}.")
    return usable, problems


def _read_iface(context: Context, name: str) -> Record:
    """An iface; an adapter's may have to be made first. Raises RecordError."""
    try:
        return context.ifaces.read(name)
    except RecordError as error:
        if error.exit_code == RecordError.exit_code:
            raise
        from pyiscsi.ops.host_ifaces import set_up

        context.notices.extend(set_up(context))
        return context.ifaces.read(name)


def _is_loadable(context: Context, name: str) -> bool:
    """Whether the kernel has a transport, after an attempt to load its driver."""
    from pyiscsi.ops.modules import ensure_transport
    from pyiscsi.sysfs.transports import transport
    from pyiscsi.transports import TABLE

    if name == "tcp":
        return True  # iscsid loads iscsi_tcp itself, and says what is wrong when it cannot
    if name not in TABLE:
        return transport(context.tree, name) is not None
    try:
        ensure_transport(context.tree, name)
    except TransportError:
        return False
    return True


def targets(context: Context, record: Record, wish: Wish) -> tuple[list[NodeKey], list[str]]:
    """Let iscsid discover as a record says. Returns what it found, in its order, and remarks.

    Raises IpcError without a daemon, DaemonError with its lines when the discovery failed.
    """
    address, port = where(record)
    answer = context.client().request(
        "discover",
        {
            "type": record.kind.name.lower(),
            "address": address,
            "port": port,
            "record": record.to_map(),
            "ifaces": None if wish.ifaces is None else list(wish.ifaces),
            "new": wish.new,
            "update": wish.update,
            "delete": wish.delete,
            "persist": wish.persist,
        },
    )
    found = [
        NodeKey(entry["target"], entry["address"], entry["port"], entry["tpgt"], entry["iface"])
        for entry in answer["found"]
    ]
    return found, list(answer.get("messages", ()))


def found_records(context: Context, found: Sequence[NodeKey], source: Source) -> list[Record]:
    """The node records of found portals; where the database holds none, as it would be made."""
    from pyiscsi.records.merge import new_node_record
    from pyiscsi.records.schema import NODE

    known = set(context.nodes.keys())
    records = []
    for key in found:
        if key in known:
            records.append(context.nodes.read(key))
            continue
        defaults = context.config.defaults(NODE, context.env.record_format)
        iface = context.ifaces.read(key.iface)
        records.append(
            new_node_record(defaults, key.target, key.address, key.port, key.tpgt, iface, source)
        )
    return records


def nodes_by_source(context: Context) -> dict[tuple[str, str, int], list[NodeKey]]:
    """Node keys under the (type, address, port) each was discovered from; (type, "", 0) where
    the type has no address.

    Back links answer for most; a record is opened only where it has none, or several disagree.
    """
    from pyiscsi.records.discovery import Source
    from pyiscsi.records.schema import ISNS, SENDTARGETS

    sources = [("static", "", 0), ("fw", "", 0), ("isns", "", 0)]
    sources += [("send_targets", *where) for where in context.discovery.addresses(SENDTARGETS)]
    sources += [("isns", *where) for where in context.discovery.addresses(ISNS)]
    linked: dict[NodeKey, set[tuple[str, str, int]]] = {}
    for source in sources:
        for key in context.discovery.linked_nodes(Source(*source)):
            linked.setdefault(key, set()).add(source)
    has_isns = any(kind == "isns" and where for kind, where, _ in sources)
    found: dict[tuple[str, str, int], list[NodeKey]] = {}
    keys = context.nodes.keys()
    for key in keys:
        origins = linked.get(key, set())
        origin = origins.pop() if len(origins) == 1 else _recorded_source(context, key)
        if origin and origin[0] == "isns" and not has_isns:
            origin = ("isns", "", 0)  # as releases before 2.0-872 left them
        if origin:
            found.setdefault(origin, []).append(key)
    return found


def _recorded_source(context: Context, key: NodeKey) -> tuple[str, str, int] | None:
    try:
        record = context.nodes.read(key)
    except RecordError:
        return None
    kind = record["node.discovery_type"]
    if kind not in ("send_targets", "isns"):
        return kind, "", 0
    return kind, record["node.discovery_address"], record.get_int("node.discovery_port")
