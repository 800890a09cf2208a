"""iSNS discovery: ask a server which targets an initiator may see (RFC 4171).

Lines given to `report` are those of open-iscsi (usr/discovery.c); reasons of ours stand where it
shows a status that it makes up itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pyiscsi.errors import ExitCode, IsnsError, RemoteProtocolError, TransportError
from pyiscsi.proto.isns import (
    FoundPortal,
    Status,
    deregister_node,
    query_targets,
    read_portals,
    read_response,
    register_node,
)
from pyiscsi.proto.isns_pdu import Framer, Message
from pyiscsi.transport import tcp

CONNECT_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 30.0
FAREWELL_TIMEOUT_S = 2.0
"""How long a server may take to forget us; we have our answer already."""

_READ_SIZE = 65536
_REGISTRATIONS_MAX = 2
"""A second one where another iface with our name said goodbye in between."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class IsnsServer:
    """Where a server is and how long it may take. Every call has a connection of its own."""

    address: str
    port: int
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    async def call(self, request: Message) -> bytes:
        """The attributes of the answer.

        Raises IsnsError: with the server's status when it refuses, with status 0 and the reason
        when it cannot be reached, does not answer in time, or answers nonsense.
        """
        sock = await self.connect()
        try:
            async with asyncio.timeout(self.answer_timeout_s):
                await asyncio.get_running_loop().sock_sendall(sock, request.encode())
                return read_response(request, await _receive(sock))
        except TimeoutError:
            raise IsnsError(f"no answer in {self.answer_timeout_s:g} s") from None
        except RemoteProtocolError as error:
            raise IsnsError(str(error)) from error
        except OSError as error:
            raise IsnsError(os.strerror(error.errno) if error.errno else str(error)) from error
        finally:
            sock.close()

    async def connect(self) -> socket.socket:
        """A connection. Raises IsnsError."""
        try:
            addresses = await tcp.resolve(self.address, self.port, self.connect_timeout_s)
        except TransportError as error:
            raise IsnsError(f"cannot resolve host name {self.address}: {error}") from error
        shown = addresses[0][0]
        try:
            return await tcp.connect(addresses, self.port, deadline_s=self.connect_timeout_s)
        except TransportError as error:
            if error.exit_code == ExitCode.TRANSPORT_TIMEOUT:
                raise IsnsError(f"connect to {shown} timed out") from error
            raise IsnsError(f"cannot make connection to {shown}: {error}") from error


async def _receive(sock: socket.socket) -> Message:
    loop = asyncio.get_running_loop()
    framer = Framer()
    while (message := framer.next_message()) is None:
        received = await loop.sock_recv(sock, _READ_SIZE)
        if not received:
            raise RemoteProtocolError("the server closed the connection")
        framer.feed(received)
    return message


def transaction() -> int:
    """A transaction id; calls that overlap should differ."""
    return int.from_bytes(os.urandom(2))


async def isns_portals(
    server: IsnsServer, initiator_name: str, report: Report
) -> list[FoundPortal]:
    """All portals of the targets an initiator may see.

    An initiator the server does not know is registered for the time of the query. Raises IsnsError
    (25 for a query, 26 for a registration that failed); lines about it were given to `report`.
    """
    registered = False
    try:
        for _ in range(_REGISTRATIONS_MAX):
            answer = await _query(server, initiator_name, report)
            if answer is None:
                await _register(server, initiator_name, report)
                registered = True
                answer = await _query(server, initiator_name, report)
            if answer is not None:
                return await _read(answer, report)
    finally:
        if registered:
            await _deregister(server, initiator_name)
    error = IsnsError("Source unknown", ExitCode.ISNS_REGISTRATION, Status.SOURCE_UNKNOWN)
    report(f"iSNS discovery failed: {error}")
    raise error


async def _query(server: IsnsServer, name: str, report: Report) -> bytes | None:
    """The answer; None when the server knows nobody of that name."""
    try:
        return await server.call(query_targets(name, transaction()))
    except IsnsError as error:
        if error.status == Status.SOURCE_UNKNOWN:
            return None
        report(f"iSNS discovery failed: {error}")
        raise


async def _read(answer: bytes, report: Report) -> list[FoundPortal]:
    try:
        # Off the loop: reading an answer of the size we allow takes seconds.
        found = await asyncio.to_thread(read_portals, answer)
    except RemoteProtocolError as error:
        report(f"iSNS discovery failed: {error}")
        raise IsnsError(str(error)) from error
    for problem in found.problems:
        report(problem)
    return found.portals


async def _register(server: IsnsServer, name: str, report: Report) -> None:
    try:
        await server.call(register_node(name, transaction()))
    except IsnsError as error:
        report(f"Could not register {name} with iSNS server: {error}.")
        raise IsnsError(str(error), ExitCode.ISNS_REGISTRATION, error.status) from error


async def _deregister(server: IsnsServer, name: str) -> None:
    with suppress(IsnsError, TimeoutError):
        async with asyncio.timeout(FAREWELL_TIMEOUT_S):
            await server.call(deregister_node(name, transaction()))
