"""The kernel transport against the real kernel: every operation, its refusals, lost events."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport import netlink, tcp, uevent
from pyiscsi.transport.base import (
    ConnectionFailed,
    Event,
    EventsLost,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    StopFlag,
)
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.uevent import HostParam, Param, Refused, UEvent
from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

TARGET = "iqn.2026-11.test:netlink"
NETLINK_ISCSI = 8
SO_RCVBUFFORCE = 33
PORTAL = ("127.0.0.1", 3260)
DEADLINE_S = 30.0
SESSIONS = Path("/sys/class/iscsi_session")
KEYS = (
    f"InitiatorName=iqn.2026-11.test:me\0TargetName={TARGET}\0SessionType=Normal\0"
    "AuthMethod=None\0HeaderDigest=None\0DataDigest=None\0ErrorRecoveryLevel=0\0"
    "InitialR2T=Yes\0ImmediateData=Yes\0MaxRecvDataSegmentLength=262144\0MaxBurstLength=262144\0"
    "FirstBurstLength=65536\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"
    "MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0IFMarker=No\0OFMarker=No\0"
)


@pytest.fixture
def target() -> Iterator[str]:
    lio.create_target(TARGET, ["127.0.0.1:3260"])
    yield TARGET
    lio.delete_all()


def run(check: Callable[[KernelTransport], Awaitable[None]]) -> None:
    async def main() -> None:
        kernel = Kernel(Env())
        await kernel.open()
        try:
            async with asyncio.timeout(4 * DEADLINE_S):
                await check(await kernel.transport("tcp"))
        finally:
            await kernel.close()

    asyncio.run(main())


@asynccontextmanager
async def new_session(transport: KernelTransport) -> AsyncIterator[tuple[int, int]]:
    """A session with a connection, taken down again however far it came."""
    sid, host_no = await transport.create_session(initial_cmdsn=7, cmds_max=32, queue_depth=16)
    try:
        await transport.create_conn(sid, 0)
        yield sid, host_no
    finally:
        with suppress(Refused):
            await transport.stop_conn(sid, 0, StopFlag.TERMINATE)
        with suppress(Refused):
            await transport.destroy_conn(sid, 0)
        with suppress(Refused):
            await transport.destroy_session(sid)
        transport.unsubscribe(sid)


def login_request(data: bytes = KEYS.encode(), exp_stat_sn: int = 0) -> bytes:
    """T, CSG operational, NSG full feature (RFC 7143 §11.12)."""
    isid = bytes.fromhex("00023d000001")
    return struct.pack(
        ">BBBBI6sHIHHII16x", 0x43, 0x87, 0, 0, len(data), isid, 0, 0, 0, 0, 0, exp_stat_sn
    )


async def next_event(queue: asyncio.Queue[Event], kind: type[Event]) -> Event:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            event = await queue.get()
            if isinstance(event, kind):
                return event


async def connected(address: tuple[str, int] = PORTAL) -> socket.socket:
    return await tcp.connect([address], address[1], deadline_s=DEADLINE_S)


async def exchange(
    transport: KernelTransport,
    queue: asyncio.Queue[Event],
    sid: int,
    data: bytes,
    exp_stat_sn: int = 0,
) -> PduReceived:
    await transport.send_pdu(sid, 0, login_request(data, exp_stat_sn), data)
    answer = await next_event(queue, PduReceived)
    assert isinstance(answer, PduReceived)
    assert (answer.sid, answer.cid) == (sid, 0)
    assert answer.header[0] == 0x23
    assert answer.header[36:38] == b"\0\0"
    assert len(answer.data) == int.from_bytes(answer.header[5:8], "big")
    return answer


def stat_sn(answer: PduReceived) -> int:
    return int.from_bytes(answer.header[24:28], "big")


async def log_in(transport: KernelTransport, sid: int) -> socket.socket:
    queue = transport.subscribe(sid)
    sock = await connected()
    await transport.bind_conn(sid, 0, sock, leading=True)
    before_login = [
        (Param.TARGET_NAME, TARGET),
        (Param.INITIATOR_NAME, "iqn.2026-11.test:me"),
        (Param.PERSISTENT_ADDRESS, PORTAL[0]),
        (Param.PERSISTENT_PORT, "3260"),
    ]
    assert await transport.set_params(sid, 0, before_login) == []
    answer = await exchange(transport, queue, sid, KEYS.encode())
    assert b"TargetPortalGroupTag=1\0" in answer.data
    if not answer.header[1] & 0x80:
        answer = await exchange(transport, queue, sid, b"", stat_sn(answer) + 1)
    assert answer.header[1] == 0x87
    negotiated = [
        (Param.MAX_RECV_DLENGTH, "262144"),
        (Param.MAX_XMIT_DLENGTH, "8192"),
        (Param.INITIAL_R2T_EN, "1"),
        (Param.IMM_DATA_EN, "1"),
        (Param.FIRST_BURST, "65536"),
        (Param.MAX_BURST, "262144"),
        (Param.EXP_STATSN, str(stat_sn(answer) + 1)),
    ]
    assert await transport.set_params(sid, 0, negotiated) == []
    await transport.start_conn(sid, 0)
    return sock


def test_session_from_login_to_logout(target: str) -> None:
    """D-020, D-025: all operations of one session, in the order of a login and a logout."""

    async def check(transport: KernelTransport) -> None:
        assert transport.caps & 0x39 == 0x39
        async with new_session(transport) as (sid, host_no):
            queue = transport.subscribe(sid)
            sock = await log_in(transport, sid)
            folder = SESSIONS / f"session{sid}"
            assert (folder / "state").read_text() == "LOGGED_IN\n"
            assert (folder / "creator").read_text() == f"{os.getpid()}\n"
            assert (folder / "targetname").read_text() == f"{target}\n"
            await transport.set_host_params(host_no, [(HostParam.NETDEV_NAME, "lo")])
            host = Path(f"/sys/class/iscsi_host/host{host_no}")
            assert (host / "netdev").read_text() == "lo\n"
            statistics = await transport.get_stats(sid, 0)
            assert statistics.counters["rxdata_octets"] > 0
            assert [*statistics.custom] == [
                "tx_sendpage_failures",
                "rx_discontiguous_hdr",
                "eh_abort_cnt",
            ]
            await transport.unbind_session(sid)
            assert await next_event(queue, SessionUnbound) == SessionUnbound(sid)
            tcp.close_with_reset(sock)
            await transport.stop_conn(sid, 0, StopFlag.TERMINATE)
            with pytest.raises(Refused) as refused:
                await transport.destroy_session(sid)
            assert refused.value.errno == errno.EBUSY
            await transport.destroy_conn(sid, 0)
            await transport.destroy_session(sid)
            assert folder.name not in os.listdir(SESSIONS)
            assert host.name not in os.listdir(host.parent)
            assert await next_event(queue, SessionDestroyed) == SessionDestroyed(sid)

    run(check)


def test_refusals() -> None:
    """Errors in iferror and in retcode, each with its errno."""

    async def check(transport: KernelTransport) -> None:
        async with new_session(transport) as (sid, _):

            async def errno_of(operation: Awaitable[object]) -> int:
                with pytest.raises(Refused) as refused:
                    await operation
                return refused.value.errno

            unbound = transport.set_params(sid, 0, [(Param.TARGET_NAME, "x")])
            assert await errno_of(unbound) == errno.ENOTCONN
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
                bind = transport.bind_conn(sid, 0, wrong, leading=True)
                assert await errno_of(bind) == errno.EINVAL
            assert await errno_of(transport.get_stats(sid + 99, 0)) == errno.EEXIST
            assert await errno_of(transport.destroy_session(sid + 99)) == errno.EINVAL
            with pytest.raises(TransportError, match="Bad file descriptor"):
                await transport.bind_conn(sid, 0, wrong, leading=True)

    run(check)


def test_unknown_param_is_told(target: str) -> None:
    """-ENOSYS of SET_PARAM (PING_TMO on old kernels) is told apart from other refusals."""

    async def check(transport: KernelTransport) -> None:
        async with new_session(transport) as (sid, _):
            with await connected() as sock:
                await transport.bind_conn(sid, 0, sock, leading=True)
                params = [(Param.CHAP_IN_IDX, "1"), (Param.PING_TMO, "5")]
                assert await transport.set_params(sid, 0, params) == [Param.CHAP_IN_IDX]

    run(check)


def test_create_session_settings() -> None:
    """D-026: cmds_max, queue_depth and initial_cmdsn arrive; a PDU goes out padded."""

    async def check(transport: KernelTransport) -> None:
        async with new_session(transport) as (sid, host_no):
            received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                received.set_result(await reader.readexactly(48 + 8))
                writer.close()

            server = await asyncio.start_server(read, "127.0.0.1", 0)
            with await connected(server.sockets[0].getsockname()) as sock:
                host = Path(f"/sys/class/scsi_host/host{host_no}")
                assert (host / "cmd_per_lun").read_text() == "16\n"
                assert 0 < int((host / "can_queue").read_text()) <= 32
                await transport.bind_conn(sid, 0, sock, leading=True)
                await transport.send_pdu(sid, 0, login_request(b"A=bcd"), b"A=bcd")
                pdu = await asyncio.wait_for(received, DEADLINE_S)
            server.close()
            await server.wait_closed()
            assert pdu[48:] == b"A=bcd\0\0\0"
            assert pdu[5:8] == b"\0\0\5"
            assert struct.unpack_from(">I", pdu, 24) == (7,)

    run(check)


def test_rebind_needs_stop(target: str) -> None:
    """D-022: after an error BIND fails with -107 until STOP_CONN; it never loops."""

    async def check(transport: KernelTransport) -> None:
        async with new_session(transport) as (sid, _):
            queue = transport.subscribe(sid)
            with await log_in(transport, sid):
                lio.set_enabled(target, False)
                failed = await next_event(queue, ConnectionFailed)
                assert failed == ConnectionFailed(sid, 0, 1020)
            lio.set_enabled(target, True)
            with await connected() as sock:
                with pytest.raises(Refused) as refused:
                    await transport.bind_conn(sid, 0, sock, leading=True)
                assert refused.value.errno == errno.ENOTCONN
                await transport.stop_conn(sid, 0, StopFlag.RECOVER)
                await transport.bind_conn(sid, 0, sock, leading=True)

    run(check)


def test_bind_survives_closing_the_callers_socket(target: str) -> None:
    """The kernel keeps its own reference: login works although our descriptor is gone."""

    async def check(transport: KernelTransport) -> None:
        async with new_session(transport) as (sid, _):
            queue = transport.subscribe(sid)
            with await connected() as sock:
                await transport.bind_conn(sid, 0, sock, leading=True)
            await exchange(transport, queue, sid, KEYS.encode())

    run(check)


def test_real_overrun_is_reported() -> None:
    """D-024: when the kernel drops events every subscriber is told, and requests go on."""

    async def main() -> None:
        def small_channel() -> netlink.Channel:
            sock = netlink.open_socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            return netlink.Channel(sock)

        kernel = Kernel(Env(), open_channel=small_channel, deadline_s=DEADLINE_S)
        await kernel.open()
        transport = await kernel.transport("tcp")
        async with new_session(transport) as (sid, _):
            queue = transport.subscribe(sid)
            with netlink.open_socket() as other:
                _flood(other, transport._handle)
            assert await next_event(queue, EventsLost) == EventsLost(sid)
            await transport.destroy_conn(sid, 0)
        await kernel.close()

    asyncio.run(main())


def test_lost_reader_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-024: nobody reads the socket any more; a new one takes over, once the kernel answers it."""
    monkeypatch.setattr(netlink, "STUCK_S", 0.2)
    channels: list[netlink.Channel] = []

    def open_channel() -> netlink.Channel:
        channels.append(netlink.Channel(netlink.open_socket()))
        return channels[-1]

    async def until(kernel: Kernel, *, trouble: bool) -> str:
        async with asyncio.timeout(DEADLINE_S):
            while bool(text := kernel.trouble()) != trouble:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
        return text

    async def main() -> None:
        kernel = Kernel(Env(), open_channel=open_channel, deadline_s=DEADLINE_S)
        await kernel.open()
        transport = await kernel.transport("tcp")
        async with new_session(transport) as (sid, _):
            queue = transport.subscribe(sid)
            asyncio.get_running_loop().remove_reader(channels[0]._sock.fileno())
            with netlink.open_socket() as other:
                other.setblocking(True)
                _flood(other, transport._handle)
            assert "have not been read" in await until(kernel, trouble=True)
            assert await next_event(queue, EventsLost) == EventsLost(sid)
            await until(kernel, trouble=False)
            await transport.destroy_conn(sid, 0)
        await kernel.close()

    asyncio.run(main())
    assert len(channels) == 2


