"""`-m session`, and what other modes share with it, on a captured sysfs and a stand-in for iscsid.

Expected texts are those open-iscsi 2.1.8 printed when the capture was made, or of the transcripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.env import Env
from tests.unit.cli.commands import Answer, Machine
from tests.unit.ops.conftest import node
from tests.unit.ops.daemon import FakeDaemon, serving
from tests.unit.sysfs.capture import golden, unpack

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"
DOWN = "iscsiadm: can not connect to iSCSI daemon (111)!\n"
ALL_STATES = {str(sid): {"connection": "LOGGED IN", "internal": "NO CHANGE"} for sid in range(1, 7)}
SESSIONS = {
    1: f"[sid: 1, target: {ONE}, portal: 127.0.0.1,3260]",
    2: f"[sid: 2, target: {ONE}, portal: 127.0.0.1,3260]",
    3: f"[sid: 3, target: {TWO}, portal: 127.0.0.2,3260]",
    4: f"[sid: 4, target: {TWO}, portal: 127.0.0.1,3260]",
    5: "[sid: 5, target: iqn.2026-11.test:six, portal: ::1,3260]",
    6: "[sid: 6, target: iqn.2026-11.test:chap, portal: 127.0.0.1,3260]",
}


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


@pytest.fixture
def machine(tmp_path: Path, shared_up: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Six sessions; their sysfs is shared and not to be written to."""
    made = Machine(tmp_path, monkeypatch)
    monkeypatch.setenv("SYSFS_PATH", str(shared_up / "sys"))
    return made


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """As machine, with a sysfs to change."""
    made = Machine(tmp_path, monkeypatch)
    unpack("up", tmp_path)
    return made


@pytest.fixture
def daemon(machine: Machine) -> Iterator[FakeDaemon]:
    running = FakeDaemon()
    running.states = ALL_STATES
    with serving(Env.from_environ(), running):
        yield running


def add_node(target: str, address: str = "127.0.0.1", **values: str) -> None:
    from pyiscsi.records.nodes import NodeStore

    NodeStore(Env.from_environ()).add(node(target, address, **values))


def check(answer: Answer, status: int, out: str = "", err: str = "") -> None:
    assert (answer.status, answer.out, answer.err) == (status, out, err)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("-m session", "session-P0"),
        ("-m session -P 0", "session-P0"),
        ("-m session -P -1", "session-P0"),
        ("-m session -o show", "session-P0"),
        ("-m session -o delete", "session-P0"),
        ("-m session -i 1", "session-P0"),
        ("-m session -P 1", "session-P1"),
        ("-m session -P 2", "session-P2"),
        ("-m session -P 2 -S", "session-P2-S"),
        ("-m session -P 3", "session-P3"),
        ("-m session -P 3 -S", "session-P3-S"),
        ("-m session -r 1 -P 3", "session-r1-P3"),
        ("-m session -r 5 -r 1 -P 3", "session-r1-P3"),
        ("-m session -r /sys/class/iscsi_session/session1 -P 3", "session-r1-P3"),
        ("-m session -r /sys/class/block/sda -P 3", "session-r1-P3"),
        ("-m host", "host-P0"),
        ("-m host -H 3", "host-P0"),
        ("-m host -C bogus", "host-P0"),
        ("-m host -P 1", "host-P1"),
        ("-m host -P 2", "host-P2"),
        ("-m host -P 3", "host-P3"),
        ("-m host -P 4", "host-P4"),
    ],
)
def test_listings(
    machine: Machine, shared_up: Path, daemon: FakeDaemon, words: str, name: str
) -> None:
    """CLI-251, CLI-252, CLI-254 to CLI-260, CLI-263, CLI-264, CLI-271, CLI-274, CLI-275, CLI-280,
    CLI-333 to CLI-337, CLI-339, CLI-340."""
    words = words.replace("/sys/", f"{shared_up}/sys/")
    check(machine.run_line(words), 0, text(golden(name)))
    assert len(daemon.of("session_info")) == (name[-1] != "0" and name != "host-P1")


