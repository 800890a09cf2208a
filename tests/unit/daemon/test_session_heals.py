"""An actor that dies of a bug, or by a stranger's hand, gets a successor: no session is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.daemon.full_feature import Watcher
from pyiscsi.daemon.registry import Registry
from pyiscsi.errors import Busy, LoginFailed, PyIscsiError, SessionNotFound
from pyiscsi.transport.scripted import ScriptedTransport
from tests.unit.daemon.actor_parts import House, node, run, until

OPERATIONAL = ("LOGGED IN", "NO CHANGE")


def fail_once(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int = 1) -> list[int]:
    """Let watching a session fail; returns what holds one entry for each time."""
    failures: list[int] = []
    real = Watcher.until_lost

    async def until_lost(self: Watcher) -> object:
        if len(failures) < times:
            await asyncio.sleep(1)
            failures.append(1)
            raise error
        return await real(self)

    monkeypatch.setattr(Watcher, "until_lost", until_lost)
    return failures


async def proves_its_care(house: House, registry: Registry) -> None:
    """The session is looked after: its connection is brought back, and it can be logged out."""
    await until(lambda: registry.states(None) == {1: OPERATIONAL})
    logins = len(house.target.logins)
    house.kernel.lose(1)
    await until(lambda: len(house.target.logins) > logins)
    await until(lambda: registry.states(None) == {1: OPERATIONAL})
    await registry.logout(1)
    assert registry.states(None) == {}
    await registry.close()


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), PyIscsiError("not planned here")])
def test_an_actor_that_a_bug_ends_has_a_successor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """The session stays in the kernel, with its disks; only who looks after it is new."""
    house = House(tmp_path)
    failures = fail_once(monkeypatch, error, times=3)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        await until(lambda: len(failures) == 3)
        await proves_its_care(house, registry)

    run(test())
    assert house.kernel.is_empty()
    assert caplog.text.count("session1: internal error") == 3
    pauses = [line for line in caplog.messages if line.startswith("session1: begun again")]
    assert pauses == [f"session1: begun again in {s} s" for s in ("0.1", "0.2", "0.4")]


def test_an_actor_that_is_cancelled_by_a_stranger_has_a_successor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a recovery as well: the successor finds the connection lost and goes on."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        ours = asyncio.all_tasks()
        await registry.login(node())
        for state in ("LOGGED_IN", "FAILED"):
            house.sysfs.session(1, state=state)
            if state == "FAILED":
                house.kernel.lose(1)
                await asyncio.sleep(0.01)
            for task in asyncio.all_tasks() - ours:
                task.cancel()
            await asyncio.sleep(1)
        await until(lambda: registry.states(None) == {1: OPERATIONAL})
        house.sysfs.session(1, state="LOGGED_IN")
        await proves_its_care(house, registry)

    run(test())
    assert house.kernel.is_empty()
    assert caplog.text.count("session1: internal error") == 2


def test_a_logout_that_a_bug_ends_leaves_a_session_in_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked is told; the next logout works."""
    house = House(tmp_path)
    real = ScriptedTransport.unbind_session

    async def fail(self: ScriptedTransport, sid: int) -> None:
        monkeypatch.setattr(ScriptedTransport, "unbind_session", real)
        raise ZeroDivisionError("bug")

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        monkeypatch.setattr(ScriptedTransport, "unbind_session", fail)
        with pytest.raises(ZeroDivisionError):
            await registry.logout(1)
        await proves_its_care(house, registry)

    run(test())
    assert house.kernel.is_empty()


def test_what_ends_as_planned_has_no_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused login, a refused logout, a session somebody destroyed, the daemon's own end."""
    house = House(tmp_path)
    house.target.script = [(2, 3)]

    async def refuse(*_: object) -> None:
        raise Busy("mounted")

    async def test() -> None:
        registry = house.registry()
        with pytest.raises(LoginFailed):
            await registry.login(node())
        sid, _ = await registry.login(node())
        house.settings.safe_logout = True
        monkeypatch.setattr("pyiscsi.daemon.session.refuse_when_in_use", refuse)
        with pytest.raises(Busy):
            await registry.logout(sid)
        assert registry.states(None) == {sid: OPERATIONAL}
        await registry.close()
        await asyncio.sleep(100)

    run(test())
    assert "internal error" not in caplog.text
    assert "begun again" not in caplog.text


def test_no_successor_for_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor after the end of the daemon."""
    house = House(tmp_path)
    fail_once(monkeypatch, ZeroDivisionError("bug"), times=2)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        await until(lambda: "begun again" in caplog.text)
        house.sysfs.remove(1)
        await asyncio.sleep(100)
        assert registry.states(None) == {}
        with pytest.raises(SessionNotFound):
            await registry.logout(1)
        house.kernel.put(7)
        await registry.adopt()
        await until(lambda: "session7: begun again" in caplog.text)
        await registry.close()
        await asyncio.sleep(100)
        assert registry.states(None) == {}

    run(test())


def test_a_successor_has_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session through an adapter gives it back when it ends."""
    house = House(tmp_path)
    house.kernel.name = "be2iscsi"
    endpoint = house.sysfs.root / "class/iscsi_endpoint/ep-1"
    endpoint.mkdir(parents=True)
    house.sysfs.write(endpoint, handle="1")
    failures = fail_once(monkeypatch, ZeroDivisionError("bug"))

    async def test() -> None:
        registry = house.registry()
        await registry.login(node(transport_name="be2iscsi"))
        await until(lambda: failures)
        await until(lambda: registry.states(None) == {1: OPERATIONAL})
        await registry.logout(1)
        await registry.close()

    run(test())
    assert house.kernel.endpoints == set()
    assert house.kernel.is_empty()
