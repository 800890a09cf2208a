"""Printers of discoveries and discovery records, against literal lines."""

from pyiscsi.names import NodeKey
from pyiscsi.printers.discovery import (
    address_lines,
    found_flat_lines,
    found_tree_lines,
    section_lines,
)

A = NodeKey("iqn.x:a", "10.0.0.1", 3260, 1)
A_IF0 = NodeKey("iqn.x:a", "10.0.0.1", 3260, 1, "if0")
B = NodeKey("iqn.x:b", "10.0.0.1", 3260, -1)


def test_found():
    """CLI-105, CLI-107: portals repeat only where target, address, port or tpgt change."""
    assert list(found_flat_lines([A, B])) == ["10.0.0.1:3260,1 iqn.x:a", "10.0.0.1:3260,-1 iqn.x:b"]
    assert list(found_tree_lines([A, A_IF0, B])) == [
        "Target: iqn.x:a",
        "\tPortal: 10.0.0.1:3260,1",
        "\t\tIface Name: default",
        "\t\tIface Name: if0",
        "Target: iqn.x:b",
        "\tPortal: 10.0.0.1:3260,-1",
        "\t\tIface Name: default",
    ]


def test_addresses():
    """CLI-065: IPv6 without brackets."""
    assert list(address_lines([("10.0.0.1", 3260), ("fe80::1", 3205)], "isns")) == [
        "10.0.0.1:3260 via isns",
        "fe80::1:3205 via isns",
    ]


def test_sections():
    """CLI-066: an address alone keeps a section from being empty."""
    sections = [
        ("SENDTARGETS", [(("10.0.0.1", 3260), []), (("fe80::1", 3260), [B])]),
        ("iSNS", [(None, [])]),
        ("STATIC", [(None, [A])]),
        ("FIRMWARE", []),
    ]
    assert list(section_lines(sections)) == [
        "SENDTARGETS:",
        "DiscoveryAddress: 10.0.0.1,3260",
        "DiscoveryAddress: fe80::1,3260",
        "Target: iqn.x:b",
        "\tPortal: 10.0.0.1:3260,-1",
        "\t\tIface Name: default",
        "iSNS:",
        "No targets found.",
        "STATIC:",
        "Target: iqn.x:a",
        "\tPortal: 10.0.0.1:3260,1",
        "\t\tIface Name: default",
        "FIRMWARE:",
        "No targets found.",
    ]
