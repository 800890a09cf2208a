"""What a discovery does to the node records (open-iscsi usr/iscsiadm.c and usr/idbm.c)."""

from __future__ import annotations

import os

from pyiscsi.errors import PyIscsiError
from pyiscsi.names import DEFAULT_IFACE, NodeKey, is_discovered_name_valid
from pyiscsi.records.database import Database
from pyiscsi.records.discovery import DiscoveryStore
from pyiscsi.records.links import Source, find, source_of
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.schema import IFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyiscsi.env import Env
    from pyiscsi.records.record import Record

# open-iscsi forgets this one; records stay byte for byte the same while we do too.
_NOT_COPIED = "iface.prefix_len"


class Found:
    """One portal of one target, seen through one iface.

    `defaults`: what its record begins with, where that is not the same for all that was found.
    """

    __slots__ = ("address", "defaults", "iface", "port", "target", "tpgt")

    def __init__(
        self,
        target: str,
        address: str,
        port: int,
        tpgt: int,
        iface: str = DEFAULT_IFACE,
        defaults: Record | None = None,
    ) -> None:
        self.target = target
        self.address = address
        self.port = port
        self.tpgt = tpgt
        self.iface = iface
        self.defaults = defaults

    def key(self) -> NodeKey:
        return NodeKey(self.target, self.address, self.port, self.tpgt, self.iface)


def new_node_record(
    defaults: Record,
    target: str,
    address: str,
    port: int,
    tpgt: int,
    iface: Record,
    source: Source,
) -> Record:
    """A node record from `defaults` (built-in values and iscsid.conf), identity, source, iface.

    Of the iface only what is set is copied: strings that are not empty, numbers that are not 0.
    Firmware's records start at boot.
    """
    record = defaults.copy()
    portal = {"static": ("", "0")}.get(source.type, (source.address, str(source.port)))
    record.values |= {
        "node.name": target,
        "node.tpgt": str(tpgt),
        "node.conn[0].address": address,
        "node.conn[0].port": str(port),
        "node.discovery_type": source.type,
        "node.discovery_address": portal[0],
        "node.discovery_port": portal[1],
    }
    name = iface["iface.iscsi_ifacename"]
    if name == DEFAULT_IFACE:
        # It says nothing of its own, so what iscsid.conf says of iface.* stands.
        record.values["iface.iscsi_ifacename"] = name
    else:
        copied = {key: text for key, text in iface.values.items() if _is_copied(key, text)}
        record.values |= copied
        _drop_other_family(record)
    if source.type == "fw":
        record.values["node.startup"] = record.values["node.conn[0].startup"] = "onboot"
    return record


def _drop_other_family(record: Record) -> None:
    """What iscsid.conf says of one address family is not for records of the other."""
    variant = record.variant
    for key, field in record.kind.fields.items():
        if variant not in field.variants:
            record.values[key] = field.default_for(record.fmt)


def _is_copied(key: str, text: str) -> bool:
    if not text or key == _NOT_COPIED:
        return False
    return IFACE.fields[key].type == "string" or text != "0"


def apply_discovery(
    env: Env,
    source: Source,
    found: Sequence[Found],
    *,
    new: bool,
    update: bool,
    delete: bool,
    defaults: Record,
    iface_records: Mapping[str, Record],
    in_use: Callable[[NodeKey], bool],
    is_same_address: Callable[[str, str], bool] = str.__eq__,
) -> list[str]:
    """Bring the node records of a source in line with what it answered.

    `delete` removes the source's records that were not found, unless a session uses them; `new`
    adds what is missing and leaves the rest; `update` writes everything anew from `defaults` and
    `iface_records` (by iface name). `is_same_address` knows other spellings of an address: what was
    found by one is not removed. Returns lines about what could not be done; raises nothing of this
    package.
    """
    database = Database(env)
    nodes = NodeStore(env, database)
    lines: list[str] = []
    if delete:
        linked = _linked(DiscoveryStore(env, database), source, lines)
        for key in _stale(linked, found, is_same_address):
            lines += _delete_stale(nodes, source, key, in_use)
    if new or update:
        from pyiscsi.records.node_bulk import AT_ONCE

        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            lines += _store(nodes, source, some, update, defaults, iface_records)
    return lines + database.problems


