"""Sessions, flat and as a tree (open-iscsi usr/session_info.c).

Spacing, star lines and the blank line between two sessions of one portal are read by programs.
"""

from __future__ import annotations

from pyiscsi.names import format_portal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    class DeviceView(Protocol):
        """One logical unit; a disk's name is None where there is no block device."""

        @property
        def target(self) -> int: ...
        @property
        def lun(self) -> int: ...
        @property
        def block(self) -> str | None: ...
        @property
        def state(self) -> str | None: ...

    class SessionView(Protocol):
        """What is printed of a session; None where the kernel has no value."""

        @property
        def sid(self) -> int: ...
        @property
        def target(self) -> str: ...
        @property
        def tpgt(self) -> int: ...
        @property
        def address(self) -> str: ...
        @property
        def port(self) -> int: ...
        @property
        def persistent_address(self) -> str: ...
        @property
        def persistent_port(self) -> int: ...
        @property
        def transport(self) -> str: ...
        @property
        def is_flash(self) -> bool: ...
        @property
        def ifacename(self) -> str: ...
        @property
        def initiatorname(self) -> str: ...
        @property
        def ipaddress(self) -> str | None: ...
        @property
        def hwaddress(self) -> str | None: ...
        @property
        def netdev(self) -> str | None: ...
        @property
        def state(self) -> str | None: ...
        @property
        def host_no(self) -> int | None: ...
        @property
        def username(self) -> str | None: ...
        @property
        def password(self) -> str | None: ...
        @property
        def username_in(self) -> str | None: ...
        @property
        def password_in(self) -> str | None: ...


UNKNOWN = "Unknown"
EMPTY = "<empty>"
MASK = "********"
_UNSET = "default"

TIMEOUTS = (
    ("Recovery Timeout", "recovery_tmo"),
    ("Target Reset Timeout", "tgt_reset_tmo"),
    ("LUN Reset Timeout", "lu_reset_tmo"),
    ("Abort Timeout", "abort_tmo"),
)

NEGOTIATED = (
    # label, attribute, words for 0 and 1 (None: a number)
    ("HeaderDigest", "header_digest", ("None", "CRC32C")),
    ("DataDigest", "data_digest", ("None", "CRC32C")),
    ("MaxRecvDataSegmentLength", "max_recv_dlength", None),
    ("MaxXmitDataSegmentLength", "max_xmit_dlength", None),
    ("FirstBurstLength", "first_burst_len", None),
    ("MaxBurstLength", "max_burst_len", None),
    ("ImmediateData", "immediate_data", ("No", "Yes")),
    ("InitialR2T", "initial_r2t", ("No", "Yes")),
    ("MaxOutstandingR2T", "max_outstanding_r2t", None),
)


class Blocks:
    """Which parts a tree shows below the interface and state of each session."""

    __slots__ = ("devices", "host_line", "negotiated", "timeouts_and_chap")

    def __init__(
        self,
        *,
        timeouts_and_chap: bool = False,
        negotiated: bool = False,
        devices: bool = False,
        host_line: bool = True,
    ) -> None:
        self.timeouts_and_chap = timeouts_and_chap
        self.negotiated = negotiated
        self.devices = devices
        self.host_line = host_line


class Details:
    """What a tree shows beside the sessions themselves, by sid; missing entries are unknown.

    `states`: connection state and internal state. `host_states`: the SCSI layer's word.
    """

    __slots__ = ("devices", "host_states", "secrets", "states")

    def __init__(
        self,
        *,
        states: Mapping[int, tuple[str, str]] | None = None,
        devices: Mapping[int, Sequence[DeviceView]] | None = None,
        host_states: Mapping[int, str | None] | None = None,
        secrets: bool = False,
    ) -> None:
        self.states = states or {}
        self.devices = devices or {}
        self.host_states = host_states or {}
        self.secrets = secrets


def session_blocks(level: int) -> Blocks:
    """The parts of `-m session -P level`, 1 to 3."""
    return Blocks(timeouts_and_chap=level > 1, negotiated=level > 1, devices=level > 2)


def flat_lines(sessions: Iterable[SessionView]) -> Iterator[str]:
    """`tcp: [1] addr:port,tpgt target (non-flash)`, the configured portal."""
    for session in sessions:
        portal = format_portal(session.persistent_address, session.persistent_port, session.tpgt)
        yield (
            f"{session.transport or EMPTY}: [{session.sid}] {portal} "
            f"{session.target} {_flash(session)}"
        )


def _flash(session: SessionView) -> str:
    return "(flash)" if session.is_flash else "(non-flash)"


