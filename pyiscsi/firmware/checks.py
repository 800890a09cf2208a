"""What values of boot firmware may be: anything else is left out, because anybody may have put it
there.
"""

from __future__ import annotations

from pyiscsi.sysfs.sessions import is_numeric_address

_NAME_MAX = 223
"""Bytes of an iSCSI name (RFC 7143 section 4.2.7.2)."""
_CHAP_MAX = 255
_WORD_MAX = 255
_HEX = frozenset("0123456789abcdefABCDEF")
_VLAN_MAX = 4094
_PORT_MAX = 65535


def is_word(text: str) -> bool:
    """Visible characters without blanks, not too many."""
    return 0 < len(text) <= _WORD_MAX and text.isprintable() and " " not in text


def is_name(text: str) -> bool:
    """What can be an iSCSI name; whether a record can have it is another matter."""
    return is_word(text) and len(text.encode("utf-8", "surrogateescape")) <= _NAME_MAX


def is_chap(text: str) -> bool:
    """A CHAP name or secret: any bytes that cannot end a line."""
    data = text.encode("utf-8", "surrogateescape")
    return 0 < len(data) <= _CHAP_MAX and not any(byte < 0x20 or byte == 0x7F for byte in data)


def is_address(text: str) -> bool:
    return is_word(text) and is_numeric_address(text)


def is_unset(address: str) -> bool:
    """Nothing but zeros: what firmware and kernel show for no address, in either family."""
    return not address.strip("0.:")


def is_hwaddress(text: str) -> bool:
    pairs = text.split(":")
    return len(pairs) == 6 and all(len(pair) == 2 and _HEX.issuperset(pair) for pair in pairs)


def is_vlan(text: str) -> bool:
    return is_number(text, _VLAN_MAX)


def is_port(text: str) -> bool:
    return is_number(text, _PORT_MAX) and int(text) > 0


def is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6 and int(text) <= largest
