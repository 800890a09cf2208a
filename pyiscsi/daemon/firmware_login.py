"""Logins an adapter's firmware does itself (CAP_LOGIN_OFFLOAD): it is told what to ask for, starts
with START_CONN and reports how it went (open-iscsi usr/initiator.c, setup_offload_login_phase).
"""

from __future__ import annotations

import errno

from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.daemon.messages import kernel_error_text
from pyiscsi.daemon.recovery import AttemptFailed, Cause
from pyiscsi.errors import ExitCode, LoginFailed, PyIscsiError, SessionExists
from pyiscsi.proto.effects import LoginResult
from pyiscsi.proto.settings import LoginSettings
from pyiscsi.transport.base import ConnectionFailed, LoginState, SessionDestroyed
from pyiscsi.transport.numbers import Cap
from pyiscsi.transport.uevent import Refused

FREE, LOGGED_IN = 0, 3
"""enum iscsi_conn_state of open-iscsi's netlink interface; other states are on the way."""
_DEFAULT_XMIT_LENGTH = 8192
"""What a target takes that declares nothing (RFC 7143 §13.12)."""


def does_login(kernel: KernelSession) -> bool:
    """Whether the session's adapter logs in, and out, by itself."""
    return bool(kernel.transport.caps & Cap.LOGIN_OFFLOAD)


def wishes(settings: LoginSettings) -> LoginResult:
    """What the adapter shall negotiate, in the form of what a login has negotiated."""
    return LoginResult(
        negotiated={
            "HeaderDigest": _first(settings.header_digest),
            "DataDigest": _first(settings.data_digest),
            "MaxRecvDataSegmentLength": settings.max_recv_data_segment_length,
            "InitialR2T": settings.initial_r2t,
            "ImmediateData": settings.immediate_data,
            "MaxOutstandingR2T": settings.max_outstanding_r2t,
            "FirstBurstLength": settings.first_burst_length,
            "MaxBurstLength": settings.max_burst_length,
            "DataPDUInOrder": True,
            "DataSequenceInOrder": True,
            "DefaultTime2Wait": settings.default_time2wait,
        },
        target_portal_group_tag=None,
        target_alias="",
        tsih=0,
        exp_stat_sn=settings.exp_stat_sn,
        max_xmit_data_segment_length=settings.max_xmit_data_segment_length or _DEFAULT_XMIT_LENGTH,
    )


def _first(choices: str) -> str:
    return choices.partition(",")[0]


async def until_logged_in(kernel: KernelSession) -> None:
    """Wait for the adapter's report. Raises AttemptFailed."""
    while True:
        event = await kernel.events.get()
        match event:
            case LoginState(state=state) if state == LOGGED_IN:
                return
            case LoginState(state=state) if state == FREE:
                raise _failed(Cause.REJECTED, "the adapter reports a failed login")
            case ConnectionFailed(error=error):
                raise _failed(Cause.DROPPED, f"connection failed ({kernel_error_text(error)})")
            case SessionDestroyed():
                raise _failed(Cause.REJECTED, "session was destroyed in the kernel")


def why_not_started(error: PyIscsiError) -> AttemptFailed | None:
    """What START_CONN's refusal says about the login, if that is known."""
    if isinstance(error, Refused) and error.errno == errno.EEXIST:
        return AttemptFailed(Cause.REJECTED, SessionExists("Session already exists."), fatal=True)
    return None


def _failed(cause: Cause, text: str) -> AttemptFailed:
    error = LoginFailed(text, ExitCode.LOGIN)
    return AttemptFailed(cause, error, fatal=cause is Cause.REJECTED)
