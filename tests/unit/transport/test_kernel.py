"""Requests and events of the kernel transport, against a stand-in for the kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import tracemalloc
from collections.abc import Awaitable
from pathlib import Path

import pytest

from pyiscsi.errors import ExitCode, LocalProtocolError, TransportError
from pyiscsi.transport import uevent
from pyiscsi.transport.base import (
    ConnectionFailed,
    EventsLost,
    LoginState,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    StopFlag,
)
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.modules import ModuleLoader
from pyiscsi.transport.numbers import KEvent
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.uevent import HostParam, Param, Refused, UEvent
from tests.unit.transport.peer import (
    HANDLE,
    Peer,
    make_sysfs,
    refusing,
    returning,
    run,
    silent,
)

HEADER = bytes([0x43, 0x87]) + bytes(46)


async def refusal(operation: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as refused:
        await operation
    return refused.value


def test_create_session(tmp_path: Path) -> None:
    """D-026: CREATE_SESSION carries cmds_max, queue_depth and initial_cmdsn."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.next_sid = 4
        new = await transport.create_session(initial_cmdsn=9, cmds_max=128, queue_depth=32)
        assert new == (4, 14)
        assert (transport.name, transport.caps) == ("tcp", 0x39)
        sent = {"initial_cmdsn": 9, "cmds_max": 128, "queue_depth": 32}
        assert peer.sent(UEvent.CREATE_SESSION) == [sent]
        assert uevent.parse(peer.requests[0][1]).transport_handle == HANDLE

    run(tmp_path, check)


