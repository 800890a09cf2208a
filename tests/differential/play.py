"""Sequences of commands and edits on both machines, compared after every command."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tests.differential.edits import Edit
from tests.differential.explained import SET_ASIDE, explain, prepare
from tests.differential.machine import Pair
from tests.differential.step import Step
from tests.differential.strays import as_if_undamaged, is_refused, without_damaged
from tests.differential.tree import Tree

_INVALID_NAME = re.compile(rb"TargetName=(?![-.:0-9A-Za-z]{1,223}\n).*\n(TargetAddress=.*\n)*")


class Player:
    """Both databases, equal after every step."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.tree: Tree = pair.ours.tree()

    def begin(self, tree: Tree, sessions: Collection[int] = ()) -> None:
        """Both databases become this one, these sessions exist, nothing can be discovered."""
        self._set(tree)
        self.offer(b"")
        for side in (self.pair.ours, self.pair.theirs):
            side.show_sessions(sessions)

    def _set(self, tree: Tree) -> None:
        self.pair.ours.restore(tree)
        self.pair.theirs.restore(tree)
        self.tree = tree

    def offer(self, text: bytes) -> None:
        """What discoveries find from now on; the original is not told names that it refuses."""
        self.pair.ours.offer(text)
        self.pair.theirs.offer(_INVALID_NAME.sub(b"", text))

    def edit(self, edit: Edit) -> None:
        """Change the files by hand."""
        changed = edit(self.tree)
        if changed != self.tree:
            self._set(dict(sorted(changed.items())))
            self.tree = self.pair.ours.tree()

    def run(self, words: Sequence[str]) -> Step:
        """Run a command; afterwards both have what ours left."""
        step = Step(words, self.tree)
        prepare(step)
        if step.their_before != self.tree:
            self.pair.theirs.restore(step.their_before)
        theirs, ours = self.pair.run(step.their_words, words)
        step.answered(theirs, ours, self.pair.theirs.tree(), self.pair.ours.tree())
        left, their_left = step.our_tree, step.their_tree
        if (undamaged := without_damaged(step)) is not None:
            step = self._again(step, undamaged)
            their_left = step.their_tree
        explain(step)
        if their_left != left:
            self.pair.theirs.restore(left)
        self.tree = left
        return step

    def _again(self, step: Step, before: Tree) -> Step:
        """The same with a database for the original that has no damaged records."""
        second = Step(step.words, before)
        prepare(second)
        self.pair.theirs.restore(second.their_before)
        self.pair.theirs.send(second.their_words)
        theirs = self.pair.theirs.receive()
        their_tree = self.pair.theirs.tree()
        ours, our_tree = as_if_undamaged(step, second.their_before, theirs, their_tree)
        if is_refused(step):
            theirs = ours
            self.pair.theirs.restore(second.their_before)
        second.answered(theirs, ours, self.pair.theirs.tree(), our_tree)
        second.explained.append(SET_ASIDE.name)
        return second
