"""The channel: framing, who may speak, many messages in one turn, the socket itself."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport import netlink
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.modules import ModuleLoader
from pyiscsi.transport.netlink import Channel

NETLINK_USERSOCK = 2


def message(kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + padded


def received(*datagrams: bytes) -> list[tuple[int, bytes]]:
    """What a channel makes of these datagrams."""

    async def main() -> list[tuple[int, bytes]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        found: list[tuple[int, bytes]] = []
        end = asyncio.Event()
        channel = Channel(ours)
        channel.start(lambda k, b: end.set() if k == 99 else found.append((k, b)), end.set)
        with theirs:
            for datagram in datagrams:
                theirs.send(datagram)
            theirs.send(message(99, b""))
            await asyncio.wait_for(end.wait(), 30)
        channel.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (message(1, b"one"), [(1, b"one")]),
        (message(1, b"one") + message(0, b""), [(1, b"one"), (0, b"")]),
        (message(1, b"one") + b"tail", [(1, b"one")]),
        (message(1, b"four") + message(2, b"cut")[:-2], [(1, b"four")]),
        (struct.pack("=IHHII", 15, 1, 0, 0, 0), []),
        (struct.pack("=IHHII", 0xFFFFFFFF, 1, 0, 0, 0), []),
        (b"short", []),
    ],
    ids=["one", "two", "tail", "cut", "too short", "too long", "no header"],
)
def test_framing(datagram: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert received(datagram) == expected


def test_more_messages_than_one_batch() -> None:
    """A flood is read in several turns of the loop and nothing is left lying."""

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        ours.setblocking(False)
        kinds: list[int] = []
        done = asyncio.Event()
        channel = Channel(ours)
        wanted = fill(theirs)

        def hear(kind: int, _: bytes) -> None:
            kinds.append(kind)
            if len(kinds) == wanted:
                done.set()

        channel.start(hear, done.set)
        channel.drain()
        assert len(kinds) == min(wanted, 256)
        await asyncio.wait_for(done.wait(), 30)
        assert kinds == [n % 60000 for n in range(wanted)]
        channel.close()
        theirs.close()

    asyncio.run(main())


def fill(sock: socket.socket) -> int:
    count = 0
    while count < 1000:
        try:
            sock.send(message(count % 60000, b""))
        except BlockingIOError:
            break
        count += 1
    return count


def test_only_the_kernel_may_speak() -> None:
    """Messages of other processes are dropped by their sender's port."""

    async def main() -> None:
        ours = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK)
        ours.bind((0, 0))
        ours.setblocking(False)
        other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK)
        heard: list[int] = []
        channel = Channel(ours)
        channel.start(lambda kind, _: heard.append(kind), lambda: None)
        other.sendto(message(1, b""), ours.getsockname())
        channel.drain()
        assert heard == []
        with pytest.raises(BlockingIOError):
            ours.recv(1, socket.MSG_PEEK)
        channel.close()
        other.close()

    try:
        asyncio.run(main())
    except PermissionError:
        pytest.skip("NETLINK_USERSOCK needs CAP_NET_ADMIN to send to another process")


def test_truncated_message_counts_as_lost() -> None:
    """D-024: a message that did not fit is not read in part."""

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        heard: list[int] = []
        lost = asyncio.Event()
        channel = Channel(ours)
        channel.start(lambda kind, _: heard.append(kind), lost.set)
        with theirs:
            theirs.send(message(1, bytes(1 << 17)))
            await asyncio.wait_for(lost.wait(), 30)
        assert heard == []
        channel.close()

    asyncio.run(main())


def test_send_failure_is_a_transport_error() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.close()
        channel = Channel(ours)
        with pytest.raises(TransportError, match="can not send to the kernel: Broken pipe"):
            await channel.send(18, [b""])
        channel.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EPROTONOSUPPORT, ExitCode.TRANSPORT_NOT_FOUND),
        (errno.EPERM, ExitCode.ACCESS),
    ],
)
def test_open_failures(monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    """A kernel without iSCSI and a missing privilege each have their status."""

    def refuse(*_: object) -> socket.socket:
        raise OSError(number, "no")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(TransportError, match="can not open the kernel's iSCSI interface") as failed:
        netlink.open_socket()
    assert failed.value.exit_code == code


def test_iscsi_class_is_loaded_when_missing(tmp_path: Path) -> None:
    """Kernel.open tries again after loading scsi_transport_iscsi, once."""
    log = tmp_path / "log"
    script = tmp_path / "modprobe"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    script.chmod(0o755)
    opened: list[Channel] = []

    def open_channel() -> Channel:
        if not log.exists():
            raise TransportError("none", ExitCode.TRANSPORT_NOT_FOUND)
        opened.append(Channel(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
        return opened[0]

    async def main() -> None:
        kernel = Kernel(Env(), open_channel=open_channel, loader=ModuleLoader((str(script),)))
        await kernel.open()
        await kernel.close()

    asyncio.run(main())
    assert log.read_text() == "scsi_transport_iscsi\n"


def test_not_allowed_is_not_tried_again() -> None:
    def open_channel() -> Channel:
        raise TransportError("no", ExitCode.ACCESS)

    kernel = Kernel(Env(), open_channel=open_channel, loader=ModuleLoader(("/nonexistent",)))
    with pytest.raises(TransportError, match=r"^no$"):
        asyncio.run(kernel.open())


def test_import_stays_light() -> None:
    """The daemon does without pyroute2 (70 ms, 13 MB; docs/adr/0004)."""
    import subprocess

    code = (
        "import sys, pyiscsi.transport.kernel, pyiscsi.daemon.app as app; app.warm_up(); "
        "sys.exit('pyroute2' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
