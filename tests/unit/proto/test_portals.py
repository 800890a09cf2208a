"""TargetAddress values, good and bad (RFC 7143 §13.8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.portals import Portal, parse_target_address

GOOD = [
    ("10.0.0.1", Portal("10.0.0.1", 3260, -1)),
    ("10.0.0.1:3261", Portal("10.0.0.1", 3261, -1)),
    ("10.0.0.1,1", Portal("10.0.0.1", 3260, 1)),
    ("10.0.0.1:3261,65535", Portal("10.0.0.1", 3261, 65535)),
    ("san-1.example.com:3260,0", Portal("san-1.example.com", 3260, 0)),
    ("under_score", Portal("under_score", 3260, -1)),
    ("[2001:db8::1]", Portal("2001:db8::1", 3260, -1)),
    ("[2001:db8::1],7", Portal("2001:db8::1", 3260, 7)),
    ("[2001:db8::1]:860,7", Portal("2001:db8::1", 860, 7)),
    ("[fe80::1%eth0]:860", Portal("fe80::1%eth0", 860, -1)),
    ("[::ffff:10.0.0.1]:860", Portal("::ffff:10.0.0.1", 860, -1)),
    ("2001:db8::1", Portal("2001:db8::1", 3260, -1)),
    ("2001:db8::1,3", Portal("2001:db8::1", 3260, 3)),
    ("1:2:3:4:5:6:7:8:3261,3", Portal("1:2:3:4:5:6:7:8", 3261, 3)),
    ("a" * 255, Portal("a" * 255, 3260, -1)),
]

BAD = [
    "", ",1", ":3260", "a" * 256, "a b", "a/b", "../x", ".", "..", "a\nb", "a\0b", "\u00e4",
    "\udcff",
    "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.1:-1", "10.0.0.1:+1",
    "10.0.0.1,", "10.0.0.1,-1", "10.0.0.1,65536", "10.0.0.1,1,2", "10.0.0.1:3260:3261",
    "[10.0.0.1]", "[2001:db8::1", "[2001:db8::1]x", "[2001:db8::1]3260", "[]", "[::1%]:1",
    "[::1%a/b]:1", "10.0.0.1:\u0661", "$(reboot)", "a;b", "[::1]:",
]  # fmt: skip


@pytest.mark.parametrize(("text", "portal"), GOOD)
def test_forms(text, portal):
    """D-080: forms of TargetAddress, IPv6 with and without port."""
    assert parse_target_address(text) == portal


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused(text):
    with pytest.raises(RemoteProtocolError):
        parse_target_address(text)


@given(st.one_of(st.text(max_size=40), st.text("[]:,.%0123456789abcdef", max_size=30)))
def test_any_text_is_a_safe_portal_or_refused(text):
    try:
        portal = parse_target_address(text)
    except RemoteProtocolError:
        return
    assert portal.address
    assert portal.address.isascii()
    assert portal.address.isprintable()
    assert "/" not in portal.address
    assert 0 < portal.port < 65536
    assert -1 <= portal.tpgt < 65536
