"""iscsi-gen-initiatorname: where the name comes from, what is refused, what the file becomes."""

import io
import os
import re
import stat

import pytest

from pyiscsi.cli import iscsi_gen_initiatorname
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.records.config import read_scalar

USAGE = iscsi_gen_initiatorname.USAGE
KERNEL = "iqn.2026-11.com.example:kernel"
FIRMWARE = "iqn.2026-11.com.example:firmware"
REFUSED = "Error: you cannot overwrite the current InitiatorName unless 'force' is set.\n"


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """A machine of temporary roots, and the rights of root."""
    for name in ("etc", "proc", "sys/firmware/ibft/initiator"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/cmdline").write_text("root=/dev/sda1 quiet\n")
    monkeypatch.setenv("PYISCSI_CONFIG_ROOT", str(tmp_path / "etc"))
    monkeypatch.setenv("PYISCSI_PROC_ROOT", str(tmp_path / "proc"))
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path / "sys"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def run(*words):
    stdout, stderr = io.BytesIO(), io.BytesIO()
    program = "/sbin/iscsi-gen-initiatorname"
    status = iscsi_gen_initiatorname.main([program, *words], Output(stdout, stderr))
    return status, stdout.getvalue().decode(), stderr.getvalue().decode()


def written(roots):
    """The name, as iscsid reads it."""
    return read_scalar(str(roots / "etc/initiatorname.iscsi"), "InitiatorName")[0]


def firmware(roots, name):
    (roots / "sys/firmware/ibft/initiator/initiator-name").write_text(f"{name}\n")


def kernel(roots, line):
    (roots / "proc/cmdline").write_text(f"{line}\n")


@pytest.mark.parametrize(
    ("words", "prefix"),
    [
        ([], "iqn.1996-04.de.suse:01"),
        (["-p", "iqn.2026-11.com.example"], "iqn.2026-11.com.example"),
        (["-piqn.x", "-p", ""], "iqn.1996-04.de.suse:01"),
        (["-fpiqn.x"], "iqn.x"),
    ],
)
def test_made_at_random(roots, words, prefix):
    assert run(*words) == (0, "", "")
    assert re.fullmatch(f"{re.escape(prefix)}:[0-9a-f]{{6,12}}", written(roots))


def test_the_file(roots):
    """Comments and one line, for root alone, and nothing beside it."""
    assert run() == (0, "", "")
    path = roots / "etc/initiatorname.iscsi"
    *comments, last = path.read_text().splitlines()
    assert all(line.startswith("##") for line in comments)
    assert last == f"InitiatorName={written(roots)}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(roots / "etc") == ["initiatorname.iscsi"]


def test_sources(roots):
    """The kernel's command line before the firmware; of several words the last."""
    firmware(roots, FIRMWARE)
    assert run() == (0, "", "")
    assert written(roots) == FIRMWARE
    (roots / "sys/firmware/ibft/initiator/initiator-name").unlink()
    kernel(roots, f"rd.initiatorname=iqn.x:old quiet rd.initiatorname={KERNEL} splash")
    assert run("-f") == (0, "", "")
    assert written(roots) == KERNEL
    firmware(roots, KERNEL)
    assert run("-f") == (0, "", "")
    kernel(roots, "xrd.initiatorname=iqn.x:other rd.initiatorname= quiet")
    firmware(roots, "")
    assert run("-fp", "iqn.y") == (0, "", "")
    assert written(roots).startswith("iqn.y:")


def test_sources_that_disagree(roots):
    firmware(roots, FIRMWARE)
    kernel(roots, f"rd.initiatorname={KERNEL}")
    status, out, err = run("-f")
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        f"Error: Kernel cmdline Initiator Name: {KERNEL}",
        f"  does not match iBFT Initiator Name: {FIRMWARE}",
        "Please ensure they both match, or remove the kernel parameter, then",
        "  run 'iscsi-gen-initiatorname [-f]' to update iSCSI InitiatorName",
    ]
    assert written(roots) is None


def test_a_name_is_replaced_only_by_force(roots):
    path = roots / "etc/initiatorname.iscsi"
    path.write_text("InitiatorName=iqn.x:mine\n")
    path.chmod(0o644)
    assert run() == (1, USAGE, REFUSED)
    assert path.read_text() == "InitiatorName=iqn.x:mine\n"
    assert run("-f", "-p", "iqn.y") == (0, "", "")
    assert written(roots).startswith("iqn.y:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_without_a_name_counts_as_none(roots):
    """As packages leave it, to be filled at the first start."""
    path = roots / "etc/initiatorname.iscsi"
    path.write_text("# nothing here\nGenerateName=yes\n#InitiatorName=iqn.x:no\n")
    assert run("-p", "iqn.y") == (0, "", "")
    assert written(roots).startswith("iqn.y:")


def test_the_old_file_is_never_run(roots):
    """The original sources it as a shell script."""
    path = roots / "etc/initiatorname.iscsi"
    path.write_text(f"touch {roots}/ran\nInitiatorName=$(touch {roots}/ran)\n")
    assert run() == (1, USAGE, REFUSED)
    assert not (roots / "ran").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-z"], "/sbin/iscsi-gen-initiatorname: illegal option -- z\n"),
        (["--force"], "/sbin/iscsi-gen-initiatorname: illegal option -- -\n"),
        (["-fp"], "/sbin/iscsi-gen-initiatorname: option requires an argument -- p\n"),
        (["-f", "foo", "-p", "x"], "Error: Invalid argument(s): foo -p x\n"),
        (["-p", "x" * 211], "Error: prefix too long\n"),
    ],
)
def test_wrong_lines(roots, words, complaint):
    assert run(*words) == (1, USAGE, complaint)
    assert written(roots) is None


def test_help(roots):
    """At once, whatever follows, and for everybody."""
    assert run("-f", "-h", "-z", "foo") == (0, USAGE, "")


def test_only_root(roots, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run() == (1, USAGE, "Error: You must be root to run this command\n")
    assert run("-h") == (0, USAGE, "")
    assert written(roots) is None


def test_no_directory(roots, monkeypatch):
    """One clear message, nothing made."""
    monkeypatch.setenv("PYISCSI_CONFIG_ROOT", str(roots / "missing"))
    status, out, err = run()
    assert (status, out) == (1, "")
    assert err == (
        f"Error: no write permission in directory: {roots}/missing\n"
        "Please ensure the filesystem is read/write.\n"
    )
    assert not (roots / "missing").exists()


def test_a_place_that_cannot_be_written(roots, monkeypatch):
    """A failed write is status 1 with its reason."""
    (roots / "etc/initiatorname.iscsi").mkdir()
    status, out, err = run("-f")
    assert (status, out) == (1, "")
    assert "initiatorname.iscsi" in err
    assert Env.from_environ().initiatorname_file in err
