"""One command on both machines, and whether the answers are equal."""

from __future__ import annotations

import dataclasses
import io
import shlex
from collections.abc import Callable, Iterator, Sequence

from pyiscsi.cli.options import Done, Options, parse
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from tests.differential.machine import Answer
from tests.differential.tree import Tree

_NO_OPTIONS = Options()
_NOTHING = Answer(0, "", "")


def options_of(words: Sequence[str]) -> Options:
    """What a command line asks for; nothing when it is refused."""
    try:
        return parse(["iscsiadm", *words], Env(), Output(io.BytesIO(), io.BytesIO()))
    except (Done, PyIscsiError):
        return _NO_OPTIONS


@dataclasses.dataclass
class Step:
    """`words` was run on `before`; the original may have been asked and given something else,
    `their_words` and `their_before`. `expected` and `expected_tree` begin as what the original
    answered and left; differences that are explained change them into what ours should be."""

    words: Sequence[str]
    before: Tree
    their_words: Sequence[str] = ()
    their_before: Tree = dataclasses.field(default_factory=dict)
    theirs: Answer = _NOTHING
    ours: Answer = _NOTHING
    their_tree: Tree = dataclasses.field(default_factory=dict)
    our_tree: Tree = dataclasses.field(default_factory=dict)
    expected: Answer = _NOTHING
    expected_tree: Tree = dataclasses.field(default_factory=dict)
    explained: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.options = options_of(self.words)
        self.their_words = self.words
        self.their_before = self.before

    def answered(self, theirs: Answer, ours: Answer, their_tree: Tree, our_tree: Tree) -> None:
        self.theirs = self.expected = theirs
        self.ours, self.our_tree = ours, our_tree
        self.their_tree = self.expected_tree = their_tree

    def expect(self, **changes: object) -> None:
        """Replace parts of the expected answer."""
        self.expected = dataclasses.replace(self.expected, **changes)

    @property
    def is_equal(self) -> bool:
        """Whether ours is what is expected."""
        mine, other = comparable(self.options, self.ours), comparable(self.options, self.expected)
        return mine == other and self.our_tree == self.expected_tree

    def difference(self) -> str:
        """What is not as expected, in words."""
        return "\n".join(
            [
                f"iscsiadm {shlex.join(self.words)}",
                f"explained: {', '.join(self.explained) or 'nothing'}",
                *_differing("expected", self.expected, "ours", self.ours),
                *_differing_entries(self.expected_tree, self.our_tree),
            ]
        )


def _differing(first: str, one: Answer, second: str, other: Answer) -> Iterator[str]:
    for part in dataclasses.fields(Answer):
        values = getattr(one, part.name), getattr(other, part.name)
        if values[0] == values[1]:
            continue
        if isinstance(values[0], str):
            lines = [value.splitlines(True) for value in values]
            values = (
                [x for x in lines[0] if x not in lines[1]] or values[0],
                [x for x in lines[1] if x not in lines[0]] or values[1],
            )
        yield f"{part.name} {first}: {values[0]!r}"
        yield f"{part.name} {second}: {values[1]!r}"


def _differing_entries(expected: Tree, ours: Tree) -> Iterator[str]:
    for name in sorted(expected.keys() | ours.keys()):
        one, other = expected.get(name), ours.get(name)
        if one == other:
            continue
        if one is None or other is None or one[:2] != other[:2]:
            yield f"{name}: expected {one and one[:2]}, ours {other and other[:2]}"
        else:
            lines = one.content.split(b"\n"), other.content.split(b"\n")
            yield f"{name} expected: {[line for line in lines[0] if line not in lines[1]]}"
            yield f"{name} ours: {[line for line in lines[1] if line not in lines[0]]}"


Form = Callable[[str], object]


def comparable(options: Options, answer: Answer) -> tuple[object, ...]:
    """An answer without the order in which a directory gives its names.

    open-iscsi goes through the database in that order wherever it changes or discovers something;
    node and iface listings are sorted and compared as they are.
    """
    out: Form = str
    err: Form = str
    if options.mode in ("discovery", "discoverydb"):
        out, err = (leaves if options.print_level > 0 else sorted_lines), sorted_lines
    elif options.op:
        out = err = sorted_lines
    return answer.status, out(answer.out), err(answer.err), answer.locked


def sorted_lines(text: str) -> object:
    """The lines in a fixed order."""
    return sorted(text.split("\n"))


def leaves(text: str) -> object:
    """Each line of a tree with the lines above it that it belongs to, in a fixed order."""
    found = []
    above: dict[int, str] = {}
    for line in text.split("\n"):
        depth = _depth(line)
        above = {level: kept for level, kept in above.items() if level < depth} | {depth: line}
        found.append(tuple(above.values()))
    return sorted(found)


_SECTIONS = ("SENDTARGETS:", "iSNS:", "STATIC:", "FIRMWARE:")
_LEVELS = ("DiscoveryAddress: ", "Target: ", "\tPortal: ", "\t\tIface Name: ")


def _depth(line: str) -> int:
    """Section, source, target, portal, iface; any other line stands for a target."""
    if line in _SECTIONS:
        return 0
    return next((depth for depth, start in enumerate(_LEVELS, 1) if line.startswith(start)), 2)
