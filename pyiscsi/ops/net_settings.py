"""Network settings of an adapter's interface, from an iface record to what the driver is told.

Numbers are enum iscsi_net_param and iscsi_iface_param of Linux include/scsi/iscsi_if.h; what is
sent, and in which order, follows open-iscsi usr/iface.c.
"""

from __future__ import annotations

import socket
import struct

from pyiscsi.transport.adapter import IFACE_PARAM, IPV4, IPV6, NET_PARAM, net_attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.records.record import Record

    Setting = tuple[int, int, bytes]
    """Kind of number, number, value."""

_SWITCH = "switch"
_TEXT = "text"
_SWITCHED = {"disable": b"\1", "enable": b"\2"}
"""Any other word, as the kernel itself shows them, means to leave it as it is."""

_IFACE_ENABLE, _VLAN_ENABLED, _VLAN_TAG, _MTU, _PORT = 12, 15, 16, 19, 20
_DEFAULT_PORT = 3260
_VLAN_ID_MAX = 4095
_VLAN_PRIORITY_MAX = 7

_BOOTPROTO, _IPV4_ADDRESS = 4, 1
_STATIC, _DHCP = b"\1", b"\2"
_IPV4_MORE = ((2, "iface.subnet_mask"), (3, "iface.gateway"))

_IPV4_SETTINGS = (
    # key, number, form (_SWITCH, _TEXT or struct format of an integer, which is not sent when 0)
    ("iface.dhcp_dns", 31, _SWITCH),
    ("iface.dhcp_slp_da", 32, _SWITCH),
    ("iface.tos_state", 33, _SWITCH),
    ("iface.tos", 34, "B"),
    ("iface.gratuitous_arp", 35, _SWITCH),
    ("iface.dhcp_alt_client_id_state", 36, _SWITCH),
    ("iface.dhcp_alt_client_id", 37, _TEXT),
    ("iface.dhcp_req_vendor_id_state", 38, _SWITCH),
    ("iface.dhcp_vendor_id_state", 39, _SWITCH),
    ("iface.dhcp_vendor_id", 40, _TEXT),
    ("iface.dhcp_learn_iqn", 41, _SWITCH),
    ("iface.fragmentation", 42, _SWITCH),
    ("iface.incoming_forwarding", 43, _SWITCH),
    ("iface.ttl", 44, "B"),
)
_IPV6_ADDRESSES = (
    # key of the address, its number; key of its configuration, number, words to values, otherwise
    ("iface.ipaddress", 7, "iface.ipv6_autocfg", 9, (("nd", b"\2"), ("dhcpv6", b"\3")), b"\1"),
    ("iface.ipv6_linklocal", 6, "iface.linklocal_autocfg", 10, (("auto", b"\1"),), b"\2"),
    ("iface.ipv6_router", 8, "iface.router_autocfg", 11, (("auto", b"\1"),), b"\2"),
)
_IPV6_SETTINGS = (
    ("iface.gratuitous_neighbor_adv", 45, _SWITCH),
    ("iface.mld", 46, _SWITCH),
    ("iface.flow_label", 47, "I"),
    ("iface.traffic_class", 48, "B"),
    ("iface.hop_limit", 49, "B"),
    ("iface.nd_reachable_tmo", 50, "I"),
    ("iface.nd_rexmit_time", 51, "I"),
    ("iface.nd_stale_tmo", 52, "I"),
    ("iface.dup_addr_detect_cnt", 53, "B"),
    ("iface.router_adv_link_mtu", 54, "I"),
)
_TCP_SETTINGS = (
    ("iface.delayed_ack", 24, _SWITCH),
    ("iface.tcp_nagle", 25, _SWITCH),
    ("iface.tcp_wsf_state", 26, _SWITCH),
    ("iface.tcp_wsf", 27, "B"),
    ("iface.tcp_timer_scale", 28, "B"),
    ("iface.tcp_timestamp", 29, _SWITCH),
    ("iface.redirect", 55, _SWITCH),
)
_ISCSI_SETTINGS = (
    ("iface.def_task_mgmt_timeout", 0, "H"),
    ("iface.header_digest", 1, _SWITCH),
    ("iface.data_digest", 2, _SWITCH),
    ("iface.immediate_data", 3, _SWITCH),
    ("iface.initial_r2t", 4, _SWITCH),
    ("iface.data_seq_inorder", 5, _SWITCH),
    ("iface.data_pdu_inorder", 6, _SWITCH),
    ("iface.erl", 7, "B"),
    ("iface.max_receive_data_len", 8, "I"),
    ("iface.first_burst_len", 9, "I"),
    ("iface.max_outstanding_r2t", 10, "H"),
    ("iface.max_burst_len", 11, "I"),
    ("iface.chap_auth", 12, _SWITCH),
    ("iface.bidi_chap", 13, _SWITCH),
    ("iface.strict_login_compliance", 16, _SWITCH),
    ("iface.discovery_auth", 14, _SWITCH),
    ("iface.discovery_logout", 15, _SWITCH),
)


