"""How a target behaves: a plan of manners, one for each connection in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integration.target.script import ChapPolicy, Script

if TYPE_CHECKING:
    from tests.target.server import DiskConnection

CHAP = ChapPolicy("user", "secret-secret")
"""Every login must prove to be this one, so that it has all its steps: AuthMethod, challenge,
proof, operational keys."""
LOGIN_STEPS = 4


def never(request: Any) -> bool:
    return False


@dataclass(frozen=True)
class Manners:
    """What happens on one connection; the defaults are good ones.

    `script`, `late_s` (seconds before each answer), `closes_behind_login`, `reset_at` and `prefix`
    (bytes that go before an answer) hold from the first request, counted from 1. The others wait
    until the target is released: `ignores` says which requests stay unanswered, `damage` replaces
    header fields in PDUs that end a SCSI command, `act` is done once.
    """

    script: Script = field(default_factory=lambda: Script(chap=CHAP, answers=NO_BURST))
    late_s: float = 0.0
    closes_behind_login: bool = False
    reset_at: int = 0
    prefix: Mapping[int, bytes] = field(default_factory=dict)
    ignores: Callable[[Any], bool] = never
    damage: Mapping[str, Any] = field(default_factory=dict)
    act: Callable[[DiskConnection], Awaitable[None]] | None = None

    def script_of(self, listing: bytes) -> Script:
        """The script, with `listing` as SendTargets answer unless it has one of its own."""
        own = self.script.text != Script().text
        return self.script if own else dataclasses.replace(self.script, text=listing)


NO_BURST: Mapping[str, str | None] = {"InitialR2T": "Yes", "ImmediateData": "No"}
"""Writes then send nothing before they are asked to."""
GOOD = Manners()


@dataclass(frozen=True)
class Behaviour:
    """`plan`: the manners of the first, second, ... connection; the last of them are kept."""

    name: str
    about: str
    plan: tuple[Manners, ...] = (GOOD,)

    def manners(self, number: int) -> Manners:
        return self.plan[min(number, len(self.plan)) - 1]
