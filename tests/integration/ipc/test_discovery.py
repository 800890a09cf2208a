"""Discovery by the real daemon: scripted targets, portals that fail, and tgtd."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from pyiscsi.errors import DaemonError
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import SENDTARGETS
from tests.integration import tgtd
from tests.integration.ipc.iscsid import NAME, WAIT_S, Machine
from tests.integration.target.script import ChapPolicy, Script
from tests.integration.target.server import ScriptedTarget

TARGET = "iqn.2026-11.test:one"
PREFIX = "discovery.sendtargets."


@contextmanager
def scripted(script: Script | None = None) -> Iterator[ScriptedTarget]:
    """A scripted target in a thread of its own."""
    target = ScriptedTarget(script)
    loop = asyncio.new_event_loop()
    listening, over = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with target:
            listening.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert listening.wait(WAIT_S)
    try:
        yield target
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(WAIT_S)
        loop.close()


def args(port: int, address: str = "127.0.0.1", **record: str) -> dict[str, Any]:
    made = Record(SENDTARGETS)
    for key, text in record.items():
        made.set(PREFIX + key.replace("__", "."), text)
    return {
        "type": "sendtargets", "address": address, "port": port, "record": made.to_map(),
        "new": True, "update": True, "delete": True, "persist": True,
    }  # fmt: skip


def entry(target: str, address: str, port: int, tpgt: int) -> dict[str, Any]:
    return {
        "target": target, "address": address, "port": port, "tpgt": tpgt, "iface": "default",
    }  # fmt: skip


@contextmanager
def silent_portal() -> Iterator[int]:
    """Accepts connections (the kernel does) and never says a word."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def refused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_targets_are_answered_and_recorded(machine: Machine) -> None:
    """D-080: as our records room writes them, with the discovery address as their source."""
    text = (
        b"TargetName=iqn.2026-11.test:one\0TargetAddress=127.0.0.1:3260,1\0"
        b"TargetAddress=[::1]:3261,2\0TargetName=iqn.2026-11.test:two\0"
    )
    with (
        machine.iscsid() as daemon,
        scripted(Script(text=text)) as target,
        daemon.connect() as client,
    ):
        answer = client.request("discover", args(target.port), timeout=WAIT_S)
    assert answer == {
        "found": [
            entry("iqn.2026-11.test:one", "127.0.0.1", 3260, 1),
            entry("iqn.2026-11.test:one", "::1", 3261, 2),
            entry("iqn.2026-11.test:two", "127.0.0.1", target.port, -1),
        ],
        "messages": [],
    }
    nodes = NodeStore(machine.env)
    stored = {(key.target, key.address, key.port, key.tpgt) for key in nodes.keys()}  # noqa: SIM118
    assert stored == {(f["target"], f["address"], f["port"], f["tpgt"]) for f in answer["found"]}
    for record in map(nodes.read, nodes.keys()):
        assert record["node.discovery_port"] == str(target.port)
    login = target.requests[0]
    assert NAME.encode() in login.data


def test_a_thousand_targets(machine: Machine) -> None:
    """The answer is as long as it has to be; many PDUs, one line."""
    names = [f"iqn.2026-11.test:{number:04}" for number in range(1000)]
    text = "".join(f"TargetName={name}\0TargetAddress=127.0.0.1:3260,1\0" for name in names)
    with (
        machine.iscsid() as daemon,
        scripted(Script(text=text.encode())) as target,
        daemon.connect() as client,
    ):
        wanted = args(target.port) | {"persist": False}
        answer = client.request("discover", wanted, timeout=WAIT_S)
    assert [found["target"] for found in answer["found"]] == names
    assert not os.path.exists(os.path.join(machine.env.db_root, "nodes"))


def test_a_dead_portal_never_delays_another(machine: Machine) -> None:
    """Refused with retries, silent, and the good one answers first."""
    with (
        machine.iscsid() as daemon,
        scripted() as target,
        silent_portal() as silent,
        daemon.connect() as client,
    ):
        waiting = [
            client.send("discover", args(silent, timeo__login_timeout="600")),
            client.send("discover", args(refused_port(), reopen_max="1000")),
            client.send("discover", args(3260, "no-such-host.invalid", reopen_max="1000")),
        ]
        good = client.send("discover", args(target.port))
        assert client.wait(good, WAIT_S)["found"] == [entry(TARGET, "127.0.0.1", 3260, 1)]
        assert client.request("config", timeout=WAIT_S)["initiator_name"] == NAME
        with pytest.raises(DaemonError) as caught:
            client.wait(waiting[2], WAIT_S)
        assert caught.value.exit_code == 4
        stopped = client.request("stop", timeout=WAIT_S)
        assert stopped == {}
        for request_id in waiting[:2]:
            with pytest.raises(DaemonError) as caught:
                client.wait(request_id, WAIT_S)
            assert caught.value.exit_code == 18


