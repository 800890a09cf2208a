"""A host and the driver behind it, asked through the kernel by the command itself.

Texts are those of open-iscsi usr/iscsiadm.c and usr/netlink.c.
"""

from __future__ import annotations

import errno
import os

from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError
from pyiscsi.transport.control import Control
from pyiscsi.transport.uevent import Refused
from pyiscsi.transports import traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiscsi.ops.context import Context
    from pyiscsi.records.record import Record
    from pyiscsi.sysfs.tree import SysfsTree
    from pyiscsi.transport.numbers import KEvent, UEvent
    from pyiscsi.transport.uevent import Message

NO_HOST = 0xFFFFFFFF
"""The host number of an iface that no host has the address of, as the kernel is told it."""


class Adapter:
    """One host while its driver is asked something: a context manager that holds the socket.

    `tree`: where the kernel shows what it knows of the host. A software session has a host as well;
    its driver refuses all this.
    """

    def __init__(self, tree: SysfsTree, host_no: int, transport: str, handle: int) -> None:
        self.tree = tree
        self.host_no = host_no
        self.transport = transport
        self._handle = handle
        self._control: Control | None = None

    def __enter__(self) -> Adapter:
        """Raises TransportError (9) where the kernel cannot be asked."""
        self._control = Control.open()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._control is not None:
            self._control.__exit__(*unused)

    def ask(self, event: UEvent, fields: Mapping[str, int], payload: bytes = b"") -> Message:
        """One request about this host. Raises Refused, TransportError."""
        assert self._control is not None
        request = {"host_no": self.host_no, **fields}
        return self._control.request(event, self._handle, request, payload)

    def wait_for(self, event: KEvent, wanted: Mapping[str, int], timeout_s: float) -> int:
        """`status` of the event with this host's number and the `wanted` values.

        Raises TransportError (8).
        """
        assert self._control is not None
        found = self._control.wait_for(event, {"host_no": self.host_no, **wanted}, timeout_s)
        return found["status"]


def find(context: Context, host_no: int) -> Adapter:
    """The host of that number. Raises InvalidArgument (12) where it has no iSCSI transport."""
    from pyiscsi.sysfs.hosts import transport_of_host
    from pyiscsi.sysfs.transports import transport

    lines = f"Could not match hostno {host_no} to transport."
    name = transport_of_host(context.tree, host_no)
    if name is None:
        lines = f"Could not read proc_name for host{host_no} rc 5.\n{lines}"
    found = transport(context.tree, name or "")
    if found is None:
        raise InvalidArgument(lines, ExitCode.TRANSPORT_NOT_FOUND)
    return Adapter(context.tree, host_no, found.name, found.handle)


def of_iface(context: Context, iface: Record) -> Adapter:
    """The host an iface is bound to, NO_HOST where there is none; its driver is loaded first.

    An adapter's driver is never given the host of another.
    Raises TransportError (12) with the line about the driver.
    """
    from pyiscsi.sysfs.hosts import find_host

    bound = [_bound(iface[f"iface.{key}"]) for key in ("hwaddress", "net_ifacename", "ipaddress")]
    transport = iface["iface.transport_name"]
    drivers = transport if traits(transport).is_offload else ""
    number = find_host(context.tree, *bound, transport=drivers)
    return on_host(context, transport, NO_HOST if number is None else number)


def _bound(value: str) -> str:
    return "" if value.lower() == "default" else value


def on_host(context: Context, name: str, host_no: int) -> Adapter:
    """A host of transport `name`, whose driver is loaded first. Raises TransportError (12)."""
    from pyiscsi.ops.modules import ensure_transport
    from pyiscsi.sysfs.transports import transport

    ensure_transport(context.tree, name)
    found = transport(context.tree, name)
    assert found is not None
    return Adapter(context.tree, host_no, found.name, found.handle)


def reason(error: Refused) -> list[str]:
    """The line about what the kernel answered; none where it just knows no such operation."""
    if error.errno == errno.ENOSYS:
        return []
    return [f"Received iferror {-error.errno}: {os.strerror(error.errno)}."]


def failed(error: Refused, *lines: str, code: int = ExitCode.GENERIC) -> PyIscsiError:
    """What to raise for a refusal: the kernel's reason, then `lines`."""
    return PyIscsiError("\n".join([*reason(error), *lines]), code)
