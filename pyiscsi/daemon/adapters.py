"""A session's way through its adapter: the host found, its address set, an endpoint connected.

Rules and texts of open-iscsi usr/initiator_common.c (iscsi_host_set_net_params), usr/initiator.c.
Which adapters need which of it says pyiscsi.transports.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyiscsi.daemon.kernel_session import disconnect
from pyiscsi.daemon.waits import in_thread, to_the_end
from pyiscsi.errors import ExitCode, LoginFailed, PyIscsiError, TransportError
from pyiscsi.ipc import iscsiuio
from pyiscsi.records.record import Record
from pyiscsi.sysfs.hosts import Host, find_host
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport import links, tcp
from pyiscsi.transport.adapter import encode_sockaddr
from pyiscsi.transport.base import Transport
from pyiscsi.transport.numbers import Cap, HostParam
from pyiscsi.transport.uevent import Refused
from pyiscsi.transports import ADDRESS_REQUIRED, NO_ADDRESS, traits

log = logging.getLogger("iscsid")

ANY_HOST = -1
RETRY_S = 1.0
"""A host appears, and iscsiuio is ready, when the adapter's driver says so."""
ISCSIUIO_TIMEOUT_S = 15.0
SWITCH_ON_TIMEOUT_S = 10.0
"""Some drivers load firmware meanwhile."""
POLL_S = 0.05
_POLL_MS = 1
"""In the kernel, where other requests wait for it."""

BringUp = Callable[[Mapping[str, str]], None]


class HostNotReady(TransportError):
    """The adapter is missing, or iscsiuio has not set it up: it may come yet."""

    exit_code = ExitCode.HOST_NOT_FOUND


