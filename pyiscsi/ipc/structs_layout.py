"""Where a node record lies in the request struct of open-iscsi (include/config.h, usr/mgmt_ipc.h).

The struct is the C compiler's, in native byte order and as 64-bit machines lay it out; three
releases of it are in use and tell themselves apart by their size alone. What is not in the table
(list heads, pointers, values only one side uses) is zero when sent and ignored when received.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD_OFFSET = 16
"""Of the node record in the request; before it: command, length of a payload, two numbers."""

MULTIPLE_OFFSET = RECORD_OFFSET + 288 + 1172
"""A byte, not 0 when the client wants one more session of a record that has some."""

BLOCKS: Mapping[str, tuple[int | None, int | None, int | None]] = {
    # block: where it starts in the record of 2.1.8 to 2.1.10, of 2.1.11, of the development head
    "record": (0, 0, 0),
    "session": (288, 288, 288),
    "log_freq": (None, 2232, 2232),
    "conn": (2232, 2240, 2240),
    "congestion": (None, None, 3284),
    "conn_rest": (3276, 3284, 3300),
    "iface": (3328, 3336, 3352),
    "discovery": (15048, 15056, 15072),
}

IFACE_BYTES = 11720
"""Size of the iface within the record, and where it stands alone."""

NUMBERS = {"int32": "=i", "uint32": "=I", "uint16": "=H", "uint8": "=B"}

WORDS: Mapping[str, tuple[str, ...]] = {
    # type: what 0, 1, ... mean
    "bool": ("No", "Yes"),
    "startup": ("manual", "automatic", "onboot"),
    "scan": ("manual", "auto"),
    "authmethod": ("None", "CHAP"),
    "digest": ("None", "CRC32C", "CRC32C,None", "None,CRC32C"),
}

DISCOVERY_TYPES = ("send_targets", "isns", "offload_send_targets", "slp", "static", "fw")
DISCOVERY_TYPES_MASTER = ("send_targets", "isns", "offload_send_targets", "static", "fw")

CHAP_ALGORITHMS = {5: "MD5", 6: "SHA1", 7: "SHA256", 8: "SHA3-256"}
"""The numbers of RFC 1994 and IANA; unused places of the list have UNUSED_ALGORITHM."""
UNUSED_ALGORITHM = 0xFFFFFFFF

FIELDS: tuple[tuple[str, str, int, str, int], ...] = (
    # key, block, offset in the block, type, bytes
    # the node
    ("node.name", "record", 16, "string", 255),
    ("node.tpgt", "record", 272, "int32", 4),
    ("node.startup", "record", 276, "startup", 4),
    ("node.leading_login", "record", 280, "bool", 4),
    # its session
    ("node.session.initial_cmdsn", "session", 0, "int32", 4),
    ("node.session.reopen_max", "session", 4, "int32", 4),
    ("node.session.xmit_thread_priority", "session", 8, "int32", 4),
    ("node.session.cmds_max", "session", 12, "int32", 4),
    ("node.session.queue_depth", "session", 16, "int32", 4),
    ("node.session.initial_login_retry_max", "session", 20, "int32", 4),
    ("node.session.nr_sessions", "session", 24, "int32", 4),
    ("node.session.scan", "session", 28, "scan", 4),
    ("node.session.auth.authmethod", "session", 32, "authmethod", 4),
    ("node.session.auth.username", "session", 36, "string", 256),
    ("node.session.auth.password", "session", 292, "string", 256),
    ("node.session.auth.password_length", "session", 548, "int32", 4),
    ("node.session.auth.username_in", "session", 552, "string", 256),
    ("node.session.auth.password_in", "session", 808, "string", 256),
    ("node.session.auth.password_in_length", "session", 1064, "int32", 4),
    ("node.session.auth.chap_algs", "session", 1068, "chap_algs", 20),
    ("node.session.timeo.replacement_timeout", "session", 1088, "int32", 4),
    ("node.session.err_timeo.abort_timeout", "session", 1092, "int32", 4),
    ("node.session.err_timeo.host_reset_timeout", "session", 1096, "int32", 4),
    ("node.session.err_timeo.lu_reset_timeout", "session", 1100, "int32", 4),
    ("node.session.err_timeo.tgt_reset_timeout", "session", 1104, "int32", 4),
    ("node.session.iscsi.InitialR2T", "session", 1120, "bool", 4),
    ("node.session.iscsi.ImmediateData", "session", 1124, "bool", 4),
    ("node.session.iscsi.FirstBurstLength", "session", 1128, "int32", 4),
    ("node.session.iscsi.MaxBurstLength", "session", 1132, "int32", 4),
    ("node.session.iscsi.DefaultTime2Wait", "session", 1136, "int32", 4),
    ("node.session.iscsi.DefaultTime2Retain", "session", 1140, "int32", 4),
    ("node.session.iscsi.MaxConnections", "session", 1144, "int32", 4),
    ("node.session.iscsi.MaxOutstandingR2T", "session", 1148, "int32", 4),
    ("node.session.iscsi.ERL", "session", 1152, "int32", 4),
    ("node.session.iscsi.FastAbort", "session", 1156, "bool", 4),
    ("node.session.sess_reopen_log_freq", "log_freq", 0, "int32", 4),
    # its connection
    ("node.conn[0].startup", "conn", 0, "startup", 4),
    ("node.conn[0].address", "conn", 4, "string", 1025),
    ("node.conn[0].port", "conn", 1032, "int32", 4),
    ("node.conn[0].tcp.window_size", "conn", 1036, "int32", 4),
    ("node.conn[0].tcp.type_of_service", "conn", 1040, "int32", 4),
    ("node.conn[0].tcp.congestion_control", "congestion", 0, "string", 16),
    ("node.conn[0].timeo.login_timeout", "conn_rest", 0, "int32", 4),
    ("node.conn[0].timeo.logout_timeout", "conn_rest", 4, "int32", 4),
    ("node.conn[0].timeo.auth_timeout", "conn_rest", 8, "int32", 4),
    ("node.conn[0].timeo.noop_out_interval", "conn_rest", 16, "int32", 4),
    ("node.conn[0].timeo.noop_out_timeout", "conn_rest", 20, "int32", 4),
    ("node.conn[0].iscsi.MaxRecvDataSegmentLength", "conn_rest", 24, "int32", 4),
    ("node.conn[0].iscsi.MaxXmitDataSegmentLength", "conn_rest", 28, "int32", 4),
    ("node.conn[0].iscsi.HeaderDigest", "conn_rest", 32, "digest", 4),
    ("node.conn[0].iscsi.DataDigest", "conn_rest", 36, "digest", 4),
    ("node.conn[0].iscsi.IFMarker", "conn_rest", 40, "bool", 4),
    ("node.conn[0].iscsi.OFMarker", "conn_rest", 44, "bool", 4),
    # where it was found
    ("node.discovery_type", "discovery", 0, "discovery_type", 4),
    ("node.discovery_address", "discovery", 4, "string", 1025),
    ("node.discovery_port", "discovery", 1032, "int32", 4),
    # its iface
    ("iface.iscsi_ifacename", "iface", 16, "string", 65),
    ("iface.iface_num", "iface", 84, "int32", 4),
    ("iface.net_ifacename", "iface", 88, "string", 16),
    ("iface.ipaddress", "iface", 104, "string", 1025),
    ("iface.subnet_mask", "iface", 1129, "string", 1025),
    ("iface.gateway", "iface", 2154, "string", 1025),
    ("iface.bootproto", "iface", 3179, "string", 80),
    ("iface.ipv6_linklocal", "iface", 3259, "string", 1025),
    ("iface.ipv6_router", "iface", 4284, "string", 1025),
    ("iface.ipv6_autocfg", "iface", 5309, "string", 1025),
    ("iface.linklocal_autocfg", "iface", 6334, "string", 1025),
    ("iface.router_autocfg", "iface", 7359, "string", 1025),
    ("iface.prefix_len", "iface", 8384, "uint8", 1),
    ("iface.vlan_id", "iface", 8386, "uint16", 2),
    ("iface.vlan_priority", "iface", 8388, "uint8", 1),
    ("iface.vlan_state", "iface", 8389, "string", 80),
    ("iface.state", "iface", 8469, "string", 80),
    ("iface.mtu", "iface", 8550, "uint16", 2),
    ("iface.port", "iface", 8552, "uint16", 2),
    ("iface.delayed_ack", "iface", 8554, "string", 80),
    ("iface.tcp_nagle", "iface", 8634, "string", 80),
    ("iface.tcp_wsf_state", "iface", 8714, "string", 80),
    ("iface.tcp_wsf", "iface", 8794, "uint8", 1),
    ("iface.tcp_timer_scale", "iface", 8795, "uint8", 1),
    ("iface.tcp_timestamp", "iface", 8796, "string", 80),
    ("iface.dhcp_dns", "iface", 8876, "string", 80),
    ("iface.dhcp_slp_da", "iface", 8956, "string", 80),
    ("iface.tos_state", "iface", 9036, "string", 80),
    ("iface.tos", "iface", 9116, "uint8", 1),
    ("iface.gratuitous_arp", "iface", 9117, "string", 80),
    ("iface.dhcp_alt_client_id_state", "iface", 9197, "string", 80),
    ("iface.dhcp_alt_client_id", "iface", 9277, "string", 80),
    ("iface.dhcp_req_vendor_id_state", "iface", 9357, "string", 80),
    ("iface.dhcp_vendor_id_state", "iface", 9437, "string", 80),
    ("iface.dhcp_vendor_id", "iface", 9517, "string", 80),
    ("iface.dhcp_learn_iqn", "iface", 9597, "string", 80),
    ("iface.fragmentation", "iface", 9677, "string", 80),
    ("iface.incoming_forwarding", "iface", 9757, "string", 80),
    ("iface.ttl", "iface", 9837, "uint8", 1),
    ("iface.gratuitous_neighbor_adv", "iface", 9838, "string", 80),
    ("iface.redirect", "iface", 9918, "string", 80),
    ("iface.mld", "iface", 9998, "string", 80),
    ("iface.flow_label", "iface", 10080, "uint32", 4),
    ("iface.traffic_class", "iface", 10084, "uint32", 4),
    ("iface.hop_limit", "iface", 10088, "uint8", 1),
    ("iface.nd_reachable_tmo", "iface", 10092, "uint32", 4),
    ("iface.nd_rexmit_time", "iface", 10096, "uint32", 4),
    ("iface.nd_stale_tmo", "iface", 10100, "uint32", 4),
    ("iface.dup_addr_detect_cnt", "iface", 10104, "uint8", 1),
    ("iface.router_adv_link_mtu", "iface", 10108, "uint32", 4),
    ("iface.def_task_mgmt_timeout", "iface", 10112, "uint16", 2),
    ("iface.header_digest", "iface", 10114, "string", 80),
    ("iface.data_digest", "iface", 10194, "string", 80),
    ("iface.immediate_data", "iface", 10274, "string", 80),
    ("iface.initial_r2t", "iface", 10354, "string", 80),
    ("iface.data_seq_inorder", "iface", 10434, "string", 80),
    ("iface.data_pdu_inorder", "iface", 10514, "string", 80),
    ("iface.erl", "iface", 10594, "uint8", 1),
    ("iface.max_receive_data_len", "iface", 10596, "uint32", 4),
    ("iface.first_burst_len", "iface", 10600, "uint32", 4),
    ("iface.max_outstanding_r2t", "iface", 10604, "uint16", 2),
    ("iface.max_burst_len", "iface", 10608, "uint32", 4),
    ("iface.chap_auth", "iface", 10612, "string", 80),
    ("iface.bidi_chap", "iface", 10692, "string", 80),
    ("iface.strict_login_compliance", "iface", 10772, "string", 80),
    ("iface.discovery_auth", "iface", 10852, "string", 80),
    ("iface.discovery_logout", "iface", 10932, "string", 80),
    ("iface.hwaddress", "iface", 11172, "string", 18),
    ("iface.transport_name", "iface", 11190, "string", 16),
    ("iface.initiatorname", "iface", 11462, "string", 256),
)


class Layout:
    """One of the three structs. `places`: key, offset in the request, type, bytes."""

    __slots__ = ("discovery_types", "name", "places", "size")

    def __init__(self, name: str, size: int, column: int, discovery_types: tuple[str, ...]) -> None:
        self.name = name
        self.size = size
        self.discovery_types = discovery_types
        self.places: list[tuple[str, int, str, int]] = []
        for key, block, offset, kind, length in FIELDS:
            start = BLOCKS[block][column]
            if start is not None:
                self.places.append((key, RECORD_OFFSET + start + offset, kind, length))

    def __repr__(self) -> str:
        return f"<Layout {self.name}>"

    def words(self, kind: str) -> tuple[str, ...]:
        """The words of an enum type."""
        return self.discovery_types if kind == "discovery_type" else WORDS[kind]


LAYOUT_2_1_8 = Layout("2.1.8", 16104, 0, DISCOVERY_TYPES)
LAYOUT_2_1_11 = Layout("2.1.11", 16112, 1, DISCOVERY_TYPES)
LAYOUT_MASTER = Layout("master", 16128, 2, DISCOVERY_TYPES_MASTER)

LAYOUTS: Mapping[int, Layout] = {
    layout.size: layout for layout in (LAYOUT_2_1_8, LAYOUT_2_1_11, LAYOUT_MASTER)
}
"""By the size of the request."""


def known_sizes() -> str:
    """The sizes of requests and whose they are, for a message about another one."""
    *most, last = (f"{layout.size} ({layout.name})" for layout in LAYOUTS.values())
    return f"{', '.join(most)} and {last}"
