"""systemd's two conversations with a daemon: sockets handed over, and sd_notify(3)."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

FIRST_FD = 3
SOCKET_NAME = "native"
"""FileDescriptorName= that marks our native socket whatever its address."""

_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

READY = "READY=1\nSTATUS=Ready to process requests"
SYNCING = "RELOADING=1\nSTATUS=Syncing existing session(s)"
STOPPING = "STOPPING=1"


def reloading() -> str:
    """What Type=notify-reload wants: the clock tells this reload from an earlier one."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


class Notifier:
    """Tells the service manager how we are; silent when there is none.

    Reads NOTIFY_SOCKET and WATCHDOG_USEC once. A lost notification is never an error of ours.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environ)

    def send(self, state: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self._address)
            sock.send(state.encode())

    async def watchdog(self, is_well: Callable[[], bool]) -> None:
        """Ping at half the interval the service manager asked for; ends at once if it did not.

        No ping while something vital does not work: the service manager then starts us again.
        """
        while self.watchdog_s:
            if is_well():
                self.send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)


def _watchdog_s(environ: MutableMapping[str, str]) -> float:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6


def take_sockets(environ: MutableMapping[str, str], pid: int) -> list[tuple[str, socket.socket]]:
    """The sockets systemd passed to this process (sd_listen_fds(3)), with their names.

    The variables are removed and the descriptors made close-on-exec, so that no child takes them
    for its own. Descriptors that are not sockets are left alone. Must run before any fork, since
    LISTEN_PID names the process systemd started.
    """
    values = [environ.pop(name, "") for name in _LISTEN_VARIABLES]
    if values[0] != str(pid) or not values[1].isdecimal():
        return []
    names = values[2].split(":")
    found = []
    for index in range(int(values[1])):
        fd = FIRST_FD + index
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
        except OSError:
            break
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) else ""
        found.append((name, socket.socket(fileno=fd)))
    return found


def choose_native(sockets: list[tuple[str, socket.socket]], path: str) -> socket.socket | None:
    """The listening socket among those passed that is our native one.

    Its name decides, then its address: exactly our path, else the only one in the file system
    (an abstract address belongs to open-iscsi's own protocol).
    """
    listening = [(name, sock) for name, sock in sockets if _is_listener(sock)]
    addresses = [(sock.getsockname(), sock) for _, sock in listening]
    named = [sock for name, sock in listening if name == SOCKET_NAME]
    exact = [sock for address, sock in addresses if address == path]
    in_files = [sock for address, sock in addresses if isinstance(address, str) and address]
    for candidates in (named, exact, in_files):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _is_listener(sock: socket.socket) -> bool:
    return (
        sock.family == socket.AF_UNIX
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )
