"""The boot path of Open Firmware."""

from __future__ import annotations

import pytest

from pyiscsi.firmware import find
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.firmware.openfirmware import parse_bootpath
from tests.unit.firmware.trees import BOOT, BOOTPATH, MAC, Place

SHORT = "/pci@800000020000002/pci@2,4/ethernet@1:bootp,iscsi,siaddr=192.0.2.1,iname=iqn.x:t"


def entries(place: Place) -> tuple[list[BootEntry], list[str]]:
    problems: list[str] = []
    return find.entries(place.env, place.tree, problems), problems


def test_everything(place: Place) -> None:
    """D-084: `iname` is the target's name, `itname` ours; the MAC address is the node's."""
    place.open_firmware()
    place.firmware(BOOT)
    (entry,), problems = entries(place)
    assert {name: getattr(entry, name) for name in BootEntry.__slots__} == {
        "root": "", "nic": "", "boot_target": "", "host_no": None, "initiator_name": "iqn.x:i",
        "isid": "00023d000001", "hwaddress": MAC, "netdev": "eth1", "ip_address": "192.0.2.9",
        "prefix_len": 0, "subnet_mask": "255.255.255.0", "gateway": "", "primary_dns": "",
        "secondary_dns": "", "dhcp": "", "origin": 0, "vlan": "", "target_name": "iqn.x:t",
        "address": "192.0.2.1", "port": 3261, "lun": "8000", "username": "me",
        "password": "mysecret", "username_in": "you", "password_in": "yoursecret",
    }  # fmt: skip
    assert problems == []
    assert find.boot_initiator(place.env, place.tree) == "iqn.x:i"


def test_the_device_with_the_address(place: Place) -> None:
    """A device of this machine that has the address is the one, whatever its name."""
    place.open_firmware()
    place.netdev("enP2p4s0f1")
    (entry,), _ = entries(place)
    assert entry.netdev == "enP2p4s0f1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHORT, {"address": "192.0.2.1", "target_name": "iqn.x:t"}),
        (f"{SHORT},ciaddr=2001:db8::9", {"ip_address": "2001:db8::9"}),
        (f"{SHORT},ciaddr=192.0.2.9:2", {"ip_address": "192.0.2.9"}),
        (f"{SHORT},iport=0cbc", {}),
        (f"{SHORT},giaddr=192.0.2.254,blksize=512,tftp-retries=5,x=y,,=", {}),
        (f" {SHORT}\n", {}),
    ],
)
def test_forms(text: str, expected: dict[str, str]) -> None:
    """Qualifiers, unused parameters, a partition behind the last value."""
    problems: list[str] = []
    device, values = parse_bootpath(text, problems)
    assert device == "/pci@800000020000002/pci@2,4/ethernet@1"
    base = {"address": "192.0.2.1", "target_name": "iqn.x:t"}
    assert values == base | expected
    assert problems == (
        ["chosen/bootpath: iport has no valid value, left out"] if "0cbc" in text else []
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/pci@1/scsi@3/disk@1:2",
        BOOTPATH.replace("siaddr=192.0.2.1,", ""),
        BOOTPATH.replace("siaddr=192.0.2.1", "siaddr=x"),
        BOOTPATH.replace("siaddr=192.0.2.1", "siaddr=0.0.0.0"),
        BOOTPATH.replace("iname=iqn.x:t,", ""),
        BOOTPATH.replace("ethernet@1", "ethernet@7"),
        BOOTPATH.replace("/pci@800000020000002", "/.."),
        BOOTPATH.removeprefix("/"),
        "iscsi" * 1000,
    ],
)
def test_not_usable(place: Place, text: str) -> None:
    """D-084: then the other places are looked at."""
    place.open_firmware(text)
    assert entries(place)[0] == []
    place.firmware(BOOT)
    assert [one.root for one in entries(place)[0]] == ["ibft"]


def test_secrets_are_not_repeated() -> None:
    problems: list[str] = []
    parse_bootpath("/ethernet@1:iscsi,ichappw=top\x01secret", problems)
    assert problems == ["chosen/bootpath: ichappw has no valid value, left out"]


def test_a_secret_that_is_none(place: Place) -> None:
    """No login goes out with less proof than the firmware asks for."""
    place.open_firmware(BOOTPATH.replace("chappw=yoursecret", "chappw=\x01"))
    found, problems = entries(place)
    assert found == []
    assert problems[0] == "chosen/bootpath: chappw has no valid value, left out"


def test_a_secret_that_is_no_text(place: Place) -> None:
    """Its bytes are the secret."""
    place.open_firmware()
    place.write("proc/device-tree/chosen/bootpath", BOOTPATH.encode().replace(b"my", b"\xe9\xff"))
    (entry,), _ = entries(place)
    assert entry.password.encode("utf-8", "surrogateescape") == b"\xe9\xffsecret"


def test_bytes_that_are_no_text(place: Place) -> None:
    """Anything can be in that file."""
    place.write("proc/device-tree/chosen/bootpath", bytes(range(1, 256)) + b"iscsi")
    assert entries(place)[0] == []