def test_listings_need_no_daemon(
    machine: Machine, shared_down: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI-261: unknown states, and a silent stderr because the command succeeds."""
    monkeypatch.setenv("SYSFS_PATH", str(shared_down / "sys"))
    check(machine.run_line("-m session"), 0, text(golden("session-P0")))
    check(machine.run_line("-m session -P 1"), 0, text(golden("nodaemon-session-P1")))
    assert machine.run_line("-m session -P 3").status == 0
    assert machine.run_line("-m host -P 4").status == 0


def test_no_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI-249, CLI-250, CLI-266, CLI-268, CLI-332."""
    machine = Machine(tmp_path, monkeypatch)
    for words, line in {
        "-m session": "No active sessions.",
        "-m session -P 9": "No active sessions.",
        "-m session -R": "No session found.",
        "-m session -s": "No session found.",
        "-m session -u": "No matching sessions found",
        "-m node -U all": "No matching sessions found",
        "-m host": "No iSCSI hosts.",
        "-m host -P 2": "No iSCSI hosts.",
    }.items():
        check(machine.run_line(words), 21, "", f"iscsiadm: {line}\n")


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        ("-m session -P 4", 7, ["Invalid info level 4. Try 0 - 3."]),
        ("-m session -P -2", 7, ["Invalid info level -2. Try 0 - 3."]),
        ("-m session -r 1 -P 4", 7, ["Invalid info level 4. Try 0 - 3."]),
        ("-m session -o new", 7,
         ["session mode: Operation 'new' only allowed with specific session IDs"]),
        ("-m session -r 99", 22,
         ["could not read session targetname: 5", "Could not get session info for sid 99"]),
        ("-m session -r 2x", 1, ["2x is an invalid session ID or path"]),
        ("-m session -r 0", 1, ["0 is an invalid session ID or path"]),
        ("-m session -r 1 -u -o show", 7, ["Invalid parameters. Login/logout and op passed in"]),
        ("-m session -r 1 -o apply", 7, ["operation is not supported."]),
        ("-m session -r 1", 21, ["No records found"]),
        ("-m session -r 1 -o new", 21, ["No records found"]),
        ("-m host -P 5", 7, ["Invalid info level 5. Try 0 - 4."]),
        ("-m host -P -2", 7, ["Invalid info level -2. Try 0 - 4."]),
        ("-m host -C chap", 7, ["CHAP mode requires host no and valid operation"]),
        ("-m host -C flashnode", 21, ["No flashnodes attached to host 0."]),
        ("-m host -H 9 -C chap -o show", 12,
         ["Could not read proc_name for host9 rc 5.", "Could not match hostno 9 to transport."]),
        ("-m node -l -u", 7, ["Invalid parameters. Both login and logout passed in"]),
        (f"-m node -T {ONE} -I nosuch -R", 3, ["Could not read iface info for nosuch."]),
        ("-m node -T nosuch -R", 21, ["No session found."]),
        ("-m node -T nosuch -s", 21, ["No session found."]),
        ("-m node -T nosuch -u", 21, ["No matching sessions found"]),
        ("-m fw", 21, ["Could not get list of targets from firmware. (err 21)"]),
        ("-m fw -l", 21, ["Could not get list of targets from firmware. (err 21)"]),
    ],
)  # fmt: skip
def test_refusals(machine: Machine, words: str, status: int, lines: list[str]) -> None:
    """CLI-224, CLI-245, CLI-248, CLI-259, CLI-265, CLI-272, CLI-273, CLI-278, CLI-285, CLI-289,
    CLI-338, CLI-342, CLI-343, CLI-351, CLI-361, CLI-364."""
    check(machine.run_line(words), status, "", text([f"iscsiadm: {line}" for line in lines]))


def test_node_record_of_a_session(machine: Machine) -> None:
    """CLI-269, CLI-270, CLI-287, CLI-288."""
    add_node(ONE, session__auth__password="secretsecret1")
    add_node(TWO)
    shown = machine.run_line("-m session -r 1")
    assert shown.out.startswith(f"# BEGIN RECORD 2.1.8\nnode.name = {ONE}\n")
    assert "node.session.auth.password = ********\n" in shown.out
    assert "secretsecret1" in machine.run_line("-m session -r 1 -S").out
    check(machine.run_line("-m session -r 1 -o update -n node.session.scan -v manual"), 0)
    assert "node.session.scan = manual\n" in machine.run_line("-m session -r 1 -o show").out
    refused = machine.run_line("-m session -r 1 -o delete")
    assert refused.status == 15
    assert "a session is using it" in refused.err
    assert machine.run_line("-m session -r 1").status == 0