def _netlink_socket(process: int) -> socket.socket:
    """The socket over which a process hears the kernel, shared with us (pidfd_getfd(2))."""
    lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    inodes = {line.split()[-1] for line in lines if line.split()[1] == str(NETLINK_ISCSI)}
    for entry in Path(f"/proc/{process}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
        if found and found[1] in inodes:
            pidfd = os.pidfd_open(process)
            copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, int(entry.name), 0)
            os.close(pidfd)
            assert copy >= 0, os.strerror(ctypes.get_errno())
            return socket.socket(fileno=copy)
    raise AssertionError("it has no such socket")


def test_session_that_fails_during_an_overrun_recovers(lab: Lab) -> None:
    """D-024: the daemon never hears of the failure, finds it in sysfs and brings the session back.

    It is stopped while events overrun its socket and the target goes; then it may run again.
    """
    lio.create_target(TARGET, ["127.0.0.1:3260"])
    lab.discover()
    lab.login(TARGET)
    sid, disks = lab.only_session(), machine.disks(lab.only_session())
    assert lab.daemon.process is not None
    process = lab.daemon.process.pid
    handle = int(Path("/sys/class/iscsi_transport/tcp/handle").read_text())
    with _netlink_socket(process) as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        os.kill(process, signal.SIGSTOP)
        try:
            with netlink.open_socket() as other:
                other.setblocking(True)
                _flood(other, handle)
            lio.set_enabled(TARGET, False)
            machine.wait_until(
                lambda: machine.session_value(sid, "state") == "FAILED", "the session has failed"
            )
            lio.set_enabled(TARGET, True)
            size = netlink.RECEIVE_BUFFER_BYTES  # what it had: one overrun is enough
            theirs.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        finally:
            os.kill(process, signal.SIGCONT)
        machine.wait_until(
            lambda: machine.session_value(sid, "state") == "LOGGED_IN", "the session is back"
        )
    log = lab.daemon.text()
    assert "kernel events were lost, checking all sessions" in log
    assert f"connection{sid}:0 failed while kernel events were lost" in log
    assert "Kernel reported iSCSI connection" not in log
    machine.wait_until(lambda: "operational after recovery" in lab.daemon.text(), "it says so")
    assert (lab.only_session(), machine.disks(sid)) == (sid, disks)


