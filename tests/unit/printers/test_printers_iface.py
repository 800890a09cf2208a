"""Iface records as lines."""

from pyiscsi.names import NodeKey
from pyiscsi.printers.iface import flat_lines, tree_lines

EMPTY = {
    "iface.transport_name": "tcp",
    "iface.hwaddress": "",
    "iface.ipaddress": "",
    "iface.net_ifacename": "",
    "iface.initiatorname": "",
}


def test_flat() -> None:
    """CLI-291: exactly one blank and four commas, whatever is empty."""
    bound = {
        **EMPTY,
        "iface.iscsi_ifacename": "if0",
        "iface.hwaddress": "00:0F:1F:92:6B:BF",
        "iface.ipaddress": "10.1.2.3",
        "iface.initiatorname": "iqn.2026-11.test:other",
    }
    assert list(flat_lines([bound, {**EMPTY, "iface.iscsi_ifacename": "default"}])) == [
        "if0 tcp,00:0F:1F:92:6B:BF,10.1.2.3,<empty>,iqn.2026-11.test:other",
        "default tcp,<empty>,<empty>,<empty>,<empty>",
    ]


def test_tree() -> None:
    """CLI-294, CLI-297."""
    keys = [
        NodeKey("iqn.x:a", "10.0.0.1", 3260, 1),
        NodeKey("iqn.x:a", "::1", 3260, -1),
        NodeKey("iqn.x:b", "10.0.0.1", 3260, 1),
    ]
    assert list(tree_lines("default", keys)) == [
        "Iface: default",
        "\tTarget: iqn.x:a",
        "\t\tPortal: 10.0.0.1:3260,1",
        "\t\tPortal: [::1]:3260,-1",
        "\tTarget: iqn.x:b",
        "\t\tPortal: 10.0.0.1:3260,1",
    ]
    assert list(tree_lines("if0", [])) == ["Iface: if0"]
