"""Sessions in the kernel without any program under test: none is left over, numbers are foreseen.

Speaks NETLINK_ISCSI itself (the kernel's include/scsi/iscsi_if.h, x86_64 layout): a message is a
netlink header and a 56-byte event, the answer an event of the same type.
"""

from __future__ import annotations

import os
import socket
import struct

NETLINK_ISCSI = 8
CREATE_SESSION, DESTROY_SESSION, DESTROY_CONN, STOP_CONN = 11, 12, 14, 18
STOP_TERM = 1


def _handle() -> int:
    with open("/sys/class/iscsi_transport/tcp/handle") as file:
        return int(file.read())


def _request(kernel: socket.socket, kind: int, sid: int, flag: int = 0) -> None:
    event = struct.pack("=IIQIIQI", kind, 0, _handle(), sid, 0, 0, flag).ljust(56, b"\0")
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
    """Drop a tcp session with its connection and devices, in whatever state it is."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI) as kernel:
        kernel.bind((0, 0))
        if os.path.exists(f"/sys/class/iscsi_connection/connection{sid}:0"):
            _request(kernel, STOP_CONN, sid, STOP_TERM)
            _request(kernel, DESTROY_CONN, sid)
        _request(kernel, DESTROY_SESSION, sid)