def test_session_of_an_iface_without_file(own: Machine) -> None:
    """CLI-290: only the tree still works."""
    (own.path / "sys/class/iscsi_session/session1/ifacename").write_text("if0\n")
    line = "iscsiadm: Could not read iface info for if0.\n"
    check(own.run_line("-m session -r 1"), 3, "", line)
    check(own.run_line("-m session -r 1 -R"), 3, "", line)
    assert own.run_line("-m session -r 1 -P 1").status == 0


def test_session_of_an_unknown_driver(own: Machine) -> None:
    (own.path / "sys/class/scsi_host/host0/proc_name").unlink()
    check(own.run_line("-m session -r 1 -R"), 0)


def test_rescan(own: Machine) -> None:
    """CLI-243, CLI-244, CLI-266, CLI-276, CLI-279, CLI-281, CLI-284: works without a daemon."""
    for words, sids in {
        "-m session -R": [1, 2, 3, 4, 5, 6],
        "-m session -r 3 -R": [3],
        "--sid 3 -m session -R": [3],
        "-m session -r 3 -R -u": [3],
        "-m session -r 3 -R -s": [3],
        f"-m session -r {own.path}/sys/devices/platform/host2/session3/target2:0:0 -R": [3],
        f"-m node -T {TWO} -R": [3, 4],
        "-m node -p 127.0.0.2 -R": [3],
        "-m node -R": [1, 2, 3, 4, 5, 6],
    }.items():
        lines = [f"Rescanning session {SESSIONS[sid]}" for sid in sids]
        check(own.run_line(words), 0, text(lines))


def test_failed_rescan(own: Machine) -> None:
    scan = own.path / "sys/class/scsi_host/host2/scan"
    scan.unlink()
    answer = own.run_line("-m session -r 3 -R")
    check(
        answer,
        22,
        f"Rescanning session {SESSIONS[3]}\n",
        f"iscsiadm: Could not write {scan}: No such file or directory\n"
        "iscsiadm: Could not rescan session sid 3.\n"
        "iscsiadm: Could not execute operation on all sessions: sysfs lookup failure\n",
    )


@pytest.mark.parametrize("words", ["-m session -r 1 -s", f"-m node -T {ONE} -s"])
def test_statistics(machine: Machine, daemon: FakeDaemon, words: str) -> None:
    """CLI-247, CLI-267, CLI-282."""
    answer = machine.run_line(words)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(
        f"Stats for session {SESSIONS[1]}\niSCSI SNMP:\n\ttxdata_octets: 48"
    )


def test_statistics_fail(machine: Machine, daemon: FakeDaemon) -> None:
    daemon.stats_codes = {2: 9}
    answer = machine.run_line("-m session -s")
    assert answer.status == 9
    assert answer.out.count("Stats for session") == 1
    assert answer.err == ("iscsiadm: Could not execute operation on all sessions: internal error\n")


def test_statistics_without_daemon(machine: Machine) -> None:
    """CLI-282."""
    last = "iscsiadm: Could not execute operation on all sessions: could not connect to iscsid\n"
    check(machine.run_line("-m session -s"), 20, "", DOWN + last)


