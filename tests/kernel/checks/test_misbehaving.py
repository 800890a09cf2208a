"""Targets that misbehave (tests/target), a real kernel, our iscsid, and a good session beside them.

All behaviours of a kind are played at once, in the fixtures; the tests look at what came of each.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from pyiscsi.proto.pdu import RESERVED_TAG, LogoutRequest, NopOut
from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.kernel.machine import Done
from tests.target.behaviours import BEHAVIOURS, DISCOVERY, LOGIN, SESSION, TAG, TIME2WAIT_S
from tests.target.disk import REPORT_LUNS
from tests.target.manners import CHAP
from tests.target.running import Targets, running
from tests.target.server import Target

pytestmark = pytest.mark.guest

HEALTHY = "iqn.2026-11.test:healthy"
PORTAL = "127.0.0.1:3260"
LOGIN_TIMEOUT_S = 8
PATIENCE_S = 60
CONFIGURATION = (
    "node.session.auth.authmethod = CHAP",
    f"node.session.auth.username = {CHAP.username}",
    f"node.session.auth.password = {CHAP.password}",
    "discovery.sendtargets.auth.authmethod = CHAP",
    f"discovery.sendtargets.auth.username = {CHAP.username}",
    f"discovery.sendtargets.auth.password = {CHAP.password}",
    f"node.conn[0].timeo.login_timeout = {LOGIN_TIMEOUT_S}",
    "node.session.initial_login_retry_max = 1",
    "node.session.scan = manual",
)
END_S = 90.0
"""Longest that any of this may take; far above what is set above."""


def _iqn(name: str) -> str:
    return f"iqn.2026-11.test:{name}"


def _selected(request: pytest.FixtureRequest, test: str, names: Iterable[str]) -> list[str]:
    """The behaviours that this run's tests of that name look at; all, if there are none."""
    items = [item for item in request.session.items if item.path == request.path]
    asked = {
        item.callspec.params["name"]
        for item in items
        if getattr(item, "originalname", "") == test and hasattr(item, "callspec")
    }
    return [name for name in names if not asked or name in asked]


@contextmanager
def _lab(*configuration: str) -> Iterator[Lab]:
    """A lab with a session to a good target, `HEALTHY`."""
    machine.write_configuration(machine.configuration())
    lab = Lab()
    try:
        lab.start(*CONFIGURATION, *configuration)
        lio.create_target(HEALTHY, [PORTAL], chap=(CHAP.username, CHAP.password))
        lab.adm(f"-m node -o new -T {HEALTHY} -p {PORTAL},1", 0)
        lab.set(HEALTHY, {"node.session.scan": "auto"})
        lab.login(HEALTHY)
        yield lab
    finally:
        lab.close()


def _about(name: str, log: str) -> str:
    """The lines of the log that are about one target."""
    return "\n".join(line for line in log.splitlines() if f"{_iqn(name)}," in line)


def _sids() -> dict[str, int]:
    """Sid of each session by the last part of its target's name."""
    found = {}
    for sid in machine.session_ids():
        with suppress(OSError):  # it has just gone
            found[machine.session_value(sid, "targetname").rpartition(":")[2]] = sid
    return found


_WORDS = re.compile(
    r"\bSID: (\d+)\n.*?iSCSI Connection State: ([^\n]*)\n.*?iscsid Session State: ([^\n]*)\n",
    re.DOTALL,
)


def _states_shown() -> dict[int, tuple[str, str]]:
    """What `session -P 1` says of each session."""
    shown = machine.run("iscsiadm -m session -P 1").out
    return {int(sid): (connection, stage) for sid, connection, stage in _WORDS.findall(shown)}


