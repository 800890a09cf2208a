"""`-o update`: which names may be set in a record, and setting them all or not at all."""

from __future__ import annotations

from pyiscsi.errors import InvalidArgument
from pyiscsi.records.schema import IFACE, MASTER, NODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import Field

_NODE_ALIASES = {"node.transport_name": "iface.transport_name"}


def apply(record: Record, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Set all pairs in `record`; returns warning lines.

    Raises InvalidArgument before anything is changed when a name is refused; when a value is,
    `record` may be half changed and must be thrown away.
    """
    fields = [_check_name(record, name) for name, _ in pairs]
    lines: list[str] = []
    for field, (name, text) in zip(fields, pairs, strict=True):
        try:
            lines += record.set(field.key, text)
        except InvalidArgument as error:
            if record.kind is not NODE:
                raise
            raise InvalidArgument(f"{error}\nUnknown parameter {name}.") from error
    return lines


def _check_name(record: Record, name: str) -> Field:
    known = record.kind.fields
    field = known.get(name)
    if field is None and record.kind is NODE:
        field = known.get(_NODE_ALIASES.get(name, ""))
    if field is None or not _exists(record, field):
        raise InvalidArgument(f"Cannot modify {name}. Invalid param name.")
    if field.can_update:
        return field
    if record.kind is IFACE:
        raise InvalidArgument(f"Can not update {name}. Delete it, and then create a new one.")
    raise InvalidArgument(
        f"Cannot modify {name}. It is used to look up the record and cannot be changed."
    )


def _exists(record: Record, field: Field) -> bool:
    """Whether the record's format has the key; iface records also go by address family."""
    if field.default is None and record.fmt != MASTER:
        return False
    return record.kind is not IFACE or record.variant in field.variants
