"""iscsistart: a login without a daemon, taken over by one later."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.target.running import running

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:boot"
START = f"iscsistart -i {machine.INITIATOR} -t {IQN} -g 1 -a 127.0.0.1"


def test_login_without_a_daemon(idle_lab: Lab) -> None:
    """D-093, CLI-390, CLI-391: the session stays, a second run is told so."""
    lio.create_target(IQN, ["127.0.0.1:3260"], chap=("user", "usersecret12"))
    secrets = "-u user -w usersecret12"
    first = machine.run(f"{START} {secrets}")
    assert first.rc == 0, first
    assert f"iscsistart: Logging into {IQN} 127.0.0.1:3260,1\n" in first.out
    assert "is operational now" in first.out + first.err
    sid = idle_lab.only_session()
    assert machine.session_value(sid, "state") == "LOGGED_IN"
    assert machine.disks(sid)
    again = machine.run(f"{START} {secrets}")
    assert again.rc == 1
    assert "initiator reported error (15 - session exists)" in again.err
    assert machine.session_ids() == [sid]


def test_a_later_daemon_takes_over(idle_lab: Lab) -> None:
    """D-075: no relogin, and iscsiadm can end the session."""
    lio.create_target(IQN, ["127.0.0.1:3260"])
    assert machine.run(START).rc == 0
    sid = idle_lab.only_session()
    before = machine.connection_value(sid, "local_port")
    idle_lab.start()
    machine.wait_until(
        lambda: idle_lab.state_words(sid) == ("LOGGED IN", "NO CHANGE"), "iscsid took it over"
    )
    assert machine.connection_value(sid, "local_port") == before
    idle_lab.adm(f"-m session -r {sid} -u", 0)
    assert machine.session_ids() == []


def test_a_refused_login(idle_lab: Lab) -> None:
    """Status 1 and the reason, nothing left in the kernel."""
    lio.create_target(IQN, ["127.0.0.1:3260"], chap=("user", "usersecret12"))
    refused = machine.run(f"{START} -u user -w wrongsecret12")
    assert refused.rc == 1
    assert "initiator reported error (24 - " in refused.err
    assert machine.session_ids() == []


def test_a_key_on_the_console(idle_lab: Lab) -> None:
    """D-093: SIGINT does not end it; the retry window does."""
    settings = "initial_login_retry_max=1 -P node.conn[0].timeo.login_timeout=2"
    words = f"{START} -p 3999 -P node.session.{settings}".split()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == f"iscsistart: Logging into {IQN} 127.0.0.1:3999,1\n"
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=machine.COMMAND_S)
    assert run.returncode == 1
    assert "initiator reported error (8 - connection timed out)\n" in err


def test_a_portal_that_is_away(idle_lab: Lab) -> None:
    """CLI-392: given up when the retry window ends, nothing left in the kernel."""
    idle_lab.shell("ip link add near type dummy", "ip link del near")
    idle_lab.shell("ip addr add 10.77.0.1/24 dev near && ip link set near up")
    window = "initial_login_retry_max=1 -P node.conn[0].timeo.login_timeout=2"
    words = f"iscsistart -i {machine.INITIATOR} -t {IQN} -g 1 -a 10.77.0.2"
    done = machine.run(f"{words} -P node.session.{window}")
    assert done.rc == 1
    assert done.out == f"iscsistart: Logging into {IQN} 10.77.0.2:3260,1\n"
    assert "initiator reported error (8 - connection timed out)\n" in done.err
    assert machine.session_ids() == []


def test_terminated(idle_lab: Lab) -> None:
    """SIGTERM in the middle of a login leaves no half-made session behind."""
    with running(["silent-3"]) as targets:
        target = targets["silent-3"]
        words = f"iscsistart -i {machine.INITIATOR} -t iqn.2026-11.test:silent-3 -g 1 -a 127.0.0.1"
        command = f"{words} -p {target.port} -u user -w secret-secret".split()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
            machine.wait_until(lambda: len(target.requests) >= 3, "the target has been asked")
            assert machine.session_ids()
            run.terminate()
            _, err = run.communicate(timeout=machine.COMMAND_S)
    assert (run.returncode, "iscsistart: terminated\n" in err) == (1, True), err
    assert machine.session_ids() == []
