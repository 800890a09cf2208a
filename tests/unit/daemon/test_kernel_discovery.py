"""SendTargets through an adapter's driver, over the scripted kernel."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.discover import Job, Portal
from pyiscsi.daemon.explore import explore
from pyiscsi.errors import ExitCode, NoObjectsFound, PyIscsiError
from pyiscsi.proto.pdu import (
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    TextRequest,
    TextResponse,
    decode,
)
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, SENDTARGETS
from pyiscsi.transport.base import ConnectionFailed, LoginState
from pyiscsi.transport.numbers import Cap, Param
from pyiscsi.transport.scripted import Call, ScriptedKernel, ScriptedTransport
from pyiscsi.transport.uevent import Refused
from tests.unit.daemon.actor_parts import Sysfs

TARGET = "iqn.2026-11.test:disk"
ANSWER = f"TargetName={TARGET}\0TargetAddress=192.0.2.1:3260,1\0".encode()
CAPS = Cap.TEXT_NEGO | Cap.MULTI_R2T | Cap.HDRDGST | Cap.DATADGST
KERNEL_TAG = 0x10000001
"""The kernel replaces the tags of what it sends."""


def target(transport: ScriptedTransport, call: Call) -> None:
    sid, header, data = call["sid"], call["header"], call["data"]
    assert isinstance(sid, int)
    assert isinstance(header, bytes)
    assert isinstance(data, bytes)
    pdu = decode(header, data)
    answer: Any
    match pdu:
        case LoginRequest():
            answer = LoginResponse(
                transit=True, csg=pdu.csg, nsg=pdu.nsg, isid=pdu.isid, tsih=1, stat_sn=4,
                initiator_task_tag=KERNEL_TAG, data=b"TargetPortalGroupTag=1\0",
            )  # fmt: skip
        case TextRequest():
            answer = TextResponse(final=True, initiator_task_tag=KERNEL_TAG, data=ANSWER)
        case LogoutRequest():
            answer = LogoutResponse(initiator_task_tag=KERNEL_TAG)
        case _:
            raise AssertionError(pdu)
    transport.reply_pdu(sid, *answer.encode())


class Stage:
    def __init__(self, tmp_path: Path, transport: str, caps: int) -> None:
        self.sysfs = Sysfs(tmp_path / "sys")
        self.kernel = ScriptedTransport(name=transport, caps=int(caps), peer=target)
        self.lines: list[str] = []
        self.iface = Record(
            IFACE, {"iface.iscsi_ifacename": "card", "iface.transport_name": transport}
        )

    def ask(self, reopen_max: int = 0) -> list[Portal]:
        record = Record(SENDTARGETS, {"discovery.sendtargets.reopen_max": str(reopen_max)})
        job = Job("192.0.2.1", 3260, record, ("card",), True, False, False, True)
        kernel = ScriptedKernel(self.kernel)
        return asyncio.run(
            explore(kernel, self.sysfs.tree, job, self.iface, "iqn.a:b", "alias", self.lines.append)
        )

    def clean(self) -> bool:
        return not (self.kernel.sessions or self.kernel.connections or self.kernel.endpoints)


def test_by_our_own_login(tmp_path: Path) -> None:
    """Our PDUs on a session of the kernel, which is gone afterwards."""
    stage = Stage(tmp_path, "be2iscsi", CAPS)
    assert stage.ask() == [Portal(TARGET, "192.0.2.1", 3260, 1)]
    assert list(dict.fromkeys(stage.kernel.operations())) == [
        "ep_connect", "ep_poll", "create_session", "create_conn", "bind_conn", "set_param",
        "send_pdu", "start_conn", "ep_disconnect", "stop_conn", "destroy_conn", "destroy_session",
    ]  # fmt: skip
    [create] = [call for call in stage.kernel.calls if call.operation == "create_session"]
    assert (create["cmds_max"], create["queue_depth"]) == (32, 1)
    set_params = {c["param"]: c["value"] for c in stage.kernel.calls if c.operation == "set_param"}
    assert set_params[Param.DISCOVERY_SESS] == "1"
    assert set_params[Param.MAX_RECV_DLENGTH] == "8192"
    assert set_params[Param.EXP_STATSN] == "5"
    assert stage.clean()
    assert stage.lines == []


def test_by_the_adapters_login(tmp_path: Path) -> None:
    """The adapter logs in, we only ask; it says goodbye itself."""
    stage = Stage(tmp_path, "qla4xxx", CAPS | Cap.LOGIN_OFFLOAD)
    stage.kernel.when("start_conn", events=(LoginState(1, 0, 3),))
    assert stage.ask() == [Portal(TARGET, "192.0.2.1", 3260, 1)]
    assert stage.kernel.operations().count("send_pdu") == 1
    assert stage.clean()


def test_the_adapters_login_fails(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "qla4xxx", CAPS | Cap.LOGIN_OFFLOAD)
    stage.kernel.when("start_conn", events=(LoginState(1, 0, 0),))
    with pytest.raises(PyIscsiError) as caught:
        stage.ask(reopen_max=5)
    assert caught.value.exit_code == ExitCode.TRANSPORT
    assert stage.clean()


def test_no_connection(tmp_path: Path) -> None:
    """Each attempt says so in one line; then the attempts are used up."""
    stage = Stage(tmp_path, "be2iscsi", CAPS)
    stage.kernel.when("ep_poll", error=Refused("transport_ep_poll", 111), times=9)
    with pytest.raises(PyIscsiError) as caught:
        stage.ask(reopen_max=1)
    assert caught.value.exit_code == ExitCode.PDU_TIMEOUT
    line = "Connection to discovery portal 192.0.2.1 failed: encountered connection failure"
    assert stage.lines == [line, line, "connection login retries (reopen_max) 1 exceeded"]
    assert stage.clean()


@pytest.mark.parametrize("operation", ["create_session", "create_conn", "bind_conn"])
def test_no_session_round_the_connection(tmp_path: Path, operation: str) -> None:
    """Not the portal's fault, and said so."""
    stage = Stage(tmp_path, "be2iscsi", CAPS)
    stage.kernel.when(operation, error=Refused(operation, errno.ENOMEM))
    with pytest.raises(PyIscsiError):
        stage.ask()
    line = "Connection to discovery portal 192.0.2.1 failed: internal error"
    assert stage.lines[0] == line
    assert stage.clean()


