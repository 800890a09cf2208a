"""The settings of a flashnode: where sysfs shows each, and how the driver is told a new value.

Numbers are enum iscsi_flashnode_param of Linux include/scsi/iscsi_if.h, sizes those that open-iscsi
sends (usr/flashnode.c).
"""

from __future__ import annotations

import socket
import struct

from pyiscsi.records.record import Record
from pyiscsi.records.schema import FLASHNODE
from pyiscsi.sysfs.tree import leading_int
from pyiscsi.transport.adapter import attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiscsi.records.schema import Field
    from pyiscsi.sysfs.flashnodes import Flashnode

_SESSION = "flashnode.session."
_CONNECTION = "flashnode.conn[0]."

_SYSFS_NAMES = {
    # last part of the key: attribute, where they differ
    "chap_auth_en": "chap_auth",
    "discovery_logout_en": "discovery_logout",
    "bidi_chap_en": "bidi_chap",
    "header_digest_en": "header_digest",
    "data_digest_en": "data_digest",
    "snack_req_en": "snack_req",
    "tcp_timestamp_en": "tcp_timestamp_enable",
}

_ADDRESS = "address"
_ADDRESS_V6 = "IPv6 address"
_PORT = "port"
_ISID = "ISID"
_TEXT = "text"
_DEFAULT_PORT = 3260

_SETTABLE = {
    # key: number, form (struct format of an integer, or one of the above)
    "flashnode.conn[0].is_fw_assigned_ipv6": (0, "B"),
    "flashnode.session.portal_type": (1, _TEXT),
    "flashnode.session.auto_snd_tgt_disable": (2, "B"),
    "flashnode.session.discovery_session": (3, "B"),
    "flashnode.session.entry_enable": (4, "B"),
    "flashnode.conn[0].header_digest_en": (5, "B"),
    "flashnode.conn[0].data_digest_en": (6, "B"),
    "flashnode.session.immediate_data": (7, "B"),
    "flashnode.session.initial_r2t": (8, "B"),
    "flashnode.session.data_seq_in_order": (9, "B"),
    "flashnode.session.data_pdu_in_order": (10, "B"),
    "flashnode.session.chap_auth_en": (11, "B"),
    "flashnode.conn[0].snack_req_en": (12, "B"),
    "flashnode.session.discovery_logout_en": (13, "B"),
    "flashnode.session.bidi_chap_en": (14, "B"),
    "flashnode.session.discovery_auth_optional": (15, "B"),
    "flashnode.session.erl": (16, "B"),
    "flashnode.conn[0].tcp_timestamp_stat": (17, "B"),
    "flashnode.conn[0].tcp_nagle_disable": (18, "B"),
    "flashnode.conn[0].tcp_wsf_disable": (19, "B"),
    "flashnode.conn[0].tcp_timer_scale": (20, "B"),
    "flashnode.conn[0].tcp_timestamp_en": (21, "B"),
    "flashnode.conn[0].fragment_disable": (22, "B"),
    "flashnode.conn[0].max_recv_dlength": (23, "I"),
    "flashnode.conn[0].max_xmit_dlength": (24, "I"),
    "flashnode.session.first_burst_len": (25, "I"),
    "flashnode.session.def_time2wait": (26, "H"),
    "flashnode.session.def_time2retain": (27, "H"),
    "flashnode.session.max_outstanding_r2t": (28, "H"),
    "flashnode.conn[0].keepalive_tmo": (29, "H"),
    "flashnode.session.isid": (30, _ISID),
    "flashnode.session.tsid": (31, "H"),
    "flashnode.conn[0].port": (32, _PORT),
    "flashnode.session.max_burst_len": (33, "I"),
    "flashnode.session.def_taskmgmt_tmo": (34, "H"),
    "flashnode.conn[0].ipaddress": (35, _ADDRESS),
    "flashnode.session.targetalias": (36, _TEXT),
    "flashnode.conn[0].redirect_ipaddr": (37, _ADDRESS),
    "flashnode.conn[0].max_segment_size": (38, "I"),
    "flashnode.conn[0].local_port": (39, "H"),
    "flashnode.conn[0].ipv4_tos": (40, "B"),
    "flashnode.conn[0].ipv6_traffic_class": (41, "B"),
    "flashnode.conn[0].ipv6_flow_label": (42, "H"),
    "flashnode.session.targetname": (43, _TEXT),
    "flashnode.session.tpgt": (44, "H"),
    "flashnode.conn[0].link_local_ipv6": (45, _ADDRESS_V6),
    "flashnode.session.discovery_parent_idx": (46, "H"),
    "flashnode.session.discovery_parent_type": (47, _TEXT),
    "flashnode.conn[0].tcp_xmit_wsf": (48, "I"),
    "flashnode.conn[0].tcp_recv_wsf": (49, "I"),
    "flashnode.session.chap_out_idx": (51, "I"),
    "flashnode.conn[0].statsn": (56, "I"),
    "flashnode.conn[0].exp_statsn": (57, "I"),
}
"""What can be set; the adapter itself decides the others (CHAP names, boot target)."""


def read(node: Flashnode) -> Record:
    """What the adapter has; a number it does not show is the largest of its size."""
    values = {}
    for key, field in FLASHNODE.fields.items():
        part, look_up = (
            (_SESSION, node.session) if key.startswith(_SESSION) else (_CONNECTION, node.connection)
        )
        name = key.removeprefix(part)
        values[key] = _shown(field, look_up(_SYSFS_NAMES.get(name, name)))
    return Record(FLASHNODE, values)


def _shown(field: Field, text: str | None) -> str:
    from pyiscsi.records.values import cut, printable, wrap

    if field.type == "string":
        return printable(cut(text or "", field.max_len or 0))
    return wrap(str(leading_int(text)) if text else "-1", field.type)


def encode(record: Record, keys: Iterable[str]) -> bytes:
    """The settings `keys` with their values in `record`, as the driver takes them.

    Raises ValueError for a setting that nobody can change and for a value that has no such form.
    """
    return b"".join(_encode(record, key) for key in keys)


def _encode(record: Record, key: str) -> bytes:
    if key not in _SETTABLE:
        raise ValueError(f"{key} can not be set")
    number, form = _SETTABLE[key]
    text = record[key]
    if form == _TEXT:
        size = (FLASHNODE.fields[key].max_len or 0) + 1
        return attribute(number, text.encode("utf-8", "surrogateescape").ljust(size, b"\0"))
    if form == _ISID:
        return attribute(number, _isid(text))
    if form in (_ADDRESS, _ADDRESS_V6):
        is_v4 = form == _ADDRESS and record["flashnode.session.portal_type"] == "ipv4"
        return attribute(number, _address(text, is_v4=is_v4))
    if form == _PORT:
        return attribute(number, struct.pack("=H", record.get_int(key) or _DEFAULT_PORT))
    return attribute(number, struct.pack(f"={form}", record.get_int(key)))


def _isid(text: str) -> bytes:
    """Six bytes written as twelve hexadecimal digits. Raises ValueError."""
    isid = bytes.fromhex(text)
    if len(isid) != 6:
        raise ValueError(f"ISID of {len(isid)} bytes")
    return isid


def _address(text: str, *, is_v4: bool) -> bytes:
    """Raises ValueError for an address of the other family or none."""
    try:
        return socket.inet_pton(socket.AF_INET if is_v4 else socket.AF_INET6, text)
    except OSError as error:
        raise ValueError(f"{text} is no address of this flashnode's family") from error
