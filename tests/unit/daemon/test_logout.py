"""How sessions end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pyiscsi.daemon.scan import Scanner
from pyiscsi.daemon.session import Session
from pyiscsi.errors import Busy, ExitCode, LoggedOut, LogoutFailed, TransportError
from pyiscsi.transport.base import Statistics, StopFlag
from pyiscsi.transport.uevent import Refused
from tests.unit.daemon.actor_parts import Stage, Target, node, run, until

TEARDOWN = ["stop_conn", "destroy_conn", "destroy_session"]


async def logged_in(stage: Stage) -> Session:
    actor = stage.actor()
    await actor.log_in()
    stage.kernel.calls.clear()
    return actor


async def timed_logout(actor: Session) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await actor.log_out()
    return loop.time() - start


def test_normal_logout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-060: unbind, Logout reason 0, stop, destroy, and the literal log line."""
    stage = Stage(tmp_path)

    async def test() -> None:
        await (await logged_in(stage)).log_out()

    run(test())
    order = [name for name in stage.kernel.operations() if name != "get_stats"]
    assert order == ["unbind_session", "send_pdu", *TEARDOWN]
    stop = next(call for call in stage.kernel.calls if call.operation == "stop_conn")
    assert stop["flag"] == StopFlag.TERMINATE
    assert [(request.reason, request.immediate) for request in stage.target.logouts] == [(0, True)]
    assert stage.clean()
    assert len(stage.ended) == 1
    assert (
        "Connection1:0 to [target: iqn.2026-11.test:disk, portal: 192.0.2.1,3260] "
        "through [iface: default] is shutdown."
    ) in caplog.messages


def test_words_while_logging_out(tmp_path: Path) -> None:
    """D-045: IN LOGOUT between the Logout PDU and its answer."""
    stage = Stage(tmp_path)
    stage.target.answers_logout = False
    words: list[str] = []

    async def test() -> None:
        actor = await logged_in(stage)
        logout = asyncio.create_task(actor.log_out())
        await until(lambda: stage.target.logouts)
        words.append(actor.words()[0])
        await logout

    run(test())
    assert words == ["IN LOGOUT"]


def test_unreachable_target(tmp_path: Path) -> None:
    """D-061: success within logout_timeout + 1 s, no answer to the Logout PDU."""
    stage = Stage(tmp_path, node(logout_timeout="15"))
    stage.target.answers_logout = False

    async def test() -> float:
        return await timed_logout(await logged_in(stage))

    assert 15 <= run(test()) <= 16
    assert stage.clean()


def test_devices_that_cannot_be_flushed(tmp_path: Path) -> None:
    """D-061: the kernel waits for a dead target while it removes the devices: no Logout PDU."""
    stage = Stage(tmp_path, node(logout_timeout="15"))

    async def test() -> float:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        return await timed_logout(actor)

    assert 15 <= run(test()) <= 16
    assert stage.target.logouts == []
    assert stage.clean()


def test_a_long_flush_is_waited_for(tmp_path: Path) -> None:
    """While the target goes on answering, the disks may take their time: no data is cut off."""
    stage = Stage(tmp_path, node(logout_timeout="15"))

    async def test() -> float:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        logout = asyncio.create_task(timed_logout(actor))
        for second in range(100):
            await asyncio.sleep(1)
            stage.kernel.statistics = Statistics({"r2t_pdus": second}, {})
        await type(stage.kernel).unbind_session(stage.kernel, 1)
        return await logout

    assert run(test()) == pytest.approx(100, abs=1)
    assert len(stage.target.logouts) == 1
    assert stage.clean()


def test_a_target_that_only_answers_nops(tmp_path: Path) -> None:
    """D-061: its answers to NOP-Outs are no sign that the disks will ever be gone."""
    stage = Stage(tmp_path, node(logout_timeout="15"))

    async def test() -> float:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        logout = asyncio.create_task(timed_logout(actor))
        for second in range(60):
            counters = {"noprx_pdus": second, "rxdata_octets": 48 * second}
            stage.kernel.statistics = Statistics(counters, {})
            await asyncio.sleep(1)
        return await logout

    assert 15 <= run(test()) <= 16
    assert stage.target.logouts == []
    assert stage.clean()


