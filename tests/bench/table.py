"""The table that make bench prints, a line as soon as its figures are there."""

from __future__ import annotations

from tests.bench.measure import Figure

OURS = "ours"
THEIRS = "debian"

_TITLE = 36
_CELLS = (11, 11, 9, 12, 11)
_HEADINGS = ("ours", "open-iscsi", "faster", "our calls", "theirs")


def print_heading(text: str) -> None:
    """Begin a table."""
    print(f"\n{text}")
    print("ms of wall clock (median)".ljust(_TITLE) + _line(_HEADINGS), flush=True)


def print_row(title: str, row: dict[str, Figure]) -> None:
    """One command: times, how many times faster we are, system calls where they were counted."""
    ours, theirs = row.get(OURS), row.get(THEIRS)
    cells = (
        _time(ours),
        _time(theirs),
        f"{theirs.ms / ours.ms:.1f}x" if ours and theirs and ours.ms else "",
        _calls(ours),
        _calls(theirs),
    )
    print(f"{title:<{_TITLE}}" + _line(cells), flush=True)


def _line(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _CELLS, strict=True)).rstrip()


def _time(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.ms:,.1f}"


def _calls(figure: Figure | None) -> str:
    return "" if figure is None or figure.calls is None else f"{figure.calls:,}"
