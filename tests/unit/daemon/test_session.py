"""The first login of a session, over the scripted kernel."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from pyiscsi.daemon.session import Session
from pyiscsi.errors import ExitCode, PyIscsiError, TransportError
from pyiscsi.transport.base import StopFlag
from pyiscsi.transport.uevent import Refused
from tests.unit.daemon.actor_parts import WHERE, Network, Stage, Target, node, run, until

OPERATIONS = (
    "create_session", "create_conn", "bind_conn", "set_param", "send_pdu", "start_conn",
)  # fmt: skip


async def _login_and_leave(stage: Stage) -> Session:
    actor = stage.actor()
    await actor.log_in()
    return actor


async def _failing_login(stage: Stage) -> PyIscsiError:
    with pytest.raises(PyIscsiError) as caught:
        await stage.actor().log_in()
    assert len(stage.ended) == 1
    assert stage.clean()
    return caught.value


def test_conversation_of_a_login(tmp_path: Path) -> None:
    """D-026, D-027: the order of a login; the session is made only after the TCP connect."""
    stage = Stage(tmp_path, node(cmds_max="64", queue_depth="16", initial_cmdsn="3"))

    async def test() -> None:
        actor = stage.actor()
        assert await actor.log_in() == (1, 0)
        await actor.detach()

    run(test())
    order = list(dict.fromkeys(stage.kernel.operations()))
    assert order == list(OPERATIONS)
    create = stage.kernel.calls[0]
    assert (create["cmds_max"], create["queue_depth"], create["initial_cmdsn"]) == (64, 16, 3)
    bind = next(call for call in stage.kernel.calls if call.operation == "bind_conn")
    assert bind["leading"] is True
    names = stage.kernel.operations()
    login = names.index("send_pdu")
    numbers = [c["param"] for c in stage.kernel.calls if c.operation == "set_param"]
    assert numbers[: login - 3] == [15, 17, 18, 19, 26, 27, 28, 35, 30, 31, 32, 34, 43]
    assert numbers[login - 3 :] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 16]
    assert names[-1] == "start_conn"


def test_first_login_pdu(tmp_path: Path) -> None:
    """D-030: ISID from the sid, ExpStatSN from sysfs, TSIH and CID 0."""
    stage = Stage(tmp_path)

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    [request] = stage.target.logins
    assert request.isid.hex() == "00023d000001"
    assert (request.tsih, request.cid, request.exp_stat_sn) == (0, 0, 77)


def test_host_parameters_of_a_bound_iface(tmp_path: Path) -> None:
    """D-027, D-044: list B, and the binding handed to the connect; a refusal is no failure."""
    stage = Stage(tmp_path, node(net_ifacename="eth7", hwaddress="default"))
    stage.kernel.when("set_host_param", error=Refused("set_host_param", 22))

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    calls = [c for c in stage.kernel.calls if c.operation == "set_host_param"]
    assert [(c["param"], c["value"]) for c in calls] == [(2, "eth7")]
    assert stage.network.options[0]["netdev"] == "eth7"
    assert stage.network.options[0]["window_size"] == 524288


@pytest.mark.parametrize("scan", ["auto", "manual"])
def test_scan(tmp_path: Path, scan: str) -> None:
    """D-043: auto scans and sets queue depths before the answer, manual answers at once."""
    stage = Stage(tmp_path, node(scan=scan, queue_depth="17"))
    seen: list[str] = []

    async def test() -> None:
        actor = stage.actor()
        gate = asyncio.Event()
        stage.kernel.when("start_conn", gate=gate)
        login = asyncio.create_task(actor.log_in())
        await until(lambda: "start_conn" in stage.kernel.operations())
        unit = stage.sysfs.add_unit(1, 0)
        gate.set()
        await login
        seen.extend([stage.sysfs.scans(0), (unit / "queue_depth").read_text().strip()])
        await actor.detach()

    run(test())
    assert seen == (["- - -", "17"] if scan == "auto" else ["", "32"])


def test_a_scan_that_fails_does_not_fail_the_login(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def test() -> None:
        actor = stage.actor()
        gate = asyncio.Event()
        stage.kernel.when("start_conn", gate=gate)
        login = asyncio.create_task(actor.log_in())
        await until(lambda: "start_conn" in stage.kernel.operations())
        (stage.sysfs.root / "class/scsi_host/host0/scan").unlink()
        (stage.sysfs.root / "class/scsi_host/host0/scan").mkdir()
        gate.set()
        assert await login == (1, 0)
        await actor.detach()

    run(test())


def test_words_of_each_phase(tmp_path: Path) -> None:
    """D-045: TRANSPORT WAIT while connecting, IN LOGIN, then LOGGED IN."""
    stage = Stage(tmp_path, target=Target("silent"))
    stage.network.hangs = True
    words: list[tuple[str, str]] = []

    async def test() -> None:
        actor = stage.actor()
        words.append(actor.words())
        login = asyncio.create_task(actor.log_in())
        await until(lambda: stage.network.connected)
        words.append(actor.words())
        stage.network.hangs = False
        await until(lambda: stage.target.logins)
        words.append(actor.words())
        await login
        words.append(actor.words())
        await actor.detach()

    run(test())
    assert words == [
        ("FREE", "NO CHANGE"),
        ("TRANSPORT WAIT", "NO CHANGE"),
        ("IN LOGIN", "NO CHANGE"),
        ("LOGGED IN", "NO CHANGE"),
    ]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("number", [107, 22])
def test_a_refusal_at_any_step_leaves_nothing_behind(
    tmp_path: Path, operation: str, number: int
) -> None:
    """D-022: whatever the kernel refuses, for ever: status 9, bounded, all objects destroyed."""
    stage = Stage(tmp_path, node(login_timeout="2", initial_login_retry_max="3"))
    stage.kernel.when(operation, error=Refused(operation, number), times=10**6)
    error = run(_failing_login(stage))
    assert error.exit_code == ExitCode.INTERNAL
    assert stage.kernel.operations().count(operation) < 40
    _check_rebinds(stage)


@pytest.mark.parametrize("operation", ["bind_conn", "set_param", "send_pdu", "start_conn"])
def test_a_refusal_once_is_tried_again(tmp_path: Path, operation: str) -> None:
    """D-022: STOP_CONN(RECOVER) before the second bind; the same session goes on."""
    stage = Stage(tmp_path)
    stage.kernel.when(operation, error=Refused(operation, 107))

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    assert stage.kernel.operations().count("create_session") == 1
    assert stage.kernel.operations().count("bind_conn") == 2
    _check_rebinds(stage)


def _check_rebinds(stage: Stage) -> None:
    """Between two binds there is a stop, and it is the recovering one."""
    bound = False
    for call in stage.kernel.calls:
        if call.operation == "stop_conn":
            assert call["flag"] in (StopFlag.RECOVER, StopFlag.TERMINATE)
            bound = False
        elif call.operation == "bind_conn":
            assert not bound
            bound = True


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cancelled_at_any_step_leaves_nothing_behind(tmp_path: Path, operation: str) -> None:
    """The daemon ends while the kernel is busy with a request of a first login."""
    stage = Stage(tmp_path)

    async def test() -> None:
        gate = asyncio.Event()
        stage.kernel.when(operation, gate=gate)
        actor = stage.actor()
        login = asyncio.create_task(actor.log_in())
        await until(lambda: operation in stage.kernel.operations())
        detach = asyncio.create_task(actor.detach())
        await asyncio.sleep(0)
        gate.set()
        await detach
        with pytest.raises(PyIscsiError):
            await login

    run(test())
    assert len(stage.ended) == 1
    assert stage.clean()


def test_refused_portal(tmp_path: Path) -> None:
    """D-039: 8 after initial_login_retry_max x login_timeout, no busy loop, no session made."""
    stage = Stage(tmp_path, node(login_timeout="15", initial_login_retry_max="8"))
    stage.network.always = TransportError("Connection refused")

    async def test() -> tuple[PyIscsiError, float]:
        start = asyncio.get_running_loop().time()
        return await _failing_login(stage), asyncio.get_running_loop().time() - start

    error, took_s = run(test())
    assert (error.exit_code, str(error)) == (ExitCode.TRANSPORT_TIMEOUT, "Connection refused")
    assert took_s == pytest.approx(120, abs=15)
    tries = [when for when, _, _ in stage.network.connected]
    assert 40 <= len(tries) <= 60
    assert max(b - a for a, b in pairwise(tries)) <= 3.01
    assert stage.kernel.calls == []


def test_one_attempt_when_no_retries_are_set(tmp_path: Path) -> None:
    stage = Stage(tmp_path, node(initial_login_retry_max="0"))
    stage.network.always = TransportError("Connection refused")
    assert run(_failing_login(stage)).exit_code == ExitCode.TRANSPORT_TIMEOUT
    assert len(stage.network.connected) == 1


def test_silent_target(tmp_path: Path) -> None:
    """D-040: 11 when the time is up, not one login_timeout later."""
    stage = Stage(tmp_path, node(login_timeout="4", initial_login_retry_max="3"))
    stage.target.always = "silent"

    async def test() -> tuple[PyIscsiError, float]:
        start = asyncio.get_running_loop().time()
        return await _failing_login(stage), asyncio.get_running_loop().time() - start

    error, took_s = run(test())
    assert error.exit_code == ExitCode.PDU_TIMEOUT
    assert took_s == pytest.approx(12, abs=0.5)
    _check_rebinds(stage)


def test_portal_that_does_not_answer_the_connect(tmp_path: Path) -> None:
    stage = Stage(tmp_path, node(login_timeout="4", initial_login_retry_max="3"))
    stage.network.hangs = True
    assert run(_failing_login(stage)).exit_code == ExitCode.TRANSPORT_TIMEOUT
    assert stage.kernel.calls == []


def test_unresolvable_name(tmp_path: Path) -> None:
    """D-040: 4 at once."""
    stage = Stage(tmp_path)
    stage.network.unresolved = TransportError("Name or service not known")
    error = run(_failing_login(stage))
    assert (error.exit_code, str(error)) == (ExitCode.TRANSPORT, "Name or service not known")
    assert stage.network.connected == []


@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        ((2, 1), ExitCode.LOGIN_AUTH_FAILED, 1),
        ((2, 2), ExitCode.LOGIN_AUTH_FAILED, 1),
        ((2, 3), ExitCode.FATAL_LOGIN, 1),
        ((2, 5), ExitCode.FATAL_LOGIN, 1),
        ((9, 0), ExitCode.FATAL_LOGIN, 1),
        ((3, 1), ExitCode.TRANSPORT_TIMEOUT, 42),
    ],
)
def test_rejected_logins(tmp_path: Path, status: tuple[int, int], code: int, tries: int) -> None:
    """D-035, D-036, D-037: class 2 and unknown ones end at once, class 3 when the time is up."""
    stage = Stage(tmp_path)
    stage.target.always = status
    assert run(_failing_login(stage)).exit_code == code
    assert abs(len(stage.target.logins) - tries) <= 3
    assert stage.kernel.operations().count("create_session") == 1


def test_a_target_that_comes_round(tmp_path: Path) -> None:
    """D-036: class 3 is retried within the window."""
    stage = Stage(tmp_path, target=Target((3, 1), (3, 2)))

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    assert len(stage.target.logins) == 3
    _check_rebinds(stage)


def test_connection_closed_during_login(tmp_path: Path) -> None:
    """The target hangs up: tried again soon, not after login_timeout; 11 in the end."""
    stage = Stage(tmp_path, target=Target("drop"))

    async def test() -> float:
        start = asyncio.get_running_loop().time()
        await (await _login_and_leave(stage)).detach()
        return asyncio.get_running_loop().time() - start

    assert run(test()) < 1
    _check_rebinds(stage)
    stage = Stage(tmp_path / "again", node(login_timeout="2", initial_login_retry_max="2"))
    stage.target.always = "drop"
    assert run(_failing_login(stage)).exit_code == ExitCode.PDU_TIMEOUT


def test_garbage_from_the_target(tmp_path: Path) -> None:
    """D-031: what is not a login response ends the login, 19."""
    stage = Stage(tmp_path, target=Target("garbage"))
    assert run(_failing_login(stage)).exit_code == ExitCode.FATAL_LOGIN


@pytest.mark.parametrize("permanent", [False, True])
def test_redirect(tmp_path: Path, permanent: bool) -> None:
    """D-038: followed at once; the persistent portal stays the configured one."""
    stage = Stage(tmp_path, target=Target(("redirect", permanent, "192.0.2.9:3270,1")))

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    assert [(host, port) for _, host, port in stage.network.connected] == [
        ("192.0.2.1", 3260),
        ("192.0.2.9", 3270),
    ]
    assert stage.kernel.params[1, 0][17] == "192.0.2.1"
    _check_rebinds(stage)


def test_redirect_for_ever(tmp_path: Path) -> None:
    """D-038: five hops, then an error at once."""
    stage = Stage(tmp_path)
    stage.target.always = ("redirect", False, "192.0.2.9:3260,1")
    error = run(_failing_login(stage))
    assert error.exit_code == ExitCode.FATAL_LOGIN
    assert "redirected more than 5 times" in str(error)
    assert len(stage.network.connected) == 6


def test_after_a_failed_redirect_the_configured_portal_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """D-038: a portal we were sent to and that refuses is not asked again."""
    target = Target(("redirect", True, "192.0.2.9:3260,1"))
    network = Network(None, TransportError("Connection refused"))
    stage = Stage(tmp_path, target=target, network=network)

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    assert [host for _, host, _ in network.connected] == ["192.0.2.1", "192.0.2.9", "192.0.2.1"]
    assert f"connect to 192.0.2.9:3260 failed (Connection refused) {WHERE}" in caplog.messages


def test_the_caller_may_go_away(tmp_path: Path) -> None:
    """D-009: a login goes on when nobody waits for it any more."""
    stage = Stage(tmp_path, target=Target("silent"))

    async def test() -> None:
        actor = stage.actor()
        login = asyncio.create_task(actor.log_in())
        await until(lambda: stage.target.logins)
        login.cancel()
        await until(lambda: actor.words()[0] == "LOGGED IN")
        await actor.detach()

    run(test())


def test_internal_error_ends_the_actor_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception nobody planned for is logged, answered, and leaves nothing behind."""
    stage = Stage(tmp_path)
    stage.kernel.when("create_conn", error=ZeroDivisionError("bug"))
    assert run(_failing_login(stage)).exit_code == ExitCode.LOGIN
    assert "internal error" in caplog.text


def test_log_lines_of_a_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-092: the literal lines, secrets nowhere."""
    record = node(username="me", password="s3cr3t-s3cr3t")
    record.set("node.session.auth.password", "s3cr3t-s3cr3t")
    caplog.set_level(1)
    stage = Stage(tmp_path, record, target=Target((2, 1)))
    assert run(_failing_login(stage)).exit_code == ExitCode.LOGIN_AUTH_FAILED
    words = "initiator failed authorization with target (02/01)"
    assert f"conn 0 login rejected: {words} {WHERE}" in caplog.messages
    stage = Stage(tmp_path / "again")

    async def test() -> None:
        await (await _login_and_leave(stage)).detach()

    run(test())
    assert (
        "Connection1:0 to [target: iqn.2026-11.test:disk, portal: 192.0.2.1,3260] "
        "through [iface: default] is operational now"
    ) in caplog.messages
    assert "s3cr3t" not in caplog.text
