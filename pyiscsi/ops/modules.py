"""Making sure a transport's driver is there, by modprobe so that blacklists and aliases count."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.sysfs.transports import transport
from pyiscsi.transports import traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.sysfs.tree import SysfsTree

_NOT_FOUND = 2
_NOT_PERMITTED = 1
_TIMEOUT_S = 30.0


def ensure_transport(tree: SysfsTree, name: str) -> None:
    """Load the driver of a transport unless it is there.

    Raises TransportError (12) with the original's line; its number is a negative errno.
    """
    if transport(tree, name) is not None:
        return
    number = _load(traits(name).module)
    if number or transport(tree, name) is None:
        raise TransportError(
            f"Could not insert module {name}. Kmod error -{number or _NOT_PERMITTED}",
            ExitCode.TRANSPORT_NOT_FOUND,
        )


def _load(module: str) -> int:
    """0 when modprobe is content, as it also is with a blacklisted module it does not load;
    else the errno that comes nearest to its reason.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["modprobe", "-b", "--", module],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT_S,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return _NOT_FOUND
    if done.returncode == 0:
        return 0
    return _NOT_FOUND if b"not found" in done.stderr else _NOT_PERMITTED
