"""A stand-in for iscsiuio's management socket, which transports bnx2i and qedi ask before a login.

`python -m tests.kernel.modules.uipstub [STATUS]` answers every request with STATUS (4: the network
device is up) and prints one line for each, until it is killed. A request is a command number, the
length of what follows and that much data (a network setting, or a ping); the answer is command,
status and the result of a ping, four bytes each (open-iscsi usr/uip_mgmt_ipc.h).
"""

from __future__ import annotations

import socket
import struct
import sys

ADDRESS = "\0ISCSID_UIP_ABSTRACT_NAMESPACE"
DEVICE_UP = 4
_NEW_INTERFACE = 1
_REQUEST_BYTES = 1 << 16


def main() -> None:
    """Serve until killed."""
    status = int(sys.argv[1]) if len(sys.argv) > 1 else DEVICE_UP
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ADDRESS)
        listener.listen(8)
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(_REQUEST_BYTES)
                command, length = struct.unpack_from("=II", request)
                print(f"command {command} payload {length} got {len(request) - 8}", flush=True)
                answer = status if command == _NEW_INTERFACE else 0
                connection.sendall(struct.pack("=III", command, answer, 0))


if __name__ == "__main__":
    main()