def test_silence_counts_from_the_last_answer(tmp_path: Path) -> None:
    """D-061: a disk that was flushed at once does not double the wait for one that never is."""
    stage = Stage(tmp_path, node(logout_timeout="15"))

    async def test() -> float:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        logout = asyncio.create_task(timed_logout(actor))
        await asyncio.sleep(0.1)
        stage.kernel.statistics = Statistics({"scsirsp_pdus": 1}, {})
        return await logout

    assert 15 <= run(test()) <= 16
    assert stage.clean()


def test_one_limit_for_the_disks_and_the_logout(tmp_path: Path) -> None:
    """D-061: the Logout PDU gets what the removal of the disks has left of the time."""
    stage = Stage(tmp_path, node(logout_timeout="15"))
    stage.target.answers_logout = False

    async def test() -> float:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        logout = asyncio.create_task(timed_logout(actor))
        await asyncio.sleep(14)
        await type(stage.kernel).unbind_session(stage.kernel, 1)
        return await logout

    assert 15 <= run(test()) <= 16
    assert len(stage.target.logouts) == 1
    assert stage.clean()


def test_an_unbind_whose_event_was_lost(tmp_path: Path) -> None:
    """D-024: sysfs tells that the devices are gone."""
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = await logged_in(stage)
        stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        stage.sysfs.session(1, target_state="UNBOUND")
        await actor.log_out()

    run(test())
    assert len(stage.target.logouts) == 1


def _never_unbound(stage: Stage) -> Callable[[int], Awaitable[None]]:
    async def unbind_session(sid: int) -> None:
        await stage.kernel._call("unbind_session", sid=sid)

    return unbind_session


@pytest.mark.parametrize("when", ["unbind", "logout"])
def test_connection_lost_while_logging_out(tmp_path: Path, when: str) -> None:
    """D-061: the kernel tells that the target is gone: taken down at once."""
    stage = Stage(tmp_path)
    stage.target.answers_logout = False

    async def test() -> float:
        actor = await logged_in(stage)
        if when == "unbind":
            stage.kernel.unbind_session = _never_unbound(stage)  # type: ignore[method-assign]
        logout = asyncio.create_task(timed_logout(actor))
        await asyncio.sleep(2)
        stage.kernel.lose(1)
        return await logout

    assert run(test()) == pytest.approx(2, abs=0.1)
    assert stage.clean()


@pytest.mark.parametrize("where", ["waiting", "connecting", "in login"])
def test_logout_while_recovering(tmp_path: Path, where: str) -> None:
    """D-062: immediate success at any point of a recovery; no Logout PDU."""
    stage = Stage(tmp_path)

    async def test() -> float:
        actor = await logged_in(stage)
        stage.target.always = "silent"
        stage.network.hangs = where == "connecting"
        stage.kernel.lose(1)
        reached = {
            "waiting": lambda: actor.words()[1] == "REOPEN",
            "connecting": lambda: len(stage.network.connected) == 2,
            "in login": lambda: len(stage.target.logins) == 2,
        }
        await until(reached[where])
        return await timed_logout(actor)

    assert run(test()) < 0.1
    assert stage.target.logouts == []
    assert stage.clean()


@pytest.mark.parametrize("act", ["silent", "drop", (3, 0)])
def test_logout_during_the_first_login(tmp_path: Path, act: object) -> None:
    """A logout wins over a login that is in progress, which ends with an error."""
    stage = Stage(tmp_path, target=Target(act))
    stage.target.always = act

    async def test() -> None:
        actor = stage.actor()
        login = asyncio.create_task(actor.log_in())
        await until(lambda: stage.target.logins)
        assert await timed_logout(actor) < 0.1
        with pytest.raises(LoggedOut) as caught:
            await login
        assert caught.value.exit_code == ExitCode.LOGIN

    run(test())
    assert stage.clean()
    assert len(stage.ended) == 1


