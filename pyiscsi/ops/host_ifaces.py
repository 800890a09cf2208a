"""Iface records of adapters, made by themselves: one for each interface of each adapter.

Names are TRANSPORT.MAC.ipv4.N, TRANSPORT.MAC.ipv6.N, or TRANSPORT.MAC for an adapter whose driver
shows no interfaces; settings are what the driver shows (open-iscsi usr/iface.c,
iface_setup_host_bindings, and usr/iscsi_sysfs.c).
"""

from __future__ import annotations

import os

from pyiscsi.errors import RecordError, TransportError
from pyiscsi.sysfs.hosts import Host, host_numbers, kernel_ifaces, transport_of_host
from pyiscsi.transports import NET_DRIVERS, TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.ops.context import Context
    from pyiscsi.records.record import Record
    from pyiscsi.sysfs.hosts import KernelIface

ISCSIUIO = "/sbin/iscsiuio"
_NETWORK_DEVICES = "class/net"
_ETHERNET = "1"

UNBOUND = "default"
"""A network device or address that the driver does not show."""
_UNKNOWN = {"iface.ipaddress": UNBOUND, "iface.vlan_id": "65535", "iface.vlan_priority": "255"}
"""What stands for a setting the driver does not show; 0 and nothing for the others."""

_SETTINGS = (
    # key of the record, attribute of the interface
    ("iface.ipaddress", "ipaddress"),
    ("iface.port", "port"),
    ("iface.mtu", "mtu"),
    ("iface.vlan_id", "vlan_id"),
    ("iface.vlan_priority", "vlan_priority"),
    ("iface.vlan_state", "vlan_enabled"),
    ("iface.state", "enabled"),
    ("iface.delayed_ack", "delayed_ack_en"),
    ("iface.tcp_nagle", "tcp_nagle_disable"),
    ("iface.tcp_wsf_state", "tcp_wsf_disable"),
    ("iface.tcp_wsf", "tcp_wsf"),
    ("iface.tcp_timer_scale", "tcp_timer_scale"),
    ("iface.tcp_timestamp", "tcp_timestamp_en"),
    ("iface.redirect", "redirect_en"),
    ("iface.def_task_mgmt_timeout", "def_taskmgmt_tmo"),
    ("iface.header_digest", "header_digest"),
    ("iface.data_digest", "data_digest"),
    ("iface.immediate_data", "immediate_data"),
    ("iface.initial_r2t", "initial_r2t"),
    ("iface.data_seq_inorder", "data_seq_in_order"),
    ("iface.data_pdu_inorder", "data_pdu_in_order"),
    ("iface.erl", "erl"),
    ("iface.max_receive_data_len", "max_recv_dlength"),
    ("iface.first_burst_len", "first_burst_len"),
    ("iface.max_outstanding_r2t", "max_outstanding_r2t"),
    ("iface.max_burst_len", "max_burst_len"),
    ("iface.chap_auth", "chap_auth"),
    ("iface.bidi_chap", "bidi_chap"),
    ("iface.strict_login_compliance", "strict_login_comp_en"),
    ("iface.discovery_auth", "discovery_auth_optional"),
    ("iface.discovery_logout", "discovery_logout"),
)
# open-iscsi passes over dhcp_alt_client_id_en: that one it applies only where it was asked to.
_IPV4_SETTINGS = (
    ("iface.bootproto", "bootproto"),
    ("iface.gateway", "gateway"),
    ("iface.subnet_mask", "subnet"),
    ("iface.dhcp_dns", "dhcp_dns_address_en"),
    ("iface.dhcp_learn_iqn", "dhcp_learn_iqn_en"),
    ("iface.dhcp_req_vendor_id_state", "dhcp_req_vendor_id_en"),
    ("iface.dhcp_vendor_id_state", "dhcp_use_vendor_id_en"),
    ("iface.dhcp_vendor_id", "dhcp_vendor_id"),
    ("iface.dhcp_slp_da", "dhcp_slp_da_info_en"),
    ("iface.fragmentation", "fragment_disable"),
    ("iface.gratuitous_arp", "grat_arp_en"),
    ("iface.incoming_forwarding", "incoming_forwarding_en"),
    ("iface.tos_state", "tos_en"),
    ("iface.tos", "tos"),
    ("iface.ttl", "ttl"),
)
_IPV6_SETTINGS = (
    ("iface.ipv6_autocfg", "ipaddr_autocfg"),
    ("iface.ipv6_linklocal", "link_local_addr"),
    ("iface.linklocal_autocfg", "link_local_autocfg"),
    ("iface.ipv6_router", "router_addr"),
    ("iface.router_autocfg", "router_state"),
    ("iface.dup_addr_detect_cnt", "dup_addr_detect_cnt"),
    ("iface.flow_label", "flow_label"),
    ("iface.gratuitous_neighbor_adv", "grat_neighbor_adv_en"),
    ("iface.hop_limit", "hop_limit"),
    ("iface.mld", "mld_en"),
    ("iface.nd_reachable_tmo", "nd_reachable_tmo"),
    ("iface.nd_rexmit_time", "nd_rexmit_time"),
    ("iface.nd_stale_tmo", "nd_stale_tmo"),
    ("iface.router_adv_link_mtu", "router_adv_link_mtu"),
    ("iface.traffic_class", "traffic_class"),
)


