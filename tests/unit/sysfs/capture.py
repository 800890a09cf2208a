"""Rebuilds a captured sysfs below a temporary directory (tests/data/sysfs/*.tree).

Lines of a capture: `D path` directory, `L path target` link, `F path value` attribute, `E path
errno` attribute whose read failed, `A path line` one line of a file in /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from pyiscsi.env import Env
from pyiscsi.sysfs.tree import SysfsTree

DATA = Path(__file__).parents[2] / "data" / "sysfs"


def golden(name: str) -> list[str]:
    """Lines open-iscsi 2.1.8 printed while the capture was made."""
    return (DATA / f"{name}.out").read_text().split("\n")[:-1]


def unpack(name: str, root: Path) -> SysfsTree:
    """The tree `<root>/sys` of a capture; its /proc is `<root>/proc`."""
    unpack_text((DATA / f"{name}.tree").read_text(), root)
    return SysfsTree(str(root / "sys"))


def unpack_text(text: str, root: Path) -> None:
    """The same for the text of a capture."""
    made: set[str] = set()
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            kind, path, *value = line.split(" ", 2)
            where = f"{root}{path}"
            _make_directory(where if kind == "D" else os.path.dirname(where), made)
            _MAKERS[kind](where, value[0] if value else "")


def _make_directory(path: str, made: set[str]) -> None:
    if path not in made:
        os.makedirs(path, exist_ok=True)
        made.add(path)


def _write(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\n")


_MAKERS = {
    "D": lambda _path, _value: None,
    "L": lambda path, value: os.symlink(value, path),
    "F": lambda path, value: _write(path, value.replace("\\n", "\n")),
    "A": _write,
    # A read that fails: a link to nowhere fails for root too.
    "E": lambda path, value: os.symlink(f"errno-{value}", path),
}


def env_of(root: Path, **settings: str) -> Env:
    """An Env whose every root lies below `root`; directories are made."""
    roots = {
        "config_root": "etc/iscsi",
        "db_root": "etc/iscsi",
        "lock_dir": "run/lock/iscsi",
        "sysfs_root": "sys",
        "proc_root": "proc",
    }
    for place in roots.values():
        os.makedirs(root / place, exist_ok=True)
    made = {name: str(root / place) for name, place in roots.items()}
    made["socket_path"] = str(root / "iscsid.sock")
    made["pid_file"] = str(root / "iscsid.pid")
    return Env(**{**made, **settings})
