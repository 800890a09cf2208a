"""Flashnodes: targets an adapter keeps in its own memory, as the kernel shows them."""

from __future__ import annotations

from pyiscsi.sysfs.tree import numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.sysfs.tree import SysfsTree

DEVICES = "bus/iscsi_flashnode/devices"


class Flashnode:
    """One entry: a session part and the part of its one connection."""

    __slots__ = ("_connection", "_session", "_tree", "host_no", "index")

    def __init__(self, tree: SysfsTree, host_no: int, index: int) -> None:
        self._tree = tree
        self._session = f"{DEVICES}/flashnode_sess-{host_no}:{index}"
        self._connection = f"{DEVICES}/flashnode_conn-{host_no}:{index}:0"
        self.host_no = host_no
        self.index = index

    def exists(self) -> bool:
        return self._tree.exists(self._session) and self._tree.exists(self._connection)

    def session(self, attribute: str) -> str | None:
        return self._tree.read(f"{self._session}/{attribute}")

    def connection(self, attribute: str) -> str | None:
        return self._tree.read(f"{self._connection}/{attribute}")


def flashnodes(tree: SysfsTree, host_no: int) -> list[Flashnode]:
    """Those of one host in the original's order, that of the names as text."""
    prefix = f"flashnode_sess-{host_no}:"
    found = (numbered(name, prefix) for name in tree.names(DEVICES))
    nodes = [Flashnode(tree, host_no, index) for index in found if index is not None]
    return [node for node in nodes if node.exists()]
