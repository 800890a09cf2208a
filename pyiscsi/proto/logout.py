"""Logout request and response (RFC 7143 §11.14, §11.15)."""

from __future__ import annotations

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.pdu import LogoutReason, LogoutRequest, LogoutResponse, decode

SUCCESS = 0


def logout_request(
    *,
    cid: int = 0,
    cmd_sn: int = 0,
    exp_stat_sn: int = 0,
    initiator_task_tag: int = 0,
    reason: LogoutReason = LogoutReason.CLOSE_SESSION,
) -> tuple[bytes, bytes]:
    """(header, data) of an immediate Logout; the kernel sets CmdSN and tag itself."""
    request = LogoutRequest(
        reason=reason,
        initiator_task_tag=initiator_task_tag,
        cid=cid,
        cmd_sn=cmd_sn,
        exp_stat_sn=exp_stat_sn,
    )
    return request.encode()


def logout_result(header: bytes, data: bytes) -> LogoutResponse:
    """Read the answer to a Logout; `response` is 0 on success. RemoteProtocolError otherwise."""
    pdu = decode(header, data)
    if not isinstance(pdu, LogoutResponse):
        raise RemoteProtocolError(f"opcode 0x{header[0]:02x} where a Logout response is expected")
    return pdu