def test_simple_operations(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        await transport.create_conn(3, 0)
        await transport.start_conn(3, 0)
        await transport.stop_conn(3, 0, StopFlag.RECOVER)
        await transport.unbind_session(3)
        await transport.destroy_conn(3, 0)
        await transport.destroy_session(3)
        assert [UEvent(kind).name for kind, _ in peer.requests] == [
            "CREATE_CONN",
            "START_CONN",
            "STOP_CONN",
            "UNBIND_SESSION",
            "DESTROY_CONN",
            "DESTROY_SESSION_ASYNC",
        ]
        stop = {"sid": 3, "cid": 0, "conn_handle": 0, "flag": 3}
        assert peer.sent(UEvent.STOP_CONN) == [stop]

    run(tmp_path, check)


def test_params_are_text_with_nul(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        await transport.set_params(3, 0, [(Param.TARGET_NAME, "iqn.é\udcff")])
        await transport.set_host_params(7, [(HostParam.NETDEV_NAME, "")])
        (_, first), (_, second) = peer.requests
        assert first[56:] == "iqn.é".encode() + b"\xff\0"
        param = {"sid": 3, "cid": 0, "param": 15, "length": 8 + 1}
        assert peer.sent(UEvent.SET_PARAM) == [param | {"length": len(first) - 56}]
        assert second[56:] == b"\0"
        assert peer.sent(UEvent.SET_HOST_PARAM) == [{"host_no": 7, "param": 2, "length": 1}]
        with pytest.raises(LocalProtocolError):
            await transport.set_params(3, 0, [(Param.PASSWORD, "sec\0ret")])
        assert len(peer.requests) == 2

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("data", "size", "tail"),
    [(b"", 0, b""), (b"A=b\0", 4, b"A=b\0"), (b"A=bcd", 8, b"A=bcd\0\0\0")],
)
def test_send_pdu_pads(tmp_path: Path, data: bytes, size: int, tail: bytes) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        await transport.send_pdu(3, 0, HEADER, data)
        assert peer.requests[0][1][56:] == HEADER + tail
        sizes = {"sid": 3, "cid": 0, "header_size": 48, "data_size": size}
        assert peer.sent(UEvent.SEND_PDU) == [sizes]
        with pytest.raises(LocalProtocolError):
            await transport.send_pdu(3, 0, HEADER[:-1], data)

    run(tmp_path, check)


def test_bind_sends_a_descriptor_of_its_own(tmp_path: Path) -> None:
    """The number the kernel looks up stays that file, whatever the caller does meanwhile."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        sock = socket.socket()
        peer.sock.go_on.clear()
        bind = asyncio.ensure_future(transport.bind_conn(3, 0, sock, leading=True))
        await asyncio.to_thread(peer.sock.stalled.wait, 30)
        inode = os.fstat(sock.fileno()).st_ino
        sock.close()
        copies = [fd for fd in os.listdir("/proc/self/fd") if inode_of(fd) == inode]
        assert len(copies) == 1
        peer.sock.go_on.set()
        await bind
        assert inode_of(copies[0]) != inode
        sent = {"sid": 3, "cid": 0, "endpoint": int(copies[0]), "is_leading": 1}
        assert peer.sent(UEvent.BIND_CONN) == [sent]
        with pytest.raises(TransportError, match="Bad file descriptor"):
            await transport.bind_conn(3, 0, sock, leading=True)

    run(tmp_path, check)


def test_session_destroyed_beside_other_requests(tmp_path: Path) -> None:
    """D-023: while one session's disks are removed, another's request is answered."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.DESTROY_SESSION_ASYNC] = lambda p, kind, body: p.reply(kind, body, bytes(4))
        transport.subscribe(3).put_nowait(EventsLost(3))  # of earlier: no sign of the end
        destroying = asyncio.ensure_future(transport.destroy_session(3))
        await transport.start_conn(4, 0)
        assert not destroying.done()
        peer.event(KEvent.DESTROY_SESSION, struct.pack("=II", 1, 3))
        await destroying
        assert peer.sent(UEvent.DESTROY_SESSION) == []

    run(tmp_path, check)


def test_kernel_that_destroys_in_turn_only(tmp_path: Path) -> None:
    """Before Linux 5.6 the request is unknown; that is found out once for all sessions."""

    async def check(kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.DESTROY_SESSION_ASYNC] = refusing(errno.ENOSYS)
        await transport.destroy_session(3)
        another = KernelTransport(kernel, transport.name, HANDLE, transport.caps)
        await another.destroy_session(4)
        assert peer.sent(UEvent.DESTROY_SESSION_ASYNC) == [{"sid": 3}]
        assert peer.sent(UEvent.DESTROY_SESSION) == [{"sid": 3}, {"sid": 4}]

    run(tmp_path, check)


def test_requests_leave_nothing_behind(tmp_path: Path) -> None:
    """A daemon of years makes many: not a byte may be kept of each."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        async def some() -> int:
            for _ in range(1000):
                await transport.start_conn(3, 0)
                peer.requests.clear()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await some()
            assert await some() - before < 10_000
        finally:
            tracemalloc.stop()

    run(tmp_path, check)


def inode_of(fd: str) -> int:
    try:
        return os.fstat(int(fd)).st_ino
    except OSError:
        return -1


def test_refusal_names_errno_and_request(tmp_path: Path) -> None:
    """D-020: IF_ERROR carries a signed errno."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.DESTROY_SESSION_ASYNC] = refusing(errno.EBUSY)
        refused = await refusal(transport.destroy_session(3))
        assert refused.errno == errno.EBUSY
        assert refused.exit_code == ExitCode.TRANSPORT
        assert str(refused) == (
            "kernel refused destroy_session_async of session 3: Device or resource busy (EBUSY)"
        )

    run(tmp_path, check)


def test_params_the_kernel_does_not_take(tmp_path: Path) -> None:
    """Unknown ones are told, a refusal is raised; neither keeps the others from being set."""

    def judge(peer: Peer, kind: int, body: bytes) -> None:
        numbers = {Param.PING_TMO: errno.ENOSYS, Param.PASSWORD: errno.EINVAL}
        number = numbers.get(uevent.request_fields(uevent.parse(body))["param"])
        peer.refuse(kind, body, number) if number else peer.succeed(kind, body)

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.SET_PARAM] = judge
        peer.on[UEvent.SET_HOST_PARAM] = refusing(errno.ENOSYS)
        params = [(Param.TARGET_NAME, "x"), (Param.PING_TMO, "5"), (Param.RECV_TMO, "5")]
        assert await transport.set_params(3, 0, params) == [Param.PING_TMO]
        host_params = [(HostParam.NETDEV_NAME, "eth0")]
        assert await transport.set_host_params(7, host_params) == [HostParam.NETDEV_NAME]
        assert await transport.set_params(3, 0, []) == []
        params.insert(0, (Param.PASSWORD, "topsecret"))
        refused = await refusal(transport.set_params(3, 0, params))
        assert str(refused).startswith("kernel refused parameter PASSWORD of session 3: ")
        assert "topsecret" not in repr(refused)
        set_now = [fields["param"] for fields in peer.sent(UEvent.SET_PARAM)[3:]]
        assert set_now == [param for param, _ in params]

    run(tmp_path, check)