def test_a_refused_portal_ends_after_its_attempts(machine: Machine) -> None:
    """D-082: reopen_max + 1 attempts, code 11, the lines of all of them."""
    with (
        machine.iscsid() as daemon,
        daemon.connect() as client,
        pytest.raises(DaemonError) as caught,
    ):
        client.request("discover", args(refused_port(), reopen_max="1"), timeout=WAIT_S)
    assert caught.value.exit_code == 11
    refused = "cannot make connection to 127.0.0.1: Connection refused"
    exceeded = "connection login retries (reopen_max) 1 exceeded"
    assert caught.value.messages == (refused, refused, exceeded)
    assert not os.path.exists(os.path.join(machine.env.db_root, "nodes"))


def test_a_discovery_ends_with_its_client(machine: Machine) -> None:
    """Nothing is left running: the target sees the connection end."""
    with machine.iscsid() as daemon, silent_portal_that_reports() as (port, opened, closed):
        with daemon.connect() as client:
            client.send("discover", args(port))
            assert opened.wait(WAIT_S)
        assert closed.wait(WAIT_S)


def test_a_discovery_ends_with_its_deadline(machine: Machine) -> None:
    with (
        machine.iscsid() as daemon,
        silent_portal_that_reports() as (port, opened, closed),
        daemon.connect() as client,
    ):
        late = client.send("discover", args(port), timeout=0.5)
        with pytest.raises(DaemonError) as caught:
            client.wait(late, WAIT_S)
        assert caught.value.exit_code == 33
        # On a very slow machine the deadline may have come before the connection.
        assert closed.wait(WAIT_S) or not opened.is_set()


@contextmanager
def silent_portal_that_reports() -> Iterator[tuple[int, threading.Event, threading.Event]]:
    """(port, set when an initiator has connected, set when it has closed the connection)."""
    opened, closed = threading.Event(), threading.Event()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()

        def serve() -> None:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            opened.set()
            with connection, suppress(ConnectionResetError):
                connection.settimeout(WAIT_S)
                while connection.recv(4096):
                    pass
            closed.set()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1], opened, closed
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_S)


@pytest.mark.parametrize(("password", "code"), [("target-secret-1", 0), ("wrong-secret-12", 24)])
def test_chap(machine: Machine, password: str, code: int) -> None:
    """D-081; and no secret appears in what the daemon says."""
    policy = ChapPolicy("someone", "target-secret-1")
    with machine.iscsid("-d", "8") as daemon, scripted(Script(chap=policy)) as target:
        wanted = args(target.port, auth__username="someone", auth__password=password)
        with daemon.connect() as client:
            if code:
                with pytest.raises(DaemonError) as caught:
                    client.request("discover", wanted, timeout=WAIT_S)
                assert caught.value.exit_code == code
                said = str(caught.value.messages)
            else:
                answer = client.request("discover", wanted, timeout=WAIT_S)
                assert len(answer["found"]) == 1
                said = str(answer)
        _, out, err = daemon.end(15)
    assert password not in said + out + err


def test_many_discoveries_at_once(machine: Machine) -> None:
    """They write their records under one lock and lose none."""
    texts = [
        f"TargetName=iqn.2026-11.test:{number}\0TargetAddress=127.0.0.1:3260,1\0"
        for number in range(10)
    ]
    with machine.iscsid() as daemon:
        targets = [ScriptedThread(text) for text in texts]
        try:
            with daemon.connect() as client:
                ids = [client.send("discover", args(each.target.port)) for each in targets]
                for request_id in ids:
                    assert len(client.wait(request_id, WAIT_S)["found"]) == 1
        finally:
            for each in targets:
                each.close()
    assert len(NodeStore(machine.env).keys()) == 10


class ScriptedThread:
    def __init__(self, text: str) -> None:
        self._context = scripted(Script(text=text.encode()))
        self.target = self._context.__enter__()

    def close(self) -> None:
        self._context.__exit__(None, None, None)


@tgtd.is_installed
@tgtd.is_root
def test_tgtd(machine: Machine) -> None:
    """A target that we did not write."""
    name = "iqn.2026-11.test:tgtd"
    with (
        tgtd.running(name) as target,
        machine.iscsid() as daemon,
        daemon.connect() as client,
    ):
        answer = client.request("discover", args(target.port), timeout=WAIT_S)
    assert answer["found"] == [entry(name, "127.0.0.1", target.port, 1)]
    assert [key.target for key in NodeStore(machine.env).keys()] == [name]  # noqa: SIM118
