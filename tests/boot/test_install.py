"""`make install`: a tree that works, keeps what an administrator wrote, and can be taken away."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot import tree
from tests.repo import layers, sources

PROGRAMS = (
    "sbin/iscsiadm",
    "sbin/iscsid",
    "sbin/iscsistart",
    "sbin/iscsi-iname",
    "sbin/iscsi-gen-initiatorname",
    "sbin/iscsi_discovery",
    "sbin/iscsi_fw_login",
    "bin/pyiscsi-complete",
    "bin/iscsiadm",
)
HELPERS = (
    "startup-checks.sh",
    "activate-storage.sh",
    "logout-all.sh",
    "umountiscsi.sh",
    "boot-image",
    "net-interface-handler",
)
UNITS = (
    "iscsid.service",
    "iscsid.socket",
    "iscsi.service",
    "open-iscsi.service",
    "iscsi-shutdown.service",
    "iscsi-init.service",
)

pytestmark = pytest.mark.skipif(
    not Path(tree.DEBIAN_PYTHON).exists(), reason=f"{tree.DEBIAN_PYTHON} is missing"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine's files with pyiscsi installed below /usr."""
    folder = tmp_path_factory.mktemp("root")
    tree.install(folder)
    return folder


def run(*words: str | Path, **environ: str) -> str:
    """What a program prints; it must succeed, and know nothing of this virtual environment."""
    environ |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/nowhere"}
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, env=environ, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_tree(root: Path) -> None:
    """Programs, helpers, units, rules, scripts and pages lie where a distribution has them."""
    usr = root / "usr"
    for program in PROGRAMS:
        assert (usr / program).stat().st_mode & 0o777 == 0o755
    for helper in HELPERS:
        assert (usr / "lib/open-iscsi" / helper).stat().st_mode & 0o777 == 0o755
    assert {path.name for path in (usr / "lib/systemd/system").iterdir()} == set(UNITS)
    assert sorted(path.name for path in (usr / "lib/udev/rules.d").iterdir()) == [
        "70-iscsi-network-interface.rules",
        "70-open-iscsi.rules",
    ]
    assert sorted(path.name for path in (root / "etc/init.d").iterdir()) == ["iscsid", "open-iscsi"]
    for script in ("initramfs-tools/hooks/iscsi", "initramfs-tools/scripts/local-top/iscsi"):
        assert (usr / "share" / script).stat().st_mode & 0o777 == 0o755
    assert (usr / "lib/dracut/modules.d/95pyiscsi/module-setup.sh").exists()
    pages = {path.name for path in (usr / "share/man").glob("man?/*")}
    assert pages == {path.name for path in (tree.PROJECT / "docs/man").iterdir()}
    assert (root / "etc/iscsi").stat().st_mode & 0o777 == 0o700
    assert (root / "etc/iscsi/iscsid.conf").stat().st_mode & 0o777 == 0o600


def test_programs_run(root: Path) -> None:
    """From the tree, with Debian's python3 and nothing but the tree's own libraries."""
    sbin = root / "usr/sbin"
    assert run(sbin / "iscsiadm", "-V") == "iscsiadm version 2.1.8\n"
    assert run(root / "usr/bin/iscsiadm", "-V") == "iscsiadm version 2.1.8\n"
    assert run(sbin / "iscsid", "-v") == "iscsid version 2.1.8\n"
    assert run(sbin / "iscsi-iname", "-p", "iqn.2026-11.test").startswith("iqn.2026-11.test:")
    complete = root / "usr/bin/pyiscsi-complete"
    shown = run(complete, "bash", "iscsiadm", COMP_LINE="iscsiadm --logi", COMP_WORD="--logi")
    assert "plain,--login" in shown
    assert "(none)" in run(root / "usr/lib/open-iscsi/umountiscsi.sh", "--dry-run")


def test_libraries(root: Path) -> None:
    """What the daemon and discovery import is in the tree, compiled."""
    own = root / "usr/lib/pyiscsi"
    script = "import sys; sys.path.insert(0, sys.argv[1]); import pyiscsi.transport.netlink as n; "
    script += "import crcmod, click; print(n.__file__)"
    assert run(tree.DEBIAN_PYTHON, "-IS", "-c", script, own).startswith(str(own))
    modules = list((own / "pyiscsi").rglob("*.py"))
    assert len(list((own / "pyiscsi").rglob("*.pyc"))) == len(modules)
    used = {
        name.partition(".")[0]
        for path in sources.package_modules()
        for name in layers.imports(path)
    }
    assert [name for name in used & layers.THIRD_PARTY if not (own / name).is_dir()] == []