def set_up(context: Context) -> list[str]:
    """Write the records that are missing. Returns lines about adapters that can't have any."""
    context.ifaces.ensure_dir()
    load_drivers(context)
    lines: list[str] = []
    for number in host_numbers(context.tree):
        row = TABLE.get(transport_of_host(context.tree, number) or "")
        if row is None or not row.is_offload:
            continue
        host = Host(context.tree, number)
        if not host.hwaddress:
            lines.append(
                f"Invalid offload iSCSI host {host.number}. Missing hwaddress. Try upgrading "
                f"{row.name} driver."
            )
            continue
        lines += _write_missing(context, host)
    return lines


def _write_missing(context: Context, host: Host) -> list[str]:
    lines = []
    known = set(context.ifaces.names())
    for name, values in _of_host(context, host):
        if name in known:
            continue
        try:
            context.ifaces.write(_record(context, values))
        except RecordError as error:
            lines += [str(error), f"Could not create default iface conf {name}."]
    return lines


def _of_host(context: Context, host: Host) -> Iterator[tuple[str, dict[str, str]]]:
    common = {
        "iface.transport_name": host.transport or "",
        "iface.hwaddress": host.hwaddress or "",
        "iface.net_ifacename": host.netdev or UNBOUND,
        "iface.initiatorname": host.initiatorname or "",
    }
    prefix = f"{host.transport}.{host.hwaddress}"
    found = kernel_ifaces(context.tree, host.number)
    for iface in found:
        family, _, _, number = iface.name.split("-")
        name = f"{prefix}.{family}.{number}"
        values = {"iface.iscsi_ifacename": name, "iface.iface_num": number}
        yield name, {**common, **values, **_settings(iface, family)}
    if not found:
        bare = {key: common[key] for key in ("iface.transport_name", "iface.hwaddress")}
        yield prefix, {**bare, "iface.iscsi_ifacename": prefix}


def _settings(iface: KernelIface, family: str) -> dict[str, str]:
    rows = (*_SETTINGS, *(_IPV4_SETTINGS if family == "ipv4" else _IPV6_SETTINGS))
    shown = {key: iface.get(attribute) for key, attribute in rows}
    return _UNKNOWN | {key: value for key, value in shown.items() if value is not None}


def _record(context: Context, values: dict[str, str]) -> Record:
    """What the driver shows and no record can hold is left out."""
    from pyiscsi.errors import InvalidArgument
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import IFACE

    record = Record(IFACE, None, context.env.record_format)
    for key, value in values.items():
        try:
            record.set(key, value)
        except InvalidArgument:
            continue
    return record


def load_drivers(context: Context) -> None:
    """Load the iSCSI part of each adapter whose network part is there."""
    from pyiscsi.ops.modules import ensure_transport

    tree = context.tree
    for device in tree.names(_NETWORK_DEVICES):
        base = f"{_NETWORK_DEVICES}/{device}"
        driver = os.path.basename(tree.link(f"{base}/device/driver") or "")
        transport = NET_DRIVERS.get(driver)
        if transport is None or tree.read(f"{base}/type") != _ETHERNET:
            continue
        if TABLE[transport].uses_iscsiuio and not os.path.exists(ISCSIUIO):
            continue
        try:
            ensure_transport(tree, transport)
        except TransportError:
            continue  # as without the adapter; using it says why
