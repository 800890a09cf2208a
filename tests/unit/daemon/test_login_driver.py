"""One attempt: the login machine's effects on the kernel's connection, and how attempts fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.daemon.login_driver import Attempt, Limits, Plan, PortalAddress, drive
from pyiscsi.daemon.parameters import prepare
from pyiscsi.daemon.recovery import AttemptFailed, Cause
from pyiscsi.errors import ExitCode, InvalidArgument, LocalProtocolError, TransportError
from pyiscsi.proto.effects import LoginResult, Redirect
from pyiscsi.proto.login import LoginMachine, LoginSettings
from pyiscsi.transport.base import EventsLost, SessionDestroyed
from pyiscsi.transport.uevent import Refused
from tests.unit.daemon.actor_parts import INITIATOR, TARGET, Network, Stage, Target, node, run

PORTAL = PortalAddress("192.0.2.1", 3260)


def machine() -> LoginMachine:
    settings = LoginSettings(INITIATOR.name, TARGET, bytes(6))
    return LoginMachine(settings, lambda count: bytes(count))


async def bound(stage: Stage) -> KernelSession:
    kernel = KernelSession(stage.kernel)
    await kernel.create(initial_cmdsn=0, cmds_max=128, queue_depth=32)
    kernel.hold(await stage.network.connect([("192.0.2.1", 3260)], 3260))
    await kernel.bind()
    return kernel


def test_drive_until_logged_in(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        kernel = await bound(stage)
        result = await drive(kernel, machine())
        assert isinstance(result, LoginResult)
        assert (result.exp_stat_sn, result.target_portal_group_tag) == (42, 1)
        await kernel.destroy()

    run(test())


def test_drive_until_redirected(tmp_path: Path) -> None:
    stage = Stage(tmp_path, target=Target(("redirect", True, "[2001:db8::1]:3261,2")))

    async def test() -> None:
        kernel = await bound(stage)
        assert await drive(kernel, machine()) == Redirect("2001:db8::1", 3261, True)
        await kernel.destroy()

    run(test())


@pytest.mark.parametrize(
    ("act", "cause", "code", "fatal"),
    [
        ("drop", Cause.DROPPED, ExitCode.TRANSPORT, False),
        ("garbage", Cause.REJECTED, ExitCode.FATAL_LOGIN, True),
        ((2, 1), Cause.REJECTED, ExitCode.LOGIN_AUTH_FAILED, True),
        ((3, 0), Cause.TARGET, ExitCode.LOGIN, False),
    ],
)
def test_drive_fails(tmp_path: Path, act: object, cause: Cause, code: int, fatal: bool) -> None:
    """D-036: what the target did decides about cause, status and whether to go on."""
    stage = Stage(tmp_path, target=Target(act))

    async def test() -> None:
        kernel = await bound(stage)
        with pytest.raises(AttemptFailed) as caught:
            await drive(kernel, machine())
        failure = caught.value
        assert (failure.cause, failure.error.exit_code, failure.fatal) == (cause, code, fatal)
        await kernel.destroy()

    run(test())


def test_events_that_say_nothing_about_the_login(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        kernel = await bound(stage)
        stage.kernel.emit(EventsLost(1))
        assert isinstance(await drive(kernel, machine()), LoginResult)
        await kernel.destroy()

    run(test())


def test_session_destroyed_during_login(tmp_path: Path) -> None:
    stage = Stage(tmp_path, target=Target("silent"))

    async def test() -> None:
        kernel = await bound(stage)
        stage.kernel.emit(SessionDestroyed(1))
        with pytest.raises(AttemptFailed) as caught:
            await drive(kernel, machine())
        assert caught.value.fatal
        await kernel.destroy()

    run(test())


async def _attempt(stage: Stage, limit_s: float = 5.0) -> AttemptFailed:
    kernel = KernelSession(stage.kernel)
    prepared, _ = prepare(stage.record, "tcp", stage.kernel.caps)
    plan = Plan(stage.record, prepared, INITIATOR)
    attempt = Attempt(stage.around, plan, kernel, lambda: None)
    with pytest.raises(AttemptFailed) as caught:
        await attempt.run(PORTAL, Limits(limit_s, limit_s))
    await kernel.destroy()
    return caught.value


class _DeadResolver(Network):
    async def resolve(self, host: str, port: int, timeout_s: float) -> Sequence[Any]:
        await asyncio.sleep(3600)
        return []


def test_a_resolver_that_never_answers(tmp_path: Path) -> None:
    """D-040: a name that cannot be resolved is 4, also when nobody says so."""
    failure = run(_attempt(Stage(tmp_path, network=_DeadResolver())))
    assert (failure.cause, failure.fatal) == (Cause.UNRESOLVED, True)
    assert failure.error.exit_code == ExitCode.TRANSPORT


@pytest.mark.parametrize(
    ("error", "cause", "fatal"),
    [
        (TransportError("Connection refused"), Cause.REFUSED, False),
        (TransportError("late", ExitCode.TRANSPORT_TIMEOUT), Cause.SILENT, False),
        (InvalidArgument("bound to an address"), Cause.REFUSED, True),
    ],
)
def test_connect_fails(tmp_path: Path, error: Exception, cause: Cause, fatal: bool) -> None:
    """D-044: no address on the device yet is tried again, an impossible binding is not."""
    stage = Stage(tmp_path, network=Network(error))
    failure = run(_attempt(stage))
    assert (failure.cause, failure.fatal, failure.error) == (cause, fatal, error)
    assert stage.kernel.calls == []


@pytest.mark.parametrize(
    ("act", "cause", "code"),
    [("silent", Cause.SILENT, ExitCode.PDU_TIMEOUT), ("drop", Cause.DROPPED, ExitCode.TRANSPORT)],
)
def test_target_fails(tmp_path: Path, act: str, cause: Cause, code: int) -> None:
    failure = run(_attempt(Stage(tmp_path, target=Target(act))))
    assert (failure.cause, failure.error.exit_code) == (cause, code)


def test_a_kernel_that_does_not_answer_is_not_the_targets_silence(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        gate = asyncio.Event()
        stage.kernel.when("create_conn", gate=gate)
        asyncio.get_running_loop().call_later(60, gate.set)
        failure = await _attempt(stage)
        assert failure.error.exit_code == ExitCode.TRANSPORT_TIMEOUT

    run(test())
    assert stage.clean()


def test_a_refusal_because_the_connection_failed_counts_as_that(tmp_path: Path) -> None:
    """D-022: -ENOTCONN after a connection error is the target's doing, not the kernel's."""
    stage = Stage(tmp_path, node())

    async def test() -> None:
        kernel_sees_it = asyncio.Event()
        stage.kernel.when("set_param", match={"param": 26}, gate=kernel_sees_it)

        def fail() -> None:
            stage.kernel.lose(1)
            kernel_sees_it.set()

        asyncio.get_running_loop().call_later(1, fail)
        failure = await _attempt(stage)
        assert failure.cause is Cause.DROPPED
        assert "TCP connection closed" in str(failure.error)

    run(test())


def test_a_setting_that_cannot_be_sent(tmp_path: Path) -> None:
    """Ours to blame: not tried again."""
    stage = Stage(tmp_path)
    stage.kernel.when("set_param", error=LocalProtocolError("contains a NUL"))
    failure = run(_attempt(stage))
    assert (failure.error.exit_code, failure.fatal) == (ExitCode.INTERNAL, True)


def test_a_refusal_for_the_kernels_own_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.kernel.when("start_conn", error=Refused("start_conn", 22))
    failure = run(_attempt(stage))
    assert (failure.cause, failure.error.exit_code) == (Cause.LOCAL, ExitCode.INTERNAL)
    assert stage.clean()
