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


def install(
    root: Path,
    *,
    prefix: str = "/usr",
    action: str = "install",
    python: str = DEBIAN_PYTHON,
    launcher: bool = False,
) -> None:
    """Run the installer as the Makefile does, with the libraries of this virtual environment."""
    environ = {
        **os.environ,
        "DESTDIR": str(root),
        "PREFIX": prefix,
        "PYTHON": python,
        "LAUNCHER": "yes" if launcher else "no",
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


def boot_image(root: Path, image: Path) -> None:
    """What etc/initramfs-tools/hooks/iscsi puts into an image, from an installation in `root`."""
    image.mkdir()
    for name in ("proc", "sys", "dev", "tmp"):
        (image / name).mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (image / "usr" / name).mkdir(parents=True)
        (image / name).symlink_to(f"usr/{name}")
    command = [str(root / "usr/lib/open-iscsi/boot-image"), str(image), "iscsistart"]
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for binary in map(Path, shown.splitlines()):
        for file in (binary, *shared_libraries(binary)):
            target = image / str(file).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def shared_libraries(binary: Path) -> list[Path]:
    """What ldd finds."""
    shown = subprocess.run(["ldd", str(binary)], stdout=subprocess.PIPE, text=True, check=True)
    words = [line.split() for line in shown.stdout.splitlines()]
    return [Path(word) for line in words for word in line if word.startswith("/")]
