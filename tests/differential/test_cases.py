"""Differences that were found and are gone, and those that are meant and stay as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential import starts
from tests.differential.cases import FIXED, MEANT, Case
from tests.differential.explained import DIFFERENCES, INVALID_NAME, SET_ASIDE
from tests.differential.machine import PROJECT, Pair, why_not
from tests.differential.play import Player
from tests.differential.tree import DIRECTORY, FILE, Entry, Tree

pytestmark = [pytest.mark.upstream, pytest.mark.root]


class Stage:
    """Both machines, and the databases to begin with."""

    def __init__(self, pair: Pair) -> None:
        self.player = Player(pair)
        self._databases = starts.make(pair)

    def play(self, case: Case) -> set[str]:
        """Run a case; the differences that were explained. Fails at one that is not."""
        self.player.begin(self._databases["nothing"])
        explained: set[str] = set()
        for line in case.lines:
            word, _, rest = line.partition(" ")
            if not line.startswith("-"):
                getattr(self, f"_{word}")(*rest.split(" ", word in ("file", "line", "mode")))
                continue
            step = self.player.run(_words(line))
            assert step.is_equal, step.difference()
            explained |= set(step.explained)
        return explained

    def _start(self, name: str) -> None:
        self.player.begin(self._databases[name])

    def _sessions(self, numbers: str) -> None:
        self.player.begin(self.player.tree, [int(word) for word in numbers.split()])

    def _offer(self, text: str) -> None:
        self.player.offer(text.replace("\\n", "\n").encode())

    def _file(self, path: str, text: str) -> None:
        content = text.replace("\\n", "\n").replace("\\0", "\0").encode()
        above = [str(parent) for parent in list(Path(path).parents)[:-1]]
        made: Tree = {name: Entry(DIRECTORY, 0o700, b"") for name in above}
        self.player.edit(lambda tree: made | tree | {path: Entry(FILE, 0o600, content)})

    def _line(self, path: str, text: str) -> None:
        old = self.player.tree[path].content.decode()
        self._file(path, f"{old}{text}\n")

    def _mode(self, path: str, octal: str) -> None:
        self.player.edit(lambda tree: tree | {path: tree[path]._replace(mode=int(octal, 8))})

    def _remove(self, path: str) -> None:
        self.player.edit(
            lambda tree: {
                k: e for k, e in tree.items() if k != path and not f"{k}/".startswith(f"{path}/")
            }
        )


def _words(line: str) -> list[str]:
    """The words of a command; $'a\\nb' is as in bash."""
    return shlex.split(re.sub(r"\$'(.*?)'", lambda m: shlex.quote(m[1].replace("\\n", "\n")), line))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if reason := why_not():
        pytest.skip(reason)
    with Pair("processes") as pair:
        yield Stage(pair)


@pytest.mark.parametrize("case", FIXED, ids=lambda case: case.name)
def test_fixed(stage: Stage, case: Case) -> None:
    """The answers of open-iscsi's program, which is asked here and now, and the same files."""
    assert stage.play(case) <= {"remarks", "library"}


@pytest.mark.parametrize("case", MEANT, ids=lambda case: case.name)
def test_meant(stage: Stage, case: Case) -> None:
    """The difference that docs/deviations.md names is there, and nothing else is different."""
    assert set(case.explained) <= stage.play(case)


def test_every_difference_has_a_case() -> None:
    """No row of the table is for nothing."""
    shown = {name for case in MEANT for name in case.explained}
    assert shown == {each.name for each in (*DIFFERENCES, SET_ASIDE)}


@pytest.mark.parametrize(
    "difference", [*DIFFERENCES, SET_ASIDE, INVALID_NAME], ids=lambda d: d.name
)
def test_every_difference_is_documented(difference: object) -> None:
    """Each belongs to one row of docs/deviations.md."""
    text = (PROJECT / "docs/deviations.md").read_text()
    assert text.count(f"\n| {difference.where}") == 1  # type: ignore[attr-defined]