def _flood(sock: socket.socket, handle: int) -> None:
    """Events for everybody while our own loop does not run."""
    for _ in range(20):
        new = {"initial_cmdsn": 0, "cmds_max": 32, "queue_depth": 16}
        reply = _raw(sock, UEvent.CREATE_SESSION, handle, new)
        sid = uevent.reply_fields(UEvent.CREATE_SESSION, reply)["sid"]
        _raw(sock, UEvent.DESTROY_SESSION, handle, {"sid": sid})


def _raw(sock: socket.socket, event: UEvent, handle: int, fields: dict[str, int]) -> uevent.Message:
    body = uevent.encode(event, handle, fields)
    sock.send(struct.pack("=IHHII", 16 + len(body), event, 0, 0, 0) + body)
    while True:
        data = sock.recv(8192)
        if struct.unpack_from("=H", data, 4) == (event,):
            return uevent.parse(data[16:])


def test_module_is_loaded_when_missing() -> None:
    """A transport that is not registered gets its module; an impossible one is refused (12)."""
    subprocess.run(["modprobe", "-r", "iscsi_tcp"], check=True)
    assert not Path("/sys/class/iscsi_transport/tcp").exists()

    async def check(transport: KernelTransport) -> None:
        assert transport.name == "tcp"

    run(check)

    async def missing() -> None:
        kernel = Kernel(Env())
        for name in ("nosuch", "../tcp", ""):
            with pytest.raises(TransportError) as failed:
                await kernel.transport(name)
            assert failed.value.exit_code == ExitCode.TRANSPORT_NOT_FOUND

    asyncio.run(missing())