def _endless(begun: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def scan(*_: object) -> None:
        begun.set()
        await asyncio.sleep(3600)

    return scan


def test_logout_during_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login has succeeded and is answered so; the logout does not wait for the scan."""
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = stage.actor()
        login = asyncio.create_task(actor.log_in())
        await scanning.wait()
        assert await timed_logout(actor) < 0.1
        assert await login == (1, 0)

    scanning = asyncio.Event()
    monkeypatch.setattr(Scanner, "scan", _endless(scanning))
    run(test())
    assert stage.clean()


def test_second_logout_shares_the_result(tmp_path: Path) -> None:
    """D-064: both end together, the target sees one Logout."""
    stage = Stage(tmp_path)
    stage.target.answers_logout = False

    async def test() -> None:
        actor = await logged_in(stage)
        first = asyncio.create_task(actor.log_out())
        await until(lambda: stage.target.logouts)
        await asyncio.gather(first, actor.log_out())

    run(test())
    assert len(stage.target.logouts) == 1


def test_a_logout_goes_on_when_the_client_is_gone(tmp_path: Path) -> None:
    """D-009 for logouts."""
    stage = Stage(tmp_path)
    stage.target.answers_logout = False

    async def test() -> None:
        actor = await logged_in(stage)
        request = asyncio.create_task(actor.log_out())
        await until(lambda: stage.target.logouts)
        request.cancel()
        await until(lambda: stage.ended)

    run(test())
    assert stage.clean()


@pytest.mark.parametrize("operation", ["stop_conn", "destroy_conn", "destroy_session"])
def test_a_refusal_does_not_stop_the_teardown(tmp_path: Path, operation: str) -> None:
    """The rest is taken down all the same; the answer is 9."""
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = await logged_in(stage)
        stage.kernel.when(operation, error=Refused(operation, 22))
        with pytest.raises(LogoutFailed) as caught:
            await actor.log_out()
        assert caught.value.exit_code == ExitCode.INTERNAL

    run(test())
    assert stage.kernel.operations()[-3:] == TEARDOWN
    assert stage.network.all_closed()
    assert len(stage.ended) == 1


@pytest.mark.parametrize("operation", ["unbind_session", "send_pdu", "get_stats"])
def test_a_refusal_before_the_teardown_is_no_failure(tmp_path: Path, operation: str) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = await logged_in(stage)
        stage.kernel.when(operation, error=TransportError("no"))
        await actor.log_out()

    run(test())
    assert stage.clean()


def _mount(stage: Stage, proc: Path) -> None:
    """sda of session 1 is mounted."""
    unit = stage.sysfs.add_unit(1, 0)
    (unit / "block/sda").mkdir(parents=True)
    (unit / "block/sda/dev").write_text("8:0\n")
    (stage.sysfs.root / "class/block").mkdir(parents=True)
    (stage.sysfs.root / "class/block/sda").symlink_to(unit / "block/sda")
    (proc / "self").mkdir(parents=True, exist_ok=True)
    line = "36 1 8:0 / /mnt rw,relatime shared:1 - ext4 /dev/sda rw\n"
    (proc / "self/mountinfo").write_text(line)


def test_safe_logout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-063: 28 while a disk is mounted, the session goes on; later it can be logged out."""
    stage = Stage(tmp_path)
    proc = tmp_path / "proc"

    async def test() -> None:
        actor = await logged_in(stage)
        _mount(stage, proc)
        with pytest.raises(Busy) as caught:
            await actor.log_out(safely=True, proc_root=str(proc))
        assert caught.value.exit_code == ExitCode.BUSY
        assert actor.words() == ("LOGGED IN", "NO CHANGE")
        assert stage.kernel.calls == []
        (proc / "self/mountinfo").write_text("")
        await actor.log_out(safely=True, proc_root=str(proc))

    run(test())
    assert "sda is mounted on /mnt" in caplog.text
    assert stage.clean()


def test_mounted_disks_do_not_matter_without_safe_logout(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = await logged_in(stage)
        _mount(stage, tmp_path / "proc")
        await actor.log_out(proc_root=str(tmp_path / "proc"))

    run(test())
    assert stage.clean()
