"""The programs beside iscsiadm, on a real kernel with a real target."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"
HOME = "127.0.0.1"
LINE = "Set target {} to automatic login over tcp to portal 127.0.0.1:{}"
OUT_OF = (
    "Logging out of session [sid: SID, target: {0}, portal: 127.0.0.1,{1}]",
    "Logout of [sid: SID, target: {0}, portal: 127.0.0.1,{1}] successful.",
)


def targets() -> None:
    """One target with one portal, one with two."""
    lio.create_target(ONE, [f"{HOME}:3260"])
    lio.create_target(TWO, [f"{HOME}:3260", f"{HOME}:3261"])


def startup(lab: Lab, target: str) -> set[str]:
    """The startup of a target's connections, from their records."""
    shown = lab.adm(f"-m node -T {target}", 0).out.splitlines()
    return {line.split(" = ")[1] for line in shown if line.startswith("node.conn[0].startup")}


def same_lines(text: str) -> list[str]:
    """Output with the session's number as SID, sorted: targets come in LIO's order."""
    words = (
        "[sid: SID," + line.split("[sid: ")[1].split(",", 1)[1] if "[sid: " in line else ""
        for line in text.splitlines()
    )
    return sorted(
        line.split("[sid: ")[0] + rest for line, rest in zip(text.splitlines(), words, strict=True)
    )


def test_discovery_and_a_login_to_each(lab: Lab, programs: str) -> None:
    """CLI-398: logs in to each portal, out again, and leaves records that start by themselves."""
    targets()
    done = machine.run(f"iscsi_discovery {HOME}")
    assert done.rc == 0, done
    pairs = [(ONE, 3260), (TWO, 3260), (TWO, 3261)]
    lines = [text.format(*pair) for pair in pairs for text in (LINE, *OUT_OF)]
    assert same_lines(done.out) == sorted([*lines, f"discovered 3 targets at {HOME}"])
    assert done.out.endswith(f"discovered 3 targets at {HOME}\n")
    # The original passes iscsiadm's remark on although all went well.
    assert done.err == ("" if programs == "ours" else "iscsiadm: No active sessions.\n")
    assert machine.session_ids() == []
    assert startup(lab, ONE) == startup(lab, TWO) == {"automatic"}
    lab.adm("-m node -L automatic", 0)
    assert len(machine.session_ids()) == 3


def test_discovery_that_stays_logged_in(lab: Lab) -> None:
    """CLI-398, CLI-399: -l keeps the sessions, -m the startup; then the portal is in use."""
    targets()
    done = machine.run(f"iscsi_discovery {HOME} -l -m")
    assert done.rc == 0, done
    lines = [LINE.format(ONE, 3260), LINE.format(TWO, 3260), LINE.format(TWO, 3261)]
    assert sorted(done.out.splitlines()) == [*lines, f"discovered 3 targets at {HOME}"]
    sids = machine.session_ids()
    assert len(sids) == 3
    assert startup(lab, ONE) == startup(lab, TWO) == {"manual"}
    again = machine.run(f"iscsi_discovery {HOME}")
    assert (again.rc, again.out, again.err) == (
        2,
        f"Please logout from all targets on {HOME}:3260 "
        "before trying to run discovery on that portal\n",
        "",
    )
    assert machine.session_ids() == sids


def test_discovery_with_a_target_that_refuses(lab: Lab) -> None:
    """One line for it, its record does not start by itself, the others are as without it."""
    lio.create_target(ONE, [f"{HOME}:3260"])
    lio.create_target(TWO, [f"{HOME}:3260"], chap=("user", "usersecret12"))
    done = machine.run(f"iscsi_discovery {HOME} -l")
    assert done.rc == 0, done
    lines = set(done.out.splitlines())
    assert lines == {
        LINE.format(ONE, 3260),
        f"Cannot login over tcp to portal {HOME}:3260",
        f"discovered 2 targets at {HOME}",
    }
    assert startup(lab, ONE) == {"automatic"}
    assert startup(lab, TWO) == {"manual"}


def test_discovery_falls_back_to_tcp(lab: Lab) -> None:
    """A transport the kernel does not have is given up, the record is back at tcp."""
    lio.create_target(ONE, [f"{HOME}:3260"])
    done = machine.run(f"iscsi_discovery {HOME} -l -t iser")
    assert (done.rc, done.out.splitlines()) == (
        0,
        [
            f"Cannot login over iser to portal {HOME}:3260",
            LINE.format(ONE, 3260),
            f"discovered 1 targets at {HOME}",
        ],
    )
    shown = lab.adm(f"-m node -T {ONE}", 0).out
    assert "iface.transport_name = tcp\n" in shown
    assert startup(lab, ONE) == {"automatic"}
    assert len(machine.session_ids()) == 1


