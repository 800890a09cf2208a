"""Endpoints: connections that a driver makes, against a stand-in for the kernel."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyiscsi.errors import TransportError
from pyiscsi.transport.adapter import encode_sockaddr
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.uevent import Refused, UEvent
from tests.unit.transport.peer import Handler, Peer, refusing, returning, run

ADDRESS = encode_sockaddr(bytes([192, 0, 2, 1]), port=3260)
ENDPOINT = 0x1_0000_0007


def answering(form: str, *values: int) -> Handler:
    """Success with these values."""
    return lambda peer, kind, body: peer.reply(kind, body, struct.pack(f"={form}", *values))


@pytest.mark.parametrize(
    ("host_no", "event", "fields"),
    [
        (-1, UEvent.TRANSPORT_EP_CONNECT, {"non_blocking": 1}),
        (0, UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST, {"non_blocking": 1, "host_no": 0}),
        (9, UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST, {"non_blocking": 1, "host_no": 9}),
    ],
)
def test_connect(tmp_path: Path, host_no: int, event: UEvent, fields: dict[str, int]) -> None:
    """Through a host where one is chosen, host 0 included; the address follows the event."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[event] = answering("Q", ENDPOINT)
        assert await transport.ep_connect(ADDRESS, host_no) == ENDPOINT
        assert peer.sent(event) == [fields]
        assert peer.requests[0][1][56:] == ADDRESS

    run(tmp_path, check)


def test_sockaddr() -> None:
    assert bytes.fromhex("0200 0cbc c0000201 0000000000000000") == ADDRESS
    v6 = encode_sockaddr(bytes(15) + b"\1", port=3260, scope_id=3)
    assert v6 == bytes.fromhex("0a00 0cbc 00000000") + bytes(15) + b"\1" + bytes([3, 0, 0, 0])


def test_no_endpoint(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.TRANSPORT_EP_CONNECT] = answering("Q", 0)
        with pytest.raises(Refused) as caught:
            await transport.ep_connect(ADDRESS, -1)
        assert caught.value.errno == errno.EIO
        peer.on[UEvent.TRANSPORT_EP_CONNECT] = refusing(errno.ENETUNREACH)
        with pytest.raises(Refused, match="Network is unreachable"):
            await transport.ep_connect(ADDRESS, -1)

    run(tmp_path, check)


@pytest.mark.parametrize("answer", [ENDPOINT, 0])
def test_an_endpoint_for_nobody_is_given_back(tmp_path: Path, answer: int) -> None:
    """The driver took longer to answer than a request may take."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        held: list[tuple[int, bytes]] = []
        event, gone = UEvent.TRANSPORT_EP_CONNECT, asyncio.Event()

        def give_back(peer: Peer, kind: int, body: bytes) -> None:
            peer.succeed(kind, body)
            gone.set()

        peer.on[UEvent.TRANSPORT_EP_POLL] = returning(1)
        peer.on[event] = lambda _peer, kind, body: held.append((kind, body))
        peer.on[UEvent.TRANSPORT_EP_DISCONNECT] = give_back
        with pytest.raises(TransportError):
            await transport.ep_connect(ADDRESS, -1)
        answering("Q", answer)(peer, *held[0])
        if answer:
            await gone.wait()
        assert await transport.ep_poll(ENDPOINT, 5)
        given_back = peer.sent(UEvent.TRANSPORT_EP_DISCONNECT)
        assert given_back == ([{"endpoint": ENDPOINT}] if answer else [])

    run(tmp_path, check, deadline_s=0.3)


def test_poll_and_disconnect(tmp_path: Path) -> None:
    """0 is not yet, 1 connected, a negative errno never."""

    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        event = UEvent.TRANSPORT_EP_POLL
        for retcode, connected in ((0, False), (1, True)):
            peer.on[event] = returning(retcode)
            assert await transport.ep_poll(ENDPOINT, 5) is connected
        peer.on[event] = returning(-errno.ECONNREFUSED)
        with pytest.raises(Refused) as caught:
            await transport.ep_poll(ENDPOINT, 5)
        assert caught.value.errno == errno.ECONNREFUSED
        assert peer.sent(event)[0] == {"endpoint": ENDPOINT, "timeout_ms": 5}
        await transport.ep_disconnect(ENDPOINT)
        assert peer.sent(UEvent.TRANSPORT_EP_DISCONNECT) == [{"endpoint": ENDPOINT}]

    run(tmp_path, check)


def test_bound_session(tmp_path: Path) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.CREATE_BOUND_SESSION] = answering("II", 5, 2)
        new = await transport.create_session(
            initial_cmdsn=1, cmds_max=64, queue_depth=16, endpoint=ENDPOINT
        )
        assert new == (5, 2)
        wanted = {"endpoint": ENDPOINT, "initial_cmdsn": 1, "cmds_max": 64, "queue_depth": 16}
        assert peer.sent(UEvent.CREATE_BOUND_SESSION) == [wanted]
        await transport.bind_conn(5, 0, ENDPOINT, leading=True)
        bound = {"sid": 5, "cid": 0, "endpoint": ENDPOINT, "is_leading": 1}
        assert peer.sent(UEvent.BIND_CONN) == [bound]

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("number", "answers"),
    [
        (errno.ENOSYS, lambda new: new == (1, 11)),
        (errno.EINVAL, lambda new: new == (1, 11)),
        (errno.ENOMEM, None),
    ],
)
def test_kernels_without_bound_sessions(
    tmp_path: Path, number: int, answers: Callable[[tuple[int, int]], bool] | None
) -> None:
    async def check(_kernel: Kernel, transport: KernelTransport, peer: Peer) -> None:
        peer.on[UEvent.CREATE_BOUND_SESSION] = refusing(number)
        new = transport.create_session(
            initial_cmdsn=1, cmds_max=64, queue_depth=16, endpoint=ENDPOINT
        )
        if answers is not None:
            assert answers(await new)
            return
        with pytest.raises(Refused):
            await new

    run(tmp_path, check)
