"""Logout in every state of a session: it answers within logout_timeout + 1 s, and the session goes.

Each test forces a state with a target that misbehaves (tests/target), sees that it is reached, and
logs out. The bound is a promise of ours, so here a duration is asserted; how long a command takes
that asks for nothing is allowed on top, for a guest is slow.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyiscsi.proto.pdu import LogoutRequest
from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.target.behaviours import BEHAVIOURS
from tests.target.disk import READS, REPORT_LUNS
from tests.target.manners import CHAP, Manners
from tests.target.running import Targets, running
from tests.target.server import Target

pytestmark = pytest.mark.guest

LOGOUT_TIMEOUT_S = 3
ALLOWANCE_S = 1.0
CONFIGURATION = (
    "node.session.auth.authmethod = CHAP",
    f"node.session.auth.username = {CHAP.username}",
    f"node.session.auth.password = {CHAP.password}",
    f"node.conn[0].timeo.logout_timeout = {LOGOUT_TIMEOUT_S}",
    "node.conn[0].timeo.login_timeout = 30",
    "node.session.initial_login_retry_max = 8",
)
FAR = "10.77.0.2:3260"
SILENT: Manners = BEHAVIOURS["silent-3"].plan[0]
LOGIN_BROKEN_OFF = 5


@dataclass
class Case:
    """One session on its way into a state. `sid` is set when there is one."""

    lab: Lab
    targets: Targets
    name: str
    logged: int = 0
    """Length of the daemon's log before."""
    sid: int = 0
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    login: subprocess.Popen[bytes] | None = None

    @property
    def iqn(self) -> str:
        return f"iqn.2026-11.test:{self.name}"

    @property
    def target(self) -> Target:
        return self.targets[self.name]

    def record(self, portal: str = "") -> None:
        portal = portal or f"127.0.0.1:{self.target.port}"
        self.lab.adm(f"-m node -o new -T {self.iqn} -p {portal},1", 0)

    @property
    def log(self) -> str:
        """What the daemon has logged since the beginning of the test."""
        return self.lab.daemon.text()[self.logged :]

    def log_in(self) -> None:
        self.lab.login(self.iqn)
        self.sid = self.lab.only_session()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A command in the background, ended with the test."""
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        self.started.append(process)
        return process

    def start_login(self) -> None:
        self.login = self.start("iscsiadm", "-m", "node", "-T", self.iqn, "-l")

    def await_session(self) -> None:
        """A session whose target is known: what a logout by name looks for."""
        machine.wait_until(self._is_known, "the kernel knows the session")
        self.sid = self.lab.only_session()

    def _is_known(self) -> bool:
        sids = machine.session_ids()
        return bool(sids) and machine.session_value(sids[0], "targetname") == self.iqn

    def await_words(self, *words: str) -> None:
        """What `session -P 1` shows."""
        machine.wait_until(lambda: self.lab.state_words(self.sid) == words, f"{words}")

    def await_state(self, state: str) -> None:
        machine.wait_until(lambda: machine.session_value(self.sid, "state") == state, state)

    def fail(self, then: Manners | None = None) -> None:
        """Lose the connection; `then` is how the target meets the next login."""
        self.targets.behave(self.name, then)
        self.targets.release(self.name)
        machine.wait_until(
            lambda: machine.session_value(self.sid, "state") != "LOGGED_IN", "the session fails"
        )


# How each state is reached.


def _logged_in(case: Case) -> None:
    case.record()
    case.log_in()


def _no_answer_to_logout(case: Case) -> None:
    _logged_in(case)
    case.targets.release()


def _silent(case: Case) -> None:
    """Nobody has noticed yet."""
    _logged_in(case)
    case.targets.release()


def _in_login(case: Case) -> None:
    case.record()
    case.start_login()
    case.await_session()
    machine.wait_until(lambda: len(case.target.requests) >= 3, "the target has been asked")


def _between_attempts(case: Case) -> None:
    case.record()
    case.start_login()
    case.await_session()
    machine.wait_until(lambda: case.target.connections >= 3, "it was refused thrice")


def _scanning(case: Case) -> None:
    case.targets.release()
    case.record()
    case.start_login()
    machine.wait_until(lambda: REPORT_LUNS in case.target.commands, "the scan has begun")
    case.sid = case.lab.only_session()


def _time2wait(case: Case) -> None:
    case.record()
    case.log_in()
    case.fail()
    case.await_words("TRANSPORT WAIT", "REOPEN")


def _connecting(case: Case) -> None:
    """To where every packet is lost."""
    _network(case.lab)
    lio.create_target(case.iqn, [], chap=(CHAP.username, CHAP.password))
    lio.add_portal(case.iqn, FAR, netns="far")
    case.record(FAR)
    case.log_in()
    case.lab.netem("loss 100%")
    lio.set_enabled(case.iqn, False)
    case.await_words("TRANSPORT WAIT", "REOPEN")


def _network(lab: Lab) -> None:
    if not lab.undo:
        lab.network()


def _in_relogin(case: Case) -> None:
    case.record()
    case.log_in()
    case.fail(then=SILENT)
    case.await_words("IN LOGIN", "REOPEN")


def _adopted_dead(case: Case) -> None:
    """It fails while no daemon runs; the next one finds it so, and the target answers no login."""
    case.record()
    case.log_in()
    case.lab.daemon.kill()
    case.fail(then=SILENT)
    case.lab.daemon.start()


def _adopted_silent(case: Case) -> None:
    """Healthy as far as a daemon that has just started can tell."""
    case.record()
    case.log_in()
    case.lab.daemon.kill()
    case.targets.release()
    case.lab.daemon.start()


def _replacement_timeout(case: Case) -> None:
    case.record()
    case.log_in()
    [device] = machine.session_devices(case.sid)
    case.fail(then=SILENT)
    machine.wait_until(
        lambda: (device / "state").read_text() == "transport-offline\n", "the disk is offline"
    )


def _logging_out(case: Case) -> None:
    _no_answer_to_logout(case)
    case.start("iscsiadm", "-m", "session", "-r", str(case.sid), "-u")
    machine.wait_until(lambda: _was_asked_to_log_out(case.target), "the first Logout is out")


def _logging_out_for_target(case: Case) -> None:
    """The target has asked for a logout, and does not answer it."""
    case.record()
    case.log_in()
    case.targets.release()
    machine.wait_until(lambda: _was_asked_to_log_out(case.target), "the Logout is out")


def _was_asked_to_log_out(target: Target) -> bool:
    return any(isinstance(request, LogoutRequest) for request in target.requests)


def _endless_io(case: Case) -> None:
    """A read that the target never answers, while it answers every NOP-Out."""
    case.record()
    case.log_in()
    case.targets.release()
    _read(case)


def _error_handling(case: Case) -> None:
    """The SCSI layer has begun to abort such a read; nobody answers that either."""
    case.record()
    case.log_in()
    [device] = machine.session_devices(case.sid)
    (device / "timeout").write_text("1")
    case.targets.release()
    _read(case)
    machine.wait_until(lambda: case.target.aborts, "the target was asked to abort")


def _read(case: Case) -> None:
    before = len(case.target.commands)
    disk = f"/dev/{machine.disks(case.sid)[0]}"
    case.start("dd", f"if={disk}", "of=/dev/null", "bs=4k", "count=1", "skip=9", "iflag=direct")
    machine.wait_until(lambda: READS & {*case.target.commands[before:]}, "the read is out")


@dataclass(frozen=True)
class State:
    """The behaviour that leads to it, how, what becomes of a login in the background, settings."""

    behaviour: str
    force: Callable[[Case], None]
    login_status: int | None = None
    settings: tuple[str, ...] = ()


AT_ONCE = ("node.session.iscsi.DefaultTime2Wait = 0",)
LONG_WAIT = ("node.session.iscsi.DefaultTime2Wait = 60",)
OFFLINE_SOON = (*AT_ONCE, "node.session.timeo.replacement_timeout = 1")
OFTEN_ASKED = (
    "node.conn[0].timeo.noop_out_interval = 1",
    "node.conn[0].timeo.noop_out_timeout = 9",
)


STATES = {
    "logged in": State("good", _logged_in),
    "logged in, silent target": State("silent", _silent),
    "logged in, Logout unanswered": State("no-logout-answer", _no_answer_to_logout),
    "in login": State("silent-3", _in_login, LOGIN_BROKEN_OFF),
    "between login attempts": State("unavailable", _between_attempts, LOGIN_BROKEN_OFF),
    "scanning": State("no-luns", _scanning, 0),
    "Time2Wait": State("closed", _time2wait, settings=LONG_WAIT),
    "connecting again": State("good", _connecting, settings=AT_ONCE),
    "in login again": State("closed", _in_relogin, settings=AT_ONCE),
    "found failed by a new daemon": State("closed", _adopted_dead),
    "silent when a new daemon starts": State("silent", _adopted_silent),
    "replacement_timeout passed": State("closed", _replacement_timeout, settings=OFFLINE_SOON),
    "being logged out": State("no-logout-answer", _logging_out),
    "being logged out for the target": State("event-logout-silent", _logging_out_for_target),
    "I/O that never ends": State("no-data", _endless_io, settings=OFTEN_ASKED),
    "SCSI error handling": State("no-data", _error_handling),
}


@pytest.fixture(scope="module")
def longest() -> Iterator[dict[str, float]]:
    """Seconds that each logout took beyond a command that asks for nothing."""
    found: dict[str, float] = {}
    yield found
    if found:
        name = max(found, key=lambda each: found[each])
        machine.figure(
            f"logout in {len(found)} states: at most {found[name]:.1f} s ({name}), "
            f"logout_timeout {LOGOUT_TIMEOUT_S} s"
        )


def _idle_s() -> float:
    return machine.run("iscsiadm -m session").seconds


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """One daemon for all states."""
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def case(shared: Lab, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The target of the state the test is about, and a daemon without sessions."""
    state = STATES[request.getfixturevalue("name")]
    lines = (*CONFIGURATION, *state.settings)
    if shared.daemon.is_running:
        machine.write_configuration(machine.configuration(*lines))
    else:
        shared.start(*lines)
    with running([state.behaviour]) as targets:
        made = Case(shared, targets, state.behaviour, len(shared.daemon.text()))
        try:
            yield made
        finally:
            _end(made)


