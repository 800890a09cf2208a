"""Commands that meet a daemon of another release: one line that names both, and nothing done."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyiscsi import __version__
from pyiscsi.env import Env
from pyiscsi.ipc import messages, structs
from pyiscsi.ipc.structs_layout import known_sizes
from tests.unit.cli.commands import Machine
from tests.unit.ipc.compat_daemon import NAME, FakeDaemon, answer
from tests.unit.ipc.harness import peer

NAMES = [f"iqn.2026-11.test:{number}" for number in range(3)]
OURS = f"iscsiadm: iscsiadm {__version__} speaks protocol {messages.PROTOCOL}"
RELEASES = {
    # what iscsid says: what iscsiadm does
    b'{"hello":{"protocol":7,"program":"iscsid","version":"8.8"}}': (
        f"{OURS}, iscsid 8.8 speaks protocol 7; they must come from the same release\n"
    ),
    b'{"id":null,"error":{"code":16,"text":"iscsid 8.8 speaks protocol 7, and so on"}}': (
        "iscsiadm: iscsid 8.8 speaks protocol 7, and so on\n"
    ),
    b"Welcome!": f"{OURS}; iscsid does not, it began with 'Welcome!'\n",
}
COMMANDS = (
    # what is added to the line about the releases
    ("-m node -l", ""),
    ("-m node -o new -T iqn.2026-11.test:new -p 192.0.2.9", ""),
    ("-m discoverydb -t st -p 192.0.2.9 -o new", ""),
    (
        "-k 0",
        "iscsiadm: initiator reported error (16 - Unknown request)\n"
        "iscsiadm: Could not stop iscsid. "
        "Trying sending iscsid SIGTERM or SIGKILL signals manually\n",
    ),
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Three node records, made while there was no daemon."""
    made = Machine(tmp_path, monkeypatch)
    for name in NAMES:
        assert made.run_line(f"-m node -o new -T {name} -p 192.0.2.1").status == 0
    return made


@contextmanager
def native(said: bytes) -> Iterator[None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said + b"\n")

    with peer(Env.from_environ(), behave):
        yield


def lines_without_plan(text: str) -> str:
    """What a login announces before it asks for anything comes first on stdout."""
    return "".join(line for line in text.splitlines(keepends=True) if "Logging in to" not in line)


@pytest.mark.parametrize("said", RELEASES)
@pytest.mark.parametrize(("command", "more"), COMMANDS)
def test_our_daemon(machine: Machine, said: bytes, command: str, more: str) -> None:
    """Status 16, and no record made from settings that are only guessed."""
    before = machine.files()
    with native(said):
        status, out, err = machine.run_line(command)
    assert (status, lines_without_plan(out)) == (16, "")
    assert err == RELEASES[said] + more
    assert machine.files() == before


def test_discovery(machine: Machine) -> None:
    said = next(iter(RELEASES))
    with native(said):
        status, out, err = machine.run_line("-m discovery -t st -p 192.0.2.9")
    assert (status, out) == (16, "")
    assert err == RELEASES[said]


def test_listings_do_without(machine: Machine) -> None:
    """As without any daemon, with nothing on stderr."""
    machine.session(1, NAMES[0], "192.0.2.1")
    with native(next(iter(RELEASES))):
        status, out, err = machine.run_line("-m session -P 1")
    assert (status, err) == (0, "")
    assert "iSCSI Connection State: Unknown" in out
    assert machine.run_line("-m node").out.count("\n") == 3


@pytest.mark.parametrize("size", [16136, 16108, 16000])
def test_open_iscsis_daemon(machine: Machine, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Its releases tell themselves apart by their structs' sizes; none other gets a login."""
    monkeypatch.setenv("PYISCSI_COMPAT_SOCKET", NAME)
    with FakeDaemon(size, answer) as daemon:
        status, out, err = machine.run_line("-m node -l")
    assert (status, lines_without_plan(out)) == (16, "")
    assert err.count("\n") == 1
    assert f"iscsiadm {__version__} knows open-iscsi's requests of {known_sizes()} bytes" in err
    assert "; this iscsid takes " in err
    assert {structs.decode_head(data).command for data in daemon.requests} == {10}
