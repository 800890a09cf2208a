"""From a node record to numbers that may be used: corrections, login settings, kernel parameters.

Pure functions over tables. The order of lists A, B and C and the text of the corrections are
open-iscsi's (usr/initiator.c, usr/initiator_common.c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyiscsi.proto.effects import LoginResult
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from pyiscsi.records.record import Record
from pyiscsi.transport.numbers import Cap, HostParam, Param
from pyiscsi.transports import Transport, traits

ISID_PREFIX = bytes.fromhex("00023d")
"""OUI-format ISID of open-iscsi; the session's 24-bit sid follows."""

_MIN_LENGTH = 512
_MAX_LENGTH = 16777215


NEEDED_CAP = {
    Param.MAX_R2T: Cap.MULTI_R2T,
    Param.HDRDGST_EN: Cap.HDRDGST,
    Param.DATADGST_EN: Cap.DATADGST,
    Param.IFMARKER_EN: Cap.MARKERS,
    Param.OFMARKER_EN: Cap.MARKERS,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A node record's numbers, corrected; times in seconds, lengths in bytes."""

    first_burst_length: int
    max_burst_length: int
    max_recv_data_segment_length: int
    max_xmit_data_segment_length: int
    max_outstanding_r2t: int
    header_digest: str
    data_digest: str
    login_timeout_s: int
    logout_timeout_s: int
    noop_out_interval_s: int
    noop_out_timeout_s: int
    retry_window_s: int
    """How long an initial login may try again; 0 = one attempt."""
    reopen_max: int
    default_time2wait_s: int


class _Corrections:
    """Reads numbers of a record and collects one line for each that had to be changed."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.messages: list[str] = []

    def length(self, key: str, default: int, *, zero: int | None = None) -> int:
        """A length rounded down to 4; `zero` is what 0 stands for where it is allowed."""
        value = self._record.get_int(key)
        if value == 0 and zero is not None:
            return zero
        rounded = value & ~3
        if _MIN_LENGTH <= rounded <= _MAX_LENGTH:
            return rounded
        name = f"iscsi.{key.rpartition('.')[2]}"
        limits = f"Must be within {_MIN_LENGTH} and {_MAX_LENGTH}"
        self.messages.append(f"Invalid {name} of {rounded}. {limits}. Setting to {default}")
        return default

    def timeout(self, name: str, default: int) -> int:
        value = self._record.get_int(f"node.conn[0].timeo.{name}")
        if value > 0:
            return value
        self.invalid_timeout(name, default)
        return default

    def invalid_timeout(self, name: str, default: int) -> None:
        self.messages.append(
            f"Invalid timeo.{name}. Must be greater than zero. Using default {default}."
        )

    def noop(self) -> tuple[int, int]:
        """(interval, timeout): both 0 switches pings off, one alone becomes 5."""
        interval = self._record.get_int("node.conn[0].timeo.noop_out_interval")
        timeout = self._record.get_int("node.conn[0].timeo.noop_out_timeout")
        if interval and not timeout:
            self.invalid_timeout("noop_out_timeout", 5)
            timeout = 5
        if timeout and not interval:
            self.invalid_timeout("noop_out_interval", 5)
            interval = 5
        return interval, timeout

    def bursts(self) -> tuple[int, int]:
        first = self.length("node.session.iscsi.FirstBurstLength", 262144)
        longest = self.length("node.session.iscsi.MaxBurstLength", 16776192)
        if first > longest:
            self.messages.append(
                f"Invalid iscsi.FirstBurstLength of {first}. Must be less than "
                f"iscsi.MaxBurstLength. Setting to {longest}"
            )
            first = longest
        return first, longest

    def digest(self, name: str, allowed: bool) -> str:
        wanted = self._record[f"node.conn[0].iscsi.{name}"] or "None"
        if allowed or wanted == "None":
            return wanted
        self.messages.append(f"Transport does not support {name} {wanted}. Using None.")
        return "None"

    def outstanding_r2t(self, caps: int) -> int:
        wanted = max(1, self._record.get_int("node.session.iscsi.MaxOutstandingR2T"))
        if wanted == 1 or caps & Cap.MULTI_R2T:
            return min(wanted, 65535)
        self.messages.append(f"Transport does not support MaxOutstandingR2T {wanted}. Using 1.")
        return 1


def prepare(record: Record, transport_name: str, caps: int) -> tuple[Prepared, list[str]]:
    """Check a node record's numbers; returns them corrected, with a log line per correction."""
    reader = _Corrections(record)
    row = traits(transport_name)
    first, longest = reader.bursts()
    interval, noop_timeout = reader.noop()
    login_timeout = reader.timeout("login_timeout", 30)
    retries = max(0, record.get_int("node.session.initial_login_retry_max"))
    prepared = Prepared(
        first_burst_length=first,
        max_burst_length=longest,
        max_recv_data_segment_length=reader.length(
            "node.conn[0].iscsi.MaxRecvDataSegmentLength", 262144
        ),
        max_xmit_data_segment_length=reader.length(
            "node.conn[0].iscsi.MaxXmitDataSegmentLength", 262144, zero=0
        ),
        max_outstanding_r2t=reader.outstanding_r2t(caps),
        header_digest=reader.digest("HeaderDigest", bool(caps & Cap.HDRDGST) and not row.is_rdma),
        data_digest=reader.digest("DataDigest", bool(caps & Cap.DATADGST) and not row.is_rdma),
        login_timeout_s=login_timeout,
        logout_timeout_s=reader.timeout("logout_timeout", 15),
        noop_out_interval_s=interval,
        noop_out_timeout_s=noop_timeout,
        retry_window_s=retries * login_timeout,
        reopen_max=record.get_int("node.session.reopen_max"),
        default_time2wait_s=max(0, record.get_int("node.session.iscsi.DefaultTime2Wait")),
    )
    return _within_limits(prepared, row), reader.messages


def _within_limits(prepared: Prepared, row: Transport) -> Prepared:
    """What the driver's hardware can take; 0 leaves it to the target, as in open-iscsi."""
    most: dict[str, Any] = {
        name: min(getattr(prepared, name), limit) for name, limit in row.limits.items()
    }
    return dataclasses.replace(prepared, **most)


def isid(sid: int) -> bytes:
    """The session's 6-byte ISID: the same sid gives the same ISID, so a relogin reinstates."""
    return ISID_PREFIX + (sid & 0xFFFFFF).to_bytes(3, "big")


def chap_settings(record: Record, prefix: str) -> ChapSettings | None:
    """Credentials below `prefix`. They decide about CHAP, not `authmethod`, as in open-iscsi.

    A mutual setup without our own secret goes to the login machine too, which refuses it:
    open-iscsi would go on without any authentication.
    """
    username, password, username_in, password_in = (
        record[f"{prefix}auth.{name}"]
        for name in ("username", "password", "username_in", "password_in")
    )
    if not (password or username_in or password_in):
        return None
    names = record["node.session.auth.chap_algs"] or "MD5"
    algorithms = tuple(name.strip() for name in names.split(",") if name.strip())
    return ChapSettings(username, password, username_in, password_in, algorithms)


@dataclass(frozen=True, slots=True)
class Initiator:
    """Who we are towards one target."""

    name: str
    alias: str


def login_settings(
    record: Record, prepared: Prepared, initiator: Initiator, sid: int, exp_stat_sn: int
) -> LoginSettings:
    """What the login machine offers for this record."""
    row = traits(record["iface.transport_name"])
    return LoginSettings(
        initiator_name=initiator.name,
        initiator_alias=initiator.alias,
        target_name=record["node.name"],
        isid=isid(sid),
        discovery=False,
        auth=chap_settings(record, "node.session."),
        header_digest=prepared.header_digest,
        data_digest=prepared.data_digest,
        max_recv_data_segment_length=prepared.max_recv_data_segment_length,
        max_xmit_data_segment_length=prepared.max_xmit_data_segment_length,
        first_burst_length=prepared.first_burst_length,
        max_burst_length=prepared.max_burst_length,
        initial_r2t=row.initial_r2t or record.get_bool("node.session.iscsi.InitialR2T"),
        immediate_data=record.get_bool("node.session.iscsi.ImmediateData"),
        max_outstanding_r2t=prepared.max_outstanding_r2t,
        default_time2wait=prepared.default_time2wait_s,
        default_time2retain=max(0, record.get_int("node.session.iscsi.DefaultTime2Retain")),
        exp_stat_sn=exp_stat_sn,
        rdma=row.is_rdma,
    )


_LIST_A = (
    # parameter, record key; the order is the kernel conversation's
    (Param.TARGET_NAME, "node.name"),
    (Param.PERSISTENT_ADDRESS, "node.conn[0].address"),
    (Param.PERSISTENT_PORT, "node.conn[0].port"),
    (Param.SESS_RECOVERY_TMO, "node.session.timeo.replacement_timeout"),
    (Param.USERNAME, "node.session.auth.username"),
    (Param.USERNAME_IN, "node.session.auth.username_in"),
    (Param.PASSWORD, "node.session.auth.password"),
    (Param.PASSWORD_IN, "node.session.auth.password_in"),
    (Param.FAST_ABORT, "node.session.iscsi.FastAbort"),
    (Param.ABORT_TMO, "node.session.err_timeo.abort_timeout"),
    (Param.LU_RESET_TMO, "node.session.err_timeo.lu_reset_timeout"),
    (Param.TGT_RESET_TMO, "node.session.err_timeo.tgt_reset_timeout"),
    (Param.PING_TMO, ""),
    (Param.RECV_TMO, ""),
    (Param.IFACE_NAME, "iface.iscsi_ifacename"),
    (Param.INITIATOR_NAME, ""),
    (Param.BOOT_ROOT, "node.session.boot_root"),
    (Param.BOOT_NIC, "node.session.boot_nic"),
    (Param.BOOT_TARGET, "node.session.boot_target"),
    (Param.DISCOVERY_SESS, ""),
)


def list_a(
    record: Record, prepared: Prepared, initiator: Initiator, *, kernel_pings: bool
) -> Iterator[tuple[Param, str]]:
    """Parameters set before the login; empty ones are left out.

    `kernel_pings`: the kernel has `ping_tmo`, so it sends NOP-Outs itself. CHAP names and secrets
    go along because `session -P 2` shows them from sysfs, as open-iscsi's sessions do.
    """
    computed = {
        Param.PING_TMO: str(prepared.noop_out_timeout_s) if kernel_pings else "",
        Param.RECV_TMO: str(prepared.noop_out_interval_s) if kernel_pings else "",
        Param.INITIATOR_NAME: initiator.name,
        Param.DISCOVERY_SESS: "0",
        Param.FAST_ABORT: str(int(record.get_bool("node.session.iscsi.FastAbort"))),
    }
    for param, key in _LIST_A:
        value = computed[param] if param in computed else optional(record, key)
        if value:
            yield param, value


def optional(record: Record, key: str) -> str:
    """A value that not every record format has; "" when absent."""
    return record.values.get(key) or record.unknown.get(key, "")


def list_b(record: Record) -> Iterator[tuple[HostParam, str]]:
    """Host parameters; set once bound, empty ones are left out."""
    for param, key in (
        (HostParam.NETDEV_NAME, "iface.net_ifacename"),
        (HostParam.HWADDRESS, "iface.hwaddress"),
    ):
        value = record[key]
        if value not in ("", "default"):
            yield param, value


_NEGOTIATED = (
    (Param.MAX_RECV_DLENGTH, "MaxRecvDataSegmentLength"),
    (Param.INITIAL_R2T_EN, "InitialR2T"),
    (Param.MAX_R2T, "MaxOutstandingR2T"),
    (Param.IMM_DATA_EN, "ImmediateData"),
    (Param.FIRST_BURST, "FirstBurstLength"),
    (Param.MAX_BURST, "MaxBurstLength"),
    (Param.PDU_INORDER_EN, "DataPDUInOrder"),
    (Param.DATASEQ_INORDER_EN, "DataSequenceInOrder"),
)
_LIST_C = (
    Param.MAX_RECV_DLENGTH,
    Param.MAX_XMIT_DLENGTH,
    Param.HDRDGST_EN,
    Param.DATADGST_EN,
    Param.INITIAL_R2T_EN,
    Param.MAX_R2T,
    Param.IMM_DATA_EN,
    Param.FIRST_BURST,
    Param.MAX_BURST,
    Param.PDU_INORDER_EN,
    Param.DATASEQ_INORDER_EN,
    Param.ERL,
    Param.IFMARKER_EN,
    Param.OFMARKER_EN,
    Param.EXP_STATSN,
    Param.TPGT,
)
"""Order of the kernel conversation; parameters without a value of their own are 0."""


def list_c(result: LoginResult, record_tpgt: int, caps: int) -> Iterator[tuple[Param, str]]:
    """Negotiated values, set between login and START_CONN, masked by the transport's abilities."""
    tpgt = result.target_portal_group_tag
    values = {param: int(result[key]) for param, key in _NEGOTIATED}
    values |= {
        Param.MAX_XMIT_DLENGTH: result.max_xmit_data_segment_length,
        Param.HDRDGST_EN: result["HeaderDigest"] == "CRC32C",
        Param.DATADGST_EN: result["DataDigest"] == "CRC32C",
        Param.EXP_STATSN: result.exp_stat_sn,
        Param.TPGT: record_tpgt if tpgt is None else tpgt,
    }
    for param in _LIST_C:
        if param not in NEEDED_CAP or caps & NEEDED_CAP[param]:
            yield param, str(int(values.get(param, 0)))
