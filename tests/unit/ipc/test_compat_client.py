"""The commands' end of open-iscsi's socket, against daemons of every release and broken ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyiscsi import __version__
from pyiscsi.env import Env
from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ipc import compat_client, either, structs
from pyiscsi.ipc.compat_client import CompatClient
from pyiscsi.ipc.compat_exchange import ForeignSocket, NotListening, UnknownRelease
from pyiscsi.ipc.structs import Command
from pyiscsi.ipc.structs_layout import LAYOUTS, known_sizes
from tests.unit.ipc.compat_daemon import LOGIN, NAME, RECORD, SIZES, answer, env_of, squatted
from tests.unit.ipc.conftest import Start


@pytest.mark.parametrize("size", SIZES)
def test_layouts(start: Start, size: int) -> None:
    """D-006: the daemon's layout is found and a login sent in it; nothing is ever too short."""
    daemon = start(size)
    with CompatClient.connect(NAME) as client:
        assert client.request("login", LOGIN) == {}
    assert all(len(data) == size for data in daemon.requests)
    request = structs.decode_request(daemon.requests[-1])
    assert request.command == Command.SESSION_LOGIN
    assert request.multiple
    assert {key: request.record[key] for key in RECORD} == RECORD
    assert daemon.requests[-1] == structs.encode_request(request, LAYOUTS[size])


@pytest.mark.parametrize("size", SIZES)
def test_operations(start: Start, size: int) -> None:
    """D-006: every operation of the native client has its counterpart."""
    start(size)
    with CompatClient.connect(NAME) as client:
        assert client.request("config", timeout=10) == {
            "config_file": "/etc/iscsi/iscsid.conf",
            "initiator_name": "iqn.2026-11.test:me",
            "initiator_alias": "alias",
        }
        assert client.request("session_info", {"sids": [1, 2]}, 10) == {
            "sessions": {"1": {"connection": "LOGGED IN", "internal": "NO CHANGE"}}
        }
        stats = client.request("stats", {"sid": 1})
        assert stats["counters"]["txdata_octets"] == 5
        assert stats["custom"] == {"custom": 6}
        assert client.request("logout", {"sid": 1}) == {}
        assert client.request("stop", timeout=10) == {}


def test_several_at_once(start: Start) -> None:
    """All are sent before the first is awaited, and awaited in any order; -W awaits none."""
    daemon = start(16104)
    with CompatClient.connect(NAME) as client:
        sent = [client.send("login", LOGIN) for _ in range(5)]
        for request_id in reversed(sent):
            assert client.wait(request_id) == {}
        client.send("logout", {"sid": 9})
    commands = [structs.decode_head(data).command for data in daemon.requests[3:8]]
    assert commands == [Command.SESSION_LOGIN] * 5


