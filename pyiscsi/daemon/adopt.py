"""Sessions that are in the kernel already: whose they are and with which settings to go on.

A session whose connection works is left alone (open-iscsi drops and relogs every one when its
daemon starts); only its record is needed, for the day the connection is lost.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.names import NodeKey
from pyiscsi.records.config import Config
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.sysfs.sessions import Session as SysfsSession
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transports import NO_ADDRESS, traits

log = logging.getLogger("iscsid")

_DIGEST_WORDS = {0: "None", 1: "CRC32C,None"}
_YES_NO = {0: "No", 1: "Yes"}


@dataclass(frozen=True, slots=True)
class Found:
    """A session of the kernel that a daemon has to look after."""

    sid: int
    host_no: int
    transport_name: str
    initiator_name: str
    record: Record


def find(env: Env, config_file: str, tree: SysfsTree, sid: int) -> Found | None:
    """One session; None when it is gone, half made, or belongs to a driver (creator -1).

    Blocks while it reads sysfs and the record.
    """
    session = SysfsSession(tree, sid)
    if not session.targetname or not session.persistent_address or session.host_no is None:
        return None
    if session.is_flash or not session.transport:
        return None
    return Found(
        sid=sid,
        host_no=session.host_no,
        transport_name=session.transport,
        initiator_name=session.initiatorname,
        record=_record(env, config_file, session),
    )


def _record(env: Env, config_file: str, session: SysfsSession) -> Record:
    """The session's node record with its live credentials; made up from sysfs where it is gone."""
    key = NodeKey(
        session.target,
        session.persistent_address,
        session.persistent_port,
        session.tpgt,
        session.ifacename,
    )
    try:
        record = NodeStore(env).read(key)
    except PyIscsiError as error:
        log.warning(
            "session%d: Could not read data from db. Using default and currently negotiated "
            "values (%s)", session.sid, error,
        )  # fmt: skip
        record = Config(config_file).defaults(NODE, env.record_format)
        _overlay(record, _negotiated(session))
    _overlay(record, _identity(session))
    return record


def _identity(session: SysfsSession) -> dict[str, str]:
    """What the kernel knows better than a record that may have changed since the login."""
    return {
        "node.name": session.target,
        "node.tpgt": str(session.tpgt),
        "node.conn[0].address": session.persistent_address,
        "node.conn[0].port": str(session.persistent_port),
        "iface.iscsi_ifacename": session.ifacename,
        "iface.transport_name": session.transport,
        "node.session.auth.username": session.username or "",
        "node.session.auth.password": session.password or "",
        "node.session.auth.username_in": session.username_in or "",
        "node.session.auth.password_in": session.password_in or "",
    }


def _negotiated(session: SysfsSession) -> dict[str, str]:
    """Values of a session without a record; timeouts too, which open-iscsi forgets."""
    numbers = {
        "node.session.timeo.replacement_timeout": session.recovery_tmo,
        "node.session.err_timeo.abort_timeout": session.abort_tmo,
        "node.session.err_timeo.lu_reset_timeout": session.lu_reset_tmo,
        "node.session.err_timeo.tgt_reset_timeout": session.tgt_reset_tmo,
        "node.session.iscsi.FirstBurstLength": session.first_burst_len,
        "node.session.iscsi.MaxBurstLength": session.max_burst_len,
        "node.session.iscsi.MaxOutstandingR2T": session.max_outstanding_r2t,
        "node.conn[0].iscsi.MaxRecvDataSegmentLength": session.max_recv_dlength,
        "node.conn[0].timeo.noop_out_timeout": session.ping_tmo,
    }
    words = {
        "node.session.iscsi.ImmediateData": (session.immediate_data, _YES_NO),
        "node.session.iscsi.InitialR2T": (session.initial_r2t, _YES_NO),
        "node.conn[0].iscsi.HeaderDigest": (session.header_digest, _DIGEST_WORDS),
        "node.conn[0].iscsi.DataDigest": (session.data_digest, _DIGEST_WORDS),
    }
    values = {key: str(number) for key, number in numbers.items() if number is not None}
    for key, (number, table) in words.items():
        if number in table:
            values[key] = table[number]
    return values | _binding(session)


def _binding(session: SysfsSession) -> dict[str, str]:
    """The iface's binding, as the host has it."""
    values = {
        "iface.net_ifacename": session.netdev or "",
        "iface.initiatorname": session.initiatorname,
    }
    row = traits(session.transport or "")
    if row.is_offload:
        values["iface.hwaddress"] = session.hwaddress or ""
    if row.address != NO_ADDRESS:
        values["iface.ipaddress"] = session.ipaddress or ""
    return {key: value for key, value in values.items() if value not in ("", "default")}


def _overlay(record: Record, values: dict[str, str]) -> None:
    """Set values the kernel gave us; one that a record cannot hold is left as it was."""
    for key, value in values.items():
        try:
            record.set(key, value)
        except PyIscsiError as error:
            log.warning("%s: %s", key, error)
