"""A stand-in for the kernel's end of NETLINK_ISCSI, over a socket pair."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pyiscsi.env import Env
from pyiscsi.transport import uevent
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.modules import ModuleLoader
from pyiscsi.transport.netlink import Channel
from pyiscsi.transport.numbers import KEvent
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.uevent import Message, UEvent

HANDLE = 0xFFFF_8880_0BAD_CAFE
HEADER = struct.Struct("=IHHII")
JUNK = b"\xa5"
"""What the kernel leaves in fields it does not set."""


class InitiatorSocket(socket.socket):
    """Our end: can be made to stall inside send, as a busy kernel does, and to overrun."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)
        self.overruns = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.stalled = threading.Event()

    def send(self, data: Any, flags: int = 0) -> int:
        if not self.go_on.is_set():
            self.stalled.set()
            self.go_on.wait(30)
        return super().send(data, flags)

    def recvmsg_into(self, *args: Any) -> Any:
        if self.overruns:
            self.overruns -= 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return super().recvmsg_into(*args)


Handler = Callable[["Peer", int, bytes], None]


class Peer:
    """Answers every request with success; `on[event]` replaces that, `requests` records."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock = InitiatorSocket(ours.detach())
        self.theirs = theirs
        theirs.setblocking(False)
        self.requests: list[tuple[int, bytes]] = []
        self.on: dict[UEvent, Handler] = {}
        self.next_sid = 1

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self.theirs.fileno(), self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.theirs.fileno())
        self.theirs.close()

    def _read(self) -> None:
        data = self.theirs.recv(65536)
        if not data:
            return
        length, kind, flags, seq, _ = HEADER.unpack_from(data)
        assert (length, flags, seq) == (len(data), 0, 0)
        body = data[HEADER.size :]
        self.requests.append((kind, body))
        self.on.get(UEvent(kind), Peer.succeed)(self, kind, body)

    def sent(self, event: UEvent) -> list[dict[str, int]]:
        """The fields of each request of this kind so far."""
        return [uevent.request_fields(uevent.parse(b)) for k, b in self.requests if k == event]

    # answers

    def put(self, kind: int, body: bytes) -> None:
        """One netlink message; the kernel's have sequence number and port 0."""
        self.theirs.send(HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body)

    def succeed(self, kind: int, body: bytes) -> None:
        if kind == UEvent.CREATE_SESSION:
            self.reply(kind, body, struct.pack("=II", self.next_sid, self.next_sid + 10))
            self.next_sid += 1
        elif kind == UEvent.CREATE_CONN:
            self.reply(kind, body, body[16:24])
        elif kind == UEvent.DESTROY_SESSION_ASYNC:
            self.reply(kind, body, bytes(4))
            self.event(KEvent.DESTROY_SESSION, struct.pack("=I", 1) + body[16:20])
        else:
            self.reply(kind, body, bytes(4))

    def reply(self, kind: int, body: bytes, r: bytes) -> None:
        """The request's own event with r filled in, junk where nothing is set."""
        self.put(kind, body[:40] + r + JUNK * (16 - len(r)))

    def refuse(self, kind: int, body: bytes, number: int) -> None:
        self.put(kind, struct.pack("=Ii", 103, -number) + body[8:56])

    def event(self, kind: int, r: bytes, payload: bytes = b"") -> None:
        head = struct.pack("=IIQ", kind, 0xDEADBEEF, HANDLE)
        self.put(0, head + JUNK * 24 + r + JUNK * (16 - len(r)) + payload)


def refusing(number: int) -> Handler:
    return lambda peer, kind, body: peer.refuse(kind, body, number)


def returning(retcode: int) -> Handler:
    return lambda peer, kind, body: peer.reply(kind, body, struct.pack("=i", retcode))


def silent(_peer: Peer, _kind: int, _body: bytes) -> None:
    """No answer at all."""


def make_sysfs(root: Path, name: str = "tcp", handle: int = HANDLE, caps: int = 0x39) -> Env:
    directory = root / "class/iscsi_transport" / name
    directory.mkdir(parents=True)
    (directory / "handle").write_text(f"{handle}\n")
    (directory / "caps").write_text(f"{caps:#x}\n")
    return Env(sysfs_root=str(root))


Check = Callable[[Kernel, KernelTransport, Peer], Awaitable[None]]


def run(root: Path, check: Check, *, deadline_s: float = 30.0) -> Peer:
    """Run `check` with an open Kernel talking to a Peer."""

    async def main() -> Peer:
        peer = Peer()
        kernel = Kernel(
            make_sysfs(root),
            open_channel=lambda: Channel(peer.sock),
            loader=ModuleLoader(("false",)),
            deadline_s=deadline_s,
        )
        await kernel.open()
        peer.start()
        try:
            async with asyncio.timeout(60):
                await check(kernel, await kernel.transport("tcp"), peer)
        finally:
            peer.sock.go_on.set()
            await kernel.close()
            peer.close()
        return peer

    return asyncio.run(main())


def parse(body: bytes) -> Message:
    return uevent.parse(body)
