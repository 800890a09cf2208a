"""SendTargets over a session of the kernel: what adapters and iSER do, whose drivers make the
connection and carry text PDUs (CAP_TEXT_NEGO). The session exists for as long as the question.

Texts of open-iscsi usr/discovery.c (iscsi_create_leading_conn).
"""

from __future__ import annotations

import dataclasses
import logging

from pyiscsi.daemon import firmware_login, parameters
from pyiscsi.daemon.adapters import Adapter, HostNotReady
from pyiscsi.daemon.kernel_session import CID, KernelSession
from pyiscsi.daemon.recovery import AttemptFailed
from pyiscsi.discovery.connector import PortalFailed, ResolveFailed
from pyiscsi.errors import ExitCode, LoginFailed, PyIscsiError, TransportError, error_text
from pyiscsi.ipc import iscsiuio
from pyiscsi.proto.effects import LoginResult
from pyiscsi.proto.limits import LOGIN_SEGMENT_MAX
from pyiscsi.proto.settings import LoginSettings
from pyiscsi.records.record import Record
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport import tcp
from pyiscsi.transport.base import ConnectionFailed, PduReceived, SessionDestroyed, Transport
from pyiscsi.transport.numbers import Param

log = logging.getLogger("iscsid")

_INITIAL_CMDSN, _CMDS_MAX, _QUEUE_DEPTH = 1, 32, 1
_NO_TPGT = -1


class KernelConnection:
    """A discovery session of the kernel (discovery.sendtargets.Connection)."""

    def __init__(self, tree: SysfsTree, kernel: KernelSession, peer_address: str) -> None:
        self.peer_address = peer_address
        self.says_goodbye = not firmware_login.does_login(kernel)
        self._wishes: LoginResult
        """Stands for what a discovery login does not negotiate."""
        self._tree = tree
        self._kernel = kernel

    async def open(self, endpoint: int, initiator_name: str, address: str, port: int) -> None:
        """Make the session around a connected endpoint, which belongs to it from now on."""
        kernel = self._kernel
        kernel.hold(endpoint)
        await kernel.create(
            initial_cmdsn=_INITIAL_CMDSN, cmds_max=_CMDS_MAX, queue_depth=_QUEUE_DEPTH
        )
        await kernel.bind()
        await kernel.set_params(
            (
                (Param.PERSISTENT_ADDRESS, address),
                (Param.PERSISTENT_PORT, str(port)),
                (Param.INITIATOR_NAME, initiator_name),
                (Param.DISCOVERY_SESS, "1"),
            )
        )

    def adapt(self, settings: LoginSettings) -> LoginSettings:
        """What the kernel numbers itself, and the size of PDUs it hands on to us."""
        sid = self._kernel.sid
        conn = f"class/iscsi_connection/connection{sid}:{CID}"
        length = min(settings.max_recv_data_segment_length, LOGIN_SEGMENT_MAX)
        adapted = dataclasses.replace(
            settings,
            isid=parameters.isid(sid),
            exp_stat_sn=self._tree.read_int(f"{conn}/exp_statsn") or 0,
            max_recv_data_segment_length=length,
            initiator_task_tag=None,
        )
        self._wishes = firmware_login.wishes(adapted)
        return adapted

    async def log_in_itself(self, settings: LoginSettings) -> LoginResult | None:
        """Let the adapter log in, where it does so. Raises LoginFailed."""
        if not firmware_login.does_login(self._kernel):
            return None
        await self._start(self._wishes)
        try:
            await firmware_login.until_logged_in(self._kernel)
        except AttemptFailed as failure:
            raise LoginFailed(str(failure.error), ExitCode.TRANSPORT) from failure
        return self._wishes

    async def enter_full_feature(self, result: LoginResult) -> None:
        """Tell the kernel what was agreed on. Raises LoginFailed."""
        if not firmware_login.does_login(self._kernel):
            await self._start(result)

    async def _start(self, result: LoginResult) -> None:
        caps = self._kernel.transport.caps
        negotiated = {**self._wishes.negotiated, **result.negotiated}
        result = dataclasses.replace(result, negotiated=negotiated)
        try:
            await self._kernel.set_params(parameters.list_c(result, _NO_TPGT, caps))
            await self._kernel.start()
        except TransportError as error:
            raise LoginFailed(str(error), ExitCode.INTERNAL) from error

    async def send_pdu(self, header: bytes, data: bytes) -> None:
        await self._kernel.send(header, data)

    async def receive(self) -> tuple[bytes, bytes]:
        """The next PDU. Raises TransportError when there will be none."""
        while True:
            event = await self._kernel.events.get()
            match event:
                case PduReceived(header=header, data=data):
                    return header, data
                case ConnectionFailed() | SessionDestroyed():
                    raise TransportError("connection failed")

    async def close(self) -> None:
        """The kernel forgets the session."""
        try:
            await self._kernel.destroy()
        except PyIscsiError as error:
            log.error("discovery session %d: %s", self._kernel.sid, error)


class KernelConnector:
    """Connects to a portal as an iface and its driver want it."""

    def __init__(self, tree: SysfsTree, transport: Transport, iface: Record, name: str) -> None:
        self._tree = tree
        self._transport = transport
        self._adapter = Adapter(tree, transport, iface)
        self._initiator_name = name

    async def __call__(self, address: str, port: int, timeout_s: float) -> KernelConnection:
        """Raises ResolveFailed, and PortalFailed with the lines about anything else."""
        try:
            found = await tcp.resolve(address, port, timeout_s)
        except TransportError as error:
            raise ResolveFailed(address, str(error)) from error
        peer = str(found[0][0])
        await self._get_ready(peer)
        kernel = KernelSession(self._transport)
        connection = KernelConnection(self._tree, kernel, peer)
        endpoint: int | None = None
        try:
            endpoint = await self._adapter.connect(found, port, timeout_s)
            await connection.open(endpoint, self._initiator_name, address, port)
        except PyIscsiError as error:
            await connection.close()
            code = error.exit_code if endpoint is None else ExitCode.INTERNAL
            log.info("discovery at %s: %s", peer, error)
            raise _failed(peer, code) from error
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _get_ready(self, peer: str) -> None:
        try:
            await self._adapter.get_ready(needs_host=False)
        except PyIscsiError as error:
            waits = isinstance(error, HostNotReady)
            code = ExitCode.AGAIN if waits else error.exit_code
            has_reason = not waits or isinstance(error.__cause__, iscsiuio.NoAnswer)
            lines = str(error).split("\n") if has_reason else []
            lines.append(f"Could not set host net params (err {code})")
            raise _failed(peer, code if waits else ExitCode.INTERNAL, lines) from error


def _failed(peer: str, code: int, lines: list[str] | None = None) -> PortalFailed:
    last = f"Connection to discovery portal {peer} failed: {error_text(code)}"
    return PortalFailed("\n".join([*(lines or []), last]), code)