def encode(iface: Record) -> list[bytes]:
    """The settings of one interface; none where its record says nothing about the network.

    Raises ValueError for an address that is none.
    """
    is_v6 = iface.variant == "ipv6"
    family, number = (IPV6 if is_v6 else IPV4), iface.get_int("iface.iface_num") & 0xFFFFFFFF
    return [
        net_attribute(param, value, iface_num=number, family=family, kind=kind)
        for kind, param, value in _settings(iface, is_v6=is_v6)
    ]


def _settings(iface: Record, *, is_v6: bool) -> list[Setting]:
    if iface["iface.state"] == "disable":
        return [(NET_PARAM, _IFACE_ENABLE, _SWITCHED["disable"])]
    addresses = [*(_ipv6_addresses(iface) if is_v6 else _ipv4_addresses(iface))]
    if not addresses:
        return []
    return [
        *addresses,
        *_rows(iface, NET_PARAM, _IPV6_SETTINGS if is_v6 else _IPV4_SETTINGS),
        *_rows(iface, NET_PARAM, (("iface.state", _IFACE_ENABLE, _SWITCH),)),
        *_rows(iface, NET_PARAM, (("iface.vlan_state", _VLAN_ENABLED, _SWITCH),)),
        *_vlan_tag(iface),
        *_rows(iface, NET_PARAM, (("iface.mtu", _MTU, "H"),)),
        (NET_PARAM, _PORT, struct.pack("=H", iface.get_int("iface.port") or _DEFAULT_PORT)),
        *_rows(iface, NET_PARAM, _TCP_SETTINGS),
        *_rows(iface, IFACE_PARAM, _ISCSI_SETTINGS),
    ]


def _ipv4_addresses(iface: Record) -> Iterator[Setting]:
    bootproto, address = iface["iface.bootproto"], iface["iface.ipaddress"]
    if "dhcp" in bootproto:
        yield NET_PARAM, _BOOTPROTO, _DHCP if bootproto == "dhcp" else _STATIC
    elif "." in address:
        yield NET_PARAM, _BOOTPROTO, _STATIC
        yield from _ipv4_address(_IPV4_ADDRESS, address)
        for number, key in _IPV4_MORE:
            if "." in iface[key]:
                yield from _ipv4_address(number, iface[key])


def _ipv4_address(number: int, text: str) -> Iterator[Setting]:
    """0.0.0.0 is left out: it is what the kernel shows for none."""
    packed = _packed(socket.AF_INET, text)
    if any(packed):
        yield NET_PARAM, number, packed


def _ipv6_addresses(iface: Record) -> Iterator[Setting]:
    for key, number, mode_key, mode_number, words, otherwise in _IPV6_ADDRESSES:
        mode, address = iface[mode_key], iface[key]
        chosen = [value for word, value in words if word in mode]
        if chosen or ":" in address:
            yield NET_PARAM, mode_number, chosen[0] if chosen else otherwise
        if not chosen and ":" in address:
            yield NET_PARAM, number, _packed(socket.AF_INET6, address)


def _packed(family: int, text: str) -> bytes:
    try:
        return socket.inet_pton(family, text)
    except OSError as error:
        raise ValueError(f"{text} is no address") from error


def _vlan_tag(iface: Record) -> Iterator[Setting]:
    """Priority in bits 13 to 15, id in bits 0 to 11 (IEEE 802.1Q); 0 where one is too large."""
    number, priority = iface.get_int("iface.vlan_id"), iface.get_int("iface.vlan_priority")
    if iface["iface.vlan_state"] == "disable" or not number:
        return
    fits = number <= _VLAN_ID_MAX and priority <= _VLAN_PRIORITY_MAX
    yield NET_PARAM, _VLAN_TAG, struct.pack("=H", priority << 13 | number if fits else 0)


def _rows(iface: Record, kind: int, rows: tuple[tuple[str, int, str], ...]) -> Iterator[Setting]:
    for key, number, form in rows:
        text = iface[key]
        if form == _SWITCH:
            if text in _SWITCHED:
                yield kind, number, _SWITCHED[text]
        elif form == _TEXT:
            if text:
                yield kind, number, text.encode("utf-8", "surrogateescape")
        elif iface.get_int(key):
            yield kind, number, struct.pack(f"={form}", iface.get_int(key))
