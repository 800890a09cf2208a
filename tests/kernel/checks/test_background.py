"""What the daemon does unasked: discoveryd, and automatic logins that wait for their targets."""

from __future__ import annotations

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

PORTAL = "127.0.0.1:3260"
ONE, TWO, OTHER = (f"iqn.2026-11.test:{name}" for name in ("one", "two", "other"))
SHORT = ("node.conn[0].timeo.login_timeout = 2", "node.session.initial_login_retry_max = 1")


def logged_in() -> set[str]:
    """Names of the targets that have a session."""
    lines = machine.run("iscsiadm -m session").out.splitlines()
    return {line.split()[3] for line in lines}


def wait_for(targets: set[str], timeout_s: float) -> None:
    """Until exactly these targets have a session."""
    machine.wait_until(lambda: logged_in() == targets, f"sessions {targets}", timeout_s)


def polled(lab: Lab, interval: int) -> None:
    """A discovery record for the portal that discoveryd asks every `interval` seconds."""
    lab.watch("st", "sendtargets", "127.0.0.1", interval)


def test_logs_in_to_what_appears_and_out_of_what_vanishes(idle_lab: Lab) -> None:
    """D-085: new portals within an interval, vanished ones too; no node record is written."""
    lio.create_target(ONE, [PORTAL])
    polled(idle_lab, 1)
    idle_lab.start(*SHORT)
    wait_for({ONE}, 20)
    lio.create_target(TWO, [PORTAL])
    wait_for({ONE, TWO}, 20)
    lio.delete_target(ONE)
    wait_for({TWO}, 40)
    assert idle_lab.adm("-m node").rc == 21


def test_leaves_alone_what_it_did_not_make(idle_lab: Lab) -> None:
    """D-085: a session somebody logged in to by hand is not logged out with its portal."""
    lio.create_target(OTHER, [PORTAL])
    idle_lab.start(*SHORT)
    idle_lab.discover()
    idle_lab.login(OTHER)
    lio.create_target(ONE, [PORTAL])
    lio.create_target(TWO, [PORTAL])
    polled(idle_lab, 1)
    idle_lab.shell("pkill -HUP -x iscsid")
    wait_for({ONE, TWO, OTHER}, 40)
    lio.delete_target(OTHER)
    lio.delete_target(ONE)
    wait_for({TWO, OTHER}, 40)


def test_knows_its_sessions_after_a_restart(idle_lab: Lab) -> None:
    """D-085: killed and started again it still logs out what it logged in to; nothing before."""
    lio.create_target(ONE, [PORTAL])
    lio.create_target(TWO, [PORTAL])
    polled(idle_lab, 1)
    idle_lab.start(*SHORT)
    wait_for({ONE, TWO}, 20)
    sids = machine.session_ids()
    idle_lab.daemon.kill()
    idle_lab.daemon.start()
    assert machine.session_ids() == sids
    lio.delete_target(ONE)
    wait_for({TWO}, 40)


def test_interval_0_asks_once(idle_lab: Lab) -> None:
    """D-085: discoveryd_poll_inval 0 means one discovery; a target made later is not found."""
    lio.create_target(ONE, [PORTAL])
    polled(idle_lab, 0)
    idle_lab.start(*SHORT)
    wait_for({ONE}, 20)
    lio.create_target(TWO, [PORTAL])
    idle_lab.shell("sleep 3")
    assert logged_in() == {ONE}


def test_change_of_the_record_takes_effect(idle_lab: Lab) -> None:
    """Switched on while the daemon runs, at once with SIGHUP."""
    lio.create_target(ONE, [PORTAL])
    idle_lab.start(*SHORT)
    polled(idle_lab, 30)
    idle_lab.shell("pkill -HUP -x iscsid")
    wait_for({ONE}, 9)


@pytest.mark.parametrize("restarted", [False, True])
def test_automatic_record_waits_for_its_target(idle_lab: Lab, restarted: bool) -> None:
    """A target that comes up late is logged in to, also by a daemon started since."""
    idle_lab.start("iscsid.retry_automatic_logins = Yes", *SHORT, "node.startup = automatic")
    idle_lab.adm(f"-m node -o new -T {ONE} -p {PORTAL},1", 0)
    assert idle_lab.adm("-m node --loginall=automatic").rc == 8
    if restarted:
        idle_lab.daemon.kill()
        idle_lab.daemon.start()
    lio.create_target(ONE, [PORTAL])
    wait_for({ONE}, 60)
    idle_lab.adm(f"-m node -T {ONE} -u", 0)


def test_automatic_record_is_left_when_not_asked_for(idle_lab: Lab) -> None:
    """Without the setting, and after a login by name, nothing goes on in the background."""
    idle_lab.start(*SHORT, "node.startup = automatic")
    idle_lab.adm(f"-m node -o new -T {ONE} -p {PORTAL},1", 0)
    assert idle_lab.adm("-m node --loginall=automatic").rc == 8
    idle_lab.start("iscsid.retry_automatic_logins = Yes", *SHORT)
    assert idle_lab.login(ONE, 8).rc == 8
    lio.create_target(ONE, [PORTAL])
    idle_lab.shell("sleep 8")
    assert logged_in() == set()
    assert "trying again" not in idle_lab.daemon.text()
