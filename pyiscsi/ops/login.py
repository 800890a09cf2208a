"""Logging in: one request for every session that is missing, all sent before any is awaited.

Rules of open-iscsi usr/iscsiadm.c (login_portals, login_by_startup).
"""

from __future__ import annotations

from pyiscsi.errors import DaemonError, ExitCode, InvalidArgument, IpcError, NoObjectsFound
from pyiscsi.names import Pattern
from pyiscsi.ops import events
from pyiscsi.ops.requests import answer, extra_lines, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context
    from pyiscsi.ops.events import LoginEvent
    from pyiscsi.ops.requests import Pending
    from pyiscsi.records.record import Record
    from pyiscsi.sysfs.sessions import Session

    Report = Callable[[LoginEvent], None]
    Sent = list[tuple[NodeKey, Pending]]

STARTUP_MODES = ("all", "automatic", "manual", "onboot")

_TRANSPORT_KEY = "iface.transport_name"


def login_all(
    context: Context,
    records: Sequence[Record],
    *,
    wait: bool,
    report: Report,
    keep_trying: bool = False,
) -> int:
    """Make the sessions each record asks for (`nr_sessions`) and lacks. Returns the exit status:
    the first error met while sending, having enough sessions already included, else the first
    one the daemon answered. Without `wait` nothing is awaited and the daemon goes on alone.
    `keep_trying`: the daemon may go on with a login that failed (iscsid.retry_automatic_logins).
    """
    more = {"keep_trying": True} if keep_trying else {}
    running = _running(context)
    sent: Sent = []
    status = 0
    for record in records:
        key = record.node_key()
        requested = record.get_int("node.session.nr_sessions")
        present = _count(running, key, record[_TRANSPORT_KEY])
        if present >= requested:
            report(events.LoginPresent(key.iface, requested, present))
            status = status or ExitCode.SESSION_EXISTS
            continue
        for _ in range(requested - present):
            extra = {"multiple": requested > 1, **more}
            failed = _request(context, record, key, extra, sent, report)
            status = status or failed
    failed = _await_all(sent, report) if wait else 0
    return status or failed


def log_in_at_once(
    context: Context, records: Sequence[Record], report: Report, *, wait: bool
) -> list[int]:
    """Make the sessions that records lack, all at the same time; returns a status for each record.

    Told record after record, as if one was made after the other; a record that has its sessions
    counts as SESSION_EXISTS. Without `wait` the daemon goes on alone.
    """
    running = _running(context)
    logins: list[list[tuple[NodeKey, Pending | IpcError]]] = []
    told: list[list[LoginEvent]] = []
    for record in records:
        key = record.node_key()
        requested = record.get_int("node.session.nr_sessions")
        present = _count(running, key, record[_TRANSPORT_KEY])
        several = {"multiple": requested > 1}
        missing = range(requested - present)
        logins.append([(key, _try_to_send(context, record, several)) for _ in missing])
        enough = events.LoginPresent(key.iface, requested, present)
        requests = [events.LoginRequested(key, requested > 1) for _ in missing]
        told.append([*requests] or [enough])
    return [
        _tell(requests, sent, report, wait=wait)
        for requests, sent in zip(told, logins, strict=True)
    ]


def have_session(context: Context, records: Sequence[Record]) -> bool:
    """Whether one of the records has a session."""
    running = _running(context)
    return any(_count(running, one.node_key(), one[_TRANSPORT_KEY]) for one in records)


def _try_to_send(context: Context, record: Record, extra: dict[str, bool]) -> Pending | IpcError:
    try:
        return send(context, "login", {"record": record.to_map(), **extra})
    except IpcError as error:
        return error


def _tell(
    told: Sequence[LoginEvent],
    sent: Sequence[tuple[NodeKey, Pending | IpcError]],
    report: Report,
    *,
    wait: bool,
) -> int:
    """What became of the logins of one record; its first failure's status."""
    if not sent:
        report(told[0])
        return ExitCode.SESSION_EXISTS
    status = 0
    for event, (key, pending) in zip(told, sent, strict=True):
        report(event)
        if isinstance(pending, IpcError):
            report(events.LoginFailed(key, pending.exit_code, extra_lines(pending)))
            status = status or pending.exit_code
        elif wait:
            failed = _await_all([(key, pending)], report)
            status = status or failed
    return status


