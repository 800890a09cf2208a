"""A stand-in for open-iscsi's daemon, of any release."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyiscsi.env import Env
from pyiscsi.ipc import structs
from pyiscsi.ipc.structs import Command

NAME = f"pyiscsi-test-client-{os.getpid()}"
SIZES = (16104, 16112, 16128)
RECORD = {"node.name": "iqn.2026-11.test:one", "iface.transport_name": "tcp"}
LOGIN = {"record": RECORD, "multiple": True}
TEXTS = {
    Command.CONFIG_FILE: "/etc/iscsi/iscsid.conf",
    Command.CONFIG_INAME: "iqn.2026-11.test:me",
    Command.CONFIG_IALIAS: "alias",
}


def answer(data: bytes) -> bytes:
    """What a healthy daemon says."""
    head = structs.decode_head(data)
    if head.command in TEXTS:
        return structs.encode_text(head.command, TEXTS[head.command])
    if head.command == Command.SESSION_INFO:
        if head.number != 1:
            return structs.encode_answer(head.command, 2)
        return structs.encode_states(head.command, "LOGGED IN", "NO CHANGE")
    if head.command == Command.SESSION_STATS:
        return structs.encode_statistics(head.command, 1, {"txdata_octets": 5}, {"custom": 6})
    return structs.encode_answer(head.command)


class FakeDaemon:
    """One client at a time, blocking until a whole struct of `size` has come, as the original.

    `respond` gives None: what came is not answered and the client not let go. `keeps`: clients
    are not let go after an answer that is not a whole one, either.
    """

    def __init__(
        self,
        size: int,
        respond: Callable[[bytes], bytes | None] = answer,
        keeps: bool = False,
    ) -> None:
        self._size = size
        self._keeps = keeps
        self._respond = respond
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{NAME}")
        self._listener.listen(32)
        self._silent: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._serve_one(self._listener.accept()[0])

    def _serve_one(self, client: socket.socket) -> None:
        client.settimeout(10)
        data = client.recv(self._size, socket.MSG_WAITALL)
        self.requests.append(data)
        if len(data) < self._size:
            client.close()
            return
        response = self._respond(data)
        if response is None:
            self._silent.append(client)
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(response)
        if self._keeps and len(response) < structs.RESPONSE_SIZE:
            self._silent.append(client)
        else:
            client.close()

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for each in (*self._silent, self._listener):
            each.close()


def env_of(path: Path) -> Env:
    """A machine with no native socket, and the name for open-iscsi's."""
    return Env(socket_path=str(path / "native"), compat_socket=NAME)


@contextmanager
def squatted(name: str, backlog: int | None = 8) -> Iterator[tuple[socket.socket, int]]:
    """A name that user 65534 has taken: the listener, and the process that called listen().

    `backlog` None: it is bound and does not listen. Needs root.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        child = os.fork()
        if child == 0:
            # The credentials a client sees are those at listen().
            os.setuid(65534)
            if backlog is not None:
                listener.listen(backlog)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        yield listener, child