def tree_lines(
    sessions: Iterable[SessionView], blocks: Blocks, details: Details, prefix: str = ""
) -> Iterator[str]:
    """One block for each session. A Target line appears where the target differs from that of the
    session before, the portal lines where portal or target do.
    """
    target = portal = None
    for session in sessions:
        here = (session.address, session.port)
        if session.target != target:
            yield f"{prefix}Target: {session.target} {_flash(session)}"
        if (session.target, here) != (target, portal):
            yield from _portal_lines(session, prefix)
        else:
            yield ""
        target, portal = session.target, here
        for line in _body(session, blocks, details):
            yield f"{prefix}\t\t{line}"


def _portal_lines(session: SessionView, prefix: str) -> Iterator[str]:
    current = format_portal(session.address, session.port, session.tpgt)
    configured = format_portal(session.persistent_address, session.persistent_port, session.tpgt)
    yield f"{prefix}\tCurrent Portal: {current}"
    yield f"{prefix}\tPersistent Portal: {configured}"


def _heading(title: str, stars: int) -> Iterator[str]:
    yield "*" * stars
    yield title
    yield "*" * stars


def _body(session: SessionView, blocks: Blocks, details: Details) -> Iterator[str]:
    yield from _interface(session)
    yield from _states(session, details)
    if blocks.timeouts_and_chap:
        yield from _timeouts(session)
        yield from _chap(session, details.secrets)
    if blocks.negotiated:
        yield from _negotiated(session)
    if blocks.devices:
        yield from _devices(session, blocks, details)


def _interface(session: SessionView) -> Iterator[str]:
    yield from _heading("Interface:", 10)
    yield f"Iface Name: {session.ifacename or EMPTY}"
    yield f"Iface Transport: {session.transport or EMPTY}"
    yield f"Iface Initiatorname: {session.initiatorname or EMPTY}"
    yield f"Iface IPaddress: {_address(session.ipaddress)}"
    yield f"Iface HWaddress: {_or_default(session.hwaddress)}"
    yield f"Iface Netdev: {_or_default(session.netdev)}"


def _or_default(text: str | None) -> str:
    return _UNSET if text is None else text or EMPTY


def _address(text: str | None) -> str:
    """Brackets round whatever has no dot, the word `default` included, as in the original."""
    shown = _or_default(text)
    return shown if "." in shown or shown == EMPTY else f"[{shown}]"


def _states(session: SessionView, details: Details) -> Iterator[str]:
    connection, internal = details.states.get(session.sid, (UNKNOWN, UNKNOWN))
    yield f"SID: {session.sid}"
    yield f"iSCSI Connection State: {connection}"
    yield f"iSCSI Session State: {session.state or UNKNOWN}"
    yield f"Internal iscsid Session State: {internal}"


def _timeouts(session: SessionView) -> Iterator[str]:
    yield from _heading("Timeouts:", 9)
    for label, name in TIMEOUTS:
        value = getattr(session, name)
        if name == "recovery_tmo" and value == -1:
            # The kernel's `off`; open-iscsi 2.1.8 shows it as the number it does not contain.
            value = 0
        yield f"{label}: {EMPTY if value is None or value < 0 else value}"


def _chap(session: SessionView, secrets: bool) -> Iterator[str]:
    yield from _heading("CHAP:", 5)
    for side in ("", "_in"):
        yield f"username{side}: {getattr(session, f'username{side}') or EMPTY}"
        if secrets:
            # The original's label is the same for both secrets once they are shown, and read so.
            yield f"password: {getattr(session, f'password{side}') or EMPTY}"
        else:
            yield f"password{side}: {MASK}"


def _negotiated(session: SessionView) -> Iterator[str]:
    yield from _heading("Negotiated iSCSI params:", 24)
    for label, name, words in NEGOTIATED:
        value = getattr(session, name)
        if value is not None and value != -1:
            yield f"{label}: {words[bool(value)] if words else value}"


def _devices(session: SessionView, blocks: Blocks, details: Details) -> Iterator[str]:
    yield from _heading("Attached SCSI devices:", 24)
    if session.host_no is None:
        yield "Unavailable"
        return
    if blocks.host_line:
        state = details.host_states.get(session.sid) or UNKNOWN
        yield f"Host Number: {session.host_no}\tState: {state}"
    for device in details.devices.get(session.sid, ()):
        yield f"scsi{session.host_no} Channel 00 Id {device.target} Lun: {device.lun}"
        if device.block:
            yield f"\tAttached scsi disk {device.block}\t\tState: {device.state or UNKNOWN}"
