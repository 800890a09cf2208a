"""Log lines of a session that people and programs look for, in open-iscsi's words."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from pyiscsi.daemon.recovery import AttemptFailed, Cause
from pyiscsi.errors import LoginFailed
from pyiscsi.names import NodeKey

_KERNEL_ERRORS = {
    # include/iscsi_if.h, enum iscsi_err; the words of the frequent ones are what people search for
    1001: "ISCSI_ERR_DATASN: wrong DataSN",
    1002: "ISCSI_ERR_DATA_OFFSET: wrong buffer offset",
    1003: "ISCSI_ERR_MAX_CMDSN: wrong MaxCmdSN",
    1004: "ISCSI_ERR_EXP_CMDSN: wrong ExpCmdSN",
    1005: "ISCSI_ERR_BAD_OPCODE: invalid opcode",
    1006: "ISCSI_ERR_DATALEN: wrong data length",
    1007: "ISCSI_ERR_AHSLEN: wrong AHS length",
    1008: "ISCSI_ERR_PROTO: iSCSI protocol violation",
    1009: "ISCSI_ERR_LUN: wrong LUN",
    1010: "ISCSI_ERR_BAD_ITT: unknown initiator task tag",
    1011: "ISCSI_ERR_CONN_FAILED: iSCSI connection failed",
    1012: "ISCSI_ERR_R2TSN: wrong R2TSN",
    1013: "ISCSI_ERR_SESSION_FAILED: iSCSI session failed",
    1014: "ISCSI_ERR_HDR_DGST: Header digest mismatch",
    1015: "ISCSI_ERR_DATA_DGST: Data digest mismatch",
    1016: "ISCSI_ERR_PARAM_NOT_FOUND: Parameter not found",
    1017: "ISCSI_ERR_NO_SCSI_CMD: unknown SCSI command",
    1018: "ISCSI_ERR_INVALID_HOST: iSCSI host is in an invalid state",
    1019: "ISCSI_ERR_XMIT_FAILED: sending failed",
    1020: "ISCSI_ERR_TCP_CONN_CLOSE: TCP connection closed",
    1021: "ISCSI_ERR_SCSI_EH_SESSION_RST: session dropped by SCSI error recovery",
    1022: "ISCSI_ERR_NOP_TIMEDOUT: A NOP has timed out",
}
INVALID_HOST = 1018
GIVING_UP = "Giving up on initial login attempt after %d seconds."


def kernel_error_text(error: int) -> str:
    return _KERNEL_ERRORS.get(error, "Invalid or unknown error code")


_REJECTIONS = {
    (2, 1): "initiator failed authorization with target",
    (2, 2): "initiator failed authorization with target",
    (2, 3): "initiator error - target not found",
}
_REJECTED_BY_CLASS = {
    1: "redirection that leads nowhere",
    2: "initiator error",
    3: "target error",
}


def failure_line(failure: AttemptFailed, portal: object) -> str:
    """One line about a failed attempt to log in at `portal`; SessionLog adds the target."""
    error = failure.error
    if isinstance(error, LoginFailed) and error.status_class >= 0:
        status = (error.status_class, error.status_detail)
        by_class = _REJECTED_BY_CLASS.get(error.status_class, "unknown status class")
        words = _REJECTIONS.get(status, by_class)
        return f"conn 0 login rejected: {words} ({status[0]:02x}/{status[1]:02x})"
    if failure.cause is Cause.REFUSED:
        return f"connect to {portal} failed ({error})"
    return f"login at {portal} failed: {error}"


def connection_line(sid: int, target: str, portal: str, iface: str, what: str) -> str:
    """`Connection1:0 to [target: ..., portal: addr,port] through [iface: ...] is ...`"""
    return (
        f"Connection{sid}:0 to [target: {target}, portal: {portal}] through [iface: {iface}] {what}"
    )


class SessionLog(logging.LoggerAdapter[logging.Logger]):
    """The daemon's log, each line followed by which session it is about."""

    def __init__(self, key: NodeKey) -> None:
        super().__init__(logging.getLogger("iscsid"), {})
        where = f" [target: {key.target}, portal: {key.address},{key.port}, iface: {key.iface}]"
        self._where = where.replace("%", "%%")

    def process(
        self, msg: str, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        return f"{msg}{self._where}", kwargs
