"""One attempt to bring a session to full feature phase, from the TCP connect to START_CONN.

The protocol is `proto.login.LoginMachine`'s; here its effects are carried out on the kernel's
connection. Every way of failing leaves through AttemptFailed, with the kernel's objects as they
are: the session decides what is stopped or destroyed.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import math
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyiscsi.daemon import firmware_login, parameters
from pyiscsi.daemon.adapters import Adapter, BringUp
from pyiscsi.daemon.endpoints import EndpointNotes
from pyiscsi.daemon.kernel_session import CID, KernelSession, Link
from pyiscsi.daemon.messages import kernel_error_text
from pyiscsi.daemon.parameters import Initiator, Prepared
from pyiscsi.daemon.places import Place, Places
from pyiscsi.daemon.recovery import AttemptFailed, Cause, failed_login
from pyiscsi.errors import (
    ExitCode,
    LocalProtocolError,
    PduTimeout,
    PyIscsiError,
    TransportError,
)
from pyiscsi.ipc import iscsiuio
from pyiscsi.names import format_portal
from pyiscsi.proto.effects import Failed, LoggedIn, LoginResult, Redirect, SendPdu
from pyiscsi.proto.login import LoginMachine
from pyiscsi.proto.settings import LoginSettings
from pyiscsi.records.record import Record
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.addresses import AddressNews
from pyiscsi.transport.base import ConnectionFailed, Event, PduReceived, SessionDestroyed
from pyiscsi.transport.netdev import DeviceNotReady
from pyiscsi.transports import traits

log = logging.getLogger("iscsid")

RESOLVER_REST_S = 60.0
"""How long the resolver is not asked about a portal whose addresses we know, once the connection
is lost or the resolver has failed: it reads files, perhaps from the very disk that is gone."""

PLACE_WHILE_CONNECTING_S = 0.1
"""A portal on a good network answers sooner; a dead one must not hold up the others."""


@dataclass(frozen=True, slots=True)
class PortalAddress:
    """Where to connect: a host name or address without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_portal(self.host, self.port)


class Network(Protocol):
    """How sockets are made; `pyiscsi.transport.tcp` in the daemon."""

    async def resolve(self, host: str, port: int, timeout_s: float) -> Sequence[Any]: ...

    async def connect(
        self,
        addresses: Sequence[Any],
        port: int,
        *,
        netdev: str,
        hwaddress: str,
        ipaddress: str,
        window_size: int,
        congestion: str,
        deadline_s: float,
    ) -> socket.socket: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of one daemon share."""

    tree: SysfsTree
    network: Network
    random_bytes: Callable[[int], bytes]
    places: Places
    addresses: AddressNews = field(default_factory=AddressNews)
    iscsiuio: BringUp = iscsiuio.bring_up
    endpoints: EndpointNotes | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session wants: its record, checked, and who we are."""

    record: Record
    prepared: Prepared
    initiator: Initiator

    @property
    def portal(self) -> PortalAddress:
        return PortalAddress(
            self.record["node.conn[0].address"], self.record.get_int("node.conn[0].port")
        )


def connection_error(event: Event) -> PyIscsiError | None:
    """What an event says about the connection: an error, or None when it lives."""
    if isinstance(event, ConnectionFailed):
        return TransportError(f"connection failed ({kernel_error_text(event.error)})")
    if isinstance(event, SessionDestroyed):
        return TransportError("session was destroyed in the kernel", ExitCode.INTERNAL)
    return None


async def drive(kernel: KernelSession, machine: LoginMachine) -> LoginResult | Redirect:
    """Carry a login machine's effects out until it has decided.

    Returns its result or where it was sent; raises AttemptFailed.
    """
    effects = machine.start()
    while True:
        for effect in effects:
            match effect:
                case SendPdu(header, data):
                    await kernel.send(header, data)
                case LoggedIn(result):
                    return result
                case Redirect():
                    return effect
                case Failed(error, retryable):
                    raise failed_login(error, retryable=retryable)
        pdu = await _next_pdu(kernel)
        effects = machine.handle_pdu(pdu.header, pdu.data)


async def _next_pdu(kernel: KernelSession) -> PduReceived:
    while True:
        event = await kernel.events.get()
        if isinstance(event, PduReceived):
            return event
        error = connection_error(event)
        if error is not None:
            raise AttemptFailed(Cause.DROPPED, error, fatal=isinstance(event, SessionDestroyed))


@dataclass(frozen=True, slots=True)
class Limits:
    """Times of one attempt in seconds; `until` is a loop time no attempt goes beyond."""

    attempt_s: float
    connect_s: float
    until: float = math.inf

    def deadline(self) -> float:
        return min(asyncio.get_running_loop().time() + self.attempt_s, self.until)


