"""Fields of what is printed like a record but never stored: host CHAP entries, flashnodes.

Row: key, type, 2.1.8 default (None: 2.1.8 has no such key), limit, flags, default of the `master`
format where it differs. Limit is the most bytes kept of a string, or the values of an enum.
Flags: K looks the record up and cannot be changed; S secret; H hidden, never written;
X iscsid.conf has no effect on it; 4 and 6 only in records of that address family.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.schema import Row

HOST_CHAP_OUT: tuple[Row, ...] = (
    ("host.auth.tbl_idx", "uint16", "0"),
    ("host.auth.username", "string", "", 255),
    ("host.auth.password", "string", "", 255, "S"),
    ("host.auth.password_length", "int32", "0", None, "H"),
)

HOST_CHAP_IN: tuple[Row, ...] = (
    ("host.auth.tbl_idx", "uint16", "0"),
    ("host.auth.username_in", "string", "", 255),
    ("host.auth.password_in", "string", "", 255, "S"),
    ("host.auth.password_in_length", "int32", "0", None, "H"),
)

FLASHNODE: tuple[Row, ...] = (
    ("flashnode.session.auto_snd_tgt_disable", "uint8", "0"),
    ("flashnode.session.discovery_session", "uint8", "0"),
    ("flashnode.session.portal_type", "string", "", 4),
    ("flashnode.session.entry_enable", "uint8", "0"),
    ("flashnode.session.immediate_data", "uint8", "0"),
    ("flashnode.session.initial_r2t", "uint8", "0"),
    ("flashnode.session.data_seq_in_order", "uint8", "0"),
    ("flashnode.session.data_pdu_in_order", "uint8", "0"),
    ("flashnode.session.chap_auth_en", "uint8", "0"),
    ("flashnode.session.discovery_logout_en", "uint8", "0"),
    ("flashnode.session.bidi_chap_en", "uint8", "0"),
    ("flashnode.session.discovery_auth_optional", "uint8", "0"),
    ("flashnode.session.erl", "uint8", "0"),
    ("flashnode.session.first_burst_len", "uint32", "0"),
    ("flashnode.session.def_time2wait", "uint16", "0"),
    ("flashnode.session.def_time2retain", "uint16", "0"),
    ("flashnode.session.max_outstanding_r2t", "uint16", "0"),
    ("flashnode.session.isid", "string", "", 15),
    ("flashnode.session.tsid", "uint16", "0"),
    ("flashnode.session.max_burst_len", "uint32", "0"),
    ("flashnode.session.def_taskmgmt_tmo", "uint16", "0"),
    ("flashnode.session.targetalias", "string", "", 254),
    ("flashnode.session.targetname", "string", "", 254),
    ("flashnode.session.discovery_parent_idx", "uint16", "0"),
    ("flashnode.session.discovery_parent_type", "string", "", 79),
    ("flashnode.session.tpgt", "uint16", "0"),
    ("flashnode.session.chap_out_idx", "uint16", "0"),
    ("flashnode.session.chap_in_idx", "uint16", "0"),
    ("flashnode.session.username", "string", "", 255),
    ("flashnode.session.username_in", "string", "", 255),
    ("flashnode.session.password", "string", "", 255),
    ("flashnode.session.password_in", "string", "", 255),
    ("flashnode.session.is_boot_target", "uint8", "0"),
    ("flashnode.conn[0].is_fw_assigned_ipv6", "uint8", "0"),
    ("flashnode.conn[0].header_digest_en", "uint8", "0"),
    ("flashnode.conn[0].data_digest_en", "uint8", "0"),
    ("flashnode.conn[0].snack_req_en", "uint8", "0"),
    ("flashnode.conn[0].tcp_timestamp_stat", "uint8", "0"),
    ("flashnode.conn[0].tcp_nagle_disable", "uint8", "0"),
    ("flashnode.conn[0].tcp_wsf_disable", "uint8", "0"),
    ("flashnode.conn[0].tcp_timer_scale", "uint8", "0"),
    ("flashnode.conn[0].tcp_timestamp_en", "uint8", "0"),
    ("flashnode.conn[0].fragment_disable", "uint8", "0"),
    ("flashnode.conn[0].max_xmit_dlength", "uint32", "0"),
    ("flashnode.conn[0].max_recv_dlength", "uint32", "0"),
    ("flashnode.conn[0].keepalive_tmo", "uint16", "0"),
    ("flashnode.conn[0].port", "uint16", "0"),
    ("flashnode.conn[0].ipaddress", "string", "", 255),
    ("flashnode.conn[0].redirect_ipaddr", "string", "", 255),
    ("flashnode.conn[0].max_segment_size", "uint32", "0"),
    ("flashnode.conn[0].local_port", "uint16", "0"),
    ("flashnode.conn[0].ipv4_tos", "uint8", "0"),
    ("flashnode.conn[0].ipv6_traffic_class", "uint8", "0"),
    ("flashnode.conn[0].ipv6_flow_label", "uint16", "0"),
    ("flashnode.conn[0].link_local_ipv6", "string", "", 255),
    ("flashnode.conn[0].tcp_xmit_wsf", "uint32", "0"),
    ("flashnode.conn[0].tcp_recv_wsf", "uint32", "0"),
    ("flashnode.conn[0].statsn", "uint32", "0"),
    ("flashnode.conn[0].exp_statsn", "uint32", "0"),
)
