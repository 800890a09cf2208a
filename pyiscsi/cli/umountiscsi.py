"""The umountiscsi.sh helper: unmount and take apart what stands on iSCSI, before the logout.

Boot scripts run it; logout-all.sh reads what it leaves in /run/open-iscsi.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from pyiscsi.env import Env
from pyiscsi.ops import dismantle
from pyiscsi.sysfs.mounts import unescaped
from pyiscsi.sysfs.tree import SysfsTree

USAGE = "Usage: umountiscsi.sh [--dry-run | --timeout SECONDS]\n"
DEFAULTS = "/etc/default/open-iscsi"
RUN = "/run/open-iscsi"
KEPT = f"{RUN}/shutdown-keep-sessions"
FAILED = f"{RUN}/some_umount_failed"
SYSTEMD = "/run/systemd/system"

_SETTINGS = ("LVMGROUPS", "HANDLE_NETDEV", "EXCLUDE_MOUNTS_AT_SHUTDOWN")
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


class UsageError(Exception):
    """The command line is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the helper; 0, or 1 when something stayed mounted or the command line is wrong."""
    words = (sys.argv if argv is None else argv)[1:]
    try:
        timeout_s = _read(words)
    except UsageError:
        sys.stderr.write(USAGE)
        return 1
    os.environ["PATH"] = _PATH
    env = Env.from_environ()
    has_systemd = os.path.isdir(SYSTEMD)
    groups, netdev, more = settings(DEFAULTS)
    excluded = ["/", *(["/usr"] if has_systemd else []), *map(unescaped, more.split())]
    tree = SysfsTree(env.sysfs_root)
    if timeout_s is None:
        plan = dismantle.Plan(tree, env.proc_root, excluded, groups.split())
        print("\n".join(plan.lines()))
        return 0
    if not has_systemd and netdev == "1":
        print("Unmounting all devices marked _netdev", flush=True)
        subprocess.run(["umount", "-a", "-O", "_netdev"], capture_output=True, check=False)
    _keep(dismantle.Plan(tree, env.proc_root, excluded, groups.split()).kept)
    is_done = dismantle.dismantle(tree, env.proc_root, excluded, groups.split(), timeout_s)
    _note(is_done)
    return 0 if is_done else 1


def _read(words: Sequence[str]) -> int | None:
    """Seconds to go on trying; None for --dry-run. Raises UsageError."""
    if not words:
        return 0
    if list(words) == ["--dry-run"]:
        return None
    if len(words) == 2 and words[0] == "--timeout":
        if words[1] == str(dismantle.FOR_EVER):
            return dismantle.FOR_EVER
        if words[1].isascii() and words[1].isdigit():
            return int(words[1])
    raise UsageError


def settings(path: str) -> list[str]:
    """Values of _SETTINGS in the shell fragment `path`; HANDLE_NETDEV is 1 unless it says other."""
    shown = " ".join(f'"${name}"' for name in _SETTINGS)
    script = f"HANDLE_NETDEV=1; [ ! -f {path} ] || . {path}; printf '%s\\0' {shown}"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    values = done.stdout.split("\0")
    return values[: len(_SETTINGS)] if len(values) > len(_SETTINGS) else ["", "1", ""]


def _keep(kept: Sequence[str]) -> None:
    """Tell logout-all.sh which sessions stay."""
    if not kept:
        with suppress(OSError):
            os.unlink(KEPT)
        return
    os.makedirs(RUN, mode=0o700, exist_ok=True)
    with open(KEPT, "w", encoding="utf-8") as file:
        file.writelines(f"{folder}\n" for folder in kept)


def _note(is_done: bool) -> None:
    if is_done:
        with suppress(OSError):
            os.unlink(FAILED)
        return
    os.makedirs(RUN, mode=0o700, exist_ok=True)
    with open(FAILED, "w", encoding="utf-8"):
        return


if __name__ == "__main__":
    sys.exit(main())
