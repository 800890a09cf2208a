"""What `iscsistart -N` makes of the firmware's addresses before it touches a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyiscsi.errors import TransportError
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.ops.boot_network import _check, _vlan_device
from tests.unit.firmware.trees import UNSET_IPV6, Place

V4 = {"netdev": "eth0", "ip_address": "192.0.2.9", "address": "192.0.2.1"}
V6 = {"netdev": "eth0", "ip_address": "2001:db8::9", "address": "2001:db8::1"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (V4 | {"subnet_mask": "255.255.255.0", "prefix_len": 8}, 24),
        (V4 | {"subnet_mask": "255.255.255.255"}, 32),
        (V4 | {"prefix_len": 20}, 20),
        (V4 | {"subnet_mask": "0.0.0.0", "prefix_len": 20}, 20),
        (V6 | {"subnet_mask": "255.255.255.0", "prefix_len": 64}, 64),
    ],
)
def test_prefix_length(values: dict[str, str | int], expected: int) -> None:
    """The mask's, unless it is none or does not fit the address."""
    assert _check(BootEntry(**values)) == expected


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (V4 | {"netdev": ""}, "No netdev name in fw entry."),
        (V4 | {"ip_address": ""}, "Invalid or missing ipaddr in fw entry"),
        (V4 | {"ip_address": "0.0.0.0"}, "Invalid or missing ipaddr in fw entry"),
        (V4 | {"ip_address": UNSET_IPV6}, "Invalid or missing ipaddr in fw entry"),
        (V4 | {"address": "2001:db8::1"}, "Invalid or missing target ipaddr in fw entry"),
        (V4, "Invalid or missing netmask in fw entry"),
        (V4 | {"subnet_mask": "0.0.0.0"}, "Invalid or missing netmask in fw entry"),
        (V4 | {"subnet_mask": "255.0.255.0"}, "Invalid or missing netmask in fw entry"),
        (V4 | {"prefix_len": 33}, "Invalid or missing netmask in fw entry"),
        (V6 | {"prefix_len": -1}, "Invalid or missing netmask in fw entry"),
    ],
)
def test_refused(values: dict[str, str | int], what: str) -> None:
    """open-iscsi's words."""
    with pytest.raises(TransportError) as caught:
        _check(BootEntry(**values))
    assert str(caught.value) == what


def test_the_device_of_a_vlan(tmp_path: Path) -> None:
    """The one of this device and number, whatever its name."""
    place = Place(tmp_path)
    place.write(
        "proc/net/vlan/config",
        "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
        "eth1.7         | 7  | eth1\nstorage        | 7  | eth0",
    )
    assert _vlan_device(place.env, "eth0", 7) == "storage"
    assert _vlan_device(place.env, "eth0", 8) == ""
