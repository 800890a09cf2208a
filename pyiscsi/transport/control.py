"""A command's own conversation with the kernel: blocking, one request at a time.

What a host's driver is asked (CHAP table, flashnodes, statistics, pings, network settings) needs no
session and so no daemon: the command asks itself, as open-iscsi's does.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Mapping

from pyiscsi.errors import ExitCode, RemoteProtocolError, TransportError
from pyiscsi.transport import frames, uevent
from pyiscsi.transport.numbers import (
    GROUP_ISCSID,
    NETLINK_ISCSI,
    SO_RCVBUFFORCE,
    KEvent,
    UEvent,
)
from pyiscsi.transport.uevent import Message, Refused

REQUEST_DEADLINE_S = 60.0
RECEIVE_BUFFER_BYTES = 1 << 20
"""Every event of every session of the machine arrives here too."""

_MESSAGE_BYTES = 1 << 16


class Control:
    """The kernel's iSCSI interface for one command; a context manager."""

    def __init__(self, sock: socket.socket, *, deadline_s: float = REQUEST_DEADLINE_S) -> None:
        self._sock = sock
        self._deadline_s = deadline_s
        self._cookies = itertools.count(1)
        name = sock.getsockname()
        self._port_id = name[0] if isinstance(name, tuple) else 0

    @classmethod
    def open(cls) -> Control:
        """Raises TransportError (9) where the kernel has no iSCSI or the caller no right to it."""
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI)
        except OSError as exc:
            raise _open_error("create", exc) from exc
        try:
            sock.bind((0, GROUP_ISCSID))
        except OSError as exc:
            sock.close()
            raise _open_error("bind", exc) from exc
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        return cls(sock)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def request(
        self, event: UEvent, handle: int, fields: Mapping[str, int], payload: bytes = b""
    ) -> Message:
        """One request and its answer. Raises Refused with the kernel's errno, TransportError."""
        cookie = next(self._cookies)
        body = uevent.encode(event, handle, fields, payload, cookie=cookie)
        name = event.name.lower()
        try:
            self._sock.send(frames.frame(event, body, self._port_id))
        except OSError as exc:
            raise TransportError(f"can not send to the kernel: {exc.strerror}") from exc
        deadline = time.monotonic() + self._deadline_s
        while True:
            for kind, message in self._receive(deadline, name):
                if uevent.is_reply(message, kind, event, handle, cookie):
                    if message.type == KEvent.IF_ERROR:
                        raise Refused(name, -message.iferror)
                    return message
                if event in uevent.MULTICAST_REPLIES and uevent.is_data(
                    message, event, handle, fields
                ):
                    return message

    def wait_for(
        self, event: KEvent, wanted: Mapping[str, int], timeout_s: float
    ) -> Mapping[str, int]:
        """The first event whose fields have the `wanted` values. Raises TransportError (8)."""
        deadline = time.monotonic() + timeout_s
        while True:
            for kind, message in self._receive(deadline, event.name.lower()):
                if kind or message.type != event:
                    continue
                fields = uevent.event_fields(message)
                if all(fields[name] == value for name, value in wanted.items()):
                    return fields

    def _receive(self, deadline: float, awaited: str) -> list[tuple[int, Message]]:
        """(nlmsg_type, message) of one datagram; none where it says nothing to us."""
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data, sender = self._sock.recvfrom(_MESSAGE_BYTES)
        except TimeoutError as exc:
            text = f"kernel did not answer {awaited} in time"
            raise TransportError(text, ExitCode.TRANSPORT_TIMEOUT) from exc
        except OSError as exc:
            if exc.errno == errno.ENOBUFS:
                return []  # what was lost shows when the answer does not come
            raise TransportError(f"can not read from the kernel: {exc.strerror}") from exc
        if isinstance(sender, tuple) and sender[0] != 0:
            return []  # only the kernel (port 0) may speak
        try:
            return [(kind, uevent.parse(body)) for kind, body in frames.split(data)]
        except RemoteProtocolError:
            return []


def _open_error(verb: str, exc: OSError) -> TransportError:
    reason = os.strerror(exc.errno or 0)
    return TransportError(
        f"can not {verb} NETLINK_ISCSI socket [{reason}]\nNetlink open failed.", ExitCode.INTERNAL
    )
