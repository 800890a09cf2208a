"""Command lines read the way glibc's getopt_long reads them.

Clusters, attached values, unique prefixes of long options, permutation, `--` and POSIXLY_CORRECT
behave as there, and so do the texts of its complaints. The whole line is read once into tokens;
the caller acts on them in order. Two places differ: the value of a long option that takes one only
after `=` is reported as missing where open-iscsi crashes, and a wrong byte sequence in a cluster
is named by character, not by byte.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    OptionRow = tuple[str, str, int]
    """Long name, letter and one of NO_VALUE, VALUE, ATTACHED_VALUE."""

NO_VALUE = 0
VALUE = 1
ATTACHED_VALUE = 2
"""The short form takes a value as usual, the long form only after `=`."""

PROBLEM = "?"


class Token:
    """One option of a command line, or one complaint about it.

    `letter` is the option's letter, or PROBLEM; then `problem` is the complaint without the
    program's name and `offender` the letter getopt would leave in `optopt` (none for long options
    it does not know).
    """

    __slots__ = ("letter", "offender", "problem", "value")

    def __init__(self, letter: str, value: str = "", problem: str = "", offender: str = "") -> None:
        self.letter = letter
        self.value = value
        self.problem = problem
        self.offender = offender

    def __repr__(self) -> str:
        return f"Token({self.letter!r}, {self.value!r}, {self.problem!r}, {self.offender!r})"


def scan(
    words: Iterable[str],
    rows: Sequence[OptionRow],
    *,
    posix: bool = False,
    positionals: list[str] | None = None,
) -> list[Token]:
    """Read the words after the program's name.

    Positional words are dropped, or appended to `positionals`. posix: the first of them ends the
    options (POSIXLY_CORRECT is set).
    """
    kinds = {letter: kind for _, letter, kind in rows}
    others = [] if positionals is None else positionals
    tokens: list[Token] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            tokens.append(_long(word[2:], rest, rows))
        elif word.startswith("-") and word != "-":
            tokens.extend(_cluster(word[1:], rest, kinds))
        else:
            others.append(word)
            if posix:
                break
    others.extend(rest)
    return tokens


def _cluster(letters: str, rest: Iterator[str], kinds: dict[str, int]) -> Iterator[Token]:
    for at, letter in enumerate(letters):
        kind = kinds.get(letter)
        if kind is None:
            yield Token(PROBLEM, "", f"invalid option -- '{letter}'", letter)
        elif kind == NO_VALUE:
            yield Token(letter)
        else:
            value = letters[at + 1 :] or next(rest, None)
            if value is None:
                problem = f"option requires an argument -- '{letter}'"
                yield Token(PROBLEM, "", problem, letter)
            else:
                yield Token(letter, value)
            return


def _long(text: str, rest: Iterator[str], rows: Sequence[OptionRow]) -> Token:
    name, equals, value = text.partition("=")
    found = [row for row in rows if row[0] == name] or [
        row for row in rows if row[0].startswith(name)
    ]
    if not found:
        return Token(PROBLEM, "", f"unrecognized option '--{text}'")
    if len(found) > 1:
        names = " ".join(f"'--{row[0]}'" for row in found)
        return Token(PROBLEM, "", f"option '--{text}' is ambiguous; possibilities: {names}")
    full, letter, kind = found[0]
    if equals:
        if kind == NO_VALUE:
            return Token(PROBLEM, "", f"option '--{full}' doesn't allow an argument", letter)
        return Token(letter, value)
    if kind == NO_VALUE:
        return Token(letter)
    following = next(rest, None) if kind == VALUE else None
    if following is None:
        return Token(PROBLEM, "", f"option '--{full}' requires an argument", letter)
    return Token(letter, following)


def shown_program(argv0: str, path: str | None) -> str:
    """The program's name as its caller most probably typed it.

    An interpreter is handed the script's full path where a compiled program is handed the word of
    the command line; so a path that a search along `path` finds first is shown by name alone.
    """
    import os

    directory, name = os.path.split(argv0)
    if name.endswith(".py"):
        return name.removesuffix(".py")
    for candidate in (path or "").split(":"):
        if os.access(os.path.join(candidate, name), os.X_OK):
            return name if candidate.rstrip("/") == directory else argv0
    return argv0