def test_params_are_one_turn(tmp_path: Path) -> None:
    """Events between the replies reach their session; another request waits for the whole list."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queue = transport.subscribe(3)
        peer.sock.go_on.clear()
        several = [(Param.PING_TMO, "5"), (Param.RECV_TMO, "5")]
        params = asyncio.ensure_future(transport.set_params(3, 0, several))
        await asyncio.to_thread(peer.sock.stalled.wait, 30)
        behind = asyncio.ensure_future(transport.start_conn(4, 0))
        peer.event(105, struct.pack("=II", 3, 0))
        assert await queue.get() == SessionUnbound(3)
        peer.sock.go_on.set()
        assert await params == []
        await behind
        sent = [UEvent.SET_PARAM, UEvent.SET_PARAM, UEvent.START_CONN]
        assert [kind for kind, _ in peer.requests] == sent

    run(tmp_path, check)


def test_one_lost_reply_fails_the_list(tmp_path: Path) -> None:
    """D-024: what has become of that parameter is not known."""

    def answer(peer: Peer, kind: int, body: bytes) -> None:
        if uevent.request_fields(uevent.parse(body))["param"] == Param.PING_TMO:
            peer.sock.overruns = 1
            peer.event(105, struct.pack("=II", 3, 0))
        else:
            peer.succeed(kind, body)

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.SET_PARAM] = answer
        with pytest.raises(TransportError, match="answer to parameter PING_TMO of session 3 was"):
            await transport.set_params(3, 0, [(Param.RECV_TMO, "5"), (Param.PING_TMO, "5")])
        await transport.start_conn(3, 0)

    run(tmp_path, check)


@pytest.mark.parametrize("event", [UEvent.BIND_CONN, UEvent.START_CONN, UEvent.SEND_PDU])
def test_retcode_is_an_error(tmp_path: Path, event: UEvent) -> None:
    """D-022: retcode -107 surfaces as an error after one request, never loops."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[event] = returning(-107)
        with socket.socket() as sock:
            calls = {
                UEvent.BIND_CONN: lambda: transport.bind_conn(3, 0, sock, leading=False),
                UEvent.START_CONN: lambda: transport.start_conn(3, 0),
                UEvent.SEND_PDU: lambda: transport.send_pdu(3, 0, HEADER, b""),
            }
            assert (await refusal(calls[event]())).errno == errno.ENOTCONN
        assert len(peer.requests) == 1

    run(tmp_path, check)


def test_create_conn_with_cid_minus_one_failed(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.CREATE_CONN] = lambda p, k, b: p.reply(k, b, struct.pack("=Ii", 3, -1))
        with pytest.raises(TransportError):
            await transport.create_conn(3, 0)

    run(tmp_path, check)


def statistics(value: int, sid: int = 3, cid: int = 0, handle: int = HANDLE) -> bytes:
    head = struct.pack("=IIQII", 20, 0xA5A5A5A5, handle, sid, cid) + b"\xa5" * 32
    return head + struct.pack("=QQ", value, 0) + bytes(76) + struct.pack("=I", 0)


