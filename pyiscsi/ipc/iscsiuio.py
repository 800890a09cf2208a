"""What is asked of iscsiuio, the daemon that keeps the network side of bnx2i and qedi adapters.

Each question is a connection of its own: command u32, length of the rest u32, the iface record as
open-iscsi's struct; the answer is command, result and the outcome of a ping, u32 each (open-iscsi
usr/uip_mgmt_ipc.h). Blocking, but never for longer than a few seconds.
"""

from __future__ import annotations

import os
import socket
import struct

from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.ipc.structs import encode_iface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET_NAME = "\0ISCSID_UIP_ABSTRACT_NAMESPACE"
ANSWER_S = 5.0

_GET_IFACE, _PING = 1, 2
_DEVICE_UP, _DEVICE_INITIALIZING = 4, 5
_HEAD = struct.Struct("=II")
_ANSWER = struct.Struct("=III")
_SOCKADDR_STORAGE_BYTES = 128


class NotReady(PyIscsiError):
    """iscsiuio will be able to say more in a while."""

    exit_code = ExitCode.AGAIN


class NoAnswer(NotReady):
    """iscsiuio is there and says nothing."""


def bring_up(iface: Mapping[str, str], name: str = SOCKET_NAME) -> None:
    """Have the iface's network device set up. `iface` must name the device.

    Raises NotReady (29) until it is up, PyIscsiError (20, 1) when iscsiuio cannot be asked.
    """
    result, _ = _ask(_GET_IFACE, encode_iface(iface), name)
    if result != _DEVICE_UP:
        raise NotReady


def ping(iface: Mapping[str, str], target: bytes, size: int, name: str = SOCKET_NAME) -> int:
    """One packet of `size` bytes to a `struct sockaddr`; enum iscsi_ping_status_code.

    Raises as bring_up().
    """
    address = target.ljust(_SOCKADDR_STORAGE_BYTES, b"\0")
    result, status = _ask(_PING, encode_iface(iface) + address + struct.pack("=i", size), name)
    if result == _DEVICE_INITIALIZING:
        raise NotReady
    return status


def _ask(command: int, payload: bytes, name: str) -> tuple[int, int]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        try:
            _connect(sock, name)
            sock.sendall(_HEAD.pack(command, len(payload)) + payload)
            data = sock.recv(_ANSWER.size, socket.MSG_WAITALL)
        except (TimeoutError, BlockingIOError):
            raise NoAnswer(f"Could not broadcast to uIP after {ANSWER_S:g} tries") from None
        except OSError as error:
            raise _broken(error.errno or 0) from error
    if len(data) != _ANSWER.size:
        raise _broken(0)
    answered, result, status = _ANSWER.unpack(data)
    if answered != command:
        raise PyIscsiError("uIP daemon answers another question", ExitCode.GENERIC)
    return result, status


def _connect(sock: socket.socket, name: str) -> None:
    try:
        sock.connect(name)
    except BlockingIOError:
        raise  # it is there, and busy with others
    except OSError as error:
        lines = f"can not connect to iSCSI daemon ({error.errno})!\nuIP daemon is not up"
        raise PyIscsiError(lines, ExitCode.DAEMON_NOT_CONNECTED) from error


def _broken(number: int) -> PyIscsiError:
    reason = os.strerror(number) if number else "connection closed"
    return PyIscsiError(f"Could not read response ({reason}), daemon died?", ExitCode.GENERIC)
