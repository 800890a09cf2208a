"""Sessions in the kernel without any program under test: none is left over, numbers are foreseen.

Speaks NETLINK_ISCSI itself (the kernel's include/scsi/iscsi_if.h, x86_64 layout): a message is a
netlink header and a 56-byte event, the answer an event of the same type.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

NETLINK_ISCSI = 8
CREATE_SESSION, DESTROY_SESSION, DESTROY_CONN, STOP_CONN = 11, 12, 14, 18
EP_DISCONNECT, LOGOUT_FLASHNODE_SID = 24, 40
STOP_TERM = 1
FIRMWARE = -1
"""`creator` of a session that an adapter made by itself."""


def _handle(transport: str = "tcp") -> int:
    return int(Path(f"/sys/class/iscsi_transport/{transport}/handle").read_text())


def _host(sid: int) -> Path:
    device = Path(f"/sys/class/iscsi_session/session{sid}/device").resolve()
    return Path("/sys/class/scsi_host") / next(
        part for part in device.parts if part.startswith("host") and part[4:].isdigit()
    )


def _transport(sid: int) -> str:
    return (_host(sid) / "proc_name").read_text().strip().removeprefix("iscsi_")


def _request(
    kernel: socket.socket, kind: int, sid: int, flag: int = 0, *, transport: str = "tcp",
    second: int = 0,
) -> None:  # fmt: skip
    handle = _handle(transport)
    event = struct.pack("=IIQIIQI", kind, 0, handle, sid, second, 0, flag).ljust(56, b"\0")
    header = struct.pack("=IHHII", 16 + len(event), kind, 0, 0, os.getpid())
    # handled before send() returns; whether it worked shows in sysfs, so the answer is dropped
    kernel.send(header + event)


def skip_session_ids(first: int) -> None:
    """Use up session ids (the kernel never counts back) so that the next is `first` or more.

    Listings sort sids as text: crossing from 99 to 100 in a test would change an order of lines.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI) as kernel:
        kernel.bind((0, 0))
        sid = 0
        while sid < first - 1:
            _request(kernel, CREATE_SESSION, 0)
            (sid,) = struct.unpack_from("=I", kernel.recv(4096), 16 + 40)
            _request(kernel, DESTROY_SESSION, sid)
            kernel.recv(4096)


def destroy_session(sid: int) -> None:
    """Drop a session with its connection and devices, in whatever state it is.

    Whose session an adapter's endpoint belongs to is not to be seen: all of them go.
    """
    name = _transport(sid)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI) as kernel:
        kernel.bind((0, 0))
        creator = Path(f"/sys/class/iscsi_session/session{sid}/creator").read_text()
        if int(creator) == FIRMWARE:
            host = int(_host(sid).name.removeprefix("host"))
            _request(kernel, LOGOUT_FLASHNODE_SID, host, transport=name, second=sid)
            return
        for handle in Path("/sys/class/iscsi_endpoint").glob("*/handle"):
            _request(kernel, EP_DISCONNECT, int(handle.read_text()), transport=name)
        if os.path.exists(f"/sys/class/iscsi_connection/connection{sid}:0"):
            _request(kernel, STOP_CONN, sid, STOP_TERM, transport=name)
            _request(kernel, DESTROY_CONN, sid, transport=name)
        _request(kernel, DESTROY_SESSION, sid, transport=name)
