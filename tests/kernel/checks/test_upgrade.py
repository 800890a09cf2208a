"""Sessions handed from open-iscsi's daemon to ours and back, with a disk in use all the time."""

from __future__ import annotations

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.kernel.load import Load

pytestmark = [pytest.mark.guest, pytest.mark.upstream]

IQN = "iqn.2026-11.test:one"
USER = ("joe", "secret-of-joe-12")


def change_daemon(lab: Lab, programs: str, patch: pytest.MonkeyPatch) -> None:
    """Stop the daemon that runs, as a service manager does, and start the other one."""
    if lab.daemon.is_running:
        lab.daemon.stop()
    patch.setenv("PATH", machine.environment_path(programs))
    lab.daemon.start()


def drop_and_return(sid: int) -> None:
    """The target goes away and comes back; somebody has to log in again."""
    lio.set_enabled(IQN, False)
    machine.wait_until(lambda: machine.session_value(sid, "state") == "FAILED", "the drop is seen")
    lio.set_enabled(IQN, True)
    machine.wait_until(
        lambda: machine.session_value(sid, "state") == "LOGGED_IN", "the session is back"
    )


def test_from_open_iscsi_and_back(idle_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """D-070, D-072: taken over as it is, recovered by whoever is there; no I/O error."""
    lio.create_target(IQN, ["127.0.0.1:3260"], chap=USER)
    change_daemon(idle_lab, "debian", monkeypatch)
    machine.run("iscsiadm -m discovery -t st -p 127.0.0.1")
    idle_lab.chap(IQN, *USER)
    assert machine.run(f"iscsiadm -m node -T {IQN} -l").rc == 0
    machine.settle()
    sid = idle_lab.only_session()
    load = Load(machine.disks(sid))
    try:
        for programs in ("ours", "debian", "ours"):
            change_daemon(idle_lab, programs, monkeypatch)
            if programs == "ours":
                line = f"session{sid}: taken over (in use, left alone)"
                machine.wait_until(lambda line=line: line in idle_lab.daemon.text(), line)
            machine.wait_until(
                lambda: machine.session_value(sid, "state") == "LOGGED_IN", "it is logged in"
            )
            drop_and_return(sid)
            assert not load.during(2).idle
        assert load.mark().errors == 0
    finally:
        load.close()
    assert idle_lab.only_session() == sid
    idle_lab.adm(f"-m node -T {IQN} -u", 0)