def _why_not_connected(error: TransportError) -> Cause:
    if isinstance(error, DeviceNotReady):
        return Cause.NO_DEVICE
    return Cause.SILENT if error.exit_code == ExitCode.TRANSPORT_TIMEOUT else Cause.REFUSED


def _connected_to(tree: SysfsTree, port: int, kernel: KernelSession) -> Sequence[Any]:
    """The address of a session that exists, for want of one that its portal's name gave."""
    path = f"class/iscsi_connection/connection{kernel.sid}:{CID}/address"
    address = (tree.read(path) or "") if kernel.exists else ""
    return [(address, port)] if "." in address and ":" not in address else []


class _Step(enum.Enum):
    RESOLVE = enum.auto()
    CONNECT = enum.auto()
    """Includes making and binding the kernel's objects."""
    LOGIN = enum.auto()


class Attempt:
    """One try at one portal. `on_connected` is called when the login proper begins."""

    def __init__(
        self,
        around: Surroundings,
        plan: Plan,
        kernel: KernelSession,
        on_connected: Callable[[], None],
    ) -> None:
        self._around = around
        self._plan = plan
        self._kernel = kernel
        self._on_connected = on_connected
        self._step = _Step.RESOLVE
        self._addresses: Sequence[Any] = _connected_to(around.tree, plan.portal.port, kernel)
        """Of the record's own portal, as last resolved."""
        self._adapter: Adapter | None = None
        if traits(kernel.transport.name).connects:
            self._adapter = Adapter(around.tree, kernel.transport, plan.record, around.iscsiuio)
        self._ask_resolver_at = -math.inf
        self._last: AttemptFailed | None = None

    async def run(self, portal: PortalAddress, limits: Limits) -> LoginResult | Redirect:
        """Connect and log in. The time runs from when it is our turn to begin.

        An attempt that is cut short by the end of them all has failed for the last one's reason.
        """
        try:
            return await self._run(portal, limits)
        except AttemptFailed as failure:
            self._last = failure
            raise

    async def _run(self, portal: PortalAddress, limits: Limits) -> LoginResult | Redirect:
        self._step = _Step.RESOLVE
        rested_at = asyncio.get_running_loop().time() + RESOLVER_REST_S
        self._ask_resolver_at = min(self._ask_resolver_at, rested_at)
        await self._get_adapter_ready()
        place = await self._around.places.take()
        left_s = limits.until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(limits.deadline()):
                self._kernel.hold(await self._connect(portal, limits.connect_s, place))
                if not place.is_held:
                    place = await self._around.places.take(connected=True)
                await self._create()
                settings = await self._prepare()
                place.give_back()
                outcome = await self._negotiate(settings)
                if isinstance(outcome, LoginResult):
                    place = await self._around.places.take(connected=True)
                    await self._enter_full_feature_phase(outcome)
                    place.give_back()
                    if firmware_login.does_login(self._kernel):
                        await firmware_login.until_logged_in(self._kernel)
                    self._note_endpoint()
                    self._ask_resolver_at = math.inf
                return outcome
        except TimeoutError:
            if self._last is not None and left_s < limits.attempt_s:
                raise AttemptFailed(self._last.cause, self._last.error) from None
            raise self._timed_out(portal, has_begun=left_s > 0) from None
        except PyIscsiError as error:
            raise self._kernel_failure(error) from error
        finally:
            place.give_back()

    async def _get_adapter_ready(self) -> None:
        """An adapter that is not there is waited for once, for as long as a login may take."""
        if self._adapter is None:
            return
        tries = 1 if self._kernel.exists else self._plan.prepared.login_timeout_s
        try:
            await self._adapter.wait_until_ready(tries)
        except PyIscsiError as error:
            raise AttemptFailed(Cause.LOCAL, error, fatal=True) from error

    async def _negotiate(self, settings: LoginSettings) -> LoginResult | Redirect:
        if firmware_login.does_login(self._kernel):
            return firmware_login.wishes(settings)
        return await drive(self._kernel, LoginMachine(settings, self._around.random_bytes))

    def _note_endpoint(self) -> None:
        endpoint, notes = self._kernel.endpoint, self._around.endpoints
        if endpoint is not None and notes is not None:
            notes.note(self._kernel.sid, endpoint)

    async def _connect(self, portal: PortalAddress, connect_s: float, place: Place) -> Link:
        """What is connected. A portal that is slow to answer loses its place meanwhile."""
        loses_place = asyncio.get_running_loop().call_later(
            PLACE_WHILE_CONNECTING_S, place.give_back
        )
        try:
            addresses = await self._resolve(portal, connect_s)
            self._step = _Step.CONNECT
            return await self._connect_to(addresses, portal, connect_s)
        finally:
            loses_place.cancel()

    async def _resolve(self, portal: PortalAddress, timeout_s: float) -> Sequence[Any]:
        """Addresses of a portal: those we know while the resolver rests, or when it fails."""
        loop, is_own = asyncio.get_running_loop(), portal == self._plan.portal
        if is_own and self._addresses and loop.time() < self._ask_resolver_at:
            return self._addresses
        try:
            found = await self._around.network.resolve(portal.host, portal.port, timeout_s)
        except TransportError as error:
            if not (is_own and self._addresses):
                raise AttemptFailed(Cause.UNRESOLVED, error, fatal=True) from error
            log.warning("%s: %s, using the addresses known", portal.host, error)
            self._ask_resolver_at = loop.time() + RESOLVER_REST_S
            return self._addresses
        if is_own:
            self._addresses = found
        return found

    async def _connect_to(
        self, addresses: Sequence[Any], portal: PortalAddress, connect_s: float
    ) -> Link:
        record = self._plan.record
        try:
            if self._adapter is not None:
                return await self._adapter.connect(addresses, portal.port, connect_s)
            return await self._around.network.connect(
                addresses,
                portal.port,
                netdev=record["iface.net_ifacename"],
                hwaddress=record["iface.hwaddress"],
                ipaddress=record["iface.ipaddress"],
                window_size=record.get_int("node.conn[0].tcp.window_size"),
                congestion=parameters.optional(record, "node.conn[0].tcp.congestion_control"),
                deadline_s=connect_s,
            )
        except TransportError as error:
            raise AttemptFailed(_why_not_connected(error), error) from error
        except PyIscsiError as error:
            raise AttemptFailed(Cause.REFUSED, error, fatal=True) from error

    async def pause(self, cause: Cause, delay_s: float) -> None:
        """Wait before the next attempt; a network address that was missing may cut it short."""
        if cause is Cause.NO_DEVICE:
            await self._around.addresses.wait(delay_s)
        else:
            await asyncio.sleep(delay_s)

    async def _create(self) -> None:
        """Make the kernel's session, which only happens once a portal has answered."""
        record = self._plan.record
        try:
            await self._kernel.create(
                initial_cmdsn=record.get_int("node.session.initial_cmdsn"),
                cmds_max=record.get_int("node.session.cmds_max"),
                queue_depth=record.get_int("node.session.queue_depth"),
            )
        except PyIscsiError as error:
            internal = TransportError(str(error), ExitCode.INTERNAL)
            raise AttemptFailed(Cause.LOCAL, internal, fatal=True) from error

    async def _prepare(self) -> LoginSettings:
        """Bind the connection and set lists A and B; returns the login to be carried out."""
        plan, kernel = self._plan, self._kernel
        await kernel.bind()
        conn = f"class/iscsi_connection/connection{kernel.sid}:{CID}"
        tree = self._around.tree
        pings = tree.read_int(f"{conn}/ping_tmo") is not None
        exp_stat_sn = tree.read_int(f"{conn}/exp_statsn") or 0
        await kernel.set_params(
            parameters.list_a(plan.record, plan.prepared, plan.initiator, kernel_pings=pings)
        )
        await kernel.set_host_params(parameters.list_b(plan.record))
        settings = parameters.login_settings(
            plan.record, plan.prepared, plan.initiator, kernel.sid, exp_stat_sn
        )
        self._on_connected()
        self._step = _Step.LOGIN
        return settings

    async def _enter_full_feature_phase(self, result: LoginResult) -> None:
        for line in result.warnings:
            log.warning("session%d: %s", self._kernel.sid, line)
        await self._kernel.set_params(
            parameters.list_c(
                result,
                self._plan.record.get_int("node.tpgt"),
                self._kernel.transport.caps,
            )
        )
        await self._kernel.start()

    def _timed_out(self, portal: PortalAddress, *, has_begun: bool) -> AttemptFailed:
        if self._step is _Step.RESOLVE and has_begun:
            error = TransportError(f"no answer from the resolver about {portal.host}")
            return AttemptFailed(Cause.UNRESOLVED, error, fatal=True)
        if self._step is _Step.LOGIN:
            return AttemptFailed(Cause.SILENT, PduTimeout("no answer to the login in time"))
        text = os.strerror(errno.ETIMEDOUT)
        return AttemptFailed(Cause.SILENT, TransportError(text, ExitCode.TRANSPORT_TIMEOUT))

    def _kernel_failure(self, error: PyIscsiError) -> AttemptFailed:
        """A kernel request failed: because the connection did, or for its own reason."""
        while not self._kernel.events.empty():
            lost = connection_error(self._kernel.events.get_nowait())
            if lost is not None:
                return AttemptFailed(Cause.DROPPED, lost)
        if isinstance(error, LocalProtocolError):
            return AttemptFailed(Cause.REJECTED, error, fatal=True)
        if (known := firmware_login.why_not_started(error)) is not None:
            return known
        return AttemptFailed(Cause.LOCAL, TransportError(str(error), ExitCode.INTERNAL))
