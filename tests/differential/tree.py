"""A directory tree as a value: what is compared, kept and put back."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

LINK, DIRECTORY, FILE = "link", "directory", "file"


class Entry(NamedTuple):
    """`content`: of a file its bytes, of a link where it points; `mode` is that of files and
    directories."""

    kind: str
    mode: int
    content: bytes


Tree = dict[str, Entry]
"""Entries by path relative to the root, parents before their children."""


def snapshot(root: Path) -> Tree:
    """Everything below `root`."""
    tree: Tree = {}
    _walk(str(root), "", tree)
    return tree


def _walk(root: str, prefix: str, tree: Tree) -> None:
    with os.scandir(f"{root}/{prefix}") as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.is_symlink():
            tree[name] = Entry(LINK, 0, os.fsencode(os.readlink(entry.path)))
        elif entry.is_dir():
            tree[name] = Entry(DIRECTORY, stat.S_IMODE(entry.stat().st_mode), b"")
            _walk(root, f"{name}/", tree)
        else:
            content = Path(entry.path).read_bytes()
            tree[name] = Entry(FILE, stat.S_IMODE(entry.stat().st_mode), content)


def restore(root: Path, tree: Tree) -> None:
    """Make what is below `root` equal to `tree`."""
    with os.scandir(root) as found:
        for entry in list(found):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    for name, entry in tree.items():
        put(root / name, entry)


def put(path: Path, entry: Entry) -> None:
    """Make one entry, in place of what is there; its directory exists."""
    if entry.kind == LINK:
        path.unlink(missing_ok=True)
        path.symlink_to(os.fsdecode(entry.content))
    elif entry.kind == DIRECTORY:
        path.mkdir(exist_ok=True)
        path.chmod(entry.mode)
    else:
        path.write_bytes(entry.content)
        path.chmod(entry.mode)
