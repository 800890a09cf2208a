"""What the daemon itself reads from iscsid.conf and from the initiator name file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from pyiscsi.env import Env

ReadScalar = Callable[[str, str], tuple[str | None, list[str]]]
"""records.config.read_scalar: (path, key) to (value, message lines)."""

NAME_MISSING = (
    "Warning: InitiatorName file {path} does not exist or does not contain a properly formatted "
    "InitiatorName. If using software iscsi (tcp, iser) or an offload card that logs in through "
    "this daemon, discovery and login are going to fail unless the iface names an initiator. "
    "Create {path} with one line of the form InitiatorName=iqn.yyyy-mm.<reversed domain "
    "name>[:identifier], or let iscsi-iname make a name, and send iscsid a SIGHUP."
)


@dataclass
class Settings:
    """Current values; `reload()` replaces them in place, so that every holder sees the new ones.

    `initiator_name` is "" when there is none. `problems` are lines for the log from the latest
    reading.
    """

    config_file: str
    initiatorname_file: str
    initiator_name: str = ""
    initiator_alias: str = ""
    safe_logout: bool = False
    ipc_auth_uid: bool = True
    retry_automatic_logins: bool = False
    problems: list[str] = field(default_factory=list, compare=False)

    @classmethod
    def load(
        cls,
        env: Env,
        config_file: str = "",
        initiatorname_file: str = "",
        read_scalar: ReadScalar | None = None,
    ) -> Settings:
        """Read both files; empty paths mean the usual ones. Missing files are not errors."""
        settings = cls(config_file or env.config_file, initiatorname_file or env.initiatorname_file)
        settings.reload(read_scalar)
        return settings

    def reload(self, read_scalar: ReadScalar | None = None) -> None:
        """Read both files again. Blocks for as long as the disk does."""
        read = read_scalar or _default_reader()
        problems: list[str] = []

        def value(path: str, key: str) -> str:
            text, lines = read(path, key)
            problems.extend(lines)
            return text or ""

        name = value(self.initiatorname_file, "InitiatorName")
        if not name:
            problems.append(NAME_MISSING.format(path=self.initiatorname_file))
        alias = value(self.initiatorname_file, "InitiatorAlias")
        # usr/iscsid.c compares both values exactly; the uid rule is the default since 2.1.9.
        safe_logout = value(self.config_file, "iscsid.safe_logout") == "Yes"
        ipc_auth_uid = value(self.config_file, "iscsid.ipc_auth_uid") != "No"
        retry = value(self.config_file, "iscsid.retry_automatic_logins") == "Yes"
        self.initiator_name = name
        self.initiator_alias = alias or os.uname().nodename
        self.safe_logout = safe_logout
        self.ipc_auth_uid = ipc_auth_uid
        self.retry_automatic_logins = retry
        self.problems = problems


def _default_reader() -> ReadScalar:
    from pyiscsi.records.config import read_scalar

    return read_scalar
