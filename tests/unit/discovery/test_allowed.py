from __future__ import annotations

import pytest

from pyiscsi.discovery.allowed import AllowedPortals
from pyiscsi.errors import InvalidArgument

LIST = "192.0.2.0/24, 198.51.100.7:3260 [2001:db8::/64]:3261,2001:db8:1::5, Storage1, disks:860"


@pytest.mark.parametrize(
    ("address", "port", "wanted"),
    [
        ("192.0.2.1", 3260, True),
        ("192.0.2.255", 1, True),
        ("192.0.3.1", 3260, False),
        ("198.51.100.7", 3260, True),
        ("198.51.100.7", 3261, False),
        ("198.51.100.8", 3260, False),
        ("2001:db8::17", 3261, True),
        ("2001:DB8:0:0::17", 3261, True),
        ("2001:db8::17", 3260, False),
        ("2001:db8:0:1::17", 3261, False),
        ("2001:db8:1::5", 9, True),
        ("fe80::1%eth0", 3260, False),
        ("storage1", 3260, True),
        ("storage1.example", 3260, False),
        ("disks", 860, True),
        ("disks", 3260, False),
        ("not an address", 3260, False),
    ],
)
def test_list(address: str, port: int, wanted: bool) -> None:
    assert AllowedPortals(LIST).allows(address, port) is wanted


@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_empty_list_allows_all(text: str) -> None:
    assert AllowedPortals(text).allows("192.0.2.1", 3260)


def test_an_interface_in_an_address_does_not_count() -> None:
    assert AllowedPortals("fe80::/10").allows("fe80::1%eth0", 3260)


@pytest.mark.parametrize(
    "word",
    ["192.0.2.0/33", "192.0.2.1:", "192.0.2.1:0", "a:65536", "a:x", "[::1", "[::1]x", "[]", ":1",
     "1::2::3", "a/b", "192.0.2.1:\u0661", "a:" + "1" * 5000],
)  # fmt: skip
def test_entries_that_are_none(word: str) -> None:
    with pytest.raises(InvalidArgument, match="in a list of allowed portals"):
        AllowedPortals(f"192.0.2.1, {word}")
