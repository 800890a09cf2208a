"""Either half with the other's: open-iscsi's iscsiadm and our daemon, ours and its daemon."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.kernel.machine import Done

pytestmark = [pytest.mark.guest, pytest.mark.upstream]

PORTALS = ["127.0.0.1:3260"]
IQN = "iqn.2026-11.test:compat"
USER = ("joe", "secret-of-joe-12")
TARGET = ("tgt", "secret-of-tgt-12")
AUTH = "node.session.auth."
ADDRESS = "\0ISCSIADM_ABSTRACT_NAMESPACE"


def adm(lab: Lab, arguments: str, status: int = 0) -> Done:
    """Run Debian's iscsiadm; any other status fails the test."""
    done = machine.run(f"/usr/sbin/iscsiadm {arguments}")
    machine.settle()
    assert done.rc == status, f"{done}\n--- daemon\n{lab.daemon.text()[-4000:]}"
    return done


def discover(lab: Lab) -> None:
    adm(lab, "-m discovery -t st -p 127.0.0.1")


def chap(lab: Lab, password: str = USER[1]) -> None:
    values = {
        "authmethod": "CHAP",
        "username": USER[0],
        "password": password,
        "username_in": TARGET[0],
        "password_in": TARGET[1],
    }
    for name, value in values.items():
        adm(lab, f"-m node -T {IQN} -o update -n {AUTH}{name} -v {value}")


def test_whole_life(lab: Lab) -> None:
    """D-005: discovery, CHAP, login, -P 3, statistics, rescan, logout and -k 0."""
    lio.create_target(IQN, PORTALS, luns=1, chap=USER, mutual=TARGET)
    discover(lab)
    chap(lab)
    login = adm(lab, f"-m node -T {IQN} -l")
    assert login.out.endswith(f"target: {IQN}, portal: 127.0.0.1,3260] successful.\n")
    sid = lab.only_session()
    assert machine.session_value(sid, "username_in") == TARGET[0]
    tree = adm(lab, "-m session -P 3").out
    assert "iSCSI Connection State: LOGGED IN\n" in tree
    assert "iSCSI Session State: LOGGED_IN\n" in tree
    assert "Internal iscsid Session State: NO CHANGE\n" in tree
    assert f"Attached scsi disk {machine.disks(sid)[0]}" in tree
    statistics = adm(lab, "-m session -s").out
    counters = dict(re.findall(r"^\t(\w+): (\d+)$", statistics, re.MULTILINE))
    assert int(counters["scsicmd_pdus"]) > 0
    assert int(counters["rxdata_octets"]) > 0
    assert "eh_abort_cnt" in counters
    assert "iSCSI Extended:\n" in statistics
    lio.add_lun(IQN, 1)
    adm(lab, f"-m session -r {sid} -R")
    assert len(machine.disks(sid)) == 2
    adm(lab, f"-m node -T {IQN} -u")
    assert machine.session_ids() == []
    adm(lab, "-k 0")
    assert lab.daemon.process is not None
    assert lab.daemon.process.wait(60) == 0


def test_refused_login(lab: Lab) -> None:
    """D-005: the status of a failed login arrives: a wrong secret is 24."""
    lio.create_target(IQN, PORTALS, chap=USER, mutual=TARGET)
    discover(lab)
    chap(lab, password="not-the-secret-1")
    done = adm(lab, f"-m node -T {IQN} -l", 24)
    assert "initiator reported error (24 - " in done.err
    assert machine.session_ids() == []


def test_many_at_once(lab: Lab) -> None:
    """D-005: iscsiadm opens one connection for each login and each logout."""
    names = [f"{IQN}-{number}" for number in range(6)]
    for name in names:
        lio.create_target(name, PORTALS)
    discover(lab)
    done = adm(lab, "-m node -l")
    assert done.out.count("successful.") == len(names)
    assert len(machine.session_ids()) == len(names)
    assert adm(lab, "-m node -u").out.count("successful.") == len(names)
    assert machine.session_ids() == []


def test_without_waiting(lab: Lab) -> None:
    """D-009: a client that leaves at once (-W) gets its session all the same."""
    lio.create_target(IQN, PORTALS)
    discover(lab)
    adm(lab, f"-m node -T {IQN} -l -W")
    machine.wait_until(machine.session_ids, "the session appears")
    sid = lab.only_session()
    machine.wait_until(lambda: machine.disks(sid), "its disk appears")


def test_one_more_session(lab: Lab) -> None:
    """D-005: `-o new` on a session asks for one more of the same record."""
    lio.create_target(IQN, PORTALS)
    discover(lab)
    adm(lab, f"-m node -T {IQN} -l")
    adm(lab, f"-m session -r {lab.only_session()} -o new")
    assert len(machine.session_ids()) == 2


def test_silent_clients_stop_nobody(lab: Lab) -> None:
    """D-007: clients that connect and send nothing, or too little, delay no other."""
    lio.create_target(IQN, PORTALS)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    try:
        for number, client in enumerate(silent):
            client.connect(ADDRESS)
            client.sendall(bytes(number * 5000))
        discover(lab)
        adm(lab, f"-m node -T {IQN} -l")
        assert "LOGGED IN" in adm(lab, "-m session -P 1").out
    finally:
        for client in silent:
            client.close()


def test_both_programs_at_once(lab: Lab) -> None:
    """Our iscsiadm ends the session that open-iscsi's began."""
    lio.create_target(IQN, PORTALS)
    discover(lab)
    adm(lab, f"-m node -T {IQN} -l")
    lab.adm(f"-m node -T {IQN} -u", 0)
    assert "No active sessions" in adm(lab, "-m session", 21).err