@pytest.mark.parametrize(("name", "caps"), [("be2iscsi", 0), ("qla4xxx", Cap.LOGIN_OFFLOAD)])
def test_the_kernel_does_not_start_the_connection(tmp_path: Path, name: str, caps: int) -> None:
    """Whoever logs in; trying again would not help."""
    stage = Stage(tmp_path, name, CAPS | caps)
    stage.kernel.when("start_conn", error=Refused("start_conn", errno.EIO))
    with pytest.raises(PyIscsiError) as caught:
        stage.ask(reopen_max=5)
    assert caught.value.exit_code == ExitCode.INTERNAL
    assert stage.kernel.operations().count("start_conn") == 1
    assert stage.clean()


def test_a_connection_lost_meanwhile(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "be2iscsi", CAPS)
    stage.kernel.peer = lambda transport, call: transport.emit(ConnectionFailed(1, 0, 1020))
    with pytest.raises(PyIscsiError):
        stage.ask()
    assert stage.clean()


def test_discovery_that_is_the_adapters_own(tmp_path: Path) -> None:
    """CAP_SENDTARGETS_OFFLOAD: it is told where to ask, through its own host."""
    stage = Stage(tmp_path, "qla4xxx", CAPS | Cap.SENDTARGETS_OFFLOAD)
    stage.sysfs.add(9, 4)
    stage.sysfs.write(stage.sysfs.root / "class/scsi_host/host4", proc_name="qla4xxx")
    host = stage.sysfs.root / "class/iscsi_host/host4"
    host.mkdir()
    (host / "hwaddress").write_text("02:fa:e0:00:00:01\n")
    stage.iface.values["iface.hwaddress"] = "02:fa:e0:00:00:01"
    with pytest.raises(NoObjectsFound):
        stage.ask()
    [call] = stage.kernel.calls
    assert (call.operation, call["host_no"]) == ("discover_targets", 4)


def test_a_driver_without_text_pdus_is_asked_over_tcp(tmp_path: Path) -> None:
    """As iser was before Linux could do it: the daemon's own connection, which fails here."""
    stage = Stage(tmp_path, "iser", Cap.RECOVERY_L0)
    stage.iface.values["iface.ipaddress"] = "192.0.2.9"
    with pytest.raises(PyIscsiError):
        stage.ask()
    assert stage.kernel.calls == []
