"""Resolving portals and connecting to them, on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyiscsi.errors import ExitCode, InvalidArgument, TransportError
from pyiscsi.transport import netdev, tcp
from pyiscsi.transport.tcp import SockAddr, close_with_reset, connect, resolve

DEADLINE_S = 30.0


@contextmanager
def listener(address: str = "127.0.0.1", port: int = 0, backlog: int = 8) -> Iterator[SockAddr]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(backlog)
        yield server.getsockname()


@contextmanager
def full_listener() -> Iterator[SockAddr]:
    """A port whose queue is full: further connects get no answer."""
    with listener("127.0.0.1", backlog=0) as address:
        first = [socket.socket() for _ in range(3)]
        for sock in first:
            sock.setblocking(False)
            sock.connect_ex(address)
        yield address
        for sock in first:
            sock.close()


def closed_port() -> SockAddr:
    with listener() as address:
        return address


# resolve


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 3260)),
        ("::1", ("::1", 3260, 0, 0)),
        ("fe80::1%lo", ("fe80::1", 3260, 0, 1)),
        ("fe80::1%7", ("fe80::1", 3260, 0, 7)),
    ],
)
def test_numeric_addresses_need_no_resolver(
    host: str, expected: SockAddr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert asyncio.run(resolve(host, 3260, DEADLINE_S)) == [expected]


def test_unknown_zone() -> None:
    with pytest.raises(TransportError, match="no network device nosuch0"):
        asyncio.run(resolve("fe80::1%nosuch0", 3260, DEADLINE_S))


def test_names_give_all_addresses_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several addresses, without repetition; a zone becomes its scope id."""

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert threading.current_thread() is not threading.main_thread()
        addresses: list[tuple[object, ...]] = [
            ("fe80::2%lo", port, 0, 1),
            ("192.0.2.9", port),
            ("192.0.2.9", port),
        ]
        return [(0, 0, 0, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert asyncio.run(resolve("target.example", 3260, DEADLINE_S)) == [
        ("fe80::2", 3260, 0, 1),
        ("192.0.2.9", 3260),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_resolver_failure(error: Exception, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TransportError, match=text) as failed:
        asyncio.run(resolve("nosuch.invalid", 3260, DEADLINE_S))
    assert failed.value.exit_code == ExitCode.TRANSPORT


def test_slow_names_delay_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """More dead names than any pool has threads: another name still resolves, the rest time out."""
    release = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host == "dead.example":
            release.wait(60)
        return [(0, 0, 0, "", ("192.0.2.9", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main() -> None:
        dead = [asyncio.ensure_future(resolve("dead.example", 1, 1.0)) for _ in range(50)]
        await asyncio.sleep(0)
        assert await resolve("good.example", 1, DEADLINE_S) == [("192.0.2.9", 1)]
        assert not any(task.done() for task in dead)
        outcomes = await asyncio.gather(*dead, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"no answer from the resolver in 1 s"}
        release.set()

    asyncio.run(main())


# connect


def test_socket_options() -> None:
    """D-046: TCP_NODELAY and buffer sizes set, congestion control set when configured."""
    with listener() as address:
        plain = asyncio.run(connect([address], address[1], deadline_s=DEADLINE_S))
        tuned = asyncio.run(
            connect(
                [address],
                address[1],
                window_size=100_000,
                congestion="reno",
                deadline_s=DEADLINE_S,
            )
        )
    with plain, tuned:
        for sock in (plain, tuned):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.gettimeout() == 0.0
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # the kernel doubles the value for its own use (socket(7))
            assert tuned.getsockopt(socket.SOL_SOCKET, option) == 200_000
            assert plain.getsockopt(socket.SOL_SOCKET, option) != 200_000
        name = tuned.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert name.rstrip(b"\0") == b"reno"


def test_unknown_congestion_control() -> None:
    with listener() as address, pytest.raises(TransportError, match="congestion control nosuch"):
        asyncio.run(connect([address], address[1], congestion="nosuch", deadline_s=DEADLINE_S))


def test_refused() -> None:
    address = closed_port()
    with pytest.raises(TransportError, match=r"^Connection refused$") as failed:
        asyncio.run(connect([address], address[1], deadline_s=DEADLINE_S))
    assert failed.value.exit_code == ExitCode.TRANSPORT


def test_silent_portal_ends_at_the_deadline() -> None:
    with full_listener() as address:
        with pytest.raises(TransportError, match=r"^Connection timed out$") as failed:
            asyncio.run(connect([address], address[1], deadline_s=0.3))
        assert failed.value.exit_code == ExitCode.TRANSPORT_TIMEOUT


def test_next_address_after_a_refusal() -> None:
    with listener("127.0.0.2") as address:
        addresses: list[SockAddr] = [("127.0.0.1", 9), address]
        with asyncio.run(connect(addresses, address[1], deadline_s=DEADLINE_S)) as sock:
            assert sock.getpeername() == address


def test_next_address_while_the_first_is_silent() -> None:
    """A silent address costs its head start, not the deadline; its socket is closed."""
    with full_listener() as silent, listener("127.0.0.2", port=silent[1]) as address:
        before = len(os.listdir("/proc/self/fd"))
        with asyncio.run(connect([silent, address], address[1], deadline_s=DEADLINE_S)) as sock:
            assert sock.getpeername() == address
            assert len(os.listdir("/proc/self/fd")) == before + 1


def test_the_second_to_answer_is_closed() -> None:
    """Two attempts that succeed in the same turn of the loop: one socket remains."""

    async def main() -> None:
        socks = [socket.socket(), socket.socket()]

        async def made(sock: socket.socket) -> socket.socket:
            return sock

        attempts = [asyncio.ensure_future(made(sock)) for sock in socks]
        await asyncio.gather(*attempts)
        tcp._settle(attempts, socks[0])
        assert socks[0].fileno() >= 0
        assert socks[1].fileno() == -1
        socks[0].close()

    asyncio.run(main())


def test_first_reason_is_told() -> None:
    port = closed_port()[1]
    addresses: list[SockAddr] = [("127.0.0.1", port), ("255.255.255.255", port)]
    with pytest.raises(TransportError, match=r"^Connection refused$"):
        asyncio.run(connect(addresses, port, deadline_s=DEADLINE_S))


def test_no_address() -> None:
    with pytest.raises(TransportError):
        asyncio.run(connect([], 3260, deadline_s=DEADLINE_S))


def test_port_replaces_that_of_the_addresses() -> None:
    with listener() as address:
        other: list[SockAddr] = [("127.0.0.1", 1)]
        with asyncio.run(connect(other, address[1], deadline_s=DEADLINE_S)) as sock:
            assert sock.getpeername() == address


def test_ipv6() -> None:
    try:
        server = listener("::1")
        address = server.__enter__()
    except OSError as exc:
        pytest.skip(f"no IPv6 on loopback: {exc}")
    with asyncio.run(connect([address], address[1], deadline_s=DEADLINE_S)) as sock:
        assert sock.getpeername()[:2] == address[:2]
    server.__exit__(None, None, None)


@pytest.mark.parametrize("when", ["not started", "connecting"])
def test_cancelling_leaves_no_socket(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    def configure(*arguments: Any) -> None:
        real_configure(*arguments)
        connecting.set()

    real_configure = tcp._configure
    monkeypatch.setattr(tcp, "_configure", configure)

    async def main(address: SockAddr) -> None:
        before = len(os.listdir("/proc/self/fd"))
        task = asyncio.ensure_future(connect([address], address[1], deadline_s=DEADLINE_S))
        if when == "connecting":
            await connecting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before

    with full_listener() as address:
        asyncio.run(main(address))


# binding to a device


def test_netdev_binding() -> None:
    """D-044: SO_BINDTODEVICE for an iface with a netdev."""
    with listener() as address:
        try:
            sock = asyncio.run(connect([address], address[1], netdev="lo", deadline_s=DEADLINE_S))
        except TransportError as exc:
            pytest.skip(f"SO_BINDTODEVICE: {exc}")
        with sock:
            name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            assert name.rstrip(b"\0") == b"lo"


@pytest.mark.parametrize("value", ["", "default"])
def test_default_binds_to_nothing(value: str) -> None:
    async def main(address: SockAddr) -> socket.socket:
        return await connect(
            [address],
            address[1],
            netdev=value,
            hwaddress=value,
            ipaddress=value,
            deadline_s=DEADLINE_S,
        )

    with listener() as address, asyncio.run(main(address)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b""


def test_ip_only_binding_is_refused() -> None:
    """D-044: there is no such thing with software iSCSI."""
    with pytest.raises(InvalidArgument, match="not supported with software iSCSI"):
        asyncio.run(connect([("127.0.0.1", 1)], 1, ipaddress="127.0.0.1", deadline_s=DEADLINE_S))


def test_device_without_address_may_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-044: no usable address on the device yet is a TransportError, which is retried."""
    monkeypatch.setattr(netdev, "_ioctl", lambda *_: None)
    monkeypatch.setattr(netdev, "_has_ipv6", lambda _: False)
    for address, version in ((("127.0.0.1", 1), "IPv4"), (("::1", 1, 0, 0), "IPv6")):
        with pytest.raises(TransportError, match=f"device lo has no {version} address") as failed:
            asyncio.run(connect([address], 1, netdev="lo", deadline_s=DEADLINE_S))
        assert failed.value.exit_code == ExitCode.TRANSPORT


def test_unknown_devices() -> None:
    with pytest.raises(TransportError, match="no network device nosuch0"):
        asyncio.run(connect([("127.0.0.1", 1)], 1, netdev="nosuch0", deadline_s=DEADLINE_S))
    with pytest.raises(TransportError, match="hardware address 02:00:00:00:00:99"):
        asyncio.run(
            connect(
                [("127.0.0.1", 1)],
                1,
                hwaddress="02:00:00:00:00:99",
                netdev="lo",
                deadline_s=DEADLINE_S,
            )
        )


def test_hwaddress_finds_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-044: by MAC, whatever its case, among Ethernet devices only (SIOCGIFHWADDR)."""
    addresses = {
        "lo": struct.pack("=H6s", 772, bytes.fromhex("aabbccddee01")),
        "eth7": struct.pack("=H6s", 1, bytes.fromhex("aabbccddee01")),
    }
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "gone"), (3, "eth7")])
    monkeypatch.setattr(netdev, "_ioctl", lambda _s, _r, name: addresses.get(name))
    assert netdev.find_by_hwaddress("AA:bb:CC:dd:EE:01") == "eth7"
    with pytest.raises(TransportError):
        netdev.find_by_hwaddress("00:00:00:00:00:00")


def test_real_devices() -> None:
    """The ioctls against this machine: lo is no Ethernet device and has an IPv4 address."""
    netdev.check_usable("lo", socket.AF_INET)
    with pytest.raises(TransportError):
        netdev.find_by_hwaddress("00:00:00:00:00:00")
    for _, name in socket.if_nameindex():
        with (
            open(f"/sys/class/net/{name}/type") as kind,
            open(f"/sys/class/net/{name}/address") as address,
        ):
            if kind.read().strip() == "1":
                found = netdev.find_by_hwaddress(address.read().strip().upper())
                assert found in {n for _, n in socket.if_nameindex()}


# closing


def test_close_with_reset() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        address = server.getsockname()
        sock = asyncio.run(connect([address], address[1], deadline_s=DEADLINE_S))
        peer, _ = server.accept()
        with peer:
            close_with_reset(sock)
            assert sock.fileno() == -1
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
    close_with_reset(sock)


def test_stagger_is_bounded() -> None:
    assert 0 < tcp._STAGGER_S <= 0.25
