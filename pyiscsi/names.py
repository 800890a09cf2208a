"""Names of the field: target names, portals, record keys. Parse and format, nothing else.

Imported by every command, so it imports nothing.
"""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument

ISCSI_PORT = 3260
ISNS_PORT = 3205
UNKNOWN_TPGT = -1
ANY_PORT = -1
DEFAULT_IFACE = "default"
IFACE_NAME_MAX = 64
TARGET_NAME_MAX = 223
"""Bytes of an iSCSI name (RFC 7143 §4.2.7.1)."""

_DISCOVERED_NAME = frozenset("-.:0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class NodeKey:
    """Identity of one node record: target, portal and iface (`nodes/<target>/<portal>/<iface>`)."""

    __slots__ = ("address", "iface", "port", "target", "tpgt")

    def __init__(
        self, target: str, address: str, port: int, tpgt: int = UNKNOWN_TPGT,
        iface: str = DEFAULT_IFACE,
    ) -> None:  # fmt: skip
        self.target = target
        self.address = address
        self.port = port
        self.tpgt = tpgt
        self.iface = iface

    def fields(self) -> tuple[str, str, int, int, str]:
        return (self.target, self.address, self.port, self.tpgt, self.iface)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeKey) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(self.fields())

    def __repr__(self) -> str:
        return f"NodeKey{self.fields()}"


class Pattern:
    """What -T, -p and -I of a command select; an empty part matches anything.

    `port` is -1 when no -p was given. TPGTs never take part (open-iscsi idbm_rec_match).
    """

    __slots__ = ("address", "iface", "port", "target")

    def __init__(
        self, target: str = "", address: str = "", port: int = ANY_PORT, iface: str = ""
    ) -> None:
        self.target = target
        self.address = address
        self.port = port
        self.iface = iface

    def __bool__(self) -> bool:
        return bool(self.target or self.address or self.iface or self.port != ANY_PORT)

    def selects(self, key: NodeKey) -> bool:
        return (
            self.target in ("", key.target)
            and self.address in ("", key.address)
            and self.port in (ANY_PORT, key.port)
            and self.iface in ("", key.iface)
        )


def format_portal(address: str, port: int, tpgt: int | None = None) -> str:
    """`addr:port[,tpgt]`; brackets round any address without a dot, as open-iscsi does."""
    shown = address if "." in address else f"[{address}]"
    return f"{shown}:{port}" if tpgt is None else f"{shown}:{port},{tpgt}"


def leading_number(text: str) -> int:
    """Blanks, a sign and digits at the start of a text, as strtol(3) reads them to base 10.

    0 without digits; what does not fit 64 bits is 2**64 or -2**64, however long it is.
    """
    body = text.lstrip(" \t\n\v\f\r")
    sign, body = (body[0], body[1:]) if body[:1] in ("+", "-") else ("", body)
    end = 0
    while end < len(body) and body[end] in "0123456789":
        end += 1
    digits = body[:end].lstrip("0")
    number = min(int(digits or "0"), 1 << 64) if len(digits) <= 20 else 1 << 64
    return -number if sign == "-" else number


def _c_int(text: str) -> int:
    """strtoul(3) into a C int: 4294967295, as listings show an unknown tpgt, is -1."""
    number = leading_number(text)
    low = number & 0xFFFFFFFF if abs(number) < 1 << 64 else 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def parse_portal_argument(text: str) -> tuple[str, int, int] | None:
    """Read the argument of -p: (address, port or -1, tpgt or -1).

    None when open-iscsi would treat the option as absent (an unclosed bracket). The odd readings
    of IPv6 addresses that contain a dot are the original's (str_to_ipport) except that a
    bracketed address is always taken whole. As there, a comma before the colon is no tag's.
    """
    closed = text.find("]")
    if text.startswith("[") and (
        "." not in text or text[closed + 1 : closed + 2] in ("", ":", ",")
    ):
        if closed < 0:
            return None
        address, rest = text[1:closed], text[closed + 1 :]
    elif "." not in text and text.count(":") > 1:
        address, comma, tag = text.partition(",")
        return address, -1, _c_int(tag) if comma else UNKNOWN_TPGT
    else:
        address = text.partition(":" if ":" in text else ",")[0]
        rest = text[len(address) :]
    _, colon, after = rest.partition(":")
    _, comma, tag = (after if colon else rest).partition(",")
    return address, _c_int(after) if colon else -1, _c_int(tag) if comma else UNKNOWN_TPGT


def check_path_component(name: str, what: str) -> None:
    """Refuse a name that cannot safely be one component of a record path.

    Raises InvalidArgument for an empty name, `.`, `..`, a slash or a control character.
    """
    is_plain = name.isprintable() or not any(c < " " or c == "\x7f" for c in name)
    if name in ("", ".", "..") or "/" in name or not is_plain:
        raise InvalidArgument(f"Invalid {what} {name!r}.")


def is_discovered_name_valid(name: str) -> bool:
    """Whether a target name that came from the network may become a record (CVE-2026-44943)."""
    return 0 < len(name) <= TARGET_NAME_MAX and _DISCOVERED_NAME.issuperset(name)