def _end(case: Case) -> None:
    """Sessions go before the processes are waited for: one may hang in a scan of theirs."""
    for process in case.started:
        process.kill()
    if machine.session_ids():
        if case.lab.daemon.process is not None:
            case.lab.daemon.process.kill()
        machine.drop_sessions()
        case.lab.daemon.kill()
    for process in case.started:
        process.wait()
    machine.clear_database()


@pytest.mark.parametrize("name", STATES)
def test_logout(name: str, case: Case, longest: dict[str, float]) -> None:
    """D-061, D-062, D-064: status 0 in time, the session gone, the daemon well."""
    STATES[name].force(case)
    idle_s = _idle_s()
    done = machine.run(f"iscsiadm -m node -T {case.iqn} -u")
    idle_s = max(idle_s, _idle_s())
    text = f"{done}\n{case.log}"
    assert done.rc == 0, text
    assert done.is_silent
    assert done.seconds < LOGOUT_TIMEOUT_S + ALLOWANCE_S + idle_s, text
    longest[name] = done.seconds - idle_s
    machine.wait_until(lambda: not machine.session_ids(), "the session is gone")
    machine.wait_until(_has_no_host, "the host is gone")
    _check_others(case, STATES[name].login_status)


def _has_no_host() -> bool:
    return not machine.host_numbers()