def test_discovery_leaves_a_running_portal_alone(lab: Lab, programs: str) -> None:
    """A session on another portal of the answer stays; the other portals are tried."""
    if programs != "ours":
        pytest.skip("the original takes the running portal's record for one that failed")
    targets()
    lab.discover()
    lab.adm(f"-m node -T {TWO} -p {HOME}:3261 -l", 0)
    sid = lab.only_session()
    done = machine.run(f"iscsi_discovery {HOME}")
    assert (done.rc, done.err) == (0, "")
    assert f"Cannot login over tcp to portal {HOME}:3261\n" in done.out
    assert LINE.format(TWO, 3260) in done.out
    assert machine.session_ids() == [sid]


def test_discovery_lines_that_are_wrong(idle_lab: Lab) -> None:
    """CLI-396, CLI-397: without a daemon, without an address, with a wrong one."""
    down = machine.run("iscsi_discovery")
    assert (down.rc, down.out, down.err) == (1, "iscsid is not running\nExiting...\n", "")
    idle_lab.start()
    usage = machine.run("iscsi_discovery")
    assert (usage.rc, usage.err) == (1, "")
    assert " <IP> [-p <port>] [-d] [-t <tcp|iser> [-f]] [-m] [-l]\nOptions:\n" in usage.out
    wrong = machine.run("iscsi_discovery foo")
    assert (wrong.rc, wrong.out, wrong.err) == (1, "foo is not a vaild IP address!\n", "")


def test_initiator_name(idle_lab: Lab, programs: str) -> None:
    """iscsi-gen-initiatorname makes the name that iscsid then logs in with."""
    if programs != "ours":
        pytest.skip("Debian does not ship this program")
    file = machine.ETC / "initiatorname.iscsi"
    file.unlink()
    assert machine.run("iscsi-gen-initiatorname -p iqn.2026-11.test").rc == 0
    name = file.read_text().splitlines()[-1].removeprefix("InitiatorName=")
    assert name.startswith("iqn.2026-11.test:")
    lio.create_target(ONE, [f"{HOME}:3260"])
    idle_lab.daemon.start()
    idle_lab.discover()
    idle_lab.login(ONE)
    assert machine.session_value(idle_lab.only_session(), "initiatorname") == name


def test_firmware_login(lab: Lab, programs: str) -> None:
    """iscsi_fw_login answers as `iscsiadm -m fw -l` does."""
    if programs != "ours":
        pytest.skip("Debian does not ship this program")
    expected = lab.adm("-m fw -l")
    done = machine.run("iscsi_fw_login")
    assert (done.rc, done.out, done.err) == (expected.rc, expected.out, expected.err)


# ---- iscsid -----------------------------------------------------------------


def end(pid: int) -> None:
    """Terminate a daemon in the background."""
    os.kill(pid, signal.SIGTERM)
    machine.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "iscsid has ended")


def test_iscsid_in_the_background(idle_lab: Lab) -> None:
    """CLI-381, CLI-382, CLI-383: pid file as asked; a second daemon ends with 1 in silence."""
    for words, path in (("", "/run/iscsid.pid"), ("-p /tmp/my.pid", "/tmp/my.pid")):
        done = machine.run(f"iscsid {words}")
        assert (done.rc, done.out, done.err) == (0, "", "")
        machine.wait_until(machine.is_daemon_listening, "iscsid answers")
        pid = int(Path(path).read_text())
        try:
            assert Path(path).read_text() == f"{pid}\n"
            second = machine.run("iscsid -p /tmp/second.pid")
            assert (second.rc, second.out, second.err) == (1, "", "")
            assert idle_lab.adm("-m session", 21).err == "iscsiadm: No active sessions.\n"
        finally:
            end(pid)
        Path(path).unlink(missing_ok=True)


def test_iscsid_without_a_pid_file(idle_lab: Lab) -> None:
    """CLI-383: -n."""
    before = set(os.listdir("/run"))
    assert machine.run("iscsid -n").rc == 0
    machine.wait_until(machine.is_daemon_listening, "iscsid answers")
    assert not [name for name in set(os.listdir("/run")) - before if name.endswith(".pid")]
    idle_lab.adm("-k 0", 0)
    machine.wait_until(lambda: not machine.is_daemon_listening(), "iscsid has ended")


@pytest.mark.parametrize("way", ["signal", "command"])
def test_iscsid_in_the_foreground(lab: Lab, way: str) -> None:
    """CLI-384: what it logs goes to the terminal; SIGTERM and `-k 0` end it with 0."""
    process = lab.daemon.process
    assert process is not None
    if way == "signal":
        process.send_signal(signal.SIGTERM)
    else:
        lab.adm("-k 0", 0)
    assert process.wait(60) == 0
    assert lab.daemon.text().endswith("iscsid shutting down.\n")


def test_iscsid_without_its_files(idle_lab: Lab) -> None:
    """CLI-385: a missing configuration is no obstacle, a missing name only to discovery."""
    idle_lab.daemon.arguments = ("-c", "/tmp/missing.conf", "-i", "/tmp/missing.name")
    lio.create_target(ONE, [f"{HOME}:3260"])
    idle_lab.start()
    assert "can't open InitiatorName configuration file /tmp/missing.name" in idle_lab.daemon.text()
    assert idle_lab.adm(f"-m discovery -t st -p {HOME}").rc == 7
    assert idle_lab.daemon.is_running
