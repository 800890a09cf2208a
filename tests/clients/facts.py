"""What a test knows of the machine whose output it gives to the clients' parsers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Disk:
    """A disk of a session: its LUN and kernel name (`sda`)."""

    lun: int
    name: str


@dataclass(frozen=True)
class Session:
    """A session as listings show it; addresses have the brackets of IPv6.

    `current` is the address it is connected to, which the kernel spells in its own way, `source`
    the one it comes from.
    """

    sid: int
    address: str
    port: int
    tpgt: int
    target: str
    host: int = 0
    disks: tuple[Disk, ...] = ()
    current: str = ""
    source: str = ""

    @property
    def portal(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def is_ipv4(self) -> bool:
        return "[" not in self.address


@dataclass(frozen=True)
class Node:
    """A node record; `tag` is -1 where none is known."""

    address: str
    port: int
    tag: int
    target: str
    startup: str = "manual"

    @property
    def portal(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def shown_tag(self) -> int:
        """As listings print it: unsigned."""
        return self.tag % 2**32


@dataclass(frozen=True)
class Facts:
    """Everything the outputs are about.

    `nodes` and `discovered` are in the order of the listing, `sessions` too; `record` is the node
    whose record is shown, with `secrets` in its CHAP settings; `iface` is the stored iface.
    """

    nodes: tuple[Node, ...]
    record: Node
    iface: str
    netdev: str
    initiator: str
    secrets: tuple[str, ...] = ()
    discovered: tuple[Node, ...] = ()
    sessions: tuple[Session, ...] = ()
    chap: tuple[str, str, str, str] = ("", "", "", "")
    """Of the session of `record`: name, secret, name of the target, secret of the target."""
    more: dict[str, Any] = field(default_factory=dict)

    def targets(self) -> list[str]:
        """Names of the targets with a session, each once."""
        return list(dict.fromkeys(session.target for session in self.sessions))


Parse = Callable[[str, Facts], object]


class Row(NamedTuple):
    """One parser of one client: the output it reads, and what it must make of it.

    `parse` gets the text, and the facts for what the client itself would know (which target, which
    portal it asks about); `expect` says what it must return.
    """

    client: str
    reads: str
    parse: Parse
    expect: Callable[[Facts], object]
