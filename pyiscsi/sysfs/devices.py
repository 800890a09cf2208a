"""SCSI devices of a session, and the few words written to sysfs to find and revive them.

The writing functions block while the kernel works; the daemon calls them in threads.
"""

from __future__ import annotations

from pyiscsi.errors import SysfsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.sysfs.sessions import Session
    from pyiscsi.sysfs.tree import SysfsTree

SCSI_DEVICES = "bus/scsi/devices"
SCSI_HOSTS = "class/scsi_host"

_ALL_LUNS = "- - -"
_STOPPED = ("offline", "transport-offline")


class Device:
    """One logical unit. `block` is its disk's name (sda), `state` the SCSI layer's word."""

    __slots__ = ("block", "channel", "host", "lun", "name", "state", "target")

    def __init__(self, name: str, block: str | None, state: str | None) -> None:
        self.name = name
        self.host, self.channel, self.target, self.lun = (int(part) for part in name.split(":"))
        self.block = block
        self.state = state

    def __repr__(self) -> str:
        return f"Device({self.name}, {self.block}, {self.state})"


def devices(tree: SysfsTree, session: Session) -> list[Device]:
    """The session's units in the original's order, that of their names as text: 0, 10, 2."""
    return [
        Device(name, _block_name(tree, path), tree.read(f"{path}/state"))
        for name, path in _paths(tree, session)
    ]


def _paths(tree: SysfsTree, session: Session) -> list[tuple[str, str]]:
    base = f"class/iscsi_session/session{session.sid}/device"
    return [
        (name, f"{base}/{target}/{name}")
        for target in tree.names(base)
        if target.startswith("target")
        for name in tree.names(f"{base}/{target}")
        if _is_device(name)
    ]


def _is_device(name: str) -> bool:
    parts = name.split(":")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


def _block_name(tree: SysfsTree, path: str) -> str | None:
    """`block/sda`, or the link `block:sda` of kernels before 2.6.27."""
    names = tree.names(f"{path}/block")
    if names:
        return names[0]
    old = [name for name in tree.names(path) if name.startswith("block:")]
    return old[0].removeprefix("block:") if old else None


def host_state(tree: SysfsTree, host_no: int | None) -> str | None:
    """The SCSI layer's word for a host: running, recovery, ..."""
    return None if host_no is None else tree.read(f"{SCSI_HOSTS}/host{host_no}/state")


def scan_host(tree: SysfsTree, host_no: int) -> None:
    """Have the kernel look for new units behind a host. Raises SysfsError."""
    tree.write(f"{SCSI_HOSTS}/host{host_no}/scan", _ALL_LUNS)


def rescan(session: Session) -> None:
    """Re-read every known unit, then look for new ones. Raises SysfsError.

    A single unit that cannot be re-read (blocked, removed at the target) does not stop the others.
    """
    if session.host_no is None:
        raise SysfsError(f"Could not find host of session {session.sid}.")
    _write_each(session, "rescan", "1")
    scan_host(session.tree, session.host_no)


def set_running(session: Session) -> None:
    """Set every unit running that is offline, or whose state cannot be read."""
    for name, path in _paths(session.tree, session):
        state = session.tree.read(f"{path}/state")
        if state is None or state in _STOPPED:
            _try_write(session.tree, f"{SCSI_DEVICES}/{name}/state", "running\n")


def set_queue_depth(session: Session, depth: int) -> None:
    """Allow `depth` commands at once on every unit; drivers may refuse, which is no error."""
    _write_each(session, "queue_depth", str(depth))


def _write_each(session: Session, attribute: str, text: str) -> None:
    for name, _path in _paths(session.tree, session):
        _try_write(session.tree, f"{SCSI_DEVICES}/{name}/{attribute}", text)


def _try_write(tree: SysfsTree, path: str, text: str) -> None:
    try:
        tree.write(path, text)
    except SysfsError:
        return