def test_nothing_of_the_builder(root: Path) -> None:
    """No file names the directory it was made in, or DESTDIR."""
    for folder in ("etc", "usr/sbin", "usr/bin", "usr/lib/open-iscsi", "usr/lib/systemd"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                text = path.read_bytes()
                assert str(root).encode() not in text, path
                assert str(tree.PROJECT).encode() not in text, path
    for path in (root / "usr/lib/pyiscsi/pyiscsi").rglob("*.pyc"):
        assert str(root).encode() not in path.read_bytes(), path


def test_twice(root: Path, tmp_path: Path) -> None:
    """A second run replaces programs and keeps what was edited; stale modules go."""
    copy = tmp_path / "root"
    shutil.copytree(root, copy, symlinks=True)
    conf, default = copy / "etc/iscsi/iscsid.conf", copy / "etc/default/open-iscsi"
    conf.write_text("node.startup = automatic\n")
    default.write_text("HANDLE_NETDEV=0\n")
    (copy / "usr/sbin/iscsid").write_text("old")
    stale = copy / "usr/lib/pyiscsi/pyiscsi/gone.py"
    stale.write_text("")
    tree.install(copy)
    assert conf.read_text() == "node.startup = automatic\n"
    assert default.read_text() == "HANDLE_NETDEV=0\n"
    assert (copy / "usr/sbin/iscsid").read_text() == (root / "usr/sbin/iscsid").read_text()
    assert not stale.exists()


def test_uninstall(tmp_path: Path) -> None:
    """Everything goes but what an administrator may have edited."""
    tree.install(tmp_path)
    tree.install(tmp_path, action="uninstall")
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir())
    assert left == ["etc/default/open-iscsi", "etc/iscsi/iscsid.conf"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_launcher(tmp_path: Path) -> None:
    """With LAUNCHER=yes iscsid is an executable that answers the same; without, a script again."""
    prefix = tmp_path / "usr"
    built = tmp_path / "built"
    tree.install(built, prefix=str(prefix), launcher=True)
    prefix.symlink_to(f"{built}{prefix}")
    iscsid = prefix / "sbin/iscsid"
    assert iscsid.read_bytes().startswith(b"\x7fELF")
    assert run(iscsid, "-v") == "iscsid version 2.1.8\n"
    assert run(iscsid, "--help").startswith("Usage: iscsid [OPTION]\n")
    tree.install(built, prefix=str(prefix))
    assert iscsid.read_text().startswith("#!/usr/bin/python3 -IS\n")


def test_prefix(tmp_path: Path) -> None:
    """With another prefix units, rules and scripts call the programs there."""
    tree.install(tmp_path, prefix="/opt/pyiscsi")
    texts = [
        path.read_text()
        for folder in ("opt/pyiscsi/lib/systemd", "opt/pyiscsi/lib/udev", "etc/init.d")
        for path in (tmp_path / folder).rglob("*")
        if path.is_file()
    ]
    assert not [text for text in texts if "/usr/sbin" in text or "/usr/lib" in text]
    assert run(tmp_path / "opt/pyiscsi/sbin/iscsiadm", "-V") == "iscsiadm version 2.1.8\n"
    hook = (tmp_path / "etc/initramfs-tools/hooks/iscsi").read_text()
    assert "$(/opt/pyiscsi/lib/open-iscsi/boot-image " in hook


def test_python_without_a_path(tmp_path: Path) -> None:
    """The interpreter is found on PATH, as the Makefile names it where Debian's is too old."""
    tree.install(tmp_path, python="python3")
    first = (tmp_path / "usr/sbin/iscsistart").read_text().splitlines()[0]
    interpreter = first.removeprefix("#!").removesuffix(" -IS")
    assert Path(interpreter).is_absolute()
    assert run(interpreter, "-c", "import sys; print(sys.executable)") == f"{interpreter}\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_units_are_valid(root: Path) -> None:
    """systemd finds nothing to complain of in the units: no cycle, no unknown setting."""
    units = [root / "usr/lib/systemd/system" / name for name in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "iscsi" in line]
    # the programs are not installed on this machine, only in the tree
    assert [line for line in complaints if "is not executable" not in line] == []


def test_init_scripts_have_headers(root: Path) -> None:
    """insserv finds the order of the init scripts, and sh their syntax right."""
    for script in sorted((root / "etc/init.d").iterdir()):
        subprocess.run(["sh", "-n", str(script)], check=True)
        text = script.read_text()
        header = text.partition("### BEGIN INIT INFO\n")[2].partition("### END INIT INFO")[0]
        keys = [line.split()[1] for line in header.splitlines() if line[2:3].isalpha()]
        assert keys == [
            "Provides:",
            "Required-Start:",
            "Required-Stop:",
            "Default-Start:",
            "Default-Stop:",
            "Short-Description:",
            "Description:",
        ]
