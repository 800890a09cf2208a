"""Flashnodes of an adapter: what it keeps, changing it, and letting the adapter log in and out.

Rules and texts of open-iscsi usr/iscsiadm.c (exec_flashnode_op).
"""

from __future__ import annotations

import errno
import os

from pyiscsi.errors import ExitCode, PyIscsiError, SessionExists, SessionNotFound
from pyiscsi.ops import flashnode_settings as settings
from pyiscsi.ops.adapter import Adapter, failed, reason
from pyiscsi.records import edit
from pyiscsi.sysfs.flashnodes import Flashnode, flashnodes
from pyiscsi.transport import uevent
from pyiscsi.transport.numbers import UEvent
from pyiscsi.transport.uevent import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.records.record import Record

INDEX_MAX = 0xFFFFFFFF


def listing(adapter: Adapter) -> list[tuple[int, Record]]:
    """Index and settings of each."""
    nodes = flashnodes(adapter.tree, adapter.host_no)
    return [(node.index, settings.read(node)) for node in nodes]


def read(adapter: Adapter, index: int, where: str = "") -> Record:
    """One entry. Raises PyIscsiError with errno as its status, as the original does."""
    node = Flashnode(adapter.tree, adapter.host_no, index)
    if not node.exists():
        line = f"Could not read info for flashnode {index}{where}, {os.strerror(errno.ENOENT)}"
        raise PyIscsiError(line, errno.ENOENT)
    return settings.read(node)


def create(adapter: Adapter, portal_type: str) -> int:
    """A new entry of address family `portal_type`; its index. Raises PyIscsiError."""
    value = portal_type.encode() + b"\0"
    try:
        answer = adapter.ask(UEvent.NEW_FLASHNODE, {"length": len(value)}, value)
    except Refused as error:
        raise failed(error, f"Creation of flashnode for host {adapter.host_no} failed.") from error
    return uevent.reply_fields(UEvent.NEW_FLASHNODE, answer)["idx"]


def delete(adapter: Adapter, index: int) -> None:
    """Raises PyIscsiError."""
    try:
        adapter.ask(UEvent.DEL_FLASHNODE, {"idx": index})
    except Refused as error:
        line = f"Deletion of flashnode {index} of host {adapter.host_no} failed."
        raise failed(error, line) from error


class Update:
    """New values for one entry, judged when it is made and sent by `send`."""

    def __init__(self, adapter: Adapter, index: int, pairs: Sequence[tuple[str, str]]) -> None:
        """Raises PyIscsiError, all of whose lines are to be shown."""
        self._adapter = adapter
        self._index = index
        self._failed = f"Update for flashnode {index} of host {adapter.host_no} failed."
        self._count = len(pairs)
        try:
            record = read(adapter, index)
            self.warnings = edit.apply(record, pairs)
            self._payload = settings.encode(record, [key for key, _ in pairs])
            if not self._payload:
                raise ValueError("nothing to set")
        except PyIscsiError as error:
            raise PyIscsiError(f"{error}\n{self._failed}", error.exit_code) from error
        except ValueError as error:
            raise PyIscsiError(f"Build flashnode config failed.\n{self._failed}") from error

    def send(self) -> None:
        """Raises PyIscsiError."""
        fields = {"idx": self._index, "count": self._count}
        try:
            self._adapter.ask(UEvent.SET_FLASHNODE_PARAMS, fields, self._payload)
        except Refused as error:
            raise failed(error, self._failed) from error


def login(adapter: Adapter, index: int) -> None:
    """Raises SessionExists with the kernel's reason where the adapter is logged in already."""
    try:
        adapter.ask(UEvent.LOGIN_FLASHNODE, {"idx": index})
    except Refused as error:
        if error.errno == errno.EPERM:
            raise SessionExists("\n".join(reason(error))) from error
        line = f"Login to flashnode {index} of host {adapter.host_no} failed."
        raise failed(error, line, code=ExitCode.LOGIN) from error


def logout(adapter: Adapter, index: int) -> None:
    """Raises SessionNotFound with the kernel's reason where the adapter is not logged in."""
    try:
        adapter.ask(UEvent.LOGOUT_FLASHNODE, {"idx": index})
    except Refused as error:
        if error.errno == errno.ESRCH:
            raise SessionNotFound("\n".join(reason(error))) from error
        line = f"Logout of flashnode {index} of host {adapter.host_no} failed."
        raise failed(error, line, code=ExitCode.LOGOUT) from error
