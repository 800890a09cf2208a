"""All parsers of iscsiadm's output that are known from programs which call it.

Fields in a client's pattern that are not escaped there (a portal with brackets, dots) are not
escaped here; what a client cannot read at all for that reason is not expected of it.
"""

from __future__ import annotations

from tests.clients import files, messages, records, sessions
from tests.clients.facts import Facts, Row

ROWS: tuple[Row, ...] = (*sessions.ROWS, *records.ROWS, *messages.ROWS, *files.ROWS)


def reading(*outputs: str) -> list[Row]:
    """The rows that need none but the named outputs."""
    return [row for row in ROWS if row.reads in outputs]


def name(row: Row) -> str:
    """As test ids show it."""
    return f"{row.reads}: {row.client}"


def check(row: Row, outputs: dict[str, str], facts: Facts) -> None:
    """Let one client read its output; AssertionError when it does not understand it."""
    text = outputs[row.reads]
    assert row.parse(text, facts) == row.expect(facts), text
