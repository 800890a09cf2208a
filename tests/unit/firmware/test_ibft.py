"""What `/sys/firmware` says, whatever is missing, odd or hostile in it."""

from __future__ import annotations

import pytest

from pyiscsi.firmware import find
from pyiscsi.firmware.entry import BootEntry
from tests.unit.firmware.trees import BOOT, DISK, MAC, NAME, NIC, UNSET_IPV6, Place


def entries(place: Place) -> tuple[list[BootEntry], list[str]]:
    problems: list[str] = []
    return find.entries(place.env, place.tree, problems), problems


def without(files: dict[str, str], *names: str) -> dict[str, str]:
    return {name: text for name, text in files.items() if name not in names}


def test_everything(place: Place) -> None:
    """D-084: each file has its place in the entry; the device is the one the link leads to."""
    place.firmware(
        {
            "initiator": NAME | {"isid": "00023d000000"},
            "ethernet0": NIC
            | {
                "prefix-len": "24", "subnet-mask": "255.255.255.0", "gateway": "192.0.2.254",
                "primary-dns": "192.0.2.5", "secondary-dns": "192.0.2.6", "dhcp": "192.0.2.3",
                "vlan": "7",
            },
            "ethernet0/device/net/eth7": {"ifindex": "3"},
            "target0": DISK
            | {
                "port": "3261", "lun": "01000000", "chap-name": "me", "chap-secret": "mysecret",
                "rev-chap-name": "you", "rev-chap-name-secret": "yoursecret",
            },
        }
    )  # fmt: skip
    (entry,), problems = entries(place)
    assert {name: getattr(entry, name) for name in BootEntry.__slots__} == {
        "root": "ibft", "nic": "ethernet0", "boot_target": "target0", "host_no": None,
        "initiator_name": "iqn.x:i", "isid": "00023d000000", "hwaddress": MAC, "netdev": "eth7",
        "ip_address": "192.0.2.9", "prefix_len": 24, "subnet_mask": "255.255.255.0",
        "gateway": "192.0.2.254", "primary_dns": "192.0.2.5", "secondary_dns": "192.0.2.6",
        "dhcp": "192.0.2.3", "origin": 1, "vlan": "7", "target_name": "iqn.x:t",
        "address": "192.0.2.1", "port": 3261, "lun": "01000000", "username": "me",
        "password": "mysecret", "username_in": "you", "password_in": "yoursecret",
    }  # fmt: skip
    assert problems == []
    assert entry.vlan_id == 7
    assert "secret" not in repr(entry)


def test_what_may_be_missing(place: Place) -> None:
    """D-084: a name, an address and a device are enough; any flag will do."""
    place.firmware(
        {
            "initiator": {},
            "ethernet0": {"flags": "1", "index": "0", "mac": MAC},
            "target0": DISK | {"flags": "1"},
        }
    )
    (entry,), problems = entries(place)
    assert (entry.port, entry.prefix_len, entry.initiator_name, entry.netdev) == (3260, -1, "", "")
    assert not entry.uses_dhcp
    assert problems == []


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"ethernet0": NIC, "target0": DISK},
        BOOT | {"ethernet0": NIC | {"flags": "0"}},
        BOOT | {"ethernet0": without(NIC, "flags")},
        BOOT | {"ethernet0": without(NIC, "mac")},
        BOOT | {"ethernet0": NIC | {"mac": ""}},
        BOOT | {"ethernet0": NIC | {"mac": "(null)"}},
        BOOT | {"ethernet0": NIC | {"mac": "02:00:00:00:00"}},
        BOOT | {"ethernet0": without(NIC, "index")},
        BOOT | {"target0": DISK | {"flags": "0"}},
        BOOT | {"target0": without(DISK, "flags")},
        BOOT | {"target0": without(DISK, "nic-assoc")},
        BOOT | {"target0": DISK | {"nic-assoc": "1"}},
        BOOT | {"target0": without(DISK, "target-name")},
        BOOT | {"target0": DISK | {"target-name": "iqn.x:t\nnode.startup = manual"}},
        BOOT | {"target0": DISK | {"target-name": "iqn." + "x" * 220}},
        BOOT | {"target0": without(DISK, "ip-addr")},
        BOOT | {"target0": DISK | {"ip-addr": "../../etc"}},
        BOOT | {"target0": DISK | {"ip-addr": "name.example"}},
        BOOT | {"target0": DISK | {"ip-addr": "0.0.0.0"}},
        BOOT | {"target0": DISK | {"ip-addr": UNSET_IPV6}},
        BOOT | {"target0": DISK | {"chap-secret": "top\nsecret"}},
        BOOT | {"target0": DISK | {"chap-name": "x" * 256}},
        BOOT | {"target0": DISK | {"rev-chap-name": "\x01", "rev-chap-name-secret": "\x01"}},
        BOOT | {"target0": DISK | {"port": "99999"}},
        BOOT | {"target0": DISK | {"port": "0"}},
    ],
)  # fmt: skip
def test_not_usable(place: Place, table: dict[str, dict[str, str]]) -> None:
    """D-084: nothing that can be logged in to is nothing, and no login begins with half of it."""
    place.firmware(table)
    assert entries(place)[0] == []


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("ethernet0", "ip-addr", "192.0.2.9/24"),
        ("ethernet0", "gateway", "x"),
        ("ethernet0", "vlan", "4095"),
        ("ethernet0", "vlan", "seven"),
        ("target0", "lun", "01\x1b[2J"),
        ("initiator", "initiator-name", "iqn.x:i\nx"),
    ],
)
def test_a_value_that_is_none(place: Place, name: str, file: str, text: str) -> None:
    """It is left out and named; it is not repeated, for it may be a secret or a terminal's."""
    place.firmware(BOOT)
    place.firmware({name: {file: text}})
    (entry,), problems = entries(place)
    assert problems == [f"firmware/ibft/{name}/{file}: no valid value, left out"]
    assert text not in [getattr(entry, each) for each in BootEntry.__slots__]


