"""SendTargets discovery of one portal: connect, log in, ask, log out, with retries.

Lines given to `report` are those of open-iscsi (usr/discovery.c, usr/login.c, usr/io.c), because
administrators and programs look for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from pyiscsi.discovery.connector import (
    ConnectFailed,
    ConnectTimedOut,
    PortalFailed,
    ResolveFailed,
)
from pyiscsi.errors import (
    ExitCode,
    LoginFailed,
    PduTimeout,
    PyIscsiError,
    RemoteProtocolError,
    TransportError,
)
from pyiscsi.proto.effects import Failed, LoggedIn, LoginResult, Redirect, SendPdu
from pyiscsi.proto.keys import LENGTH_MAX, LENGTH_MIN
from pyiscsi.proto.limits import REDIRECTS_MAX
from pyiscsi.proto.login import AuthenticationFailed, LoginMachine, LoginStatus
from pyiscsi.proto.logout import logout_request
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.sendtargets import FoundTarget, SendTargetsMachine, TargetsFound
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from pyiscsi.transport.userspace import ConnectionClosed

ISID = bytes.fromhex("00023d000000")
"""open-iscsi's ISID for discovery: its OUI and session 0."""

LOGIN_TIMEOUT_S = 15.0
AUTH_TIMEOUT_S = 45.0
ACTIVE_TIMEOUT_S = 30.0

_LOGIN_TAG = 0
_TEXT_TAG = 1
_LOGOUT_TAG = 2
_FIRST_CMD_SN = 1
_LOGOUT_WAIT_S = 2.0
"""How long a target may take over the farewell; we have our answer already."""

_DELAYS_S = ((1, 0), (10, 1), (20, 2), (26, 5), (34, 15))
_LONGEST_DELAY_S = 60

# Numbers of enum iscsi_login_status (usr/initiator.h), which a line shows.
_GAVE_UP_FAILED = 2
_GAVE_UP_NEGOTIATION = 4
_GAVE_UP_AUTHENTICATION = 5
_GAVE_UP_REDIRECTION = 6


class Connection(Protocol):
    """What discovery needs of a connection: transport.userspace's, or one of the kernel's."""

    peer_address: str
    says_goodbye: bool
    """Whether a Logout PDU ends the session."""

    def adapt(self, settings: LoginSettings) -> LoginSettings:
        """The settings with those numbers that are not ours to choose."""
        ...

    async def log_in_itself(self, settings: LoginSettings) -> LoginResult | None:
        """The result where an adapter logs in instead of us."""
        ...

    async def enter_full_feature(self, result: LoginResult) -> None: ...

    async def send_pdu(self, header: bytes, data: bytes) -> None: ...

    async def receive(self) -> tuple[bytes, bytes]: ...

    async def close(self) -> None: ...


Connect = Callable[[str, int, float], Awaitable[Connection]]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SendTargetsRequest:
    """One discovery. Times are seconds, 0 means the default; attempts are `reopen_max` + 1.

    `login_timeout_s` limits the connect and the sending of the first request, `auth_timeout_s`
    the sending of later ones with CHAP, `active_timeout_s` the wait for each answer.
    """

    address: str
    port: int
    initiator_name: str
    initiator_alias: str = ""
    auth: ChapSettings | None = None
    login_timeout_s: float = LOGIN_TIMEOUT_S
    auth_timeout_s: float = AUTH_TIMEOUT_S
    active_timeout_s: float = ACTIVE_TIMEOUT_S
    reopen_max: int = 5
    max_recv_data_segment_length: int = 32768

    def login_settings(self) -> LoginSettings:
        length = self.max_recv_data_segment_length & ~3
        return LoginSettings(
            initiator_name=self.initiator_name,
            initiator_alias=self.initiator_alias,
            target_name="",
            isid=ISID,
            discovery=True,
            auth=self.auth,
            max_recv_data_segment_length=max(LENGTH_MIN, min(length, LENGTH_MAX & ~3)),
            cmd_sn=_FIRST_CMD_SN,
            initiator_task_tag=_LOGIN_TAG,
        )


def retry_delay(failures: int) -> int:
    """Seconds to wait before the next attempt after so many failed ones."""
    return next((delay for below, delay in _DELAYS_S if failures < below), _LONGEST_DELAY_S)


