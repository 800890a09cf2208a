"""The fields of every kind of record: which keys, of which type, in which order, with what default.

The tables are in schema_*.py and loaded when a kind is first used, so that a command that only
reads directory names builds none of them. They equal open-iscsi's (usr/idbm.c for files,
libopeniscsiusr/idbm.c for what is shown).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = (
        tuple[str, str, str]
        | tuple[str, str, str, int | tuple[str, ...] | None]
        | tuple[str, str, str, int | tuple[str, ...] | None, str]
        | tuple[str, str, str | None, int | tuple[str, ...] | None, str, str]
    )

MASTER = "master"
"""`Env.record_format` for open-iscsi's development head; anything else means 2.1.8."""

HEADER_VERSIONS = {"2.1.8": "2.1.8", MASTER: "2.1.11"}


class Field:
    """One key of a kind.

    `default` is the 2.1.8 built-in text, None where 2.1.8 has no such key. `max_len` counts the
    bytes kept of a string. `variants` are the address families whose records have the key.
    `in_config`: iscsid.conf can set it for new records. `own`: open-iscsi does not know the key.
    """

    __slots__ = (
        "allowed",
        "can_update",
        "default",
        "default_master",
        "hidden",
        "in_config",
        "key",
        "max_len",
        "own",
        "secret",
        "type",
        "variants",
    )

    def __init__(
        self,
        key: str,
        type_: str,
        default: str | None,
        limit: int | tuple[str, ...] | None = None,
        flags: str = "",
        default_master: str | None = None,
    ) -> None:
        self.key = key
        self.type = type_
        self.default = default
        self.default_master: str = (default or "") if default_master is None else default_master
        self.allowed = limit if isinstance(limit, tuple) else None
        self.max_len = limit if isinstance(limit, int) else None
        if type_ == "bool":
            self.allowed = ("No", "Yes")
        self.secret = "S" in flags
        self.hidden = "H" in flags
        self.own = "O" in flags
        self.can_update = "K" not in flags
        self.in_config = "K" not in flags and "X" not in flags
        self.variants = _VARIANTS.get(flags[-1:], _BOTH)

    def default_for(self, fmt: str) -> str:
        """Built-in default; for a key the format does not have, that of the format that has it."""
        if fmt == MASTER or self.default is None:
            return self.default_master
        return self.default

    def is_written(self, variant: str, fmt: str) -> bool:
        """Whether records of this address family and format have the key even at its default."""
        if self.hidden or self.own or variant not in self.variants:
            return False
        return self.default is not None or fmt == MASTER


_BOTH = ("ipv4", "ipv6")
_VARIANTS = {"4": ("ipv4",), "6": ("ipv6",)}


class Kind:
    """A kind of record and its table. Equality is identity."""

    __slots__ = ("_defaults", "_fields", "_module", "_orders", "_secrets", "name")

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self._module = module
        self._fields: dict[str, Field] | None = None
        self._defaults: dict[str, dict[str, str]] = {}
        self._orders: dict[tuple[str, str], Order] = {}
        self._secrets: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"

    @property
    def fields(self) -> dict[str, Field]:
        """All fields by key, in file order; those of both address families, hidden ones too."""
        if self._fields is None:
            package = __import__(f"pyiscsi.records.{self._module}", fromlist=[self.name])
            rows = getattr(package, self.name)
            self._fields = {row[0]: Field(*row) for row in rows}
        return self._fields

    @property
    def secrets(self) -> dict[str, str]:
        """The keys that are not shown, each with the hidden key of its length or ""."""
        if self._secrets is None:
            keys = [key for key, field in self.fields.items() if field.secret]
            lengths = [f"{key}_length" for key in keys]
            self._secrets = {
                key: length if length in self.fields else ""
                for key, length in zip(keys, lengths, strict=True)
            }
        return self._secrets

    def defaults(self, fmt: str) -> dict[str, str]:
        """A new dict with the built-in default of every key."""
        known = self._defaults.get(fmt)
        if known is None:
            known = {key: field.default_for(fmt) for key, field in self.fields.items()}
            self._defaults[fmt] = known
        return known.copy()

    def order(self, variant: str = "ipv4", fmt: str = "2.1.8") -> Order:
        """Which keys the kind's records of an address family and format have."""
        known = self._orders.get((variant, fmt))
        if known is None:
            known = self._orders[variant, fmt] = Order(self, variant, fmt)
        return known

    def file_order(self, variant: str = "ipv4", fmt: str = "2.1.8") -> list[str]:
        """The keys a record file can have, in the order they are written."""
        return [*self.order(variant, fmt).file]

    def show_order(self, variant: str = "ipv4", fmt: str = "2.1.8") -> list[str]:
        """The keys in the order iscsiadm prints them."""
        return [*self.order(variant, fmt).show]


class Order:
    """The keys that records of one kind, address family and format have.

    `file` is the order they are written in, `show` that of listings. It differs in the iface block
    of node records: open-iscsi prints them with the library, which follows the iface record.
    `others`: the keys without a place in such a file and their defaults, hidden ones left out.
    """

    __slots__ = ("file", "others", "show")

    def __init__(self, kind: Kind, variant: str, fmt: str) -> None:
        self.file = []
        self.others = {}
        for key, field in kind.fields.items():
            if field.is_written(variant, fmt):
                self.file.append(key)
            elif not field.hidden:
                self.others[key] = field.default_for(fmt)
        self.show = self.file
        if kind is NODE:
            start = next(i for i, key in enumerate(self.file) if key.startswith("iface."))
            rest = [key for key in self.file[start:] if not key.startswith("iface.")]
            self.show = self.file[:start] + IFACE.order(variant, fmt).file + rest


NODE = Kind("NODE", "schema_node")
IFACE = Kind("IFACE", "schema_iface")
SENDTARGETS = Kind("SENDTARGETS", "schema_discovery")
ISNS = Kind("ISNS", "schema_discovery")
HOST_CHAP_OUT = Kind("HOST_CHAP_OUT", "schema_print")
HOST_CHAP_IN = Kind("HOST_CHAP_IN", "schema_print")
FLASHNODE = Kind("FLASHNODE", "schema_print")
