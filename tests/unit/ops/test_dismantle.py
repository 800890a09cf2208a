"""The plan for a shutdown: what is unmounted and removed, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyiscsi.cli import umountiscsi
from pyiscsi.ops.dismantle import Plan, dismantle
from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.sysfs.capture import unpack
from tests.unit.sysfs.test_stacks import add_mapped, folder


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    """Captured sessions; on those of sdd and sde a volume on an encrypted multipath device."""
    found = unpack("up", tmp_path)
    add_mapped(found, "dm-5", "mpatha", "mpath-36001405", "sdd", "sde")
    add_mapped(found, "dm-6", "secret", "CRYPT-LUKS2-0123-secret", "dm-5")
    add_mapped(found, "dm-7", "vg-one", "LVM-1", "dm-6")
    add_mapped(found, "dm-8", "vg-two", "LVM-2", "dm-6")
    return found


STACK = [("LVM", "vg"), ("CRYPT", "secret"), ("mpath", "mpatha")]


def mounted(tmp_path: Path, *entries: tuple[str, str]) -> str:
    """A /proc in which these (device number, mount point) are mounted; its path."""
    lines = [
        f"{30 + at} 1 {number} / {point} rw - ext4 {tmp_path}/none rw\n"
        for at, (number, point) in enumerate(entries)
    ]
    proc = tmp_path / "mounted"
    (proc / "self").mkdir(parents=True)
    (proc / "self/mountinfo").write_text("".join(lines))
    return str(proc)


def test_from_the_highest_down(tree: SysfsTree, tmp_path: Path) -> None:
    """Mounts in reverse order, a volume group once, then what is below it."""
    proc = mounted(tmp_path, ("253:7", "/srv"), ("8:1", "/elsewhere"), ("253:8", "/srv/a\\040b"))
    number = tree.read("class/block/sda1/dev") or ""
    plan = Plan(tree, proc, ["/"], [])
    assert number == "8:1"
    assert plan.mount_points == ["/srv/a b", "/elsewhere", "/srv"]
    assert plan.removals == STACK
    assert plan.kept == []


def test_not_on_iscsi(tree: SysfsTree, tmp_path: Path) -> None:
    """Other disks' file systems are not touched."""
    plan = Plan(tree, mounted(tmp_path, ("259:1", "/home"), ("0:22", "/proc")), ["/"], [])
    assert plan.mount_points == []


def test_excluded_mount_keeps_its_sessions(tree: SysfsTree, tmp_path: Path) -> None:
    """With them everything that stands on them; other sessions' mounts are still unmounted."""
    proc = mounted(tmp_path, ("253:7", "/"), ("8:1", "/srv"))
    plan = Plan(tree, proc, ["/"], [])
    assert plan.mount_points == ["/srv"]
    assert plan.removals == []
    assert len(plan.kept) == 2
    assert folder(tree, 1) not in plan.kept


def test_groups_of_the_administrator(tree: SysfsTree, tmp_path: Path) -> None:
    """LVMGROUPS are deactivated last, and none twice."""
    plan = Plan(tree, mounted(tmp_path), ["/"], ["vg", "other"])
    assert plan.removals == [*STACK, ("LVM", "other")]


def test_lines(tree: SysfsTree, tmp_path: Path) -> None:
    """--dry-run shows every step."""
    text = "\n".join(Plan(tree, mounted(tmp_path, ("253:7", "/srv")), [], []).lines())
    assert "  /srv" in text
    assert "  vg" in text
    assert "  secret" in text
    assert "  mpatha" in text


def test_what_cannot_be_unmounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real umount refuses what is not mounted for it; a line says so, status false."""
    tree = unpack("up", tmp_path)
    proc = mounted(tmp_path, ("8:1", f"{tmp_path}/point"))
    assert dismantle(tree, proc, ["/"], [], 0) is False
    assert f"Could not unmount {tmp_path}/point: umount: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ["", "1", ""]),
        ('LVMGROUPS="a b"\nHANDLE_NETDEV=0\n', ["a b", "0", ""]),
        ("EXCLUDE_MOUNTS_AT_SHUTDOWN='/x\\040y /z' # two\n", ["", "1", "/x\\040y /z"]),
        ("if then (\n", ["", "1", ""]),
    ],
)
def test_settings(tmp_path: Path, text: str | None, expected: list[str]) -> None:
    """A shell fragment, read by the shell; what is broken is as if it was not there."""
    path = tmp_path / "open-iscsi"
    if text is not None:
        path.write_text(text)
    assert umountiscsi.settings(str(path)) == expected


@pytest.mark.parametrize("words", [["--dry"], ["--timeout"], ["--timeout", "-2"], ["a", "b", "c"]])
def test_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else than the two options is refused."""
    assert umountiscsi.main(["umountiscsi.sh", *words]) == 1
    assert capsys.readouterr().err == umountiscsi.USAGE
