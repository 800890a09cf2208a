"""Target names and portals as the command line and the network write them."""

import pytest

from pyiscsi.errors import InvalidArgument
from pyiscsi.names import (
    NodeKey,
    Pattern,
    check_path_component,
    format_portal,
    is_discovered_name_valid,
    parse_portal_argument,
)

PORTALS = [
    ("10.0.0.1", ("10.0.0.1", -1, -1)),
    ("10.0.0.1:3261", ("10.0.0.1", 3261, -1)),
    ("10.0.0.1,2", ("10.0.0.1", -1, 2)),
    ("10.0.0.1:3261,2", ("10.0.0.1", 3261, 2)),
    ("10.0.0.1:", ("10.0.0.1", 0, -1)),
    ("10.0.0.1:abc", ("10.0.0.1", 0, -1)),
    ("10.0.0.1:3260,1,default", ("10.0.0.1", 3260, 1)),
    ("10.0.0.1:3260:5", ("10.0.0.1", 3260, -1)),
    ("[fe80::1]", ("fe80::1", -1, -1)),
    ("[fe80::1]:3261,5", ("fe80::1", 3261, 5)),
    ("[fe80::1],5", ("fe80::1", -1, 5)),
    ("fe80::1", ("fe80::1", -1, -1)),
    ("fe80::1,5", ("fe80::1", -1, 5)),
    ("fe80::1%eth0", ("fe80::1%eth0", -1, -1)),
    ("host", ("host", -1, -1)),
    ("host:3261,4", ("host", 3261, 4)),
    ("host,4", ("host", -1, 4)),
    ("host.dom:1,2", ("host.dom", 1, 2)),
    ("", ("", -1, -1)),
    (":3260", ("", 3260, -1)),
    ("10.0.0.1:3260,-1", ("10.0.0.1", 3260, -1)),
    ("10.0.0.1:3260,4294967295", ("10.0.0.1", 3260, -1)),
    ("10.0.0.1:-5", ("10.0.0.1", -5, -1)),
    ("10.0.0.1:4294970556,4294967297", ("10.0.0.1", 3260, 1)),
    ("10.0.0.1: +3261", ("10.0.0.1", 3261, -1)),
    (f"10.0.0.1:3260,{'9' * 5000}", ("10.0.0.1", 3260, -1)),
    ("[fe80::1", None),
    ("[10.0.0.1", ("[10.0.0.1", -1, -1)),
    ("[fe80::1]x:3261", ("fe80::1", 3261, -1)),
    ("[fe80::1],5:3261", ("fe80::1", 3261, -1)),
    ("[a]b.c:5", ("[a]b.c", 5, -1)),
    ("10.0.0.1,2:3261", ("10.0.0.1,2", 3261, -1)),
    ("a:b:c,d:e", ("a:b:c", -1, 0)),
    # Better than the original, which splits a bracketed address at its first colon.
    ("[::ffff:10.0.0.1]:3260", ("::ffff:10.0.0.1", 3260, -1)),
    ("[10.0.0.1]:3260", ("10.0.0.1", 3260, -1)),
]


@pytest.mark.parametrize(("text", "expected"), PORTALS, ids=[t[:40] for t, _ in PORTALS])
def test_portal_argument(text, expected):
    """CLI-056: every row of the original's portal reading."""
    assert parse_portal_argument(text) == expected


@pytest.mark.parametrize(
    ("address", "shown"),
    [("10.0.0.1", "10.0.0.1:3260,1"), ("fe80::1", "[fe80::1]:3260,1"), ("host", "[host]:3260,1")],
)
def test_brackets_round_what_has_no_dot(address, shown):
    assert format_portal(address, 3260, 1) == shown


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../etc", "a\nb", "a\0b", "a\x7f"])
def test_unsafe_path_components_are_refused(name):
    """DB-006: names that would leave the record tree or break a listing."""
    with pytest.raises(InvalidArgument):
        check_path_component(name, "target name")


@pytest.mark.parametrize(
    "name", ["iqn.2026-11.test:a", "eui.0123456789ABCDEF", "iqn.x:a.b-c", "..x"]
)
def test_usual_names_are_components(name):
    check_path_component(name, "target name")


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("iqn.2026-11.test:a", True),
        ("IQN.X", True),
        ("", False),
        ("iqn.x_y", False),
        ("iqn.x/y", False),
        ("iqn.x y", False),
        ("iqn.é", False),
        ("i" * 224, False),
    ],
)
def test_discovered_names(name, valid):
    """DB-067: what a target may call itself."""
    assert is_discovered_name_valid(name) is valid


def test_an_empty_pattern_is_false():
    assert not Pattern()
    assert Pattern(port=3260)
    assert Pattern(target="iqn.x")


def test_node_keys_compare_by_value():
    key = NodeKey("iqn.x", "10.0.0.1", 3260, 1)
    assert key == NodeKey("iqn.x", "10.0.0.1", 3260, 1, "default")
    assert key != NodeKey("iqn.x", "10.0.0.1", 3260, 2)
    assert len({key, NodeKey("iqn.x", "10.0.0.1", 3260, 1)}) == 1