def _stale(
    linked: Sequence[NodeKey], found: Sequence[Found], is_same_address: Callable[[str, str], bool]
) -> Iterator[NodeKey]:
    """The records whose portals were not found."""
    wanted: dict[tuple[str, int, str], set[str]] = {}
    for one in found:
        wanted.setdefault((one.target, one.port, one.iface), set()).add(one.address)
    for key in linked:
        addresses = wanted.get((key.target, key.port, key.iface), set())
        if key.address not in addresses and not any(
            is_same_address(key.address, address) for address in addresses
        ):
            yield key


def _linked(store: DiscoveryStore, source: Source, lines: list[str]) -> list[NodeKey]:
    """Records that may be the source's; those of an iSNS portal may have links of the old style."""
    try:
        found = store.linked_nodes(source)
        if source.type == "isns":
            found = list(dict.fromkeys([*found, *store.linked_nodes(Source("isns"))]))
        return found
    except PyIscsiError as error:
        lines.append(str(error))
        return []


def _delete_stale(
    nodes: NodeStore, source: Source, key: NodeKey, in_use: Callable[[NodeKey], bool]
) -> list[str]:
    try:
        if not os.path.lexists(nodes.path(key)):
            _drop_link(nodes, source, key)
        elif source_of(nodes.read(key)) != source:
            # Rewritten by another discovery or by hand since the link was made.
            return []
        elif in_use(key):
            return [
                f"This command will remove the record [iface: {key.iface}, target: {key.target}, "
                f"portal: {key.address},{key.port}], but a session is using it. Logout session "
                "then rerun command to remove record."
            ]
        else:
            nodes.delete(key)
    except PyIscsiError as error:
        return [str(error)]
    return []


def _drop_link(nodes: NodeStore, source: Source, key: NodeKey) -> None:
    from pyiscsi.records.files import remove_quietly

    link = find(nodes.database.root, source, key)
    if link and os.path.islink(link):
        remove_quietly(link)


def _store(
    nodes: NodeStore,
    source: Source,
    found: Sequence[Found],
    update: bool,
    defaults: Record,
    iface_records: Mapping[str, Record],
) -> list[str]:
    wanted = [_record(nodes, source, one, update, defaults, iface_records) for one in found]
    added = nodes.add_all([record for record in wanted if not isinstance(record, list)])
    lines: list[str] = []
    try:
        for one, record in zip(found, wanted, strict=True):
            if isinstance(record, list):
                lines += record
                continue
            _, outcome = next(added)
            lines += _failed(one, outcome) if isinstance(outcome, PyIscsiError) else []
    except PyIscsiError as error:
        lines.append(str(error))
    return lines


def _record(
    nodes: NodeStore,
    source: Source,
    found: Found,
    update: bool,
    defaults: Record,
    iface_records: Mapping[str, Record],
) -> Record | list[str]:
    """What is to be written, or lines why nothing is: none where a record is left as it is."""
    if not is_discovered_name_valid(found.target):
        return ["Discovery TargetName invalid, ignoring"]
    try:
        if not update and os.path.lexists(nodes.path(found.key())):
            return []
    except PyIscsiError as error:
        return _failed(found, error)
    iface = iface_records[found.iface]
    base = found.defaults or defaults
    return new_node_record(base, found.target, found.address, found.port, found.tpgt, iface, source)


def _failed(found: Found, error: PyIscsiError) -> list[str]:
    key = found.key()
    name = f"{key.address},{key.port},{key.tpgt} {key.target!r}"
    return [str(error), f"Could not add/update {name}"]