def test_logout(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-221, CLI-283."""
    check(
        machine.run_line("-m session -r 3 -u"),
        0,
        f"Logging out of session {SESSIONS[3]}\nLogout of {SESSIONS[3]} successful.\n",
    )
    assert daemon.of("logout") == [{"sid": 3}]


def test_logout_that_fails_in_part(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-226."""
    daemon.logout_codes = {3: 28}
    check(
        machine.run_line(f"-m node -T {TWO} -u"),
        28,
        f"Logging out of session {SESSIONS[3]}\nLogging out of session {SESSIONS[4]}\n"
        f"Logout of {SESSIONS[4]} successful.\n",
        f"iscsiadm: Could not logout of {SESSIONS[3]}.\n"
        "iscsiadm: initiator reported error (28 - device or resource in use)\n"
        "iscsiadm: Could not logout of all requested sessions\n",
    )


def test_logout_without_daemon(machine: Machine) -> None:
    """CLI-225."""
    asked = text([f"Logging out of session {where}" for where in SESSIONS.values()])
    failed = "".join(
        f"{DOWN}iscsiadm: Could not logout of {where}.\n"
        "iscsiadm: initiator reported error (20 - could not connect to iscsid)\n"
        for where in SESSIONS.values()
    )
    check(
        machine.run_line("-m session -u"),
        21,
        asked,
        f"{failed}iscsiadm: No matching sessions found\n",
    )


def test_logout_by_startup(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-238, CLI-241, CLI-242."""
    add_node(TWO, "127.0.0.2", startup="onboot")
    line = "iscsiadm: No matching sessions found\n"
    check(machine.run_line("-m node -U all"), 21, "", line)
    add_node(ONE)
    assert machine.run_line("-m node -U all").status == 0
    assert daemon.of("logout") == [{"sid": 1}, {"sid": 2}]
    check(
        machine.run_line("-m node -U onboot"),
        7,
        "",
        "iscsiadm: Invalid logoutall option onboot.\nTry `iscsiadm --help' for more information.\n",
    )


def test_login(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-204, CLI-210, CLI-213: progress on stdout, failures on stderr."""
    add_node("iqn.x:a")
    add_node("iqn.x:b")
    daemon.login_codes = {"iqn.x:b": 24}
    a, b = (f"[iface: default, target: iqn.x:{name}, portal: 127.0.0.1,3260]" for name in "ab")
    answer = machine.run_line("-m node -l")
    assert answer.status == 24
    assert sorted(answer.out.splitlines()) == [
        f"Logging in to {a}", f"Logging in to {b}", f"Login to {a} successful."
    ]  # fmt: skip
    assert answer.err == (
        f"iscsiadm: Could not login to {b}.\n"
        "iscsiadm: initiator reported error (24 - iSCSI login failed due to authorization "
        "failure)\niscsiadm: Could not log into all portals\n"
    )
    check(machine.run_line("-m node -T iqn.x:a -l -W"), 0, f"Logging in to {a}\n")


def test_login_with_sessions_present(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-208, CLI-217, CLI-218, CLI-232."""
    for requested, words in (("0", "0 sessions"), ("1", "1 session"), ("2", "2 sessions")):
        add_node(ONE, session__nr_sessions=requested)
        lines = (
            f"iscsiadm: default: {words} requested, but 2 already present.\n"
            "iscsiadm: Could not log into all portals\n"
        )
        check(machine.run_line(f"-m node -T {ONE} -l"), 15, "", lines)
        check(machine.run_line("-m node -L all"), 15, "", lines)


def test_extra_session(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-286."""
    add_node(ONE)
    where = f"[iface: default, target: {ONE}, portal: 127.0.0.1,3260]"
    check(
        machine.run_line("-m session -r 1 -o new -P 1"),
        0,
        f"Logging in to {where} (multiple)\nLogin to {where} successful.\n",
    )


def test_leading_login_without_iface_file(machine: Machine, daemon: FakeDaemon) -> None:
    """CLI-236, CLI-237."""
    add_node("iqn.x:a", leading_login="Yes")
    line = "iscsiadm: Could not login all leading-login portals\n"
    check(machine.run_line("-m node -L all"), 19, "", line)
    machine.run_line("-m iface -I if0 -o new")
    add_node("iqn.x:a", leading_login="Yes", iface__iscsi_ifacename="if0")
    daemon.login_codes = {"iqn.x:a": 8}
    answer = machine.run_line("-m node -L all")
    assert answer.status == 19
    assert answer.err.endswith(
        "iscsiadm: Could not log into all portals on if0, trying next interface\n" + line
    )


def test_daemon_is_missing_and_cannot_be_started(machine: Machine) -> None:
    """CLI-212: no daemon, and no startup setting."""
    add_node("iqn.x:a")
    machine.conf("")
    where = "[iface: default, target: iqn.x:a, portal: 127.0.0.1,3260]"
    check(
        machine.run_line("-m node -l"),
        20,
        f"Logging in to {where}\n",
        "iscsiadm: iscsid is not running. Could not start it up automatically using the startup "
        "command in the iscsid.conf iscsid.startup setting. Please check that the file exists or "
        f"that your init scripts have started iscsid.\n{DOWN}"
        f"iscsiadm: Could not login to {where}.\n"
        "iscsiadm: initiator reported error (20 - could not connect to iscsid)\n"
        "iscsiadm: Could not log into all portals\n",
    )