def _check_others(case: Case, login_status: int | None) -> None:
    if login_status is not None:
        assert case.login is not None
        assert case.login.wait(30) == login_status
    assert case.lab.daemon.is_running
    assert "Traceback" not in case.log
    assert "internal error" not in case.log


def test_logout_while_connecting(shared: Lab) -> None:
    """A first login that waits for its TCP connection has no session yet, and ends all the same."""
    lab = shared
    if not lab.daemon.is_running:
        lab.start(*CONFIGURATION)
    _network(lab)
    lab.netem("loss 100%")
    iqn = "iqn.2026-11.test:away"
    lab.adm(f"-m node -o new -T {iqn} -p {FAR},1", 0)
    idle_s = _idle_s()
    command = ["iscsiadm", "-m", "node", "-T", iqn, "-l"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as login:
        machine.wait_until(_is_connecting, "SYN is sent")
        done = machine.run(f"iscsiadm -m node -T {iqn} -u")
        idle_s = max(idle_s, _idle_s())
        _, err = login.communicate(timeout=30)
    assert (done.rc, done.err) == (0, ""), done
    portal = FAR.replace(":", ",")
    assert done.out == f"Login to [iface: default, target: {iqn}, portal: {portal}] given up.\n"
    assert done.seconds < ALLOWANCE_S + idle_s
    assert login.returncode == LOGIN_BROKEN_OFF
    assert b"Could not login to" in err
    assert not _is_connecting()


def _is_connecting() -> bool:
    """A TCP connection in SYN-SENT (02) in the kernel's list."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[3] == "02" for line in lines)