def test_statistics_come_as_multicast(tmp_path: Path) -> None:
    """D-020: GET_STATS has no unicast reply; other connections' data is not mistaken for it."""

    def answer(peer: Peer, _kind: int, _body: bytes) -> None:
        peer.put(0, statistics(1, sid=4))
        peer.put(0, statistics(2, cid=1))
        peer.put(0, statistics(3, handle=HANDLE + 1))
        peer.put(0, statistics(4))
        peer.put(0, statistics(5))

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.GET_STATS] = answer
        found = await transport.get_stats(3, 0)
        assert found.counters["txdata_octets"] == 4
        peer.on[UEvent.GET_STATS] = refusing(errno.EEXIST)
        assert (await refusal(transport.get_stats(3, 0))).errno == errno.EEXIST

    run(tmp_path, check)


def test_events_before_the_reply_are_queued(tmp_path: Path) -> None:
    """D-020: they reach the subscriber, in order, and do not end the request."""

    def answer(peer: Peer, kind: int, body: bytes) -> None:
        peer.event(106, struct.pack("=II", 3, 0))
        peer.event(102, struct.pack("=III", 3, 0, 1011))
        peer.event(105, struct.pack("=II", 3, 0))
        peer.succeed(kind, body)

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queue = transport.subscribe(3)
        peer.on[UEvent.STOP_CONN] = answer
        await transport.stop_conn(3, 0, StopFlag.RECOVER)
        assert queue.qsize() == 2
        assert [queue.get_nowait() for _ in range(2)] == [
            ConnectionFailed(3, 0, 1011),
            SessionUnbound(3),
        ]

    run(tmp_path, check)


def test_all_events_of_a_session(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queue = transport.subscribe(3)
        pdu = bytes([0x23, 0x87, 0, 0, 0, 0, 0, 5]) + bytes(40)
        conn = struct.pack("=II", 3, 0)
        peer.event(101, conn + bytes(8), pdu + b"A=bcd\xa5\xa5\xa5")
        peer.event(109, conn + struct.pack("=I", 2))
        peer.event(104, struct.pack("=II", 9, 3))
        assert [await queue.get() for _ in range(3)] == [
            PduReceived(3, 0, pdu, b"A=bcd"),
            LoginState(3, 0, 2),
            SessionDestroyed(3),
        ]

    run(tmp_path, check)


def test_strange_messages_are_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-021: foreign sids, short, unknown and malformed events, replies nobody waits for."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queue = transport.subscribe(3)
        conn = struct.pack("=II", 3, 0)
        peer.event(102, struct.pack("=III", 4, 0, 1011))
        peer.event(101, struct.pack("=II", 4, 0), b"short")
        peer.event(101, conn, b"short")
        peer.event(250, b"")
        peer.event(110, struct.pack("=III", 2, 0, 1))
        peer.put(0, b"short")
        peer.put(18, bytes(56))
        peer.theirs.send(b"\xff" * 40)
        peer.theirs.send(b"\0\0")
        peer.event(105, struct.pack("=II", 3, 0))
        assert await queue.get() == SessionUnbound(3)
        assert queue.empty()

    with caplog.at_level("INFO", "iscsid"):
        run(tmp_path, check)
    assert "unknown kernel event 250" in caplog.text
    assert caplog.text.count("ignored: PDU of 5 bytes") == 1
    assert "Host2: Link Up." in caplog.text


def test_only_the_matching_reply_counts(tmp_path: Path) -> None:
    """A reply of another request type, another handle or an earlier request is not taken."""

    def answer(peer: Peer, kind: int, body: bytes) -> None:
        peer.reply(kind + 1, body, bytes(4))
        other = body[:8] + struct.pack("=Q", HANDLE + 1) + body[16:40]
        peer.reply(kind, other, struct.pack("=i", -5))
        old = uevent.encode(UEvent.START_CONN, HANDLE, {"sid": 3, "cid": 0}, cookie=0xFFFF)
        peer.reply(kind, old, struct.pack("=i", -5))
        peer.succeed(kind, body)

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.START_CONN] = answer
        await transport.start_conn(3, 0)

    run(tmp_path, check)