@dataclass
class Aftermath:
    """What was there when everything had been played."""

    sessions: dict[str, int] = field(default_factory=dict)
    half_made: list[int] = field(default_factory=list)
    is_running: bool = False
    healthy_read: Done | None = None
    log: str = ""

    def look(self, lab: Lab) -> None:
        sids = machine.session_ids()
        self.half_made = [sid for sid in sids if machine.session_value(sid, "state") == "FREE"]
        self.sessions = _sids()
        self.is_running = lab.daemon.is_running
        disk = machine.disks(self.sessions["healthy"])[0]
        self.healthy_read = machine.run(
            f"dd if=/dev/{disk} of=/dev/null bs=64k count=4 iflag=direct"
        )
        self.log = lab.daemon.text()

    def check(self) -> None:
        """The daemon lives without a bug, the good session was never disturbed."""
        assert self.is_running
        assert "Traceback" not in self.log
        assert "internal error" not in self.log
        assert self.half_made == []
        assert self.healthy_read is not None
        assert self.healthy_read.rc == 0, self.healthy_read
        healthy = self.sessions["healthy"]
        lost = re.compile(
            rf"(iSCSI connection |connection){healthy}:0 (error|is operational after)"
        )
        assert not lost.search(self.log), self.log


# Logins.

BROKEN = (19, "encountered non-retryable iSCSI login failure")
SILENT = (11, "iSCSI PDU timed out")
UNREACHED = (8, "connection timed out")
DENIED = (24, "iSCSI login failed due to authorization failure")
LOGIN_STATUS: dict[str, tuple[int, str] | None] = {
    # None: logged in
    **{f"drops-{step}": SILENT for step in range(1, 5)},
    **{f"silent-{step}": SILENT for step in range(1, 5)},
    **{f"resets-{step}": SILENT for step in range(1, 5)},
    "closes": SILENT,
    "late": None,
    "byte-by-byte": None,
    "in-parts": None,
    "endless-parts": BROKEN,
    "never-moves-on": BROKEN,
    "half-a-pdu": SILENT,
    "http": SILENT,
    "other-pdu": BROKEN,
    "nop-in-login": None,
    "event-in-login": BROKEN,
    "oversized": SILENT,
    "wrong-tag": SILENT,
    "wrong-stage": BROKEN,
    "wrong-next-stage": BROKEN,
    "wrong-version": BROKEN,
    "same-key-twice": BROKEN,
    "security-key-late": BROKEN,
    "unknown-keys": None,
    "digest-not-offered": BROKEN,
    "number-out-of-range": BROKEN,
    "empty-challenge": BROKEN,
    "long-challenge": BROKEN,
    "refuses-credentials": DENIED,
    "not-found": BROKEN,
    "unavailable": UNREACHED,
    "unknown-status": BROKEN,
    "redirect-loop": BROKEN,
    "redirect-nowhere": BROKEN,
    "redirect-nonsense": BROKEN,
    "redirect-refused": UNREACHED,
    "drops-behind-login": None,
}
_FAILURE = re.compile(
    r"Could not login to \[iface: default, target: \S+:(\S+), portal: [^]]*\]\.\n"
    r"iscsiadm: initiator reported error \((\d+) - (.*)\)\n"
)


@dataclass
class Logins:
    """`failures`: status and words by behaviour; a login that succeeded has none."""

    commands: list[Done] = field(default_factory=list)
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    aftermath: Aftermath = field(default_factory=Aftermath)

    def play(self, lab: Lab, names: list[str], login_timeout_s: int) -> None:
        """One command logs in to all of these."""
        if not names:
            return
        with running([*names, "good"]) as targets:
            lab.adm(f"-m discovery -t st -p 127.0.0.1:{targets['good'].port}", 0)
            lab.adm(f"-m node -T {_iqn('good')} -o delete", 0)
            timeout = "node.conn[0].timeo.login_timeout"
            lab.adm(f"-m node -o update -n '{timeout}' -v {login_timeout_s}", 0)
            done = lab.adm("-m node -l")
            self.commands.append(done)
            for name, code, words in _FAILURE.findall(done.err):
                self.failures[name] = int(code), words
            wanted = {"healthy"} | {name for name in LOGIN if LOGIN_STATUS[name] is None}
            machine.wait_until(lambda: set(_sids()) <= wanted, "failed logins are undone")
            self.aftermath.look(lab)


