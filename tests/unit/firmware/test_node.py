"""From a boot entry to the records that log in to its target, and to the lines that show it."""

from __future__ import annotations

from pyiscsi.daemon.parameters import optional
from pyiscsi.firmware import find, node
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.printers.firmware import entry_pairs
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from tests.unit.firmware.trees import BOOT, MAC, NIC, Place

HBA = f"qla4xxx.{MAC}.ipv4.0"


def only(place: Place) -> BootEntry:
    (entry,) = find.entries(place.env, place.tree, [])
    return entry


def test_software(place: Place) -> None:
    """D-084: the default iface with the firmware's name; patience, no pings, no stored secret."""
    place.firmware(BOOT)
    defaults = Record(NODE)
    defaults.set("node.session.auth.password", "of iscsid.conf")
    defaults.set("node.session.timeo.replacement_timeout", "77")
    problems: list[str] = []
    record = node.login_record(defaults, only(place), place.tree, problems)
    assert record.node_key().fields() == ("iqn.x:t", "192.0.2.1", 3260, 1, "default")
    expected = {
        "iface.initiatorname": "iqn.x:i",
        "iface.transport_name": "tcp",
        "iface.hwaddress": "",
        "iface.net_ifacename": "",
        "node.session.auth.password": "",
        "node.session.timeo.replacement_timeout": "77",
        "node.session.initial_login_retry_max": "30",
        "node.conn[0].timeo.noop_out_interval": "0",
        "node.conn[0].timeo.noop_out_timeout": "0",
        "node.session.scan": "auto",
    }
    assert {key: record[key] for key in expected} == expected
    assert defaults["node.session.auth.password"] == "of iscsid.conf"
    assert problems == []


def test_adapter(place: Place) -> None:
    """D-084: its own iface, and where in the firmware the session comes from for the kernel."""
    place.adapter(4)
    nic = NIC | {"vlan": "5", "subnet-mask": "255.255.255.0", "gateway": "192.0.2.254"}
    place.firmware(BOOT | {"ethernet0": nic}, "iscsi_boot4")
    record = node.login_record(Record(NODE), only(place), place.tree, [])
    expected = {
        "iface.iscsi_ifacename": HBA,
        "iface.transport_name": "qla4xxx",
        "iface.hwaddress": MAC,
        "iface.ipaddress": "192.0.2.9",
        "iface.subnet_mask": "255.255.255.0",
        "iface.gateway": "192.0.2.254",
        "iface.vlan_id": "5",
        "iface.initiatorname": "iqn.x:i",
    }
    assert {key: record[key] for key in expected} == expected
    sent = Record.from_map(NODE, record.to_map())
    names = ("boot_root", "boot_nic", "boot_target")
    assert [optional(sent, f"node.session.{name}") for name in names] == [
        "iscsi_boot4", "ethernet0", "target0",
    ]  # fmt: skip


def test_adapter_with_an_ipv6_address(place: Place) -> None:
    place.adapter(4)
    place.firmware(BOOT | {"ethernet0": NIC | {"ip-addr": "2001:db8::9"}}, "iscsi_boot4")
    iface = node.iface_of(only(place), place.tree, [])
    assert iface is not None
    assert iface["iface.iscsi_ifacename"] == f"qla4xxx.{MAC}.ipv6.0"


def test_adapter_whose_driver_is_away(place: Place) -> None:
    """open-iscsi's lines, and its default iface."""
    place.firmware(BOOT, "iscsi_boot77")
    problems: list[str] = []
    assert node.transport_name(only(place), place.tree, problems) == "tcp"
    assert problems == [
        "Could not read proc_name for host77 rc 5.",
        "Could not get transport for host77. Make sure the iSCSI driver is loaded.",
    ]


def test_lines_of_open_firmware(place: Place) -> None:
    """D-084: order and names of open-iscsi; a prefix length of 0 is none, one of -1 is shown."""
    place.open_firmware()
    assert [f"{key} = {text}" for key, text in entry_pairs(only(place), "tcp")] == [
        "iface.initiatorname = iqn.x:i",
        "iface.isid = 00023d000001",
        "iface.transport_name = tcp",
        f"iface.hwaddress = {MAC}",
        "iface.bootproto = STATIC",
        "iface.ipaddress = 192.0.2.9",
        "iface.subnet_mask = 255.255.255.0",
        "iface.net_ifacename = eth1",
        "node.name = iqn.x:t",
        "node.conn[0].address = 192.0.2.1",
        "node.conn[0].port = 3261",
        "node.session.auth.username = me",
        "node.session.auth.password = mysecret",
        "node.session.auth.username_in = you",
        "node.session.auth.password_in = yoursecret",
        "node.boot_lun = 8000",
    ]
    (place.root / "proc/device-tree/chosen/bootpath").unlink()
    place.firmware(BOOT | {"ethernet0": NIC | {"origin": "3"}})
    pairs = dict(entry_pairs(only(place), "tcp"))
    assert (pairs["iface.prefix_len"], pairs["iface.bootproto"]) == ("-1", "DHCP")