def test_events_before_subscribe_are_kept(tmp_path: Path) -> None:
    """Nothing is lost between create_session and subscribe, even in the same read."""

    def answer(peer: Peer, kind: int, body: bytes) -> None:
        peer.succeed(kind, body)
        peer.event(102, struct.pack("=III", 1, 0, 1011))

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.CREATE_SESSION] = answer
        sid, _ = await transport.create_session(initial_cmdsn=0, cmds_max=1, queue_depth=1)
        assert await transport.subscribe(sid).get() == ConnectionFailed(1, 0, 1011)
        transport.unsubscribe(sid)
        assert sid not in _kernel.queues

    run(tmp_path, check)


def test_queue_of_unsubscribed_session_goes_with_it(tmp_path: Path) -> None:
    async def check(kernel: Kernel, transport: KernelTransport, _peer: Peer) -> None:
        sid, _ = await transport.create_session(initial_cmdsn=0, cmds_max=1, queue_depth=1)
        assert sid in kernel.queues
        await transport.destroy_session(sid)
        assert sid not in kernel.queues

    run(tmp_path, check)


def test_overrun_tells_every_subscriber(tmp_path: Path) -> None:
    """D-024: ENOBUFS becomes EventsLost for all; what is still queued comes first."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queues = [transport.subscribe(sid) for sid in (3, 4)]
        peer.sock.overruns = 1
        peer.event(105, struct.pack("=II", 3, 0))
        assert await queues[0].get() == SessionUnbound(3)
        assert await queues[0].get() == EventsLost(3)
        assert await queues[1].get() == EventsLost(4)
        await transport.start_conn(3, 0)

    run(tmp_path, check)


def test_reply_lost_in_an_overrun_fails_the_request(tmp_path: Path) -> None:
    """D-024: the caller learns at once and not at the deadline."""

    def answer(peer: Peer, _kind: int, _body: bytes) -> None:
        peer.sock.overruns = 1
        peer.event(105, struct.pack("=II", 3, 0))

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.START_CONN] = answer
        with pytest.raises(TransportError, match="answer to start_conn of session 3 was lost"):
            await transport.start_conn(3, 0)
        await transport.stop_conn(3, 0, StopFlag.RECOVER)

    run(tmp_path, check)


def test_silent_kernel_ends_in_a_timeout(tmp_path: Path) -> None:
    """A dead request raises (8) and the next one works."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.STOP_CONN] = silent
        with pytest.raises(TransportError, match="did not answer stop_conn of session 3") as late:
            await transport.stop_conn(3, 0, StopFlag.TERMINATE)
        assert late.value.exit_code == ExitCode.TRANSPORT_TIMEOUT
        await transport.start_conn(3, 0)

    run(tmp_path, check, deadline_s=0.2)


def test_a_blocking_request_leaves_the_loop_free(tmp_path: Path) -> None:
    """D-023: events keep flowing while a request blocks in the kernel; others wait their turn."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        queue = transport.subscribe(4)
        peer.sock.go_on.clear()
        slow = asyncio.ensure_future(transport.stop_conn(3, 0, StopFlag.TERMINATE))
        await asyncio.to_thread(peer.sock.stalled.wait, 30)
        waiting = asyncio.ensure_future(transport.start_conn(4, 0))
        peer.event(102, struct.pack("=III", 4, 0, 1020))
        assert await queue.get() == ConnectionFailed(4, 0, 1020)
        assert not slow.done()
        assert not waiting.done()
        assert peer.requests == []
        peer.sock.go_on.set()
        await slow
        await waiting
        assert [kind for kind, _ in peer.requests] == [UEvent.STOP_CONN, UEvent.START_CONN]

    run(tmp_path, check)


def test_request_behind_a_dead_one_is_never_sent(tmp_path: Path) -> None:
    """Its caller was told that it failed: it must not happen later."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.sock.go_on.clear()
        dead = asyncio.ensure_future(transport.stop_conn(3, 0, StopFlag.TERMINATE))
        await asyncio.to_thread(peer.sock.stalled.wait, 30)
        behind = asyncio.ensure_future(transport.start_conn(4, 0))
        outcomes = await asyncio.gather(dead, behind, return_exceptions=True)
        assert all(isinstance(outcome, TransportError) for outcome in outcomes)
        with pytest.raises(TransportError):
            await transport.destroy_session(5)
        peer.sock.go_on.set()
        await transport.start_conn(6, 0)
        assert [kind for kind, _ in peer.requests] == [UEvent.STOP_CONN, UEvent.START_CONN]
        assert peer.sent(UEvent.START_CONN) == [{"sid": 6, "cid": 0}]

    run(tmp_path, check, deadline_s=0.3)


