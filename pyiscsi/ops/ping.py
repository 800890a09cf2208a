"""A ping that an adapter sends from one of its own interfaces (open-iscsi usr/netlink.c)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError
from pyiscsi.ops.adapter import Adapter, reason
from pyiscsi.transport.adapter import IPV4, IPV6, encode_sockaddr
from pyiscsi.transport.numbers import KEvent, UEvent
from pyiscsi.transport.uevent import Refused
from pyiscsi.transports import traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.record import Record

ANSWER_S = 30.0

STATUSES = (
    "success",
    "firmware disabled",
    "invalid IP address",
    "invalid link local IPv6 address",
    "timed out",
    "invalid destination address",
    "oversized packet",
    "ICMP error",
    "Max request exceeded",
    "No ARP response received",
)
"""enum iscsi_ping_status_code."""

_CODES = {errno.ENOSYS: ExitCode.NOT_SUPPORTED, errno.EINVAL: ExitCode.INVALID}


class NotSent(PyIscsiError):
    """The driver took no ping. `lines`: what the kernel said, if more than that it has none."""

    def __init__(self, lines: list[str], exit_code: int) -> None:
        super().__init__("\n".join(lines), exit_code)
        self.lines = lines


def resolve(name: str) -> bytes:
    """The first address of a name as struct sockaddr. Raises InvalidArgument."""
    try:
        family, _, _, _, address = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(
            f"Cannot resolve host {name}. getaddrinfo error: [{text}]\nInvalid IP address."
        ) from error
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    scope_id = address[3] if len(address) > 3 else 0
    return encode_sockaddr(packed, scope_id=int(scope_id))


def send(adapter: Adapter, iface: Record, target: bytes, size: int) -> str:
    """One packet of `size` bytes; "" or why the adapter says that there was no answer.

    Raises NotSent, and TransportError (8) where the adapter never said how it ended.
    """
    if traits(adapter.transport).uses_iscsiuio:
        return _words(_ask_iscsiuio(adapter, iface, target, size))
    number = int.from_bytes(os.urandom(4), "little")
    fields = {
        "iface_num": iface.get_int("iface.iface_num"),
        "iface_type": IPV6 if iface.variant == "ipv6" else IPV4,
        "payload_size": size,
        "id": number,
    }
    try:
        adapter.ask(UEvent.PING, fields, target)
    except Refused as error:
        code = _CODES.get(error.errno, ExitCode.GENERIC)
        raise NotSent(reason(error), code) from error
    return _words(adapter.wait_for(KEvent.PING_COMP, {"id": number}, ANSWER_S))


def _ask_iscsiuio(adapter: Adapter, iface: Record, target: bytes, size: int) -> int:
    """These adapters cannot ping: the daemon that has their network side does."""
    from pyiscsi.ipc import iscsiuio
    from pyiscsi.sysfs.hosts import Host

    device = iface["iface.net_ifacename"]
    if device in ("", "default"):
        device = Host(adapter.tree, adapter.host_no).netdev or ""
    record = {**iface.values, "iface.net_ifacename": device}
    try:
        with contextlib.suppress(iscsiuio.NotReady):
            iscsiuio.bring_up(record)
        return iscsiuio.ping(record, target, size)
    except PyIscsiError as error:
        lines = [line for line in str(error).split("\n") if line]
        raise NotSent(lines, error.exit_code) from error


def _words(status: int) -> str:
    if not status:
        return ""
    return STATUSES[status] if status < len(STATUSES) else f"status {status}"
