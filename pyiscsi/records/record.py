"""One record in memory: the values of a kind's keys as the text that would be written."""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument
from pyiscsi.names import NodeKey
from pyiscsi.records.schema import IFACE, NODE, Field, Kind, Order
from pyiscsi.records.text import render, tokenize
from pyiscsi.records.values import BLANKS, convert, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyiscsi.records.plain import PlainLines

MASK = "********"
EMPTY = "<empty>"

ALIASES = {
    "node.transport_name": "iface.transport_name",
    "node.session.conn_reopen_log_freq": "node.session.sess_reopen_log_freq",
}
"""Names of old releases (and, the second, of 2.1.11) that are understood and never written."""
_OLD_CONNECTION = "node.cnx[0]."
_UNSET_ADDRESSES = ("", EMPTY, "default")
_FORBIDDEN = ("\n", "\r", "\0")


class Record:
    """Values of one node, iface or discovery record.

    `values` has every key of the kind, both address families' included; "" is empty. `unknown`
    holds keys of the file we do not know, which are written back as they were. Secrets do not
    show in `repr`.
    """

    __slots__ = ("fmt", "kind", "unknown", "values")

    def __init__(
        self, kind: Kind, values: Mapping[str, str] | None = None, fmt: str = "2.1.8"
    ) -> None:
        self.kind = kind
        self.fmt = fmt
        self.values = kind.defaults(fmt)
        self.unknown: dict[str, str] = {}
        if values:
            for key, text in values.items():
                (self.values if key in self.values else self.unknown)[key] = text

    def __repr__(self) -> str:
        return f"<Record {self.kind.name}>"

    def __getitem__(self, key: str) -> str:
        return self.values[key]

    def get_int(self, key: str) -> int:
        return int(self.values[key] or "0")

    def get_bool(self, key: str) -> bool:
        return self.values[key] == "Yes"

    def set(self, key: str, text: str) -> list[str]:
        """Convert and store; returns lines about ignored parts of a list.

        Raises InvalidArgument for a key the kind does not have, for a word an enum does not have,
        and for line breaks and NUL, which would become lines of their own in the file.
        """
        field = self.kind.fields.get(key)
        if field is None:
            raise InvalidArgument(f"Unknown parameter {key}.")
        if any(char in text for char in _FORBIDDEN):
            raise refuse(field, text)
        return self._store(field, text.strip(BLANKS))

    def _store(self, field: Field, text: str) -> list[str]:
        value, lines = convert(field, text)
        self.values[field.key] = value
        if field.secret:
            length = f"{field.key}_length"
            if length in self.values:
                self.values[length] = str(len(value.encode("utf-8", "surrogateescape")))
        return lines

    def copy(self) -> Record:
        other = Record.__new__(Record)
        other.kind, other.fmt = self.kind, self.fmt
        other.values, other.unknown = self.values.copy(), self.unknown.copy()
        return other

    def to_map(self) -> dict[str, str]:
        """All non-empty values and the unknown keys, hidden ones and secrets in clear included."""
        return {key: text for key, text in self.values.items() if text} | self.unknown

    @classmethod
    def from_map(cls, kind: Kind, values: Mapping[str, str], fmt: str = "2.1.8") -> Record:
        """The opposite of to_map(); keys that are not given have their built-in default."""
        return cls(kind, values, fmt)

    @classmethod
    def parse(
        cls, kind: Kind, data: bytes, fmt: str = "2.1.8", plain: PlainLines | None = None
    ) -> tuple[Record, list[Problem]]:
        """Read the bytes of a record file; never raises. See merge() for the problems.

        `plain` makes it fast where many records have lines in common.
        """
        record = cls(kind, fmt=fmt)
        if kind is IFACE:
            # A file that names no transport is none of an iface (usr/iface.c).
            record.values["iface.transport_name"] = ""
        values = plain.read(data) if plain is not None else None
        if values is not None:
            record.values |= values
            return record, []
        found, lines = tokenize(data)
        problems = [Problem(line) for line in lines]
        problems += record.merge(found, keep_unknown=True)
        return record, problems

    def merge(
        self, found: Iterable[tuple[int, str, str]], *, keep_unknown: bool = False
    ) -> list[Problem]:
        """Set from (line number, key, text); the last of equal keys wins, a bad value is skipped.

        Without `keep_unknown` the source is iscsid.conf, and only what can be set there is.
        """
        problems = []
        fields = self.kind.fields
        pairs = list(found)
        given = {key for _, key, _ in pairs}
        for number, name, text in pairs:
            field = fields.get(name)
            if field is None:
                field = fields.get(_current_name(name)) if keep_unknown else None
                if field is None:
                    if keep_unknown:
                        self.unknown[name] = text
                    continue
                if field.key in given:
                    continue
            elif not keep_unknown and not _is_configurable(field, self.fmt):
                continue
            try:
                problems += [Problem(line) for line in self._store(field, text)]
            except InvalidArgument as error:
                problems.append(Problem(f"config file line {number} contains {error}", True))
        return problems

    @property
    def variant(self) -> str:
        """Address family of the iface part, "ipv4" or "ipv6" (open-iscsi iface_get_iptype)."""
        address = self.values.get("iface.ipaddress", "")
        if address in _UNSET_ADDRESSES:
            return "ipv6" if "ipv6" in self.values.get("iface.iscsi_ifacename", "") else "ipv4"
        dhcp = self.values["iface.bootproto"] == "dhcp"
        return "ipv4" if dhcp or "." in address else "ipv6"

    def _extras(self, order: Order) -> list[str]:
        """Values the format or family has no place for, but that must not get lost."""
        values = self.values
        return [key for key, default in order.others.items() if values[key] != default]

    def render(self) -> bytes:
        """The bytes of the record's file."""
        order = self.kind.order(self.variant, self.fmt)
        keys = order.file
        if extras := self._extras(order):
            written = {*keys, *extras}
            keys = [key for key in self.kind.fields if key in written]
        values = self.values
        pairs = [(key, values[key]) for key in keys]
        return render([*pairs, *self.unknown.items()], self.fmt)

    def shown(self, *, secrets: bool) -> list[tuple[str, str]]:
        """(key, text) as iscsiadm prints them; stars for secrets unless `secrets`."""
        order = self.kind.order(self.variant, self.fmt)
        values = self.values
        if not secrets:
            values = values | {key: MASK for key in self.kind.secrets if values[key]}
        return [(key, values[key] or EMPTY) for key in [*order.show, *self._extras(order)]]

    def node_key(self) -> NodeKey:
        """Identity of a node record, from its own values."""
        assert self.kind is NODE
        return NodeKey(
            self["node.name"],
            self["node.conn[0].address"],
            self.get_int("node.conn[0].port"),
            self.get_int("node.tpgt"),
            self["iface.iscsi_ifacename"],
        )


class Problem:
    """A line about a record's text. `fatal`: a listing that met it ends with status 1."""

    __slots__ = ("fatal", "line")

    def __init__(self, line: str, fatal: bool = False) -> None:
        self.line = line
        self.fatal = fatal

    def __repr__(self) -> str:
        return f"Problem({self.line!r}, {self.fatal})"


def _current_name(name: str) -> str:
    if name.startswith(_OLD_CONNECTION):
        return f"node.conn[0].{name[len(_OLD_CONNECTION) :]}"
    return ALIASES.get(name, name)


def _is_configurable(field: Field, fmt: str) -> bool:
    """What open-iscsi takes from iscsid.conf: its own format's keys of the IPv4 family."""
    return field.in_config and (field.own or field.is_written("ipv4", fmt))
