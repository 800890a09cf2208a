"""Logging out: all requests first, then the answers, in open-iscsi's order of sessions."""

from __future__ import annotations

from pyiscsi.errors import (
    DaemonError,
    InvalidArgument,
    IpcError,
    NoObjectsFound,
    PyIscsiError,
    RecordError,
)
from pyiscsi.names import UNKNOWN_TPGT, NodeKey
from pyiscsi.ops import events
from pyiscsi.ops.login import has_startup
from pyiscsi.ops.requests import answer, extra_lines, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyiscsi.names import Pattern
    from pyiscsi.ops.context import Context
    from pyiscsi.ops.events import LogoutEvent
    from pyiscsi.ops.requests import Pending
    from pyiscsi.records.record import Record
    from pyiscsi.sysfs.sessions import Session

    Report = Callable[[LogoutEvent], None]

STARTUP_MODES = ("all", "automatic", "manual")
GIVE_UP_TIMEOUT_S = 5.0
"""A daemon that is stuck has no say in whether there was anything to log out of."""

_NONE = "No matching sessions found"


def logout_all(context: Context, found: Sequence[Session], report: Report) -> int:
    """End these sessions. Returns the exit status: the first error met while sending, else the
    last the daemon answered. Raises NoObjectsFound when no request could even be sent.
    """
    sent: list[tuple[Session, Pending]] = []
    status = 0
    firmware = [session for session in found if session.is_flash]
    for session in firmware:
        status = _log_out_firmware(context, session, report) or status
    for session in in_order(session for session in found if not session.is_flash):
        report(events.LogoutRequested(session))
        try:
            sent.append((session, send(context, "logout", {"sid": session.sid})))
        except IpcError as error:
            report(events.LogoutFailed(session, error.exit_code, extra_lines(error)))
            status = status or error.exit_code
    if not sent and not firmware:
        raise NoObjectsFound(_NONE)
    last = 0
    for session, pending in sent:
        try:
            answer(pending)
        except (DaemonError, IpcError) as error:
            report(events.LogoutFailed(session, error.exit_code, extra_lines(error)))
            last = error.exit_code
        else:
            report(events.LogoutSucceeded(session))
    return status or last


def _log_out_firmware(context: Context, session: Session, report: Report) -> int:
    """End a session that iscsid has no part in; the status."""
    from pyiscsi.ops.firmware_sessions import log_out

    report(events.LogoutRequested(session))
    try:
        log_out(context, session)
    except PyIscsiError as error:
        report(events.LogoutFailed(session, error.exit_code, tuple(str(error).splitlines())))
        return error.exit_code
    report(events.LogoutSucceeded(session))
    return 0


def give_up_logins(context: Context, pattern: Pattern) -> list[NodeKey]:
    """End first logins that have no session in the kernel yet; which ones these were.

    None without a daemon, and none of open-iscsi's, which has no such request.
    """
    from pyiscsi.ipc.client import is_running

    if not is_running(context.env):
        return []
    names = ("target", "address", "port", "iface")
    wanted = {name: getattr(pattern, name) for name in names}
    try:
        client = context.client(start=False)
        answered = client.request("give_up_logins", wanted, timeout=GIVE_UP_TIMEOUT_S)
    except (DaemonError, IpcError):
        context.drop_client()
        return []
    return [NodeKey(*fields) for fields in answered["logins"]]


def in_order(found: Iterable[Session]) -> list[Session]:
    """Sessions as open-iscsi groups them before a logout (usr/session_mgmt.c): one is put after
    the first with the same target and portal, else after the last of its target and address,
    else after the last of its target.
    """
    ordered: list[Session] = []
    for session in found:
        place = _place(ordered, session)
        ordered.insert(len(ordered) if place is None else place + 1, session)
    return ordered


def _place(ordered: Sequence[Session], new: Session) -> int | None:
    best: tuple[bool, int] | None = None
    for index, session in enumerate(ordered):
        if session.target != new.target:
            continue
        same_address = session.persistent_address == new.persistent_address
        if same_address and session.persistent_port == new.persistent_port:
            return index
        if best is None or same_address >= best[0]:
            best = (same_address, index)
    return None if best is None else best[1]


def of_startup(context: Context, mode: str) -> list[Session]:
    """Sessions `-U` may end: their record can be read, belongs to the mode, and boots nothing.

    Raises InvalidArgument for another word than those of STARTUP_MODES.
    """
    from pyiscsi.sysfs.sessions import sessions

    if mode not in STARTUP_MODES:
        raise InvalidArgument(f"Invalid logoutall option {mode}.")
    found = []
    for session in sessions(context.tree):
        record = record_of(context, session)
        if record is not None and _is_eligible(record, session, mode):
            found.append(session)
    return found


def record_of(context: Context, session: Session) -> Record | None:
    """The node record a session was made from; None when there is none any more."""
    for tpgt in (session.tpgt, UNKNOWN_TPGT):
        key = NodeKey(
            session.target,
            session.persistent_address,
            session.persistent_port,
            tpgt,
            session.ifacename,
        )
        try:
            record = context.nodes.read(key)
        except (RecordError, InvalidArgument):
            continue
        # The old flat form keeps its iface inside the file.
        if record["iface.iscsi_ifacename"] in ("", session.ifacename):
            return record
    return None


def _is_eligible(record: Record, session: Session, mode: str) -> bool:
    return (
        record["iface.transport_name"] == session.transport
        and record["node.startup"] != "onboot"
        and record["node.discovery_type"] != "fw"
        and has_startup(record, mode)
    )
