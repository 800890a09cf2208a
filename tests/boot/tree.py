"""What `make install` puts in place, in a directory below the project that the guest can see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LAB = PROJECT / ".lab/boot"
DEBIAN_PYTHON = "/usr/bin/python3"
DEBIAN_SETTINGS = "/etc/iscsi/iscsid.conf"


def install(root: Path, *, prefix: str = "/usr", action: str = "install") -> None:
    """Run the installer as the Makefile does, with the libraries of this virtual environment."""
    environ = {
        **os.environ,
        "DESTDIR": str(root),
        "PREFIX": prefix,
        "PYTHON": DEBIAN_PYTHON,
        "PACKAGES": sysconfig.get_path("purelib"),
    }
    subprocess.run([str(PROJECT / "etc/install"), action], env=environ, check=True)


def fresh(name: str) -> Path:
    """An empty directory `name` of the boot tests."""
    folder = LAB / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def keep_programs(root: Path) -> None:
    """Leave of an installation with prefix /usr what open-iscsi's own boot files call.

    And give it the settings Debian ships: those of this machine, where nobody edits them.
    """
    for place in ("etc", "usr/lib/open-iscsi", "usr/lib/systemd", "usr/lib/udev"):
        shutil.rmtree(root / place)
    (root / "etc/iscsi").mkdir(parents=True)
    shutil.copy(DEBIAN_SETTINGS, root / "etc/iscsi")
