"""Statistics of a session (open-iscsi usr/iscsiadm.c session_stats)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    class Identity(Protocol):
        @property
        def sid(self) -> int: ...
        @property
        def target(self) -> str: ...
        @property
        def persistent_address(self) -> str: ...
        @property
        def persistent_port(self) -> int: ...


COUNTERS = (
    "txdata_octets",
    "rxdata_octets",
    "noptx_pdus",
    "scsicmd_pdus",
    "tmfcmd_pdus",
    "login_pdus",
    "text_pdus",
    "dataout_pdus",
    "logout_pdus",
    "snack_pdus",
    "noprx_pdus",
    "scsirsp_pdus",
    "tmfrsp_pdus",
    "textrsp_pdus",
    "datain_pdus",
    "logoutrsp_pdus",
    "r2t_pdus",
    "async_pdus",
    "rjt_pdus",
    "digest_err",
    "timeout_err",
)
"""Every counter, in the order of the kernel's struct iscsi_stats, which is that of the output."""


def stats_lines(
    session: Identity, counters: Mapping[str, int], custom: Mapping[str, int]
) -> Iterator[str]:
    """The block of one session; counters nobody reported are 0, custom ones come as they are."""
    yield (
        f"Stats for session [sid: {session.sid}, target: {session.target}, "
        f"portal: {session.persistent_address},{session.persistent_port}]"
    )
    yield "iSCSI SNMP:"
    for name in COUNTERS:
        yield f"\t{name}: {counters.get(name, 0)}"
    if custom:
        yield "iSCSI Extended:"
        for name, value in custom.items():
            yield f"\t{name}: {value}"
