"""Limits against a hostile or broken peer; each says what honest peers need."""

from __future__ import annotations

LOGIN_SEGMENT_MAX = 8192
"""Bytes of one login or text data segment before anything is declared (RFC 7143 §13.12)."""

LOGIN_TEXT_MAX = 65536
"""Bytes of one login answer assembled over the C bit; real answers are below 2 KiB."""

LOGIN_RESPONSES_MAX = 32
"""Login responses in one login; mutual CHAP with both stages takes five."""

LOGIN_PAIRS_MAX = 128
"""Keys in one login answer; RFC 7143 defines fewer than forty."""

KEY_NAME_MAX = 63
"""Bytes of a key name (RFC 7143 §6.1)."""

VALUE_MAX = 2200
"""Bytes of one value: 1024 binary bytes in hexadecimal are the largest that is used (§6.1)."""

CHAP_BINARY_MAX = 1024
"""Decoded bytes of CHAP_C and CHAP_R (RFC 7143 §12.1.3)."""

SENDTARGETS_TEXT_MAX = 8 * 1024 * 1024
"""Bytes of one SendTargets answer: some 60,000 portals."""

SENDTARGETS_RESPONSES_MAX = 16384
"""Text responses in one SendTargets answer, so that empty ones cannot go on for ever."""

ADDRESS_MAX = 255
"""Bytes of a domain name or address in TargetAddress (RFC 1035; numeric ones are shorter)."""

REDIRECTS_MAX = 5
"""Redirects followed in one login attempt; a portal group rarely needs two."""

ISNS_MESSAGE_MAX = 8 * 1024 * 1024
"""Bytes of one iSNS answer: some 50,000 portals."""

ISNS_PDUS_MAX = 16384
"""PDUs of one iSNS message, so that empty ones cannot go on for ever."""

ISNS_NOTICE_MAX = 65536
"""Bytes of one message an iSNS server sends unasked; a state change takes some 300."""
