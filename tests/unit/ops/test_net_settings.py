"""Network settings against what open-iscsi 2.1.8 told a driver that logged it (Linux 6.1)."""

from __future__ import annotations

import struct

import pytest

from pyiscsi.ops import net_settings
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE

SWITCHES = {
    "enable": "dhcp_dns tos_state gratuitous_arp dhcp_alt_client_id_state dhcp_vendor_id_state "
    "dhcp_learn_iqn fragmentation delayed_ack tcp_nagle tcp_timestamp redirect header_digest "
    "immediate_data data_seq_inorder data_pdu_inorder chap_auth strict_login_compliance "
    "discovery_auth gratuitous_neighbor_adv state vlan_state",
    "disable": "dhcp_slp_da dhcp_req_vendor_id_state incoming_forwarding tcp_wsf_state data_digest "
    "initial_r2t bidi_chap discovery_logout mld",
}
NUMBERS = {
    "tos": 7, "ttl": 9, "vlan_id": 5, "vlan_priority": 3, "tcp_wsf": 2, "tcp_timer_scale": 3,
    "def_task_mgmt_timeout": 20, "erl": 1, "max_receive_data_len": 65536, "first_burst_len": 4096,
    "max_outstanding_r2t": 4, "max_burst_len": 8192, "flow_label": 77, "traffic_class": 8,
    "hop_limit": 9, "nd_reachable_tmo": 10, "nd_rexmit_time": 11, "nd_stale_tmo": 12,
    "dup_addr_detect_cnt": 13, "router_adv_link_mtu": 1400,
}  # fmt: skip
IPV4 = (
    "31=02 32=01 33=02 34=07 35=02 36=02 37=616263 38=01 39=02 40=76656e64 41=02 42=02 43=01 44=09"
)
IPV6 = "45=02 46=01 47=4d000000 48=08 49=09 50=0a000000 51=0b000000 52=0c000000 53=0d 54=78050000"
TCP = "24=02 25=02 26=01 27=02 28=03 29=02 55=02"
ISCSI = (
    "i0=1400 i1=02 i2=01 i3=02 i4=01 i5=02 i6=02 i7=01 i8=00000100 i9=00100000 i10=0400 "
    "i11=00200000 i12=02 i13=01 i16=02 i14=02 i15=01"
)
ROUTER = "8=00000000000000000000000000000000"


def iface(name: str = "if0", **values: object) -> Record:
    record = Record(IFACE, {"iface.iscsi_ifacename": name})
    for key, value in values.items():
        record.set(f"iface.{key}", str(value))
    return record


def full(name: str = "if0", **values: object) -> Record:
    """Every switch and number set."""
    words = {key: word for word, keys in SWITCHES.items() for key in keys.split()}
    texts = {"dhcp_alt_client_id": "abc", "dhcp_vendor_id": "vend"}
    return iface(name, **{**words, **NUMBERS, **texts, **values})


def told(record: Record, number: int = 0) -> str:
    """`number=value` of each setting, an i before the iSCSI ones; headers are checked."""
    words = []
    for attribute in net_settings.encode(record):
        length, kind = struct.unpack_from("=HH", attribute)
        num, size, param, family, group = struct.unpack_from("=IIHBB", attribute, 4)
        value = attribute[16 : 16 + size]
        assert (length, kind, num) == (16 + size, param, number)
        assert len(attribute) == length + -length % 4
        assert family == (2 if record.variant == "ipv6" else 1)
        words.append(f"{'i' if group == 5 else ''}{param}={value.hex()}")
    return " ".join(words)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (iface(bootproto="static", ipaddress="192.0.2.11", subnet_mask="255.255.255.0",
               gateway="192.0.2.1", mtu=1500, port=3260),
         "4=01 1=c000020b 2=ffffff00 3=c0000201 19=dc05 20=bc0c"),
        (iface(ipaddress="192.0.2.11", subnet_mask="x", gateway="0.0.0.0"),
         "4=01 1=c000020b 20=bc0c"),
        (iface(ipv6_autocfg="static", ipaddress="fd00:f:a1e0::a10", linklocal_autocfg="auto",
               router_autocfg="manual", ipv6_router="::", mtu=1500),
         f"9=01 7=fd00000fa1e000000000000000000a10 10=01 11=02 {ROUTER} 19=dc05 20=bc0c"),
        (full(ipaddress="192.0.2.77"),
         f"4=01 1=c000024d {IPV4} 12=02 15=02 16=0560 20=bc0c {TCP} {ISCSI}"),
        (full(ipaddress="192.0.2.77", bootproto="dhcp", vlan_state="disable"),
         f"4=02 {IPV4} 12=02 15=01 20=bc0c {TCP} {ISCSI}"),
        (full(ipaddress="192.0.2.77", state="disable"), "12=01"),
        (full("x.ipv6", ipv6_autocfg="nd", ipv6_linklocal="fe80::5", router_autocfg="auto"),
         f"9=02 10=02 6=fe800000000000000000000000000005 11=01 {IPV6} 12=02 15=02 16=0560 "
         f"20=bc0c {TCP} {ISCSI}"),
        (iface("x.ipv6", ipv6_autocfg="dhcpv6", vlan_id=4096), "9=03 16=0000 20=bc0c"),
        (iface("x.ipv6", linklocal_autocfg="auto", vlan_id=1, vlan_priority=8),
         "10=01 16=0000 20=bc0c"),
        (iface(bootproto="dhcp", mtu=9000, state="enabled"), "4=02 19=2823 20=bc0c"),
    ],
)  # fmt: skip
def test_what_a_driver_is_told(record: Record, expected: str) -> None:
    assert told(record) == expected


def test_number_of_the_interface() -> None:
    """Also in the settings for which open-iscsi leaves it 0."""
    record = iface("x.ipv6", ipv6_autocfg="nd", linklocal_autocfg="auto", iface_num=1)
    assert told(record, 1) == "9=02 10=01 20=bc0c"


@pytest.mark.parametrize(
    "record",
    [iface(), iface("x.ipv6"), iface(mtu=9000, vlan_id=5, bootproto="static", gateway="1.2.3.4")],
)
def test_nothing_to_tell(record: Record) -> None:
    """Without an address or a way to get one, the rest does not count."""
    assert net_settings.encode(record) == []


@pytest.mark.parametrize(
    "record",
    [
        iface(ipaddress="192.0.2.999"),
        iface(ipaddress="192.0.2.1", gateway="a.b"),
        iface(ipaddress="fd00::x"),
    ],
)
def test_address_that_is_none(record: Record) -> None:
    with pytest.raises(ValueError, match="is no address"):
        net_settings.encode(record)
