"""Reads the manual pages of docs/man as far as tests need it: tagged paragraphs and examples."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.repo.sources import PROJECT

FOLDER = PROJECT / "docs" / "man"

_ESCAPES = {"\\-": "-", "\\&": "", "\\e": "\\", "\\(aq": "'", "\\(ga": "`"}
_ESCAPE = re.compile(r"\\f[BIR]|" + "|".join(re.escape(text) for text in _ESCAPES))
_FONT = re.compile(r"\.(B|I|BR|RB|IR|RI|BI|IB) (.*)")
_MARK = re.compile(r'\.\\" example: (.*)')
PROMPT = "# "


@dataclass(frozen=True)
class Command:
    """One command of an example: what is typed, and the lines it answers with."""

    text: str
    answer: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One .EX block. `kind`: what the comment before it says, or "" where there is none."""

    page: str
    line: int
    kind: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[Command]:
        """The commands of a dialogue; a backslash at the end continues one."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.lines:
            if line.startswith(PROMPT):
                found.append(([line.removeprefix(PROMPT)], []))
            elif found[-1][0][-1].endswith("\\"):
                found[-1][0].append(line)
            else:
                found[-1][1].append(line)
        return [Command("\n".join(typed), tuple(answer)) for typed, answer in found]


def pages() -> list[Path]:
    """Every manual page, sorted."""
    return sorted(path for path in FOLDER.iterdir() if re.fullmatch(r"\.\d", path.suffix))


def plain(line: str) -> str:
    """A line as it is read: no fonts, no escapes."""
    font = _FONT.fullmatch(line)
    if font:
        words = re.findall(r'"([^"]*)"|(\S+)', font[2])
        between = " " if len(font[1]) == 1 else ""
        line = between.join(quoted or word for quoted, word in words)
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[0], ""), line)


def section(page: str, title: str) -> list[str]:
    """The lines of a section, its subsections' too."""
    found: list[str] = []
    inside = False
    for line in (FOLDER / page).read_text().splitlines():
        if line.startswith(".SH "):
            inside = line.removeprefix(".SH ").strip('"') == title
        elif inside:
            found.append(line)
    return found


def entries(page: str, title: str) -> dict[str, list[str]]:
    """The tagged paragraphs of a section, by tag: their lines, read as plain text."""
    found: dict[str, list[str]] = {}
    tag: str | None = None
    lines = iter(section(page, title))
    for line in lines:
        if line == ".TP":
            tag = plain(next(lines))
            assert tag not in found, f"{page} explains {tag} twice"
            found[tag] = []
        elif line.startswith((".SS ", ".PP")):
            tag = None
        elif tag is not None:
            found[tag].append(plain(line))
    return found


def examples() -> list[Example]:
    """Every .EX block of every page."""
    return [example for path in pages() for example in _examples_of(path)]


def _examples_of(path: Path) -> list[Example]:
    lines = path.read_text().splitlines()
    found: list[Example] = []
    for start, line in enumerate(lines):
        if line == ".EX":
            mark = _MARK.fullmatch(lines[start - 1])
            body = lines[start + 1 : lines.index(".EE", start)]
            kind = mark[1] if mark else ""
            found.append(Example(path.name, start + 1, kind, tuple(plain(one) for one in body)))
    return found
