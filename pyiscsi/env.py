"""Where this installation keeps things: roots and socket names, fixed for one run.

Imported by every command, so it imports nothing beyond os.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SOCKET = "/run/iscsid.sock"
_NONE = "none"

_VARIABLES = (
    # attribute, environment variable, default
    ("config_root", "PYISCSI_CONFIG_ROOT", "/etc/iscsi"),
    ("db_root", "PYISCSI_DB_ROOT", "/etc/iscsi"),
    ("lock_dir", "PYISCSI_LOCK_DIR", "/run/lock/iscsi"),
    ("sysfs_root", "SYSFS_PATH", "/sys"),
    ("proc_root", "PYISCSI_PROC_ROOT", "/proc"),
    ("socket_path", "PYISCSI_SOCKET", _SOCKET),
    ("compat_socket", "PYISCSI_COMPAT_SOCKET", "ISCSIADM_ABSTRACT_NAMESPACE"),
    ("pid_file", "PYISCSI_PID_FILE", "/run/iscsid.pid"),
    ("record_format", "PYISCSI_RECORD_FORMAT", "2.1.8"),
)


class Env:
    """Immutable settings of one run.

    `compat_socket` is an abstract name, "" where there is none: asked for by `none`, and for an
    installation with a native socket of its own, which must not meet the machine's real daemon.
    `record_format` is 2.1.8 or master.
    """

    __slots__ = tuple(name for name, _, _ in _VARIABLES)

    config_root: str
    db_root: str
    lock_dir: str
    sysfs_root: str
    proc_root: str
    socket_path: str
    compat_socket: str
    pid_file: str
    record_format: str

    def __init__(self, **settings: str) -> None:
        if settings.get("socket_path", _SOCKET) != _SOCKET:
            settings.setdefault("compat_socket", _NONE)
        if settings.get("compat_socket") == _NONE:
            settings["compat_socket"] = ""
        for name, _, default in _VARIABLES:
            object.__setattr__(self, name, settings.pop(name, default))
        if settings:
            raise TypeError(f"unknown setting {', '.join(settings)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Env.{name} is fixed")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Env:
        return cls(**{name: environ[var] for name, var, _ in _VARIABLES if environ.get(var)})

    @property
    def config_file(self) -> str:
        return f"{self.config_root}/iscsid.conf"

    @property
    def initiatorname_file(self) -> str:
        return f"{self.config_root}/initiatorname.iscsi"
