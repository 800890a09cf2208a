"""Sessions whose adapter logs in by itself, over the scripted kernel."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.transport.base import ConnectionFailed, LoginState
from pyiscsi.transport.numbers import Cap, Param
from pyiscsi.transport.uevent import Refused
from tests.unit.daemon.actor_parts import KernelDouble, Stage, node, run, until

CAPS = Cap.TEXT_NEGO | Cap.LOGIN_OFFLOAD | Cap.MULTI_R2T | Cap.HDRDGST | Cap.DATADGST
FAILED, LOGGED_IN = LoginState(1, 0, 0), LoginState(1, 0, 3)


def stage_of(tmp_path: Path, **settings: str) -> Stage:
    settings |= {"transport_name": "qla4xxx"}
    stage = Stage(tmp_path, node(**settings))
    stage.kernel = KernelDouble(stage.sysfs, stage.target, name="qla4xxx", caps=int(CAPS))
    return stage


def failing_login(stage: Stage) -> PyIscsiError:
    with pytest.raises(PyIscsiError) as caught:
        run(stage.actor().log_in())
    assert stage.clean()
    assert stage.kernel.endpoints == set()
    return caught.value


async def _visit(stage: Stage) -> None:
    """Log in and out again."""
    actor = stage.actor()
    assert await actor.log_in() == (1, 0)
    assert stage.kernel.endpoints == {1}
    await actor.log_out()


def test_conversation(tmp_path: Path) -> None:
    """Endpoint, bound session, all parameters, START_CONN, the adapter's report; no PDU at all."""
    stage = stage_of(tmp_path)
    stage.kernel.when("start_conn", events=(LoginState(1, 0, 2), LOGGED_IN))
    run(_visit(stage))
    order = list(dict.fromkeys(stage.kernel.operations()))
    assert order == [
        "ep_connect", "ep_poll", "create_session", "create_conn", "bind_conn", "set_param",
        "start_conn", "unbind_session", "get_stats", "ep_disconnect", "stop_conn", "destroy_conn",
        "destroy_session",
    ]  # fmt: skip
    assert "send_pdu" not in stage.kernel.operations()
    [create] = [call for call in stage.kernel.calls if call.operation == "create_session"]
    [bind] = [call for call in stage.kernel.calls if call.operation == "bind_conn"]
    assert (create["endpoint"], bind["sock"]) == (1, 1)
    assert stage.clean()


def test_what_the_adapter_is_told(tmp_path: Path) -> None:
    """What it shall negotiate is the record's, for want of something negotiated."""
    stage = stage_of(
        tmp_path, MaxRecvDataSegmentLength="131072", MaxOutstandingR2T="4", HeaderDigest="CRC32C",
        username="me", password="secret-secret",
    )  # fmt: skip
    stage.kernel.when("start_conn", events=(LOGGED_IN,))
    told: dict[int, str] = {}

    async def test() -> None:
        actor = stage.actor()
        await actor.log_in()
        told.update(stage.kernel.params[1, 0])
        await actor.detach()

    run(test())
    wanted = {
        Param.MAX_RECV_DLENGTH: "131072", Param.MAX_XMIT_DLENGTH: "8192", Param.HDRDGST_EN: "1",
        Param.DATADGST_EN: "0", Param.MAX_R2T: "4", Param.USERNAME: "me", Param.TPGT: "1",
        Param.PDU_INORDER_EN: "1", Param.DATASEQ_INORDER_EN: "1", Param.EXP_STATSN: "77",
    }  # fmt: skip
    assert wanted == {param: told[param] for param in wanted}


def test_refused(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.kernel.when("start_conn", events=(FAILED,))
    assert failing_login(stage).exit_code == ExitCode.LOGIN
    assert stage.kernel.operations().count("start_conn") == 1


def test_session_that_the_adapter_has_already(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.kernel.when("start_conn", error=Refused("start_conn", errno.EEXIST))
    assert failing_login(stage).exit_code == ExitCode.SESSION_EXISTS


def test_silence_ends(tmp_path: Path) -> None:
    """open-iscsi waits for ever for an adapter that never reports."""
    stage = stage_of(tmp_path, login_timeout="3", initial_login_retry_max="2")
    assert failing_login(stage).exit_code == ExitCode.PDU_TIMEOUT
    assert stage.kernel.operations().count("start_conn") == 2


def test_a_connection_that_breaks_is_tried_again(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.kernel.when("start_conn", events=(ConnectionFailed(1, 0, 1011),))
    stage.kernel.when("start_conn", events=(LOGGED_IN,))
    run(_visit_again(stage))


async def _visit_again(stage: Stage) -> None:
    actor = stage.actor()
    assert await actor.log_in() == (1, 0)
    assert stage.kernel.endpoints == {2}
    await actor.log_out()
    assert stage.clean()


def test_recovery(tmp_path: Path) -> None:
    """A lost connection gets a new endpoint, and the adapter logs in once more."""
    stage = stage_of(tmp_path, DefaultTime2Wait="0")
    stage.kernel.when("start_conn", events=(LOGGED_IN,), times=1)
    stage.kernel.when("start_conn", events=(FAILED,), times=1)
    stage.kernel.when("start_conn", events=(LOGGED_IN,), times=1)

    async def test() -> None:
        actor = stage.actor()
        await actor.log_in()
        await asyncio.sleep(0)
        stage.kernel.lose(1)
        await until(lambda: actor.words() == ("TRANSPORT WAIT", "REOPEN"))
        await until(lambda: actor.words() == ("LOGGED IN", "NO CHANGE"))
        assert stage.kernel.endpoints == {3}
        await actor.log_out()

    run(test())
    assert stage.kernel.operations().count("ep_disconnect") == 3
    assert stage.clean()


def test_a_session_is_left_with_its_endpoint(tmp_path: Path) -> None:
    """When the daemon ends its sessions go on."""
    stage = stage_of(tmp_path)
    stage.kernel.when("start_conn", events=(LOGGED_IN,))

    async def test() -> None:
        actor = stage.actor()
        await actor.log_in()
        await actor.detach()

    run(test())
    assert stage.kernel.endpoints == {1}
    assert stage.kernel.connections == {(1, 0): "started"}


def test_a_login_broken_off(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    gate = asyncio.Event()
    stage.kernel.when("ep_connect", gate=gate)

    async def test() -> None:
        actor = stage.actor()
        login = asyncio.create_task(actor.log_in())
        await until(lambda: "ep_connect" in stage.kernel.operations())
        leaving = asyncio.create_task(actor.detach())
        await asyncio.sleep(0.1)
        gate.set()
        await leaving
        with pytest.raises(PyIscsiError):
            await login

    run(test())
    assert stage.kernel.endpoints == set()
    assert stage.clean()


def test_no_adapter_of_that_name(tmp_path: Path) -> None:
    """The login waits for it as long as one attempt may take, whatever the retries."""
    stage = stage_of(tmp_path, hwaddress="02:fa:e0:00:00:99", login_timeout="3")
    assert failing_login(stage).exit_code == ExitCode.HOST_NOT_FOUND
    assert stage.kernel.calls == []