def test_a_secret_that_is_none(place: Place) -> None:
    """No login goes out with less proof than the firmware asks for; the secret is not repeated."""
    place.firmware(BOOT | {"target0": DISK | {"rev-chap-name-secret": "top\x01secret"}})
    assert entries(place) == (
        [],
        ["firmware/ibft/target0: rev-chap-name-secret is no CHAP name or secret"],
    )


def test_two_of_all(place: Place) -> None:
    """D-084: each target with the device its nic-assoc names; 10 comes after 2."""
    second = {"flags": "1", "index": "1", "mac": "02:00:00:00:00:02", "ip-addr": "198.51.100.9"}
    place.firmware(
        BOOT
        | {
            "ethernet1": second,
            "target10": DISK | {"target-name": "iqn.x:ten", "nic-assoc": "1"},
            "target2": DISK | {"target-name": "iqn.x:two", "nic-assoc": "1"},
            "target3": DISK | {"nic-assoc": "5"},
        }
    )
    found, problems = entries(place)
    assert [(one.target_name, one.nic, one.hwaddress[-1]) for one in found] == [
        ("iqn.x:t", "ethernet0", "1"),
        ("iqn.x:two", "ethernet1", "2"),
        ("iqn.x:ten", "ethernet1", "2"),
    ]
    assert problems == ["firmware/ibft/target3: Invalid nic-assoc of 5. Max id 2."]


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"net:eth3": {}}, "eth3"),
        ({"net/eth4": {}}, "eth4"),
        ({"power": {}}, "eth5"),
    ],
)
def test_the_network_device(place: Place, device: dict[str, dict[str, str]], expected: str) -> None:
    """The link's device in the old and the new form, else the one with the address."""
    place.firmware(BOOT)
    place.firmware({f"ethernet0/device/{name}": files for name, files in device.items()})
    for name in device:
        (place.root / "sys/firmware/ibft/ethernet0/device" / name).mkdir(
            parents=True, exist_ok=True
        )
    place.netdev("bond0", kind="512")
    place.netdev("eth5", MAC.upper())
    (entry,), _ = entries(place)
    assert entry.netdev == expected


def test_no_network_device(place: Place) -> None:
    """A link that leads to none, and an address that none has: the target cannot be reached."""
    place.firmware(BOOT | {"ethernet0/device/power": {}})
    found, problems = entries(place)
    assert found == []
    assert problems == [f"firmware/ibft/target0: no network device has the hardware address {MAC}"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"origin": "3"}, True),
        ({"origin": "1"}, False),
        ({"origin": "4"}, False),
        ({"origin": "junk", "dhcp": "192.0.2.3"}, True),
        ({"origin": "0", "dhcp": "0.0.0.0"}, False),
        ({"origin": "0", "dhcp": UNSET_IPV6}, False),
    ],
)  # fmt: skip
def test_dhcp(place: Place, changes: dict[str, str], expected: bool) -> None:
    """By the origin, or because a server is named."""
    place.firmware(BOOT | {"ethernet0": NIC | changes})
    (entry,), _ = entries(place)
    assert entry.uses_dhcp is expected


def test_adapters(place: Place) -> None:
    """D-084: iscsi_bootN has no network device but a host; all of them are read, by number."""
    place.netdev("eth0")
    for root, name in (
        ("iscsi_boot10", "iqn.x:c"),
        ("iscsi_boot2", "iqn.x:b"),
        ("ibft", "iqn.x:a"),
    ):
        place.firmware(BOOT | {"target0": DISK | {"target-name": name}}, root)
    place.firmware({"initiator": NAME}, "iscsi_bootx")
    found, _ = entries(place)
    assert [(one.target_name, one.root, one.host_no, one.netdev) for one in found] == [
        ("iqn.x:a", "ibft", None, ""),
        ("iqn.x:b", "iscsi_boot2", 2, ""),
        ("iqn.x:c", "iscsi_boot10", 10, ""),
    ]


def test_which_initiator_booted(place: Place) -> None:
    """Only a device and a target marked as booted from count; those of the first directory do."""
    place.firmware(BOOT | {"ethernet0": NIC | {"flags": "1"}})
    assert find.boot_initiator(place.env, place.tree) is None
    place.firmware(BOOT | {"initiator": {"initiator-name": "iqn.x:hba"}}, "iscsi_boot3")
    assert find.boot_initiator(place.env, place.tree) == "iqn.x:hba"
    place.firmware(BOOT)
    assert find.boot_initiator(place.env, place.tree) == "iqn.x:i"
    (place.root / "sys/firmware/ibft/initiator/initiator-name").unlink()
    assert find.boot_initiator(place.env, place.tree) == ""
