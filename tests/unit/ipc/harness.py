"""A real server on a real socket, in a thread, for clients that block."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyiscsi import __version__
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, IpcError
from pyiscsi.ipc import messages
from pyiscsi.ipc.server import Limits, Operation, Server

ENOUGH_S = 20
"""For what must end by itself long before."""

OWN_UID = frozenset({os.geteuid()})


@dataclass
class Running:
    path: str
    server: Server
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function in the server's loop and wait."""
        return asyncio.run_coroutine_threadsafe(function(*args), self.loop).result(10)

    def connect(self) -> RawClient:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(self.path)
        return RawClient(sock)


class RawClient:
    """A peer that writes what it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def say(self, message: dict[str, Any]) -> None:
        self.send(messages.encode(message))

    def hear(self) -> dict[str, Any] | None:
        """The next message; None at the end of the connection."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        return messages.decode(line) if line else None

    def greet(self) -> RawClient:
        self.say(messages.hello("test", "0"))
        greeting = self.hear()
        assert greeting is not None
        assert greeting["hello"]["protocol"] == messages.PROTOCOL
        return self

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def running(
    path: str,
    operations: Mapping[str, Operation],
    *,
    allowed_uids: frozenset[int] = OWN_UID,
    limits: Limits | None = None,
) -> Iterator[Running]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    started: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        server = Server(operations, allowed_uids=allowed_uids, limits=limits)
        await server.start(listener)
        over = asyncio.Event()
        started.set_result((server, asyncio.get_running_loop(), over))
        await over.wait()
        await server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"

    outcome: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    server, loop, over = started.result(10)
    try:
        yield Running(path, server, loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        listener.close()
    assert not thread.is_alive()
    if outcome:
        raise outcome[0]


@contextmanager
def peer(env: Env, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    """A daemon of one connection that behaves as it likes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(env.socket_path)
    listener.listen()

    def body() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            behave(connection)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def greet(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(messages.encode(messages.hello("iscsid", __version__)))


def outcome(work: Callable[[], object]) -> IpcError:
    """The error a wait ends with. Fails when it does not end."""
    caught: list[IpcError] = []

    def run() -> None:
        try:
            work()
        except IpcError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ENOUGH_S)
    assert not thread.is_alive(), "it still waits"
    assert caught, "no error"
    return caught[0]


def timed_out(work: Callable[[], object], text: str = "iscsid request timed out") -> None:
    error = outcome(work)
    assert (error.exit_code, str(error)) == (ExitCode.REQUEST_TIMED_OUT, text)


async def echo(args: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    return args


def returning(value: dict[str, Any]) -> Operation:
    async def run(args: dict[str, Any], report: object) -> dict[str, Any]:
        return value

    return Operation(run)


def raising(error: BaseException) -> Operation:
    async def run(args: dict[str, Any], report: object) -> dict[str, Any]:
        raise error

    return Operation(run)