@pytest.fixture(scope="module")
def logins(request: pytest.FixtureRequest) -> Logins:
    """All of them; those that are tried again until their time is up get little of it."""
    names = _selected(request, "test_login", LOGIN)
    tried_again = [name for name in names if LOGIN_STATUS[name] in (SILENT, UNREACHED)]
    found = Logins()
    with _lab() as lab:
        found.play(lab, tried_again, LOGIN_TIMEOUT_S)
        for name in tried_again:
            lab.shell(f"rm -r /etc/iscsi/nodes/{_iqn(name)}")
        found.play(lab, [name for name in names if name not in tried_again], PATIENCE_S)
    return found


@pytest.mark.parametrize("name", LOGIN)
def test_login(name: str, logins: Logins) -> None:
    """A login ends with the status of what the target did, and leaves a session only with 0."""
    expected = LOGIN_STATUS[name]
    assert logins.failures.get(name) == expected, _about(name, logins.aftermath.log)
    assert (name in logins.aftermath.sessions) == (expected is None)


def test_bad_logins_disturb_nobody(logins: Logins) -> None:
    """All of them at once, within the window of each; nothing is left of those that fail."""
    for done in logins.commands:
        # 15: the good session is there already
        assert done.rc in {15, *(status for status, _ in logins.failures.values())}
        assert done.seconds < END_S
    logins.aftermath.check()


# Discoveries.

DISCOVERY_STATUS: dict[str, tuple[int, str]] = {
    "drops-text": (11, "terminating after hangup"),
    "silent-text": (11, "timed out"),
    "wrong-tag-text": (11, "answers another task"),
    "oversized-text": (11, "over the limit of 32768"),
    "other-pdu-text": (11, "opcode 0x26"),
    "no-logout": (0, ""),
    "text-in-parts": (0, ""),
    "path-as-name": (0, ""),
}