class Adapter:
    """What one iface needs of its adapter. `host_no`: the adapter found, or ANY_HOST."""

    def __init__(
        self,
        tree: SysfsTree,
        transport: Transport,
        iface: Record,
        bring_up: BringUp = iscsiuio.bring_up,
    ) -> None:
        self.host_no = ANY_HOST
        self._tree = tree
        self._transport = transport
        self._row = traits(transport.name)
        self._iface = iface
        self._bring_up = bring_up
        self._said: set[str] = set()

    async def wait_until_ready(self, tries: int) -> None:
        """Find the host and set it up, trying once a second.

        Raises HostNotReady (23) when `tries` were not enough, LoginFailed (5) for what waiting
        does not cure.
        """
        for left in reversed(range(max(tries, 1))):
            try:
                await self.get_ready()
                return
            except HostNotReady as error:
                if not left:
                    raise
                log.debug("%s: %s", self._name, error)
            except PyIscsiError as error:
                for line in str(error).split("\n"):
                    self._warn(line)
                raise LoginFailed(str(error), ExitCode.LOGIN) from error
            await asyncio.sleep(RETRY_S)

    async def get_ready(self, *, needs_host: bool = True) -> None:
        """The same once. Raises HostNotReady, or PyIscsiError with the status of its cause."""
        if self._row.binds:
            self._find(needs_host)
        await self._set_address()

    @property
    def _name(self) -> str:
        return self._iface["iface.iscsi_ifacename"]

    def _bound(self, key: str) -> str:
        """A value that binds the iface to something."""
        value = self._iface[f"iface.{key}"]
        return "" if value.lower() == "default" else value

    def _find(self, needs_host: bool) -> None:
        wanted = [self._bound(key) for key in ("hwaddress", "net_ifacename", "ipaddress")]
        found = find_host(self._tree, *wanted, transport=self._row.name)
        if found is None and any(wanted) and needs_host:
            raise HostNotReady(f"no iSCSI host for iface {self._name}")
        self.host_no = ANY_HOST if found is None else found

    async def _set_address(self) -> None:
        if self._row.address == NO_ADDRESS:
            return
        address = self._bound("ipaddress")
        if not address:
            if self._row.address == ADDRESS_REQUIRED:
                raise LoginFailed(
                    f"Please set the iface.ipaddress for iface {self._name}, then retry the login "
                    "command.", ExitCode.INVALID,
                )  # fmt: skip
            log.info("Optional iface.ipaddress for iface %s not set.", self._name)
            return
        device = self._bound("net_ifacename") or self._host_device()
        if self._row.has_netdev:
            await self._switch_on(device)
        if self._row.uses_iscsiuio:
            await self._ask_iscsiuio(device)
        await self._set_host_params(address)

    async def _switch_on(self, device: str) -> None:
        """One that cannot be switched on is worth a line; perhaps the connection works anyhow."""
        if not device:
            return
        try:
            await in_thread(lambda: links.bring_up(device), SWITCH_ON_TIMEOUT_S)
        except (TransportError, TimeoutError) as error:
            reason = str(error) or "(no answer in time)"
            self._warn(
                f"Could not brining up netdev {device}. Try running 'ifup {device}' first if "
                f"login fails. {reason}"
            )

    def _warn(self, line: str) -> None:
        """Said once: a recovery tries again for as long as it takes."""
        log.log(logging.DEBUG if line in self._said else logging.WARNING, "%s", line)
        self._said.add(line)

    def _host_device(self) -> str:
        return Host(self._tree, self.host_no).netdev or ""

    async def _ask_iscsiuio(self, device: str) -> None:
        record = {**self._iface.values, "iface.net_ifacename": device}
        try:
            await in_thread(lambda: self._bring_up(record), ISCSIUIO_TIMEOUT_S)
        except iscsiuio.NotReady as error:
            raise HostNotReady(str(error)) from error
        except TimeoutError:
            raise HostNotReady("no answer from iscsiuio") from None

    async def _set_host_params(self, address: str) -> None:
        wanted = (
            (HostParam.IPADDRESS, address),
            (HostParam.NETDEV_NAME, self._bound("net_ifacename")),
            (HostParam.HWADDRESS, self._bound("hwaddress")),
        )
        if self.host_no == ANY_HOST:
            return
        for param in wanted:
            if not param[1]:
                continue
            try:
                await to_the_end(self._transport.set_host_params(self.host_no, [param]))
            except Refused as refused:
                if refused.errno != errno.EINVAL:  # what kernels before 2.6.21 say to all of them
                    raise

    async def connect(self, addresses: Sequence[Any], port: int, deadline_s: float) -> int:
        """Handle of an endpoint connected to the first of `addresses` that answers, at `port`.

        Raises TransportError: 4 with the driver's reason, 8 after `deadline_s`.
        """
        reason = TransportError("no address to connect to")
        try:
            async with asyncio.timeout(deadline_s):
                for address in addresses:
                    try:
                        return await self._connect_to(_sockaddr(address, port))
                    except TransportError as error:
                        reason = error
        except TimeoutError:
            text = os.strerror(errno.ETIMEDOUT)
            raise TransportError(text, ExitCode.TRANSPORT_TIMEOUT) from None
        raise reason

    async def _connect_to(self, address: bytes) -> int:
        opened: list[int] = []

        async def begin() -> None:
            opened.append(await self._transport.ep_connect(address, self.host_no))

        try:
            await to_the_end(begin())
            while True:
                if await to_the_end(self._transport.ep_poll(opened[0], _POLL_MS)):
                    return opened[0]
                await asyncio.sleep(POLL_S)
        except BaseException:
            for endpoint in opened:
                await to_the_end(disconnect(self._transport, endpoint))
            raise

    async def discovers_itself(self, address: str, port: int, timeout_s: float) -> bool:
        """Let the adapter discover, where it does so; what it finds it logs in to on its own.

        Raises TransportError: for a name without address, and when the adapter refuses.
        """
        if not self._transport.caps & Cap.SENDTARGETS_OFFLOAD:
            return False
        self._find(needs_host=False)
        if self.host_no == ANY_HOST:
            return False
        found = await tcp.resolve(address, port, timeout_s)
        await self._transport.discover_targets(self.host_no, _sockaddr(found[0], port))
        return True


def _sockaddr(address: Sequence[Any], port: int) -> bytes:
    family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    packed = socket.inet_pton(family, str(address[0]))
    return encode_sockaddr(packed, port=port, scope_id=int(address[3]) if len(address) > 3 else 0)