@pytest.fixture
def foreign(idle_lab: Lab) -> Lab:
    """A lab with open-iscsi's daemon, while iscsiadm stays ours."""
    with machine.using("debian"):
        idle_lab.start()
    assert idle_lab.daemon.process is not None
    program = Path(f"/proc/{idle_lab.daemon.process.pid}/exe").resolve()
    assert program.name == "iscsid"
    return idle_lab


def test_our_command_and_its_daemon(foreign: Lab) -> None:
    """D-006: discovery, CHAP, login, -P 3, statistics, rescan, logout and -k 0."""
    lio.create_target(IQN, PORTALS, luns=1, chap=USER, mutual=TARGET)
    foreign.discover()
    foreign.chap(IQN, *USER, *TARGET)
    login = foreign.login(IQN)
    assert login.out.endswith(f"target: {IQN}, portal: 127.0.0.1,3260] successful.\n")
    assert login.err == ""
    sid = foreign.only_session()
    assert machine.session_value(sid, "username_in") == TARGET[0]
    assert foreign.state_words(sid) == ("LOGGED IN", "NO CHANGE")
    tree = foreign.adm("-m session -P 3", 0).out
    machine.wait_until(lambda: machine.disks(sid), "the disk appears")
    assert "Attached scsi disk" in foreign.adm("-m session -P 3", 0).out, tree
    statistics = foreign.adm("-m session -s", 0).out
    assert re.search(r"^\tscsicmd_pdus: [1-9]", statistics, re.MULTILINE)
    assert "eh_abort_cnt: 0" in statistics
    lio.add_lun(IQN, 1)
    foreign.adm(f"-m session -r {sid} -R", 0)
    assert len(machine.disks(sid)) == 2
    foreign.adm(f"-m node -T {IQN} -u", 0)
    assert machine.session_ids() == []
    foreign.adm("-k 0", 0)
    assert foreign.daemon.process is not None
    assert foreign.daemon.process.wait(60) == 0


def test_its_daemon_refuses(foreign: Lab) -> None:
    """D-006: the status of open-iscsi's daemon becomes ours; its answer to a second login, too."""
    lio.create_target(IQN, PORTALS, chap=USER)
    foreign.discover()
    foreign.chap(IQN, USER[0], "not-the-secret-1")
    done = foreign.login(IQN, 24)
    assert "initiator reported error (24 - " in done.err


def test_its_daemon_and_many_logins(foreign: Lab) -> None:
    """D-006: one connection for each login, all sent before the first answer is awaited."""
    names = [f"{IQN}-{number}" for number in range(6)]
    for name in names:
        lio.create_target(name, PORTALS)
    foreign.discover()
    assert foreign.adm("-m node -l", 0).out.count("successful.") == len(names)
    first = machine.session_ids()[0]
    foreign.adm(f"-m session -r {first} -o new", 0)
    assert len(machine.session_ids()) == len(names) + 1
    foreign.adm("-m session -u", 0)
    assert machine.session_ids() == []


def test_its_daemon_and_a_short_request(foreign: Lab) -> None:
    """D-006: why the probe ends its side: a request shorter than the daemon's is then let go."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(ADDRESS)
        client.sendall(bytes(16000))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""
    assert foreign.adm("-m session", 21).rc == 21
    foreign.adm("-k 0", 0)


def test_its_daemon_has_stopped(foreign: Lab) -> None:
    """`-k 0` does not wait for a daemon that hangs; it works once the daemon goes on."""
    assert foreign.daemon.process is not None
    foreign.daemon.process.send_signal(signal.SIGSTOP)
    assert foreign.adm("-k 0", 33).err.startswith("iscsiadm: iscsid request timed out\n")
    foreign.daemon.process.send_signal(signal.SIGCONT)
    foreign.adm("-k 0", 0)
    assert foreign.daemon.process.wait(60) == 0


def test_ours_beside_its_daemon(foreign: Lab) -> None:
    """D-002: open-iscsi's iscsid has the name, so ours is the second instance: status 1."""
    done = machine.run("iscsid -f", timeout_s=60)
    assert (done.rc, done.out) == (1, "")
    assert (
        "Can not bind IPC socket @ISCSIADM_ABSTRACT_NAMESPACE: Address already in use" in done.err
    )
    assert foreign.daemon.is_running


SQUAT = f"""
import os, socket, sys, time
os.setuid(65534)
listener = socket.socket(socket.AF_UNIX)
listener.bind({ADDRESS!r})
listener.listen(8)
print("mine", flush=True)
sys.stdin.read()
"""


def test_a_user_takes_the_name(idle_lab: Lab) -> None:
    """Our iscsid works all the same, and answers open-iscsi's once the name is free again."""
    lio.create_target(IQN, PORTALS)
    squatter = subprocess.Popen(
        [sys.executable, "-c", SQUAT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert squatter.stdout is not None
    assert squatter.stdin is not None
    with squatter:
        try:
            assert squatter.stdout.readline() == b"mine\n"
            idle_lab.daemon.start()
            machine.wait_until(Path("/run/iscsid.sock").exists, "the native socket is there")
            idle_lab.discover()
            idle_lab.login(IQN)
            held = f"is held by process {squatter.pid} of user 65534, which is no iscsid"
            assert held in idle_lab.daemon.text()
        finally:
            squatter.stdin.close()
    machine.wait_until(lambda: "is free now" in idle_lab.daemon.text(), "the name is ours")
    assert adm(idle_lab, "-m session -P 1").out.count("LOGGED IN") == 1
    adm(idle_lab, "-m session -u")
