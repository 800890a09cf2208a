"""Automatic logins that are tried again until they work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pyiscsi.daemon import awaited
from pyiscsi.daemon.awaited import AwaitedLogins
from pyiscsi.daemon.runstate import RunState
from pyiscsi.env import Env
from pyiscsi.errors import LoggedOut, PyIscsiError, SessionExists, TransportError
from pyiscsi.names import NodeKey
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE

KEY = NodeKey("iqn.2026-11.test:late", "10.0.0.1", 3260, 1, "default")
AWAY = TransportError("no answer")


class Logins:
    """Answers logins from a list; the last answer stays."""

    def __init__(self, *answers: PyIscsiError | int) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, PyIscsiError):
            raise answer
        return answer, 0


def store(env: Env, startup: str) -> None:
    """A node record with this startup."""
    values = {
        "node.name": KEY.target, "node.tpgt": "1", "node.startup": startup,
        "node.conn[0].address": KEY.address, "node.conn[0].port": "3260",
        "iface.iscsi_ifacename": "default", "node.discovery_type": "static",
    }  # fmt: skip
    NodeStore(env).add(Record.from_map(NODE, values))


def play(tmp_path: Path, logins: Logins, before: Callable[[Env], None]) -> RunState:
    """Wait for KEY until the matter is settled; the state it leaves."""
    env = Env(
        config_root=str(tmp_path), db_root=str(tmp_path), lock_dir=str(tmp_path / "lock"),
        socket_path=str(tmp_path / "iscsid.sock"),
    )  # fmt: skip
    before(env)
    state = RunState(str(tmp_path / "state"))

    async def body() -> None:
        waiting = AwaitedLogins(env, logins, state, lambda: 0.0)
        waiting.add(KEY, AWAY)
        assert state.awaited == {KEY}
        await asyncio.wait_for(waiting.settled(KEY), 20)
        await waiting.close()
        assert not state.awaited

    asyncio.run(body())
    return state


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths."""
    monkeypatch.setattr(awaited, "FIRST_DELAY_S", 0.05)


def test_goes_on_until_it_works(tmp_path: Path) -> None:
    """Failures are followed by further attempts; a success ends it."""
    logins = Logins(AWAY, AWAY, 7)
    play(tmp_path, logins, lambda env: store(env, "automatic"))
    assert logins.asked == 3


@pytest.mark.parametrize(
    ("before", "answer", "asked"),
    [
        (lambda env: None, AWAY, 0),
        (lambda env: store(env, "manual"), AWAY, 0),
        (lambda env: store(env, "automatic"), SessionExists(), 1),
        (lambda env: store(env, "automatic"), LoggedOut(), 1),
    ],
    ids=["record gone", "no longer automatic", "somebody else logged in", "logged out"],
)
def test_ends_when_nobody_wants_it(
    tmp_path: Path, before: Callable[[Env], None], answer: PyIscsiError, asked: int
) -> None:
    """Deleting the record, making it manual, logging in or out by hand ends the waiting."""
    logins = Logins(answer)
    play(tmp_path, logins, before)
    assert logins.asked == asked


def test_a_bug_in_an_attempt_does_not_end_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with the target's name and tried again."""
    logins = Logins(7)
    real = awaited.NodeStore.read
    failures = [ZeroDivisionError("bug"), ZeroDivisionError("bug")]

    def read(self: NodeStore, key: NodeKey) -> Record:
        if failures:
            raise failures.pop()
        return real(self, key)

    monkeypatch.setattr(awaited.NodeStore, "read", read)
    play(tmp_path, logins, lambda env: store(env, "automatic"))
    assert logins.asked == 1
    words = f"waiting for {KEY.target} at {KEY.address},{KEY.port} ended, starting it again"
    assert caplog.text.count(words) == 2
    assert "ZeroDivisionError: bug" in caplog.text


def test_a_login_that_was_logged_out_of_is_not_tried_again(tmp_path: Path) -> None:
    """Logout wins: the failure it causes does not begin the waiting."""
    env = Env(config_root=str(tmp_path), db_root=str(tmp_path))
    state = RunState(str(tmp_path / "state"))
    AwaitedLogins(env, Logins(7), state, lambda: 0.0).add(KEY, LoggedOut("broken off"))
    assert not state.awaited
