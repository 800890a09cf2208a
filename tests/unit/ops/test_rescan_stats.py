"""Rescans side by side, statistics one after the other, and states of sessions."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pyiscsi.errors import DaemonError, IpcError, SysfsError
from pyiscsi.names import Pattern
from pyiscsi.ops import events
from pyiscsi.ops.context import Context
from pyiscsi.ops.rescan import rescan_all
from pyiscsi.ops.sessions import all_sessions, matching, states, version_lines
from pyiscsi.ops.stats import session_stats
from pyiscsi.sysfs.sessions import Session
from tests.unit.ops.daemon import COUNTERS, FakeDaemon
from tests.unit.sysfs.capture import env_of, unpack

WAIT_S = 30


def test_rescan_of_the_real_files(tmp_path: Path) -> None:
    """CLI-243, CLI-244, CLI-266: works without a daemon."""
    unpack("up", tmp_path)
    context = Context(env_of(tmp_path))
    reported: list[events.RescanEvent] = []
    assert rescan_all(all_sessions(context), reported.append) == 0
    assert [event.session.sid for event in reported] == [1, 2, 3, 4, 5, 6]
    for host in range(6):
        scan = Path(context.tree.real(f"class/scsi_host/host{host}/scan"))
        assert scan.read_text() == "- - -"


def test_rescans_run_side_by_side(context: Context) -> None:
    """One dead target delays no other: all of them are under way at the same time."""
    found = all_sessions(context)
    meeting = threading.Barrier(len(found), timeout=WAIT_S)

    def work(_session: Session) -> None:
        meeting.wait()

    assert rescan_all(found, lambda _event: None, work=work) == 0


def test_first_failure_decides_and_order_is_kept(context: Context) -> None:
    def work(session: Session) -> None:
        if session.sid in (2, 4):
            raise SysfsError(f"trouble {session.sid}")

    reported: list[events.RescanEvent] = []
    assert rescan_all(all_sessions(context), reported.append, work=work) == 22
    failures = [e for e in reported if isinstance(e, events.RescanFailed)]
    assert [(e.session.sid, e.line) for e in failures] == [(2, "trouble 2"), (4, "trouble 4")]


def test_deadline(context: Context) -> None:
    release = threading.Event()

    def work(session: Session) -> None:
        if session.sid == 1:
            release.wait(WAIT_S)

    reported: list[events.RescanEvent] = []
    try:
        status = rescan_all(all_sessions(context)[:2], reported.append, deadline_s=0.2, work=work)
    finally:
        release.set()
    assert status == 8
    assert isinstance(reported[-1], events.RescanFailed)
    assert reported[-1].session.sid == 1


def test_statistics_in_order(context: Context, daemon: FakeDaemon) -> None:
    """CLI-247, CLI-267: all are asked for before the first answer is taken."""
    found = list(session_stats(context, all_sessions(context)))
    assert [(one.session.sid, one.counters) for one in found] == [
        (sid, COUNTERS) for sid in range(1, 7)
    ]
    assert [one.custom for one in found] == [{"eh_abort_cnt": sid} for sid in range(1, 7)]


def test_statistics_stop_at_the_first_failure(context: Context, daemon: FakeDaemon) -> None:
    daemon.stats_codes = {3: 2}
    seen: list[int] = []
    with pytest.raises(DaemonError) as caught:
        seen.extend(one.session.sid for one in session_stats(context, all_sessions(context)))
    assert seen == [1, 2]
    assert caught.value.exit_code == 2


def test_statistics_without_daemon(context: Context) -> None:
    with pytest.raises(IpcError) as caught:
        list(session_stats(context, all_sessions(context)))
    assert caught.value.exit_code == 20


def test_states_in_one_request(context: Context, daemon: FakeDaemon) -> None:
    """CLI-255: fast however many sessions there are; odd answers are unknown states."""
    daemon.states = {
        "1": {"connection": "LOGGED IN", "internal": "NO CHANGE"},
        "2": {"connection": "", "internal": "REOPEN"},
        "99": {"connection": "LOGGED IN", "internal": "NO CHANGE"},
    }
    assert states(context, all_sessions(context)) == {
        1: ("LOGGED IN", "NO CHANGE"),
        2: ("Unknown", "REOPEN"),
    }
    assert daemon.of("session_info") == [{"sids": [1, 2, 3, 4, 5, 6]}]


def test_states_without_daemon(context: Context) -> None:
    """CLI-261."""
    assert states(context, all_sessions(context)) == {}
    assert context.notices == ["can not connect to iSCSI daemon (111)!"]


def test_matching(context: Context) -> None:
    assert [s.sid for s in matching(context, None)] == [1, 2, 3, 4, 5, 6]
    assert [s.sid for s in matching(context, Pattern())] == [1, 2, 3, 4, 5, 6]
    assert [s.sid for s in matching(context, Pattern(address="127.0.0.2"))] == [3]


def test_version_lines(context: Context, tmp_path: Path) -> None:
    """CLI-258: the kernel's line only if it can be read."""
    kernel, ours = version_lines(context)
    assert (kernel, ours) == ("iSCSI Transport Class version 2.0-870", "version 2.1.8")
    assert version_lines(Context(env_of(tmp_path))) == ["version 2.1.8"]
