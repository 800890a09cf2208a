"""A boot entry as `-m fw` and `iscsistart -f` print it (open-iscsi usr/fwparam_ibft/fw_entry.c)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiscsi.firmware.entry import BootEntry

_NETWORK = (
    # key, attribute of BootEntry
    ("iface.subnet_mask", "subnet_mask"),
    ("iface.gateway", "gateway"),
    ("iface.primary_dns", "primary_dns"),
    ("iface.secondary_dns", "secondary_dns"),
    ("iface.vlan_id", "vlan"),
    ("iface.net_ifacename", "netdev"),
    ("node.name", "target_name"),
    ("node.conn[0].address", "address"),
)
_LOGIN = (
    ("node.session.auth.username", "username"),
    ("node.session.auth.password", "password"),
    ("node.session.auth.username_in", "username_in"),
    ("node.session.auth.password_in", "password_in"),
    ("node.boot_lun", "lun"),
)


def entry_pairs(entry: BootEntry, transport: str) -> list[tuple[str, str]]:
    """(key, text) in order, only what is set; secrets in clear, as scripts need them."""
    return [(key, text) for key, text in _pairs(entry, transport) if text]


def _pairs(entry: BootEntry, transport: str) -> Iterator[tuple[str, str]]:
    yield "iface.initiatorname", entry.initiator_name
    yield "iface.isid", entry.isid
    yield "iface.transport_name", transport
    yield "iface.hwaddress", entry.hwaddress
    yield "iface.bootproto", "DHCP" if entry.uses_dhcp else "STATIC"
    yield "iface.ipaddress", entry.ip_address
    yield "iface.prefix_len", str(entry.prefix_len or "")
    for key, name in _NETWORK:
        yield key, getattr(entry, name)
    yield "node.conn[0].port", str(entry.port)
    for key, name in _LOGIN:
        yield key, getattr(entry, name)
