"""The kernel's interface repairs itself: whatever stops us from hearing it, and from asking."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.errors import TransportError
from pyiscsi.transport import netlink
from pyiscsi.transport.base import EventsLost, SessionUnbound
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.modules import ModuleLoader
from pyiscsi.transport.netlink import Channel
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.uevent import UEvent
from tests.unit.transport.peer import Peer, make_sysfs, refusing

DEADLINE_S = 30.0


class Interface:
    """A Kernel that gets a new peer with each channel it opens; `refuse` lets opening fail."""

    def __init__(self, root: Path) -> None:
        self.peers: list[Peer] = []
        self.channels: list[Channel] = []
        self.refuse = False
        self.kernel = Kernel(
            make_sysfs(root),
            open_channel=self._open,
            loader=ModuleLoader(("false",)),
            deadline_s=DEADLINE_S,
        )

    def _open(self) -> Channel:
        if self.refuse:
            raise TransportError("can not open the kernel's iSCSI interface: no memory")
        peer = Peer()
        peer.on[UEvent.UNBIND_SESSION] = refusing(errno.EINVAL)
        peer.start()
        self.peers.append(peer)
        self.channels.append(Channel(peer.sock))
        return self.channels[-1]

    async def trouble(self, *, is_there: bool) -> str:
        """Look until there is trouble, or none any more, as the daemon does."""
        return await look(self.kernel.trouble, is_there=is_there)


async def look(at: Callable[[], str], *, is_there: bool) -> str:
    async with asyncio.timeout(DEADLINE_S):
        while bool(text := at()) != is_there:  # noqa: ASYNC110 - nothing tells but looking
            await asyncio.sleep(0.005)
    return text


Check = Callable[[Interface, KernelTransport], Awaitable[None]]


def play(root: Path, check: Check) -> Interface:
    async def main() -> Interface:
        interface = Interface(root)
        await interface.kernel.open()
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                await check(interface, await interface.kernel.transport("tcp"))
        finally:
            for peer in interface.peers:
                peer.sock.go_on.set()
            await interface.kernel.close()
            for peer in interface.peers:
                peer.close()
        return interface

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "STUCK_S", 0.05)
    monkeypatch.setattr(netlink, "SLOW_S", 0.05)


def lose_the_reader(interface: Interface) -> None:
    asyncio.get_running_loop().remove_reader(interface.peers[-1].sock.fileno())
    interface.peers[-1].event(105, struct.pack("=II", 3, 0))


def read_nothing(interface: Interface) -> None:
    """What a reader that hangs in one message looks like to everybody else."""
    loop, channel = asyncio.get_running_loop(), interface.channels[-1]
    loop.remove_reader(interface.peers[-1].sock.fileno())
    channel.drain = lambda: None  # type: ignore[method-assign]
    interface.peers[-1].event(105, struct.pack("=II", 3, 0))


def break_the_socket(interface: Interface) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    interface.peers[-1].sock.recvmsg_into = fail  # type: ignore[method-assign]
    interface.peers[-1].event(105, struct.pack("=II", 3, 0))


BREAKS = {
    "reader lost": (lose_the_reader, "kernel events have not been read for 0 s"),
    "reader stuck": (read_nothing, "kernel events have not been read for 0 s"),
    "socket": (break_the_socket, "reading kernel events failed: Input/output error"),
}


@pytest.mark.parametrize(("break_it", "words"), BREAKS.values(), ids=BREAKS)
def test_a_deaf_interface_is_opened_anew(
    tmp_path: Path, break_it: Callable[[Interface], None], words: str
) -> None:
    """D-024: every session is told that events were lost; requests and events go on.

    The trouble is over when the kernel has answered over the new socket, not before.
    """

    async def check(interface: Interface, transport: KernelTransport) -> None:
        queue = transport.subscribe(3)
        await transport.start_conn(3, 0)
        assert interface.kernel.trouble() == ""
        break_it(interface)
        text = await interface.trouble(is_there=True)
        assert text == f"{words}, opened the kernel interface anew"
        assert interface.kernel.trouble() == text
        assert await queue.get() == EventsLost(3)
        await interface.trouble(is_there=False)
        await transport.start_conn(3, 0)
        interface.peers[1].event(105, struct.pack("=II", 3, 0))
        assert await queue.get() == SessionUnbound(3)

    interface = play(tmp_path, check)
    assert len(interface.peers) == 2


def test_a_request_in_flight_ends_with_the_old_socket(tmp_path: Path) -> None:
    """Its answer can't come any more; the next request works."""

    async def check(interface: Interface, transport: KernelTransport) -> None:
        interface.peers[0].on[UEvent.START_CONN] = lambda *_: None
        waiting = asyncio.ensure_future(transport.start_conn(3, 0))
        await look(lambda: str(interface.peers[0].sent(UEvent.START_CONN) or ""), is_there=True)
        break_the_socket(interface)
        await interface.trouble(is_there=True)
        with pytest.raises(TransportError, match="opened anew"):
            await waiting
        await transport.start_conn(3, 0)

    play(tmp_path, check)


