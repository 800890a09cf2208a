"""`-m iface`: the transcript of Debian's iscsiadm 2.1.8, and what it does not reach."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.unit.cli.commands import Answer, Machine
from tests.unit.cli.test_parity_records import DATA, daemon, same_lines, snapshot

ONE = "iqn.2026-11.test:one"
NOT_FOUND = "modprobe: FATAL: Module $3 not found in directory /lib/modules/6.1"
SPECIAL = "iface default is a special interface and"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A session on an iface of its own, the tcp driver, and a modprobe that finds nothing."""
    made = Machine(tmp_path, monkeypatch)
    made.session(1, ONE, "127.0.0.1", iface="other")
    tcp = tmp_path / "sys/class/iscsi_transport/tcp"
    tcp.mkdir(parents=True)
    (tcp / "handle").write_text("1\n")
    (tcp / "caps").write_text("0x39\n")
    modprobe(made, f'echo "{NOT_FOUND}" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    return made


def modprobe(machine: Machine, script: str) -> None:
    program = machine.path / "bin/modprobe"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def check(answer: Answer, status: int, out: str = "", *err: str) -> None:
    lines = "".join(f"iscsiadm: {line}\n" for line in err)
    assert (answer.status, answer.out, answer.err) == (status, out, lines)


def test_transcript(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI-291, CLI-293, CLI-294, CLI-296, CLI-300, CLI-302, CLI-305, CLI-306, CLI-307, CLI-311,
    CLI-313, CLI-316, CLI-318: scenario iface-records, step by step."""
    scenario = json.loads((DATA / "expected/iface-records.json").read_text())
    machine.conf((DATA / "iscsid.conf").read_text())
    daemon(machine, monkeypatch)
    root = machine.path / "db"
    for step in scenario["steps"]:
        before = snapshot(root)
        answer = machine.run(*shlex.split(step["cmd"])[1:])
        after = snapshot(root)
        names = set(before) | set(after)
        changed = {key: after.get(key) for key in names if before.get(key) != after.get(key)}
        said = answer.err.replace(str(root), "/etc/iscsi")
        assert answer.status in (step["rc"], step.get("alt_rc", step["rc"])), step["cmd"]
        assert same_lines(answer.out, step["out"]), step["cmd"]
        if answer.status:
            assert same_lines(said, step["err"]), step["cmd"]
        else:
            assert said == "", step["cmd"]
        assert changed == step["db"], step["cmd"]


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ("-m iface -P 2", 7, "", ["Invalid info level 2. Try 0 - 1."]),
        ("-m iface -P -2", 7, "", ["Invalid info level -2. Try 0 - 1."]),
        ("-m iface -P 1", 0, "", []),
        ("-m iface -P 1 -I nosuch", 0, "", []),
        ("-m iface -o delete", 7, "", ["Could not delete interface. No interface passed in."]),
        ("-m iface -I if0 -o update", 7, "", ["Update requires name, value, and iface."]),
        ("-m iface -o update -n iface.mtu -v 9", 7, "",
         ["Update requires name, value, and iface."]),
        ("-m iface -I nosuch -o update -n iface.mtu -v 9", 7, "",
         ["Could not read iface info for nosuch."]),
        ("-m iface -I default -o update -n iface.mtu -v 9", 7, "",
         [f"{SPECIAL} cannot be modified.", "Could not update iface default: invalid parameter"]),
        ("-m iface -I nosuch -o delete", 7, "",
         ["Could not read iface info for nosuch.",
          "Could not delete iface nosuch: invalid parameter"]),
        ("-m iface -I iser -o delete", 7, "",
         ["iface iser is a special interface and cannot be deleted.",
          "Could not delete iface iser: invalid parameter"]),
        ("-m iface -I default -o show -o delete", 7, "", []),
    ],
)  # fmt: skip
def test_answers(machine: Machine, words: str, status: int, out: str, err: list[str]) -> None:
    """CLI-293, CLI-295, CLI-309, CLI-310, CLI-311, CLI-317, CLI-318, CLI-319."""
    check(machine.run_line(words), status, out, *err)


def test_unknown_iface(machine: Machine) -> None:
    """CLI-298."""
    answer = machine.run_line("-m iface -I nosuch")
    assert (answer.status, answer.out) == (6, "")
    assert answer.err == (
        f"iscsiadm: Failed to open {machine.path}/db/ifaces/nosuch using read mode: "
        "2 No such file or directory\n"
    )


def test_several_ifaces_and_a_submode_that_is_none(machine: Machine) -> None:
    """CLI-299, CLI-331: the first iface counts, silently because the command succeeds."""
    machine.run_line("-m iface -I if0 -o new")
    shown = machine.run_line("-m iface -I if0")
    assert shown.out.startswith("# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = if0\n")
    for words in ("-m iface -I if0 -I nosuch", "-m iface -I if0 -C chap"):
        answer = machine.run_line(words)
        check(answer, 0, shown.out)


def test_new_with_values(machine: Machine) -> None:
    """CLI-301, CLI-303: a bad value leaves a fresh iface, and a status that says so."""
    words = "-m iface -I if0 -o new -n iface.net_ifacename -v eth1"
    check(machine.run_line(words), 0, "if0 updated.\nNew interface if0 added\n")
    assert "if0 tcp,<empty>,<empty>,eth1,<empty>\n" in machine.run_line("-m iface").out
    check(
        machine.run_line("-m iface -I if0 -o new -n iface.bogus -v x"),
        7,
        "New interface if0 added\n",
        "Cannot modify iface.bogus. Invalid param name.",
        "Could not update iface if0: invalid parameter",
    )
    assert "if0 tcp,<empty>,<empty>,<empty>,<empty>\n" in machine.run_line("-m iface").out


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("iface.iscsi_ifacename",
         "Can not update iface.iscsi_ifacename. Delete it, and then create a new one."),
        ("iface.hwaddress",
         "Can not update interface binding from net_ifacename to hwaddress. You must delete the "
         "interface and create a new one"),
        ("iface.bogus", "Cannot modify iface.bogus. Invalid param name."),
    ],
)  # fmt: skip
def test_refused_updates_change_nothing(machine: Machine, key: str, line: str) -> None:
    """CLI-312, CLI-313, CLI-314."""
    machine.run_line("-m iface -I if0 -o new -n iface.net_ifacename -v eth1")
    before = snapshot(machine.path / "db")
    check(
        machine.run_line(f"-m iface -I if0 -o update -n iface.mtu -v 9000 -n {key} -v x"),
        7,
        "",
        line,
        "Could not update iface if0: invalid parameter",
    )
    assert snapshot(machine.path / "db") == before


def bound(machine: Machine) -> str:
    return machine.run_line("-m node -I if0 -o show").out


def test_update_reaches_bound_nodes(machine: Machine) -> None:
    """CLI-307, CLI-308."""
    machine.run_line("-m iface -I if0 -o new")
    machine.run_line("-m node -o new -T iqn.x:a -p 10.0.0.1,1 -I if0")
    machine.run_line("-m node -o new -T iqn.x:a -p 10.0.0.1,1")
    words = "-m iface -I if0 -o update -n iface.mtu -v 9000 -n iface.net_ifacename -v eth1"
    check(machine.run_line(words), 0, "if0 updated.\n")
    assert "iface.mtu = 9000\n" in bound(machine)
    assert "iface.net_ifacename = eth1\n" in bound(machine)
    assert "iface.mtu = 0\n" in machine.run_line("-m node -I default -o show").out


def test_tree_of_one_iface(machine: Machine) -> None:
    """CLI-294, CLI-297."""
    machine.run_line("-m iface -I if0 -o new")
    machine.run_line("-m node -o new -T iqn.x:a -p [::1]:3260,1 -I if0")
    tree = "Iface: if0\n\tTarget: iqn.x:a\n\t\tPortal: [::1]:3260,1\n"
    check(machine.run_line("-m iface -P 1 -I if0"), 0, tree)
    check(machine.run_line("-m iface -P 1"), 0, f"{tree}Iface: default\nIface: iser\n")
    assert machine.run_line("-m iface -P 1 -I nosuch").status == 6


def test_iface_of_a_running_session(machine: Machine) -> None:
    """CLI-304, CLI-315, CLI-320: a warning stays silent because the command succeeds."""
    machine.run_line("-m iface -I if0 -o new")
    machine.run_line(f"-m node -o new -T {ONE} -p 127.0.0.1,1 -I if0")
    (machine.path / "sys/class/iscsi_session/session1/ifacename").write_text("if0\n")
    line = "Could not create new interface if0."
    check(machine.run_line("-m iface -I if0 -o new"), 15, "", line)
    words = "-m iface -I if0 -o update -n iface.mtu -v 9000"
    check(machine.run_line(words), 0, "if0 updated.\n")
    check(
        machine.run_line("-m iface -I if0 -o delete"),
        15,
        "",
        f"This command will remove the record [iface: if0, target: {ONE}, portal: "
        "127.0.0.1,3260], but a session is using it. Logout session then rerun command to remove "
        "record.",
        "Could not delete iface if0: session exists",
    )
    assert "iface.mtu = 9000\n" in bound(machine)


@pytest.mark.parametrize(
    ("script", "number"), [(f'echo "{NOT_FOUND}" >&2; exit 1', 2), ("exit 1", 1), ("exit 0", 1)]
)
def test_driver_that_cannot_be_loaded(machine: Machine, script: str, number: int) -> None:
    """Not there, refused, or held back by a blacklist, which modprobe calls success."""
    modprobe(machine, f'echo "$@" >> {machine.path}/asked; {script}')
    machine.run_line("-m iface -I if0 -o new -n iface.transport_name -v iser")
    answer = machine.run_line("-m iface -I if0 -o update -n iface.mtu -v 9000")
    assert answer.status == 7
    lines = [line for line in answer.err.splitlines() if not line.startswith("libkmod")]
    assert lines == [
        f"iscsiadm: Could not insert module iser. Kmod error -{number}",
        "iscsiadm: Cound not locate transport for iface if0",
    ]
    assert ("libkmod" in answer.err) == (number == 2)
    assert (machine.path / "asked").read_text() == "-b -- ib_iser\n"


def test_driver_that_can_be_loaded(machine: Machine) -> None:
    place = machine.path / "sys/class/iscsi_transport/iser"
    modprobe(
        machine,
        f"/bin/mkdir {place}; echo 1 > {place}/handle; echo 0x89 > {place}/caps",
    )
    machine.run_line("-m iface -I if0 -o new -n iface.transport_name -v iser")
    words = "-m iface -I if0 -o update -n iface.mtu -v 9000"
    check(machine.run_line(words), 0, "if0 updated.\n")


def test_a_bad_file_hides_no_other(machine: Machine) -> None:
    machine.run_line("-m iface -I if0 -o new")
    (machine.path / "db/ifaces/bad").write_text(
        "# BEGIN RECORD 2.1.8\niface.mtu = 1\n# END RECORD\n"
    )
    answer = machine.run_line("-m iface")
    assert (answer.status, answer.err) == (0, "")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["if0", "default", "iser"]
