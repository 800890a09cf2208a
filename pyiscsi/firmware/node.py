"""From a boot entry to the iface and the node record that log in to its target."""

from __future__ import annotations

from pyiscsi.names import DEFAULT_IFACE
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE
from pyiscsi.sysfs.hosts import transport_of_host
from pyiscsi.sysfs.transports import transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiscsi.firmware.entry import BootEntry
    from pyiscsi.names import NodeKey
    from pyiscsi.sysfs.tree import SysfsTree

TPGT = 1
"""Firmware does not say; as open-iscsi."""
DEFAULT_TRANSPORT = "tcp"

FORCED = (
    # Booting waits longer for a target, and a root disk must not be given up because pings are
    # late (open-iscsi usr/iscsistart.c).
    ("node.session.initial_login_retry_max", "30"),
    ("node.conn[0].timeo.noop_out_interval", "0"),
    ("node.conn[0].timeo.noop_out_timeout", "0"),
    ("node.session.scan", "auto"),
)


def iface_of(
    entry: BootEntry, tree: SysfsTree, problems: list[str], fmt: str = "2.1.8"
) -> Record | None:
    """The iface of the adapter that booted; None where the default one is to be used."""
    if entry.host_no is None:
        return None
    name = transport_of_host(tree, entry.host_no)
    if name is None:
        problems.append(f"Could not read proc_name for host{entry.host_no} rc 5.")
    if name is None or transport(tree, name) is None:
        problems.append(
            f"Could not get transport for host{entry.host_no}. "
            "Make sure the iSCSI driver is loaded."
        )
        return None
    family = "ipv6" if ":" in entry.ip_address else "ipv4"
    values = {
        "iface.iscsi_ifacename": f"{name}.{entry.hwaddress}.{family}.0",
        "iface.transport_name": name,
        "iface.hwaddress": entry.hwaddress,
        "iface.ipaddress": entry.ip_address,
        "iface.vlan_id": str(entry.vlan_id),
        "iface.subnet_mask": entry.subnet_mask,
        "iface.gateway": entry.gateway,
        "iface.initiatorname": entry.initiator_name,
    }
    return Record(IFACE, values, fmt)


def transport_name(entry: BootEntry, tree: SysfsTree, problems: list[str]) -> str:
    """The transport its session will have."""
    iface = iface_of(entry, tree, problems)
    return DEFAULT_TRANSPORT if iface is None else iface["iface.transport_name"]


def with_login(defaults: Record, entry: BootEntry) -> Record:
    """A copy of node defaults that knows who logs in: the names and secrets of the entry."""
    record = defaults.copy()
    auth = "node.session.auth."
    for key, value in (
        ("iface.initiatorname", entry.initiator_name),
        (f"{auth}username", entry.username),
        (f"{auth}password", entry.password),
        (f"{auth}username_in", entry.username_in),
        (f"{auth}password_in", entry.password_in),
    ):
        record.set(key, value)
    return record


def login_record(
    defaults: Record, entry: BootEntry, tree: SysfsTree, problems: list[str]
) -> Record:
    """The node record of a login; it is not stored. `defaults`: built-in ones and iscsid.conf."""
    record = with_login(defaults, entry)
    record.values |= {
        "node.name": entry.target_name,
        "node.tpgt": str(TPGT),
        "node.startup": "onboot",
        "node.conn[0].startup": "onboot",
        "node.conn[0].address": entry.address,
        "node.conn[0].port": str(entry.port),
        "node.discovery_type": "fw",
        "iface.iscsi_ifacename": DEFAULT_IFACE,
        "iface.transport_name": DEFAULT_TRANSPORT,
    }
    iface = iface_of(entry, tree, problems, defaults.fmt)
    if iface is not None:
        record.values |= {key: text for key, text in iface.values.items() if text}
    if entry.root:
        # The kernel keeps them with an adapter's session; no record has them.
        record.unknown |= {
            "node.session.boot_root": entry.root,
            "node.session.boot_nic": entry.nic,
            "node.session.boot_target": entry.boot_target,
        }
    for key, value in FORCED:
        record.set(key, value)
    return record


def without_repeats(records: Iterable[Record]) -> list[Record]:
    """The first of those that log in to the same portal of a target through the same iface, as
    two devices that lead to it do: of their logins one would only be in the other's way.
    """
    first: dict[NodeKey, Record] = {}
    for record in records:
        first.setdefault(record.node_key(), record)
    return [*first.values()]
