"""The login phase as an initiator sees it (RFC 7143 §6, §11.12, §11.13).

`LoginMachine` decides what to send and judges every answer; it neither waits nor knows whether
the kernel or a socket carries the PDUs. Key order and stages of the requests are those of
open-iscsi usr/login.c, which targets are known to accept.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from pyiscsi.errors import (
    ExitCode,
    LocalProtocolError,
    LoginFailed,
    RemoteProtocolError,
)
from pyiscsi.proto.chap import ChapFailure, ChapInitiator, RandomBytes
from pyiscsi.proto.effects import Effect, Failed, LoggedIn, LoginResult, Redirect, SendPdu
from pyiscsi.proto.keys import BY_NAME, INITIATOR_DECLARED, SECURITY_KEYS, TARGET_DECLARED
from pyiscsi.proto.limits import LOGIN_RESPONSES_MAX, LOGIN_SEGMENT_MAX, LOGIN_TEXT_MAX
from pyiscsi.proto.negotiation import (
    OperationalNegotiation,
    TargetFacts,
    answer_to_unknown,
    refuse_duplicates,
)
from pyiscsi.proto.pdu import (
    LoginRequest,
    LoginResponse,
    LoginStage,
    Opcode,
    decode,
    next_serial,
)
from pyiscsi.proto.portals import parse_target_address
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from pyiscsi.proto.text import Pair, TextAssembler, decode_text, encode_text

__all__ = ["AuthenticationFailed", "ChapSettings", "LoginMachine", "LoginSettings", "LoginStatus"]

_SECURITY = LoginStage.SECURITY_NEGOTIATION
_OPERATIONAL = LoginStage.LOGIN_OPERATIONAL_NEGOTIATION
_FULL_FEATURE = LoginStage.FULL_FEATURE_PHASE
_NEXT_STAGE = {_SECURITY: _OPERATIONAL, _OPERATIONAL: _FULL_FEATURE}
_DRAFT8_LOGIN_RESPONSE = Opcode.LOGIN_RESPONSE | 0xC0


class LoginStatus(enum.IntEnum):
    """Status classes (RFC 7143 §11.13.5)."""

    SUCCESS = 0
    REDIRECTION = 1
    INITIATOR_ERROR = 2
    TARGET_ERROR = 3


class AuthenticationFailed(LoginFailed):
    """We ended the login: CHAP did not come about, or the target could not prove itself."""


_MOVED_PERMANENTLY = 2
_AUTHENTICATION_FAILED = (2, 1)
_AUTHORIZATION_FAILED = (2, 2)

_STATUS_TEXTS = {
    (2, 0): "initiator error",
    (2, 2): "not allowed access to the target",
    (2, 3): "target not found",
    (2, 4): "target removed",
    (2, 5): "protocol version not supported",
    (2, 6): "too many connections",
    (2, 7): "missing parameter",
    (2, 8): "cannot include in session",
    (2, 9): "session type not supported",
    (2, 10): "session does not exist",
    (2, 11): "invalid request during login",
    (3, 0): "target error",
    (3, 1): "target service unavailable",
    (3, 2): "target out of resources",
}

_REFUSALS = {
    # status class (and detail where it matters): exit code, whether trying again may help
    _AUTHENTICATION_FAILED: (ExitCode.LOGIN_AUTH_FAILED, False),
    _AUTHORIZATION_FAILED: (ExitCode.LOGIN_AUTH_FAILED, False),
    LoginStatus.INITIATOR_ERROR: (ExitCode.FATAL_LOGIN, False),
    LoginStatus.TARGET_ERROR: (ExitCode.LOGIN, True),
}
_UNKNOWN_CLASS = (ExitCode.FATAL_LOGIN, False)


def refusal(status_class: int, status_detail: int, target_name: str) -> Failed:
    """What a response with a class of 2 and up means."""
    both = (status_class, status_detail)
    code, retryable = _REFUSALS.get(both) or _REFUSALS.get(status_class, _UNKNOWN_CLASS)
    if both == _AUTHENTICATION_FAILED:
        text = f"Login failed to authenticate with target {target_name}"
    else:
        reason = _STATUS_TEXTS.get(both, "unknown status")
        text = f"login rejected by the target: {reason} ({status_class:02x}/{status_detail:02x})"
    return Failed(LoginFailed(text, code, status_class, status_detail), retryable)


class LoginMachine:
    """One login attempt. Give it each PDU received until LoggedIn, Redirect or Failed comes out.

    Whatever the peer sends ends in an effect; LocalProtocolError means the driver called it in
    the wrong order or the settings cannot be put into a PDU.
    """

    def __init__(self, settings: LoginSettings, random_bytes: RandomBytes) -> None:
        self._settings = settings
        self._facts = TargetFacts()
        self._negotiation = OperationalNegotiation(settings, self._facts)
        self._chap = ChapInitiator(settings.auth, random_bytes) if settings.auth else None
        self._stage = _SECURITY if settings.auth else _OPERATIONAL
        self._transit_sent = False
        self._exp_stat_sn = settings.exp_stat_sn
        self._tsih = 0
        self._responses = 0
        self._text = TextAssembler(LOGIN_TEXT_MAX)
        self._started = False
        self._ended = False

    def start(self) -> list[Effect]:
        """The first request, or Failed when the CHAP settings cannot work."""
        if self._started:
            raise LocalProtocolError("this login has been started before")
        self._started = True
        if self._chap and (problem := self._chap.check()):
            return self._fail_authentication(problem, ExitCode.LOGIN_AUTH_FAILED)
        if self._chap:
            first = self._chap.start()
            transit = self._chap.may_transit
        else:
            first = self._negotiation.offers()
            transit = True
        return [self._request(self._declarations() + first, transit=transit)]

    def handle_pdu(self, header: bytes, data: bytes) -> list[Effect]:
        """Judge one answer. Data without padding."""
        if self._ended or not self._started:
            raise LocalProtocolError("no login is under way")
        try:
            effects = self._handle(self._read(header, data))
        except ChapFailure as exc:
            return self._fail_authentication(str(exc), ExitCode.FATAL_LOGIN, exc.finding)
        except RemoteProtocolError as exc:
            effects = [Failed(LoginFailed(f"Login negotiation failed, {exc}"), retryable=False)]
        self._ended = any(not isinstance(effect, SendPdu) for effect in effects)
        return effects

    def _declarations(self) -> list[Pair]:
        settings = self._settings
        pairs = [("InitiatorName", settings.initiator_name)]
        if settings.initiator_alias:
            pairs.append(("InitiatorAlias", settings.initiator_alias))
        if not settings.discovery:
            pairs.append(("TargetName", settings.target_name))
        pairs.append(("SessionType", "Discovery" if settings.discovery else "Normal"))
        return pairs

    def _request(self, pairs: Sequence[Pair], *, transit: bool) -> SendPdu:
        self._transit_sent = transit
        request = LoginRequest(
            transit=transit,
            csg=self._stage,
            nsg=_NEXT_STAGE[self._stage] if transit else 0,
            isid=self._settings.isid,
            initiator_task_tag=self._settings.initiator_task_tag or 0,
            cmd_sn=self._settings.cmd_sn,
            exp_stat_sn=self._exp_stat_sn,
            data=encode_text(pairs, LOGIN_SEGMENT_MAX),
        )
        return SendPdu(*request.encode())

    def _fail_authentication(self, reason: str, code: int, finding: str = "") -> list[Effect]:
        self._ended = True
        target = self._settings.target_name
        text = f"Login authentication failed with target {target}, {reason}"
        if finding:
            text = f"failing authentication, {finding} from target {target}\n{text}"
        return [Failed(AuthenticationFailed(text, code), retryable=False)]

    def _read(self, header: bytes, data: bytes) -> LoginResponse:
        """Decode, and check what holds for every answer."""
        self._responses += 1
        if self._responses > LOGIN_RESPONSES_MAX:
            raise RemoteProtocolError(f"no end after {LOGIN_RESPONSES_MAX} responses")
        if header[:1] == bytes([_DRAFT8_LOGIN_RESPONSE]):
            raise RemoteProtocolError("the target speaks an iSCSI draft")
        pdu = decode(header, data)
        if not isinstance(pdu, LoginResponse):
            raise RemoteProtocolError(f"opcode 0x{header[0]:02x} where a login response must come")
        tag = self._settings.initiator_task_tag
        if tag is not None and pdu.initiator_task_tag != tag:
            raise RemoteProtocolError("the response answers another task")
        if len(data) > LOGIN_SEGMENT_MAX:
            raise RemoteProtocolError(f"a response has more than {LOGIN_SEGMENT_MAX} bytes")
        return pdu

    def _handle(self, pdu: LoginResponse) -> list[Effect]:
        if pdu.status_class == LoginStatus.REDIRECTION:
            return [self._redirect(pdu)]
        if pdu.status_class != LoginStatus.SUCCESS:
            return [refusal(pdu.status_class, pdu.status_detail, self._settings.target_name)]
        self._check_stage(pdu)
        self._exp_stat_sn = next_serial(pdu.stat_sn)
        self._tsih = pdu.tsih
        text = self._text.add(pdu.data, cont=pdu.cont)
        if text is None:
            # RFC 7143 §6.2: an empty request asks for the rest; our wish to move on still stands.
            return [self._request([], transit=self._transit_sent)]
        pairs = decode_text(text)
        if self._chap and self._stage == _SECURITY:
            return self._handle_security(self._chap, pairs, pdu.transit)
        return self._handle_operational(pairs, pdu.transit)

    def _check_stage(self, pdu: LoginResponse) -> None:
        if pdu.version_active != 0:
            raise RemoteProtocolError(f"protocol version {pdu.version_active} is not supported")
        if pdu.csg != self._stage:
            raise RemoteProtocolError(f"stage {pdu.csg} in the response, expected {self._stage}")
        if pdu.cont and pdu.transit:
            raise RemoteProtocolError("an unfinished text ends the stage")
        if pdu.transit and not self._transit_sent:
            # Only with CHAP do we ever send a request that does not ask to move on.
            raise ChapFailure("T bit set on response, but not on previous message")
        if pdu.transit and pdu.nsg != _NEXT_STAGE[self._stage]:
            raise RemoteProtocolError(f"next stage {pdu.nsg} was not asked for")

    def _handle_security(
        self, chap: ChapInitiator, pairs: Sequence[Pair], transit: bool
    ) -> list[Effect]:
        try:
            refuse_duplicates(pairs)
        except RemoteProtocolError as exc:
            raise ChapFailure("Same key set more than once on receive") from exc
        own: dict[str, str] = {}
        replies: list[Pair] = []
        for name, value in pairs:
            if name in SECURITY_KEYS:
                own[name] = value
            elif name in TARGET_DECLARED:
                self._facts.receive(name, value)
            elif name in BY_NAME or name in INITIATOR_DECLARED:
                raise RemoteProtocolError(f"can't accept {name} in security stage")
            else:
                replies += answer_to_unknown(name, value)
        answers = chap.receive(own)
        if not transit:
            return [self._request(answers + replies, transit=chap.may_transit)]
        if not chap.complete or answers:
            raise ChapFailure("T bit set on response, but authentication not complete")
        self._stage = _OPERATIONAL
        return [self._request(self._negotiation.offers(), transit=True)]

    def _handle_operational(self, pairs: Sequence[Pair], transit: bool) -> list[Effect]:
        self._negotiation.receive(pairs)
        if not transit:
            return [self._request(self._negotiation.take_replies(), transit=True)]
        chap_warnings = self._chap.warnings() if self._chap else ()
        result = LoginResult(
            negotiated=self._negotiation.result(),
            target_portal_group_tag=self._facts.portal_group_tag,
            target_alias=self._facts.alias,
            tsih=self._tsih,
            exp_stat_sn=self._exp_stat_sn,
            max_xmit_data_segment_length=self._negotiation.max_xmit_data_segment_length(),
            warnings=chap_warnings + self._negotiation.warnings,
        )
        return [LoggedIn(result)]

    def _redirect(self, pdu: LoginResponse) -> Effect:
        """RFC 7143 §11.13.5: without an address a redirection leads nowhere, so it is a failure."""
        status = (pdu.status_class, pdu.status_detail)
        try:
            addresses = [v for k, v in decode_text(pdu.data) if k == "TargetAddress"]
            if not addresses:
                raise RemoteProtocolError("no TargetAddress was sent")
            portal = parse_target_address(addresses[0])
        except RemoteProtocolError as exc:
            text = f"Login redirection failed, {exc}"
            return Failed(LoginFailed(text, ExitCode.FATAL_LOGIN, *status), retryable=False)
        permanent = pdu.status_detail == _MOVED_PERMANENTLY
        return Redirect(portal.address or "", portal.port, permanent)