def test_discovery(start: Start) -> None:
    """The daemon tells the settings, the discovery itself is somebody else's."""
    start(16104)
    asked = []

    def discover(config: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        asked.append((config["initiator_name"], args))
        return {"found": []}

    with CompatClient.connect(NAME, discover=discover) as client:
        assert client.request("discover", {"address": "192.0.2.1"}) == {"found": []}
    assert asked == [("iqn.2026-11.test:me", {"address": "192.0.2.1"})]
    with CompatClient.connect(NAME) as client, pytest.raises(DaemonError) as caught:
        client.request("discover", {})
    assert caught.value.exit_code == 27


def test_unknown_operation(start: Start) -> None:
    start(16104)
    with CompatClient.connect(NAME) as client, pytest.raises(DaemonError) as caught:
        client.send("dance")
    assert caught.value.exit_code == 27


def failing(response: bytes | None) -> Callable[[bytes], bytes | None]:
    """Healthy until the first login or logout."""

    def respond(data: bytes) -> bytes | None:
        command = structs.decode_head(data).command
        return response if command in (1, 2) else answer(data)

    return respond


FAILURES = (
    (structs.encode_answer(2, 10), DaemonError, 10),
    (structs.encode_answer(2, -1), DaemonError, 18),
    (structs.encode_answer(3, 0), IpcError, 18),
    (b"", IpcError, 18),
    (bytes(2463), UnknownRelease, 16),
    (None, IpcError, 33),
)


@pytest.mark.parametrize(("response", "error", "status"), FAILURES)
def test_failures(
    start: Start, response: bytes | None, error: type[IpcError | DaemonError], status: int
) -> None:
    """An error is the daemon's own; a wrong, short or missing answer is one of the connection."""
    start(16104, failing(response))
    with CompatClient.connect(NAME) as client, pytest.raises(error) as caught:
        client.request("logout", {"sid": 1}, 0.3 if response is None else 10)
    assert caught.value.exit_code == status


def test_refused(start: Start) -> None:
    """D-003: error 13 reaches the user, though the daemon does not read what we say."""
    start(0, lambda data: structs.encode_answer(0, 13))
    with pytest.raises(DaemonError) as caught:
        CompatClient.connect(NAME)
    assert caught.value.exit_code == 13


def unknown(seen: str) -> str:
    """Our release and what it knows, and what was seen, in one line."""
    return (
        f"iscsiadm {__version__} knows open-iscsi's requests of {known_sizes()} bytes and answers "
        f"of 2464; {seen}"
    )


def test_sizes_that_are_known() -> None:
    assert known_sizes() == "16104 (2.1.8), 16112 (2.1.11) and 16128 (master)"


@pytest.mark.parametrize("size", [16129, 16136, 40000])
def test_a_daemon_of_a_release_to_come(start: Start, size: int) -> None:
    """Longer structs than we know: seen by the first question, and the daemon is not held up."""
    daemon = start(size)
    with pytest.raises(UnknownRelease) as caught:
        CompatClient.connect(NAME)
    assert caught.value.exit_code == 16
    assert str(caught.value) == unknown("this iscsid takes no request of 16128 bytes")
    assert [len(data) for data in daemon.requests] == [16128]


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        (16127, "this iscsid takes no request of 16112 bytes"),
        (16108, "this iscsid takes no request of 16104 bytes"),
        (16103, "this iscsid takes only shorter requests"),
        (12000, "this iscsid takes only shorter requests"),
    ],
)
def test_a_login_at_an_unknown_release(start: Start, size: int, seen: str) -> None:
    """No login, with its secrets in the wrong places, is sent; questions are answered."""
    daemon = start(size)
    with CompatClient.connect(NAME) as client:
        assert client.request("config")["initiator_name"] == "iqn.2026-11.test:me"
        with pytest.raises(UnknownRelease) as caught:
            client.request("login", LOGIN)
    assert str(caught.value) == unknown(seen)
    commands = {structs.decode_head(data).command for data in daemon.requests}
    assert Command.SESSION_LOGIN not in commands


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (answer(structs.encode_request(structs.Request(10), LAYOUTS[16128])) + bytes(8),
         "this iscsid's answers are longer"),
        (bytes(2000), "this iscsid answered 2000 bytes"),
    ],
)  # fmt: skip
def test_answers_of_an_unknown_release(start: Start, data: bytes, seen: str) -> None:
    start(16128, lambda request: data)
    with pytest.raises(UnknownRelease) as caught:
        CompatClient.connect(NAME)
    assert str(caught.value) == unknown(seen)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_foreign_daemon(tmp_path: Path) -> None:
    """A name that another user took is told nothing, and keeps nobody from starting a daemon."""
    with squatted(NAME) as (listener, pid):
        shown = (
            f"can not connect to iSCSI daemon (1)! @{NAME} belongs to process {pid} of user 65534"
        )
        with pytest.raises(ForeignSocket) as caught:
            CompatClient.connect(NAME)
        assert (caught.value.exit_code, str(caught.value)) == (20, shown)
        with listener.accept()[0] as accepted:
            assert accepted.recv(1) == b""
        started = []
        with pytest.raises(ForeignSocket):
            either.connect(env_of(tmp_path), startup=lambda: started.append(True))
        assert started == [True]


def test_no_daemon(tmp_path: Path) -> None:
    """Nobody listens: found nothing, and both sockets together say what the native one says."""
    with pytest.raises(NotListening, match=r"^can not connect to iSCSI daemon \(111\)!$"):
        CompatClient.connect(NAME)
    env = env_of(tmp_path)
    assert compat_client.find(env) is None
    assert compat_client.find(Env(socket_path=env.socket_path)) is None
    with pytest.raises(IpcError) as caught:
        either.connect(env)
    assert caught.value.exit_code == 20


def test_either(start: Start, tmp_path: Path) -> None:
    """Without a native socket open-iscsi's daemon is used."""
    start(16104)
    env = env_of(tmp_path)
    with either.connect(env) as client:
        assert isinstance(client, CompatClient)
        assert client.request("stop") == {}


def test_started_by_the_command(start: Start, tmp_path: Path) -> None:
    """D-013: the startup command may bring open-iscsi's daemon up; it is run once."""
    env = env_of(tmp_path)
    runs = []

    def startup() -> None:
        runs.append(start(16104))

    for _ in range(2):
        with either.connect(env, startup=startup) as client:
            assert isinstance(client, CompatClient)
    assert len(runs) == 1


def test_startup_that_fails(tmp_path: Path) -> None:
    """What the startup command raises comes through; nothing is waited for."""
    env = env_of(tmp_path)

    def startup() -> None:
        raise IpcError("it cannot be started", 20)

    with pytest.raises(IpcError, match="it cannot be started"):
        either.connect(env, startup=startup)
