"""Back links: which discovery a node record came from (open-iscsi usr/idbm.c).

A link is named `<target>,<address>,<port>,<tpgt>,<iface>` and points at the portal directory. It
is only a reference: no record is read through it.
"""

from __future__ import annotations

import os

from pyiscsi.errors import RecordError
from pyiscsi.names import UNKNOWN_TPGT, NodeKey, check_path_component
from pyiscsi.records.files import make_directories, remove_quietly
from pyiscsi.records.nodes import is_component, portal_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.record import Record

_PARTS = 5
_FLAT_TYPES = ("static", "fw")
_PORTAL_TYPES = ("send_targets", "isns")


class Source:
    """Where node records come from: `type` is node.discovery_type, static and fw have no portal."""

    __slots__ = ("address", "port", "type")

    def __init__(self, type: str, address: str = "", port: int = 0) -> None:  # noqa: A002
        self.type = type
        self.address = address
        self.port = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(self.fields())

    def __repr__(self) -> str:
        return f"Source{self.fields()}"

    def fields(self) -> tuple[str, str, int]:
        return (self.type, self.address, self.port)


def source_of(record: Record) -> Source:
    """The discovery a node record says it came from."""
    return Source(
        record["node.discovery_type"],
        record["node.discovery_address"],
        record.get_int("node.discovery_port"),
    )


def link_name(key: NodeKey) -> str:
    return ",".join(map(str, key.fields()))


def parse_link_name(name: str) -> NodeKey | None:
    """The record a link stands for, None when the name is no link's."""
    parts = name.split(",", _PARTS - 1)
    if len(parts) != _PARTS:
        return None
    target, address, port, tpgt, iface = parts
    if not all(map(is_component, (target, address, iface))):
        return None
    try:
        return NodeKey(target, address, int(port), int(tpgt), iface)
    except ValueError:
        return None


def directory(root: str, source: Source) -> str | None:
    """Where links of a discovery are; None for discovery types that have none.

    iSNS links are directly in `isns/` while `isns/<address>,<port>/` does not exist.
    """
    base = f"{root}/{source.type}"
    if source.type in _FLAT_TYPES:
        return base
    if source.type not in _PORTAL_TYPES:
        return None
    if not source.address:
        return base
    portal = f"{source.address},{source.port}"
    check_path_component(portal, "discovery address")
    if source.type == "isns" and not os.path.isdir(f"{base}/{portal}"):
        return base
    return f"{base}/{portal}"


def path_for(root: str, source: Source, key: NodeKey) -> str | None:
    """The path a record's link gets."""
    place = directory(root, source)
    if place is None or key.tpgt == UNKNOWN_TPGT:
        return None
    return f"{place}/{link_name(key)}"


def find(root: str, source: Source, key: NodeKey) -> str | None:
    """The path a record's link has, or would have: that of an iSNS portal may be an old one."""
    path = path_for(root, source, key)
    old = f"{root}/isns/{link_name(key)}"
    if path is not None and source.type == "isns" and os.path.lexists(old):
        return old
    return path


def make(root: str, path: str, key: NodeKey) -> bool:
    """Make a link, or point an existing one at the right place; True when it is new.

    Raises RecordError, in particular when the name is too long for the file system.
    """
    target = os.path.abspath(portal_path(root, key))
    try:
        _make_place(root, os.path.dirname(path))
        if os.path.islink(path):
            if os.readlink(path) == target:
                return False
            remove_quietly(path)
        os.symlink(target, path)
    except OSError as error:
        line = f"Could not make link from disc source {path} to node {target}: {error.strerror}"
        raise RecordError(line, path) from error
    return True


def _make_place(root: str, place: str) -> None:
    if os.path.isfile(place):
        from pyiscsi.records.discovery import make_portal_directory

        make_portal_directory(root, place)
    make_directories(root, place)
