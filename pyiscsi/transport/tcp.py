"""TCP connections to portals: resolve, bind to a device, connect, close with a reset."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from pyiscsi.errors import ExitCode, InvalidArgument, TransportError
from pyiscsi.transport import netdev as devices

SockAddr = tuple[str, int] | tuple[str, int, int, int]
"""IPv4 (address, port) or IPv6 (address, port, flow info, scope id); never a name."""

_STAGGER_S = 0.25
"""Head start of an address over the next one (RFC 8305 §5, Connection Attempt Delay)."""
_UNSET = ("", "default")
"""Values of hwaddress, netdev and ipaddress in an iface record that bind to nothing."""


async def resolve(host: str, port: int, timeout_s: float) -> list[SockAddr]:
    """Addresses of a portal in the resolver's order; numeric ones without asking it.

    Raises TransportError (4) with the resolver's own text, or when it takes longer than
    `timeout_s`.
    """
    numeric = _numeric(host, port)
    if numeric is not None:
        return [numeric]
    try:
        async with asyncio.timeout(timeout_s):
            found = await _lookup(host, port)
    except TimeoutError:
        raise TransportError(f"no answer from the resolver in {timeout_s:g} s") from None
    except socket.gaierror as exc:
        raise TransportError(exc.strerror or "unknown error") from exc
    except Exception as exc:  # memory or threads may be short as well
        raise TransportError(str(exc) or type(exc).__name__) from exc
    return list(dict.fromkeys(found))


def _numeric(host: str, port: int) -> SockAddr | None:
    address, _, zone = host.partition("%")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
        if family == socket.AF_INET:
            return None if zone else (address, port)
        return (address, port, 0, _scope_id(zone))
    return None


def _scope_id(zone: str) -> int:
    if not zone:
        return 0
    if zone.isascii() and zone.isdigit():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError as exc:
        raise TransportError(f"no network device {zone}") from exc


async def _lookup(host: str, port: int) -> list[SockAddr]:
    """getaddrinfo in a thread of its own.

    A pool would let a few dead names hold up all others, and a pooled thread stuck in the resolver
    would hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[SockAddr]] = loop.create_future()

    def settle(addresses: list[SockAddr], error: Exception | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(addresses)
        else:
            result.set_exception(error)

    def work() -> None:
        addresses: list[SockAddr] = []
        error: Exception | None = None
        try:
            info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [_without_zone(entry[4]) for entry in info]
        except Exception as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(settle, addresses, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=work, name="resolver", daemon=True).start()
    return await result


def _without_zone(address: tuple[object, ...]) -> SockAddr:
    """The scope id is in the fourth place already; asyncio would resolve a zone once more."""
    host, port, *rest = address
    plain = str(host).partition("%")[0]
    if rest:
        return (plain, int(str(port)), int(str(rest[0])), int(str(rest[1])))
    return (plain, int(str(port)))


@dataclass(frozen=True, slots=True)
class _Options:
    device: str
    window_size: int
    congestion: str


async def connect(
    addresses: Sequence[SockAddr],
    port: int,
    *,
    netdev: str = "",
    hwaddress: str = "",
    ipaddress: str = "",
    window_size: int = 0,
    congestion: str = "",
    deadline_s: float,
) -> socket.socket:
    """A connected non-blocking socket to the first of `addresses` that answers, at `port`.

    Raises TransportError: 4 with the system's reason (of the first address) when all fail or the
    device to bind to is not ready, 8 after `deadline_s`; InvalidArgument for a binding by
    ipaddress alone.
    """
    if not addresses:
        raise TransportError("no address to connect to")
    options = _Options(_device(netdev, hwaddress, ipaddress), window_size, congestion)
    attempts: list[asyncio.Task[socket.socket]] = []
    winner: socket.socket | None = None
    try:
        async with asyncio.timeout(deadline_s):
            winner = await _race([_at_port(a, port) for a in addresses], options, attempts)
    except TimeoutError:
        raise TransportError(os.strerror(errno.ETIMEDOUT), ExitCode.TRANSPORT_TIMEOUT) from None
    finally:
        _settle(attempts, winner)
    return winner


def _at_port(address: SockAddr, port: int) -> SockAddr:
    if len(address) == 2:
        return (address[0], port)
    return (address[0], port, address[2], address[3])


def _device(netdev: str, hwaddress: str, ipaddress: str) -> str:
    """The device to bind to, by MAC before name (open-iscsi usr/io.c); "" for none."""
    if hwaddress not in _UNSET:
        return devices.find_by_hwaddress(hwaddress)
    if netdev not in _UNSET:
        return netdev
    if ipaddress not in _UNSET:
        raise InvalidArgument(
            "binding to an IP address is not supported with software iSCSI, "
            "use the network device's name or hardware address"
        )
    return ""


async def _race(
    addresses: Sequence[SockAddr],
    options: _Options,
    attempts: list[asyncio.Task[socket.socket]],
) -> socket.socket:
    """Start an attempt per address, each after a head start or the failure of those before it."""
    waiting = [*addresses]
    while True:
        if waiting:
            attempts.append(asyncio.ensure_future(_attempt(waiting.pop(0), options)))
        running = [task for task in attempts if not task.done()]
        if running:
            await asyncio.wait(
                running,
                timeout=_STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        for task in attempts:
            if task.done() and task.exception() is None:
                return task.result()
        if not waiting and all(task.done() for task in attempts):
            return attempts[0].result()


def _settle(attempts: Sequence[asyncio.Task[socket.socket]], winner: socket.socket | None) -> None:
    """End what still runs (a cancelled attempt closes its socket) and close who came second."""
    for task in attempts:
        if not task.cancel() and task.exception() is None and task.result() is not winner:
            task.result().close()


async def _attempt(address: SockAddr, options: _Options) -> socket.socket:
    family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise TransportError(exc.strerror or str(exc)) from exc
    try:
        _configure(sock, family, options)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as exc:
        sock.close()
        raise TransportError(os.strerror(exc.errno) if exc.errno else str(exc)) from exc
    except BaseException:
        sock.close()
        raise
    return sock


def _configure(sock: socket.socket, family: int, options: _Options) -> None:
    sock.setblocking(False)
    if options.device:
        devices.check_usable(options.device, family)
        device = options.device.encode() + b"\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.window_size:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.window_size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.window_size)
    if options.congestion:
        _set_congestion(sock, options.congestion)


def _set_congestion(sock: socket.socket, name: str) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as exc:
        raise TransportError(f"congestion control {name}: {exc.strerror}") from exc


def close_with_reset(sock: socket.socket) -> None:
    """Close without a FIN handshake: the target drops the connection at once (RST)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