@pytest.mark.parametrize("when", ["blocked", "unanswered", "answered"])
def test_session_created_for_nobody_is_destroyed(tmp_path: Path, when: str) -> None:
    """A login cancelled during CREATE_SESSION leaves no session behind."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        destroyed = asyncio.Event()
        answered = asyncio.Event()

        def destroy(peer: Peer, kind: int, body: bytes) -> None:
            peer.succeed(kind, body)
            destroyed.set()

        held: list[tuple[int, bytes]] = []

        def hold(_peer: Peer, kind: int, body: bytes) -> None:
            held.append((kind, body))
            answered.set()

        peer.on[UEvent.DESTROY_SESSION] = destroy
        peer.on[UEvent.CREATE_SESSION] = hold
        if when == "blocked":
            peer.sock.go_on.clear()
        create = asyncio.ensure_future(
            transport.create_session(initial_cmdsn=0, cmds_max=1, queue_depth=1)
        )
        if when == "blocked":
            await asyncio.to_thread(peer.sock.stalled.wait, 30)
            create.cancel()
            peer.sock.go_on.set()
        await answered.wait()
        if when == "answered":
            peer.succeed(*held[0])
            _kernel._channel.drain()  # type: ignore[union-attr]
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
        if when != "answered":
            peer.succeed(*held[0])
        await destroyed.wait()
        assert peer.sent(UEvent.DESTROY_SESSION) == [{"sid": 1}]
        assert 1 not in _kernel.queues

    run(tmp_path, check)


def test_closing_fails_the_request_in_flight(tmp_path: Path) -> None:
    async def check(kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        asked = asyncio.Event()
        peer.on[UEvent.STOP_CONN] = lambda *_: asked.set()
        request = asyncio.ensure_future(transport.stop_conn(3, 0, StopFlag.TERMINATE))
        await asked.wait()
        await kernel.close()
        with pytest.raises(TransportError, match="closed"):
            await request
        with pytest.raises(TransportError, match="not open"):
            await transport.start_conn(3, 0)

    run(tmp_path, check)


def test_missing_transport(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No module: status 12; a name that could leave the directory never becomes a path."""
    env = make_sysfs(tmp_path)
    kernel = Kernel(env, loader=ModuleLoader(("false",)))
    for name in ("iser", "", ".", "..", "../iscsi_transport/tcp", "a b"):
        with pytest.raises(TransportError) as missing:
            asyncio.run(kernel.transport(name))
        assert missing.value.exit_code == ExitCode.TRANSPORT_NOT_FOUND
    assert str(missing.value).startswith("iSCSI driver not found")
    assert "Could not insert module ib_iser" in caplog.text


def test_transport_appears_with_its_module(tmp_path: Path) -> None:
    script = tmp_path / "modprobe"
    script.write_text(
        f"#!/bin/sh\nd={tmp_path}/sys/class/iscsi_transport/iser\nmkdir -p $d\n"
        "[ $1 = ib_iser ] && echo 77 > $d/handle && echo 0x89 > $d/caps\n"
    )
    script.chmod(0o755)
    kernel = Kernel(make_sysfs(tmp_path / "sys"), loader=ModuleLoader((str(script),)))
    transport = asyncio.run(kernel.transport("iser"))
    assert (transport.name, transport.caps) == ("iser", 0x89)


def test_unreadable_transport_is_named(tmp_path: Path) -> None:
    env = make_sysfs(tmp_path)
    (tmp_path / "class/iscsi_transport/tcp/handle").write_text("soup\n")
    with pytest.raises(TransportError, match="can not read iSCSI transport tcp"):
        asyncio.run(Kernel(env, loader=ModuleLoader(("false",))).transport("tcp"))