def login_again(context: Context, record: Record, report: Report) -> int:
    """One more session of a record, however many there are (`session -r N -o new`)."""
    sent: Sent = []
    failed = _request(context, record, record.node_key(), {"multiple": True}, sent, report)
    return failed or _await_all(sent, report)


def _request(
    context: Context,
    record: Record,
    key: NodeKey,
    extra: dict[str, bool],
    sent: Sent,
    report: Report,
) -> int:
    report(events.LoginRequested(key, extra["multiple"]))
    try:
        args: dict[str, object] = {"record": record.to_map(), **extra}
        sent.append((key, send(context, "login", args)))
    except IpcError as error:
        report(events.LoginFailed(key, error.exit_code, extra_lines(error)))
        return error.exit_code
    return 0


def _await_all(sent: Sent, report: Report) -> int:
    status = 0
    for key, pending in sent:
        try:
            answer(pending)
        except (DaemonError, IpcError) as error:
            report(events.LoginFailed(key, error.exit_code, extra_lines(error)))
            status = status or error.exit_code
        else:
            report(events.LoginSucceeded(key))
    return status


def _running(context: Context) -> dict[str, list[Session]]:
    from pyiscsi.sysfs.sessions import by_target, sessions

    return by_target(sessions(context.tree))


def _count(running: dict[str, list[Session]], key: NodeKey, transport: str) -> int:
    from pyiscsi.sysfs.sessions import uses

    return sum(uses(session, key, transport) for session in running.get(key.target, ()))


def login_by_startup(context: Context, mode: str, wait: bool, report: Report) -> int:
    """`-L`: log in to the records of a startup mode, leading-login ones last.

    Raises InvalidArgument for another word than those of STARTUP_MODES, NoObjectsFound when no
    record has this mode.
    """
    if mode not in STARTUP_MODES:
        raise InvalidArgument(f"Invalid loginall option {mode}.")
    # The original logs in in the order the file system lists records in.
    every = context.nodes.records(Pattern(), ordered=False)
    chosen = [record for record in every if has_startup(record, mode)]
    if not chosen:
        raise NoObjectsFound("No records found")
    leading = [record for record in chosen if record.get_bool("node.leading_login")]
    plain = [record for record in chosen if not record.get_bool("node.leading_login")]
    status = 0
    if plain:
        awaited = mode == "automatic"
        status = login_all(context, plain, wait=wait, report=report, keep_trying=awaited)
        if status:
            report(events.PortalsMissed())
    if leading:
        missing = _login_leading(context, leading, report)
        status = status or missing
    return status


def has_startup(record: Record, mode: str) -> bool:
    """Whether the session or the connection of a record starts in this mode."""
    return mode in ("all", record["node.startup"], record["node.conn[0].startup"])


def _login_leading(context: Context, leading: Sequence[Record], report: Report) -> int:
    """Log in to each portal through the first iface that works; always waits for the answers."""
    for iface in context.ifaces.names():
        wanted = [r for r in leading if r["iface.iscsi_ifacename"] == iface]
        wanted = _unserved(context, wanted)
        if wanted and login_all(context, wanted, wait=True, report=report):
            report(events.LeadingIfaceFailed(iface))
    if not _unserved(context, leading):
        return 0
    report(events.LeadingLoginsMissing())
    return ExitCode.FATAL_LOGIN


def _unserved(context: Context, records: Iterable[Record]) -> list[Record]:
    """Records whose portal has no session through any iface."""
    from pyiscsi.sysfs.sessions import matches

    running = _running(context)
    found = []
    for record in records:
        key = record.node_key()
        portal = Pattern(key.target, key.address, key.port)
        if not any(matches(session, portal) for session in running.get(key.target, ())):
            found.append(record)
    return found