@pytest.fixture(scope="module")
def discoveries(request: pytest.FixtureRequest) -> dict[str, Done]:
    """A discovery of each, all at once."""
    names = _selected(request, "test_discovery", DISCOVERY)
    silence = (
        "discovery.sendtargets.timeo.active_timeout = 5",
        "discovery.sendtargets.reopen_max = 0",
    )
    with _lab(*silence) as lab, running(names) as targets:
        commands = {
            name: subprocess.Popen(
                ["iscsiadm", "-m", "discovery", "-t", "st", "-p", f"127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, port in ((name, targets[name].port) for name in names)
        }
        done = {}
        for name, command in commands.items():
            out, err = command.communicate(timeout=END_S)
            done[name] = Done(f"discovery of {name}", command.returncode, out, err, 0.0)
        aftermath = Aftermath()
        aftermath.look(lab)
        aftermath.check()
    return done


@pytest.mark.parametrize("name", DISCOVERY)
def test_discovery(name: str, discoveries: dict[str, Done]) -> None:
    """D-082: the status of the cause and its words; what is found is found all the same."""
    status, words = DISCOVERY_STATUS[name]
    done = discoveries[name]
    assert done.rc == status, done
    assert words in done.err
    if status == 0:
        assert done.err == ""
        found = "fine" if name == "path-as-name" else name
        assert _iqn(found) in done.out
        assert ".." not in done.out


# Sessions.


def _logged_out(target: Target) -> bool:
    return [r.reason for r in target.requests if isinstance(r, LogoutRequest)][:1] == [0]


def _waited(target: Target) -> bool:
    """Event 2 and 3: Time2Wait is the target's."""
    return target.connected_at[1] - target.released_at >= TIME2WAIT_S


def _answers(target: Target) -> list[int]:
    """Transfer tags of NOP-Outs that answer a NOP-In."""
    return [
        request.target_transfer_tag
        for request in target.requests
        if isinstance(request, NopOut) and request.initiator_task_tag == RESERVED_TAG
    ]


def _anything(target: Target) -> bool:
    return True


@dataclass(frozen=True)
class Course:
    """What must be in the log (with the session's numbers in it), what the target must have seen.

    `lost`: the connection ends, and a later one of the plan brings the session back.
    """

    logged: str = ""
    lost: bool = True
    seen: Callable[[Target], bool] = _anything


KERNEL = "Kernel reported iSCSI connection {}:0 error "
COURSES = {
    "good": Course(lost=False),
    "event-scsi": Course(lost=False, seen=lambda t: t.commands.count(REPORT_LUNS) > 1),
    "event-logout": Course(
        "connection{}:0: Target requests logout within 7 seconds", seen=_logged_out
    ),
    "event-drop": Course("connection{}:0: Target drops the connection", seen=_waited),
    "event-drop-all": Course("connection{}:0: Target drops the connection", seen=_waited),
    "event-renegotiate": Course("connection{}:0: Target requests renegotiation"),
    "event-vendor": Course("connection{}:0: AEN not supported (event 255)", lost=False),
    "event-unknown": Course("connection{}:0: AEN not supported (event 77)", lost=False),
    "nop-in": Course(lost=False, seen=lambda t: _answers(t) == [TAG]),
    "nop-in-untagged": Course(lost=False, seen=lambda t: _answers(t) == []),
    "nop-in-stray": Course(KERNEL + "(1010"),
    "logout-stray": Course(KERNEL + "(1010"),
    "text-stray": Course(KERNEL + "(1010"),
    "reject-stray": Course(lost=False),
    "unknown-opcode": Course(KERNEL + "(1005"),
    "oversized-pdu": Course(KERNEL + "(1006"),
    "half-a-header": Course(KERNEL + "(1022"),
    "bad-header-digest": Course(KERNEL + "(1014"),
    "closed": Course(KERNEL + "(1020"),
    "reset": Course(KERNEL + "(10"),
    "silent": Course(KERNEL + "(1022"),
    "wrong-tag-io": Course(KERNEL + "(1010"),
    "back-refused": Course("login rejected: initiator failed authorization with target (02/01)"),
    "back-looping": Course("redirected more than 5 times"),
    "back-silent": Course("no answer to the login in time"),
}
PLAYED = [name for name in SESSION if name in COURSES]
WITH_DISK = {"event-scsi", "wrong-tag-io"}
WATCHED = {"silent", "half-a-header"}
"""Whose silence only NOP-Outs can find."""
LISTING = "text-in-parts"
STEADY_S = 1.0
"""How long one that must stay is looked at."""


@dataclass
class Visit:
    """One session's story."""

    target: Target
    sid: int
    log: str = ""
    state: str = ""
    words: tuple[str, str] = ("", "")


@dataclass
class Visits:
    of: dict[str, Visit]
    logout: Done
    left: list[int]
    aftermath: Aftermath


def _prepare(lab: Lab, targets: Targets, names: list[str]) -> dict[str, int]:
    """Log in to all these; the sids. Plans begin with the login: another one is asked for them."""
    lab.adm(f"-m discovery -t st -p 127.0.0.1:{targets[LISTING].port}", 0)
    lab.adm(f"-m node -T {_iqn(LISTING)} -o delete", 0)
    for name in names:
        if name in WITH_DISK:
            lab.set(_iqn(name), {"node.session.scan": "auto"})
        if name in WATCHED:
            timers = {"noop_out_interval": 1, "noop_out_timeout": 2}
            lab.set(_iqn(name), {f"node.conn[0].timeo.{key}": n for key, n in timers.items()})
        if name == "bad-header-digest":
            lab.set(_iqn(name), {"node.conn[0].iscsi.HeaderDigest": "CRC32C,None"})
    done = lab.adm("-m node -l")
    sids = _sids()
    assert set(sids) == {"healthy", *names}, done
    return sids


def _is_over(visit: Visit, course: Course, plan: int, log: str) -> bool:
    """Whether what must come has come."""
    if course.lost:
        back = f"connection{visit.sid}:0 is operational after recovery"
        if back not in log or visit.target.connections < plan:
            return False
    return course.logged.format(visit.sid) in log and course.seen(visit.target)


def _play(lab: Lab, targets: Targets, visits: dict[str, Visit]) -> None:
    """Let the targets loose and wait until everything expected has happened, or time is up."""
    reader = None
    if "wrong-tag-io" in visits:
        disk = machine.disks(visits["wrong-tag-io"].sid)[0]
        reader = ["dd", f"if=/dev/{disk}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct"]
    targets.release()
    reading = subprocess.Popen(reader, stderr=subprocess.DEVNULL) if reader else None
    deadline = time.monotonic() + END_S
    waiting = dict(visits)
    while waiting and time.monotonic() < deadline:
        log = lab.daemon.text()
        waiting = {
            name: visit
            for name, visit in waiting.items()
            if not _is_over(visit, COURSES[name], len(BEHAVIOURS[name].plan), log)
        }
        time.sleep(0.1)
    time.sleep(STEADY_S)
    if reading is not None:
        reading.wait(END_S)


@pytest.fixture(scope="module")
def visits(request: pytest.FixtureRequest) -> Visits:
    """All sessions at once: logged in, let loose, looked at, logged out."""
    names = _selected(request, "test_session", PLAYED)
    with _lab() as lab, running([*names, LISTING]) as targets:
        sids = _prepare(lab, targets, names)
        found = {name: Visit(targets[name], sids[name]) for name in names}
        _play(lab, targets, found)
        aftermath = Aftermath()
        aftermath.look(lab)
        shown = _states_shown()
        for visit in found.values():
            visit.log = aftermath.log
            if visit.sid in aftermath.sessions.values():
                visit.state = machine.session_value(visit.sid, "state")
                visit.words = shown[visit.sid]
        logout = lab.adm("-m session -u")
        return Visits(found, logout, machine.session_ids(), aftermath)


@pytest.mark.parametrize("name", PLAYED)
def test_session(name: str, visits: Visits) -> None:
    """D-054: what the target did is told and met; the session is there again, or still."""
    visit, course = visits.of[name], COURSES[name]
    about = _about(name, visit.log)
    assert course.logged.format(visit.sid) in visit.log, about
    assert course.seen(visit.target)
    back = f"connection{visit.sid}:0 is operational after recovery"
    assert (back in visit.log) == course.lost, about
    assert (visit.target.connections == 1) == (not course.lost)
    assert visit.state == "LOGGED_IN"
    assert visit.words == ("LOGGED IN", "NO CHANGE")


def test_bad_sessions_disturb_nobody(visits: Visits) -> None:
    """The daemon has no bug to report, the good session was never lost, logout ends them all."""
    visits.aftermath.check()
    assert visits.logout.rc == 0, visits.logout
    assert visits.left == []


# A target that stands still.


def test_half_open(lab: Lab) -> None:
    """A stopped target, then a link that loses everything: noticed by NOPs, back afterwards."""
    lab.network()
    lab.start(*CONFIGURATION)
    command = [sys.executable, "-m", "tests.target", "--portal", "10.77.0.2:3260", "good"]
    target = subprocess.Popen(
        ["ip", "netns", "exec", "far", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert target.stdout is not None
        assert target.stdout.readline().startswith("good ")
        lab.adm(f"-m node -o new -T {_iqn('good')} -p 10.77.0.2:3260,1", 0)
        timers = {"noop_out_interval": 1, "noop_out_timeout": 2, "login_timeout": 3}
        settings = {f"node.conn[0].timeo.{key}": n for key, n in timers.items()}
        lab.set(_iqn("good"), {**settings, "node.session.iscsi.DefaultTime2Wait": 0})
        lab.login(_iqn("good"))
        sid = lab.only_session()
        for stop, go_on in (
            (lambda: target.send_signal(19), lambda: target.send_signal(18)),
            (lambda: lab.netem("loss 100%"), lambda: lab.netem("")),
        ):
            stop()
            machine.wait_until(
                lambda: machine.session_value(sid, "state") == "FAILED", "the silence is noticed"
            )
            go_on()
            machine.wait_until(
                lambda: machine.session_value(sid, "state") == "LOGGED_IN", "it is back"
            )
        assert lab.daemon.text().count("(1022 - ISCSI_ERR_NOP_TIMEDOUT") >= 2, lab.daemon.text()
        lab.adm(f"-m session -r {sid} -u", 0)
    finally:
        target.kill()
        target.communicate()
    assert machine.session_ids() == []
    assert "Traceback" not in lab.daemon.text()
