"""Printers of node records and of records in full, against literal lines."""

from pyiscsi.names import NodeKey
from pyiscsi.printers.node import flat_lines, tree_lines
from pyiscsi.printers.record import record_lines

KEYS = [
    NodeKey("iqn.x:a", "10.0.0.1", 3260, 1),
    NodeKey("iqn.x:a", "fe80::1", 3260, -1, "if0"),
    NodeKey("iqn.x:a", "localhost", 0, 99999),
    NodeKey("iqn.x:b", "localhost", 0, 0),
]


def test_flat():
    """CLI-148, DB-003: brackets without a dot; an unknown tpgt is printed unsigned."""
    assert list(flat_lines(KEYS)) == [
        "10.0.0.1:3260,1 iqn.x:a",
        "[fe80::1]:3260,4294967295 iqn.x:a",
        "[localhost]:0,99999 iqn.x:a",
        "[localhost]:0,0 iqn.x:b",
    ]


def test_tree():
    """CLI-149: the tpgt is signed here."""
    assert list(tree_lines(KEYS)) == [
        "Target: iqn.x:a",
        "\tPortal: 10.0.0.1:3260,1",
        "\t\tIface Name: default",
        "\tPortal: [fe80::1]:3260,-1",
        "\t\tIface Name: if0",
        "\tPortal: [localhost]:0,99999",
        "\t\tIface Name: default",
        "Target: iqn.x:b",
        "\tPortal: [localhost]:0,0",
        "\t\tIface Name: default",
    ]


def test_nothing():
    assert list(flat_lines([])) == list(tree_lines([])) == []


def test_record():
    assert list(record_lines("2.1.8", [("a.b", "x y = z"), ("c", "<empty>")])) == [
        "# BEGIN RECORD 2.1.8",
        "a.b = x y = z",
        "c = <empty>",
        "# END RECORD",
    ]
