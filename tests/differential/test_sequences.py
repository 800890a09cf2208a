"""The same random commands for open-iscsi's iscsiadm and ours, on equal databases, step by step.

FUZZ_SEQUENCES: how many (default 250); FUZZ_SECONDS: for how long instead; FUZZ_SEED: which ones
(default: the same, as long as hypothesis and the strategies are); FUZZ_PROGRAM=processes: our
installed command for each step. What is found becomes a case (cases.py).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.differential import edits, starts, words
from tests.differential.machine import Pair, why_not
from tests.differential.play import Player
from tests.differential.tree import Tree

pytestmark = [pytest.mark.upstream, pytest.mark.root]

SEQUENCES, STEPS, ROUND = 250, 20, 50
COMMANDS = {
    "node_new": words.NODE_NEW,
    "node_show": words.NODE_SHOW,
    "node_list": words.NODE_LIST,
    "node_update": words.NODE_UPDATE,
    "node_delete": words.NODE_DELETE,
    "iface_new": words.IFACE_NEW,
    "iface_show": words.IFACE_SHOW,
    "iface_update": words.IFACE_UPDATE,
    "iface_delete": words.IFACE_DELETE,
    "iface_apply": words.IFACE_APPLY,
    "discovery_new": words.DISCOVERY_NEW,
    "discovery_show": words.DISCOVERY_SHOW,
    "discovery_update": words.DISCOVERY_UPDATE,
    "discovery_delete": words.DISCOVERY_DELETE,
    "discovery_plain": words.DISCOVERY_PLAIN,
    "discovery_list": words.DISCOVERY_LIST,
    "session": words.SESSION,
    "anything": words.ANYTHING,
}
EDITS = {
    "edit_line": edits.LINE,
    "edit_form": edits.FORM,
    "edit_conf": edits.CONFIGURE,
    "damage": edits.DAMAGE,
    "remove": edits.REMOVE,
    "permit": edits.PERMIT,
    "flatten": edits.FLATTEN,
    "stray": edits.STRAY,
}


@dataclasses.dataclass
class Tally:
    """What was run."""

    seed: int | None = None
    sequences: int = 0
    commands: int = 0
    explained: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def __str__(self) -> str:
        differences = ", ".join(f"{name} {count}" for name, count in self.explained.most_common())
        return (
            f"cli: seed {'fixed' if self.seed is None else self.seed}, {self.sequences} sequences, "
            f"{self.commands} commands compared; "
            f"explained differences: {differences or 'none'}"
        )


def sequence_machine(
    player: Player, databases: dict[str, Tree], tally: Tally
) -> type[RuleBasedStateMachine]:
    """A sequence: a database to begin with, then commands and edits."""

    class Sequence(RuleBasedStateMachine):
        @initialize(start=st.sampled_from(sorted(databases)), sessions=words.SESSIONS)
        def begin(self, start: str, sessions: words.Sessions) -> None:
            player.begin(databases[start], sessions)
            tally.sequences += 1

        @rule(line=words.spelled(words.DISCOVER))
        def discover(self, line: words.Words) -> None:
            if edits.can_discover(player.tree):
                self._run(line)

        @rule(answer=starts.ANSWERS)
        def offer(self, answer: bytes) -> None:
            player.offer(answer)

        def _run(self, line: words.Words) -> None:
            step = player.run(line)
            tally.commands += 1
            tally.explained.update(step.explained)
            assert step.is_equal, step.difference()

    for name, strategy in COMMANDS.items():

        def command(self: Sequence, line: words.Words) -> None:
            self._run(line)

        setattr(Sequence, name, rule(line=words.spelled(strategy))(_named(command, name)))
    for name, strategy in EDITS.items():

        def change(self: Sequence, edit: edits.Edit) -> None:
            player.edit(edit)

        setattr(Sequence, name, rule(edit=strategy)(_named(change, name)))
    return Sequence


def _named(function: Callable[..., None], name: str) -> Callable[..., None]:
    function.__name__ = name
    return function


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    if reason := why_not():
        pytest.skip(reason)
    with Pair(os.environ.get("FUZZ_PROGRAM", "fork")) as pair:
        yield pair


def rounds() -> Iterator[tuple[int | None, int]]:
    """Seed and number of sequences of each run of hypothesis; no seed: always the same."""
    wanted = os.environ.get("FUZZ_SEED", "")
    first = int(wanted) if wanted else None
    seconds = float(os.environ.get("FUZZ_SECONDS", "0"))
    if not seconds:
        yield first, int(os.environ.get("FUZZ_SEQUENCES", str(SEQUENCES)))
        return
    start = time.monotonic()
    for number in itertools.count(time.time_ns() if first is None else first):
        yield number, ROUND
        if time.monotonic() - start > seconds:
            return


@pytest.fixture
def only_our_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis draws numbers and words of the loaded sources as well: then a seed would mean
    other sequences after every change of them, and when other tests run before."""
    drawn = "hypothesis.internal.conjecture.providers.HypothesisProvider._maybe_draw_constant"
    monkeypatch.setattr(drawn, lambda *_, **_options: None, raising=False)


@pytest.mark.usefixtures("only_our_values")
def test_sequences(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """After each command: status, stdout, stderr and the whole database, but for what
    docs/deviations.md explains."""
    tally = Tally()
    machine = sequence_machine(Player(pair), starts.make(pair), tally)
    try:
        for number, count in rounds():
            tally.seed = number
            wanted = settings(
                max_examples=count,
                stateful_step_count=STEPS,
                derandomize=number is None,
                # A sequence that fails is short; make it shorter only where there is time.
                phases=[Phase.generate] if number is None else [Phase.generate, Phase.shrink],
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(
                machine if number is None else seed(number)(machine), settings=wanted
            )
            assert tally.sequences >= count
    finally:
        with capsys.disabled():
            print(f"\n{tally}")