def test_the_thread_that_sends_has_died(tmp_path: Path) -> None:
    """A new one takes over."""

    async def check(interface: Interface, transport: KernelTransport) -> None:
        await transport.start_conn(3, 0)
        worker = interface.channels[0]._worker
        worker._work_queue.put("no work at all")  # type: ignore[arg-type]
        text = await interface.trouble(is_there=True)
        assert text == (
            "the thread that talks to the kernel has ended, opened the kernel interface anew"
        )
        await interface.trouble(is_there=False)
        await transport.start_conn(3, 0)

    play(tmp_path, check)


def test_a_new_socket_that_can_not_be_had_is_asked_for_again(tmp_path: Path) -> None:
    """The trouble stays until it can."""

    async def check(interface: Interface, transport: KernelTransport) -> None:
        interface.refuse = True
        break_the_socket(interface)
        text = await interface.trouble(is_there=True)
        assert text.endswith(
            "Input/output error, can not open the kernel's iSCSI interface: no memory"
        )
        await asyncio.sleep(0.05)
        assert interface.kernel.trouble()
        interface.refuse = False
        await interface.trouble(is_there=False)
        await transport.start_conn(3, 0)

    play(tmp_path, check)


def test_a_silent_or_busy_kernel_is_no_trouble(tmp_path: Path) -> None:
    """A request that takes long is told apart: a new socket would not speed it up."""

    async def check(interface: Interface, transport: KernelTransport) -> None:
        peer = interface.peers[0]
        assert interface.kernel.delay() == ""
        peer.sock.go_on.clear()
        waiting = asyncio.ensure_future(transport.start_conn(3, 0))
        text = await look(interface.kernel.delay, is_there=True)
        assert text == ("the kernel has been carrying out start_conn for 0 s, other requests wait")
        assert interface.kernel.trouble() == ""
        peer.sock.go_on.set()
        await waiting
        assert interface.kernel.delay() == ""

    interface = play(tmp_path, check)
    assert len(interface.peers) == 1


def test_a_message_that_breaks_its_reader_costs_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-024: what it said is unknown, so every session looks; the next message is read."""

    async def check(interface: Interface, transport: KernelTransport) -> None:
        queue = transport.subscribe(3)
        real = interface.kernel.queues.deliver

        def fail(sid: int, event: object) -> None:
            monkeypatch.setattr(interface.kernel.queues, "deliver", real)
            raise ZeroDivisionError("bug")

        monkeypatch.setattr(interface.kernel.queues, "deliver", fail)
        for _ in range(2):
            interface.peers[0].event(105, struct.pack("=II", 3, 0))
        events = [await queue.get() for _ in range(2)]
        assert events == [SessionUnbound(3), EventsLost(3)]
        await transport.start_conn(3, 0)

    interface = play(tmp_path, check)
    assert len(interface.peers) == 1
    assert "a kernel message was not understood" in caplog.text
    assert "ZeroDivisionError: bug" in caplog.text
