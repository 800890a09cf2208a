"""A stand-in for the kernel and a host's driver, for commands that ask it themselves."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pyiscsi.transport import uevent
from pyiscsi.transport.control import Control
from pyiscsi.transport.numbers import KEvent, UEvent
from pyiscsi.transport.uevent import UEVENT_BYTES

HANDLE = 0xFFFF_8880_0BAD_CAFE
_HEADER = struct.Struct("=IHHII")
_JUNK = b"\xa5"
"""What the kernel leaves in fields it does not set."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    event: UEvent
    fields: dict[str, int]
    payload: bytes
    body: bytes


@dataclass
class Driver:
    """Answers every request with success; `on[event]` gives the datagrams to send instead.

    A context manager: at its end nobody may be talking to it any more.
    """

    on: dict[UEvent, Callable[[Request], list[bytes]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def control(self, deadline_s: float = 30.0) -> Control:
        """A new conversation with this driver."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return Control(ours, deadline_s=deadline_s)

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(1 << 16):
                request = _request(data)
                self.requests.append(request)
                for datagram in self.on.get(request.event, succeed)(request):
                    sock.send(datagram)

    def refuse(self, event: UEvent, number: int) -> None:
        """From now on a request of this kind fails with that errno."""
        self.on[event] = lambda request: [refusal(request, number)]


def _request(data: bytes) -> Request:
    length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
    assert (length, flags, sequence) == (len(data), 0, 0)
    body = data[_HEADER.size :]
    fields = uevent.request_fields(uevent.parse(body))
    return Request(UEvent(kind), fields, body[UEVENT_BYTES:], body)


def datagram(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, 0, 0, 0) + body


def reply(request: Request, r: bytes = b"") -> bytes:
    """The request's own event with r filled in, junk where nothing is set."""
    return datagram(request.event, request.body[:40] + r + _JUNK * (16 - len(r)))


def succeed(request: Request) -> list[bytes]:
    return [reply(request)]


def refusal(request: Request, number: int) -> bytes:
    head = struct.pack("=Ii", KEvent.IF_ERROR, -number)
    return datagram(request.event, head + request.body[8:UEVENT_BYTES])


def multicast(request: Request, payload: bytes, **changed: int) -> bytes:
    """The data a request asked for, as every listener gets it; without the request's cookie."""
    handle = uevent.parse(request.body).transport_handle
    body = uevent.encode(request.event, handle, {**request.fields, **changed})
    return datagram(0, body + payload)


def happening(event: KEvent, r: bytes) -> bytes:
    """An event of its own."""
    head = struct.pack("=IIQ", event, 0xDEADBEEF, HANDLE)
    return datagram(0, head + _JUNK * 24 + r + _JUNK * (16 - len(r)))