async def send_targets(
    request: SendTargetsRequest,
    *,
    connect: Connect,
    random_bytes: Callable[[int], bytes],
    report: Report,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[FoundTarget]:
    """All targets of a portal, each with at least one portal whose address is set.

    Raises TransportError (4) for a name without address, LoginFailed (24, 19) when the target or
    our settings rule a login out, PduTimeout (11) with the last cause when all attempts are used
    up. The lines for the user have been given to `report` by then.
    """
    discovery = _Discovery(request, connect, random_bytes, report)
    cause: PyIscsiError | None = None
    for failures in range(request.reopen_max + 1):
        if delay := retry_delay(failures):
            await sleep(delay)
        try:
            return await discovery.attempt()
        except _Retry as retry:
            cause = retry.cause
    report(f"connection login retries (reopen_max) {request.reopen_max} exceeded")
    raise PduTimeout(str(cause) if cause else "") from cause


class _Retry(Exception):
    """This attempt failed, the next may not."""

    def __init__(self, cause: PyIscsiError) -> None:
        super().__init__()
        self.cause = cause


class _Discovery:
    def __init__(
        self,
        request: SendTargetsRequest,
        connect: Connect,
        random_bytes: Callable[[int], bytes],
        report: Report,
    ) -> None:
        self._request = request
        self._connect_to = connect
        self._random_bytes = random_bytes
        self._report = report
        self._numbers_tasks = True
        """Whether the task tags of answers are those of our requests."""
        self._portal = (request.address, request.port)
        """Where an attempt begins; a permanent redirect changes it."""
        self._login_timeout_s = request.login_timeout_s or LOGIN_TIMEOUT_S
        self._active_timeout_s = request.active_timeout_s or ACTIVE_TIMEOUT_S

    async def attempt(self) -> list[FoundTarget]:
        """One attempt with all its redirects. Raises _Retry, or what ends the discovery."""
        address, port = self._portal
        for _ in range(REDIRECTS_MAX + 1):
            connection = await self._connect(address, port)
            try:
                outcome = await self._login(connection)
                if isinstance(outcome, LoginResult):
                    return await self._ask(connection, outcome)
            finally:
                await connection.close()
            address, port = outcome.address, outcome.port
            how = "permanently" if outcome.permanent else "temporarily"
            self._report(f"discovery login {how} redirected to {address} port {port}")
            if outcome.permanent:
                self._portal = (address, port)
        error = LoginFailed(f"discovery login redirected more than {REDIRECTS_MAX} times")
        self._report(f"{error}, giving up")
        raise error

    async def _connect(self, address: str, port: int) -> Connection:
        try:
            return await self._connect_to(address, port, self._login_timeout_s)
        except ResolveFailed as exc:
            self._report(f"Cannot resolve host {exc.host}. getaddrinfo error: [{exc}]")
            self._report(f"cannot resolve host name {exc.host}")
            self._report(f"cannot resolve host name {exc.host}")
            if address == self._request.address:
                raise
            raise _Retry(exc) from exc
        except ConnectTimedOut as exc:
            self._report(f"connect to {exc.address} timed out")
            raise _Retry(exc) from exc
        except PortalFailed as exc:
            for line in str(exc).split("\n"):
                self._report(line)
            raise _Retry(exc) from exc
        except TransportError as exc:
            shown = exc.address if isinstance(exc, ConnectFailed) else address
            self._report(f"cannot make connection to {shown}: {exc}")
            raise _Retry(exc) from exc

    async def _login(self, connection: Connection) -> LoginResult | Redirect:
        settings = connection.adapt(self._request.login_settings())
        self._numbers_tasks = settings.initiator_task_tag is not None
        if (result := await self._logged_in_itself(connection, settings)) is not None:
            return result
        machine = LoginMachine(settings, self._random_bytes)
        send_timeout_s = self._login_timeout_s
        effects = machine.start()
        while True:
            for effect in effects:
                match effect:
                    case LoggedIn(result):
                        return result
                    case Redirect():
                        return effect
                    case Failed(error):
                        self._refused(connection.peer_address, error)
                    case SendPdu(header, data):
                        await self._send_login(connection, header, data, send_timeout_s)
            if self._request.auth:
                send_timeout_s = self._request.auth_timeout_s or AUTH_TIMEOUT_S
            effects = machine.handle_pdu(*await self._receive_login(connection))

    async def _logged_in_itself(
        self, connection: Connection, settings: LoginSettings
    ) -> LoginResult | None:
        try:
            async with asyncio.timeout(self._login_timeout_s):
                return await connection.log_in_itself(settings)
        except TimeoutError:
            self._report("Discovery login session timed out.")
            raise LoginFailed(exit_code=ExitCode.INTERNAL) from None
        except TransportError as exc:
            raise _Retry(exc) from exc

    async def _send_login(
        self, connection: Connection, header: bytes, data: bytes, timeout_s: float
    ) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await connection.send_pdu(header, data)
        except TimeoutError:
            error = TransportError(exit_code=ExitCode.TRANSPORT_TIMEOUT)
            self._login_broke(connection, error, "send")
        except TransportError as exc:
            self._login_broke(connection, exc, "send")

    async def _receive_login(self, connection: Connection) -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout(self._active_timeout_s):
                return await connection.receive()
        except TimeoutError:
            waited = f"Waited {self._active_timeout_s:g} seconds"
            self._report(f"Login response timeout. {waited} and did not get response PDU.")
            self._give_up(connection.peer_address, LoginFailed(), _GAVE_UP_FAILED)
        except RemoteProtocolError as exc:
            self._report(f"Login negotiation failed, {exc}")
            self._give_up(connection.peer_address, LoginFailed(str(exc)), _GAVE_UP_NEGOTIATION)
        except TransportError as exc:
            how = "closed" if isinstance(exc, ConnectionClosed) else "failed"
            self._report(f"Connection to Discovery Address {connection.peer_address} {how}")
            self._login_broke(connection, exc, "receive")

    def _login_broke(self, connection: Connection, error: TransportError, verb: str) -> NoReturn:
        self._report(f"Login I/O error, failed to {verb} a PDU")
        self._report(f"retrying discovery login to {connection.peer_address}")
        raise _Retry(error) from error

    def _give_up(self, peer: str, error: LoginFailed, number: int) -> NoReturn:
        self._report(f"discovery login to {peer} failed, giving up {number}")
        raise error

    def _refused(self, peer: str, error: LoginFailed) -> NoReturn:
        """Say why a login ended, and raise what follows."""
        status = f"({error.status_class:02x}/{error.status_detail:02x})"
        rejected = f"discovery login to {peer} rejected:"
        match error.status_class:
            case LoginStatus.INITIATOR_ERROR if error.exit_code == ExitCode.LOGIN_AUTH_FAILED:
                if error.status_detail == 1:
                    self._report(str(error))
                self._report(f"{rejected} initiator failed authorization")
                raise error
            case LoginStatus.INITIATOR_ERROR:
                self._report(f"{rejected} initiator error {status}, non-retryable, giving up")
                raise error
            case LoginStatus.TARGET_ERROR:
                self._report(f"{rejected} target error {status}")
                raise _Retry(error)
            case LoginStatus.REDIRECTION:
                self._report(str(error))
                self._give_up(peer, error, _GAVE_UP_REDIRECTION)
            case -1:
                for line in str(error).split("\n"):
                    self._report(line)
                is_auth = isinstance(error, AuthenticationFailed)
                number = _GAVE_UP_AUTHENTICATION if is_auth else _GAVE_UP_NEGOTIATION
                self._give_up(peer, error, number)
            case status_class:
                self._report(
                    f"discovery login to {peer} failed, response with unknown status class "
                    f"0x{status_class:x}, detail 0x{error.status_detail:x}"
                )
                raise _Retry(error)

    async def _ask(self, connection: Connection, login: LoginResult) -> list[FoundTarget]:
        segment_max = int(login["MaxRecvDataSegmentLength"])
        await connection.enter_full_feature(login)
        machine = SendTargetsMachine(
            cmd_sn=_FIRST_CMD_SN,
            exp_stat_sn=login.exp_stat_sn,
            initiator_task_tag=_TEXT_TAG if self._numbers_tasks else None,
            segment_max=segment_max,
        )
        found = await self._exchange(connection, machine)
        if connection.says_goodbye:
            await _log_out(connection, machine)
        for problem in found.problems:
            self._report(problem)
        return [self._with_addresses(target) for target in found.targets]

    async def _exchange(self, connection: Connection, machine: SendTargetsMachine) -> TargetsFound:
        where = f"{self._request.address}:{self._request.port}"
        try:
            effects = machine.start()
            while True:
                async with asyncio.timeout(self._active_timeout_s):
                    for effect in effects:
                        if isinstance(effect, TargetsFound):
                            return effect
                        await connection.send_pdu(effect.header, effect.data)
                    # Off the loop: reading an answer of the size we allow takes seconds.
                    answer = await connection.receive()
                    effects = await asyncio.to_thread(machine.handle_pdu, *answer)
        except TimeoutError:
            self._report(f"Discovery session to {where} timed out.")
            raise _Retry(PduTimeout()) from None
        except RemoteProtocolError as exc:
            self._report(f"discovery session to {where} failed, {exc}")
            raise _Retry(exc) from exc
        except TransportError as exc:
            self._report(f"discovery session to {where} terminating after hangup")
            raise _Retry(exc) from exc

    def _with_addresses(self, target: FoundTarget) -> FoundTarget:
        here = Portal(self._request.address, self._request.port)
        portals = [here if portal.address is None else portal for portal in target.portals]
        return FoundTarget(target.name, portals)


async def _log_out(connection: Connection, machine: SendTargetsMachine) -> None:
    """Say goodbye (RFC 7143 §4.3); what the target makes of it does not matter any more."""
    header, data = logout_request(
        cmd_sn=machine.cmd_sn, exp_stat_sn=machine.exp_stat_sn, initiator_task_tag=_LOGOUT_TAG
    )
    try:
        async with asyncio.timeout(_LOGOUT_WAIT_S):
            await connection.send_pdu(header, data)
            await connection.receive()
    except (TimeoutError, TransportError, RemoteProtocolError):
        return
