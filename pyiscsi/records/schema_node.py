"""Fields of node records, in their file order (open-iscsi usr/idbm.c, idbm_recinfo_node).

Row: key, type, 2.1.8 default (None: 2.1.8 has no such key), limit, flags, default of the `master`
format where it differs. Limit is the most bytes kept of a string, or the values of an enum.
Flags: K looks the record up and cannot be changed; S secret; H hidden, never written;
X iscsid.conf has no effect on it; 4 and 6 only in records of that address family.
"""

from __future__ import annotations

from pyiscsi.records.schema_iface import IFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.schema import Row

_STARTUP = ("manual", "automatic", "onboot")
_DIGEST = ("None", "CRC32C", "CRC32C,None", "None,CRC32C")

_HEAD: tuple[Row, ...] = (
    ("node.name", "string", "", 254, "K"),
    ("node.tpgt", "int32", "-1", None, "K"),
    ("node.startup", "enum", "manual", _STARTUP),
    ("node.leading_login", "bool", "No"),
)

# A node file starts its iface block in an order of its own, then follows the iface record; and it
# writes gateway and subnet mask for both address families.
_IFACE_FIRST = (
    "iface.hwaddress",
    "iface.ipaddress",
    "iface.iscsi_ifacename",
    "iface.net_ifacename",
    "iface.gateway",
    "iface.subnet_mask",
    "iface.prefix_len",
    "iface.transport_name",
)
_IFACE_CHANGED: dict[str, Row] = {
    "iface.iscsi_ifacename": ("iface.iscsi_ifacename", "string", "default", 64, "X"),
    "iface.gateway": ("iface.gateway", "string", "", 255),
    "iface.subnet_mask": ("iface.subnet_mask", "string", "", 255),
}

_TAIL: tuple[Row, ...] = (
    ("node.discovery_address", "string", "", 255, "K"),
    ("node.discovery_port", "int32", "0", None, "K"),
    (
        "node.discovery_type",
        "enum",
        "static",
        ("send_targets", "isns", "offload_send_targets", "slp", "static", "fw"),
        "K",
    ),
    ("node.session.initial_cmdsn", "int32", "0"),
    ("node.session.initial_login_retry_max", "int32", "4"),
    ("node.session.xmit_thread_priority", "int32", "-20", None, "", "0"),
    ("node.session.cmds_max", "int32", "128"),
    ("node.session.queue_depth", "int32", "32"),
    ("node.session.nr_sessions", "int32", "1"),
    ("node.session.auth.authmethod", "enum", "None", ("None", "CHAP")),
    ("node.session.auth.username", "string", "", 255),
    ("node.session.auth.password", "string", "", 255, "S"),
    ("node.session.auth.password_length", "int32", "0", None, "H"),
    ("node.session.auth.username_in", "string", "", 255),
    ("node.session.auth.password_in", "string", "", 255, "S"),
    ("node.session.auth.password_in_length", "int32", "0", None, "H"),
    ("node.session.auth.chap_algs", "enum_list", "MD5", ("MD5", "SHA1", "SHA256", "SHA3-256")),
    ("node.session.timeo.replacement_timeout", "int32", "120"),
    ("node.session.err_timeo.abort_timeout", "int32", "15"),
    ("node.session.err_timeo.lu_reset_timeout", "int32", "30"),
    ("node.session.err_timeo.tgt_reset_timeout", "int32", "30"),
    ("node.session.err_timeo.host_reset_timeout", "int32", "60"),
    ("node.session.iscsi.FastAbort", "bool", "Yes"),
    ("node.session.iscsi.InitialR2T", "bool", "No"),
    ("node.session.iscsi.ImmediateData", "bool", "Yes"),
    ("node.session.iscsi.FirstBurstLength", "int32", "262144"),
    ("node.session.iscsi.MaxBurstLength", "int32", "16776192"),
    ("node.session.iscsi.DefaultTime2Retain", "int32", "0"),
    ("node.session.iscsi.DefaultTime2Wait", "int32", "2"),
    ("node.session.iscsi.MaxConnections", "int32", "1"),
    ("node.session.iscsi.MaxOutstandingR2T", "int32", "1"),
    ("node.session.iscsi.ERL", "int32", "0"),
    ("node.session.scan", "enum", "auto", ("manual", "auto")),
    ("node.session.reopen_max", "int32", "0"),
    ("node.session.sess_reopen_log_freq", "int32", None, None, "", "1"),
    ("node.conn[0].address", "string", "", 255, "K"),
    ("node.conn[0].port", "int32", "3260", None, "K"),
    ("node.conn[0].startup", "enum", "manual", _STARTUP),
    ("node.conn[0].tcp.window_size", "int32", "524288"),
    ("node.conn[0].tcp.type_of_service", "int32", "0"),
    ("node.conn[0].tcp.congestion_control", "string", None, 15, "", ""),
    ("node.conn[0].timeo.logout_timeout", "int32", "15"),
    ("node.conn[0].timeo.login_timeout", "int32", "30"),
    ("node.conn[0].timeo.auth_timeout", "int32", "45"),
    ("node.conn[0].timeo.noop_out_interval", "int32", "5"),
    ("node.conn[0].timeo.noop_out_timeout", "int32", "5"),
    ("node.conn[0].iscsi.MaxXmitDataSegmentLength", "int32", "0"),
    ("node.conn[0].iscsi.MaxRecvDataSegmentLength", "int32", "262144"),
    ("node.conn[0].iscsi.HeaderDigest", "enum", "None", _DIGEST),
    ("node.conn[0].iscsi.DataDigest", "enum", "None", _DIGEST),
    ("node.conn[0].iscsi.IFMarker", "bool", "No"),
    ("node.conn[0].iscsi.OFMarker", "bool", "No"),
)


def _iface_block() -> tuple[Row, ...]:
    rows = {row[0]: row for row in IFACE} | _IFACE_CHANGED
    first = tuple(rows.pop(key) for key in _IFACE_FIRST)
    return first + tuple(rows.values())


NODE: tuple[Row, ...] = _HEAD + _iface_block() + _TAIL
