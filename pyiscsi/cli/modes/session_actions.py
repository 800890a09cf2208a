"""Logins, logouts, rescans and statistics as the node, session and discovery modes print them."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, NoObjectsFound, PyIscsiError, error_text
from pyiscsi.ops import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiscsi.cli.report import Output
    from pyiscsi.names import NodeKey, Pattern
    from pyiscsi.ops.context import Context
    from pyiscsi.ops.events import LoginEvent, LogoutEvent, RescanEvent
    from pyiscsi.records.record import Record
    from pyiscsi.sysfs.sessions import Session

_NOT_ALL_PORTALS = "Could not log into all portals"


def do_login(
    context: Context, out: Output, records: Sequence[Record], wait: bool, closing_line: bool
) -> int:
    """Log in to each record's portal; `closing_line` tells at the end that some did not work."""
    from pyiscsi.ops.login import login_all

    status = login_all(context, records, wait=wait, report=login_reporter(out))
    if status and closing_line:
        out.err(_NOT_ALL_PORTALS)
    return status


def do_login_again(context: Context, out: Output, record: Record) -> int:
    """One more session of a record that has some."""
    from pyiscsi.ops.login import login_again

    status = login_again(context, record, login_reporter(out))
    if status:
        out.err(_NOT_ALL_PORTALS)
    return status


def do_loginall(context: Context, out: Output, mode: str, wait: bool) -> int:
    """`-L mode`. Raises InvalidArgument and NoObjectsFound."""
    from pyiscsi.ops.login import login_by_startup

    return login_by_startup(context, mode, wait, login_reporter(out))


def do_logout(
    context: Context,
    out: Output,
    *,
    pattern: Pattern | None = None,
    sid: int | None = None,
    startup: str | None = None,
) -> int:
    """End the sessions of a pattern, one session, or those of a startup mode; all without any."""
    from pyiscsi.ops import logout

    if startup is not None:
        found = logout.of_startup(context, startup)
    else:
        found = _select(context, pattern, sid)
        if not found and _give_up_logins(context, out, pattern):
            return ExitCode.SUCCESS
    status = logout.logout_all(context, found, _logout_reporter(out))
    if sid is None and startup is None:
        _give_up_logins(context, out, pattern)
    if status:
        out.err("Could not logout of all requested sessions")
    return status


def _give_up_logins(context: Context, out: Output, pattern: Pattern | None) -> bool:
    """Whether there were any."""
    from pyiscsi.names import Pattern
    from pyiscsi.ops.logout import give_up_logins

    given_up = give_up_logins(context, pattern or Pattern())
    for key in given_up:
        out.out(f"Login to {_key_text(key)} given up.")
    return bool(given_up)


def do_rescan(
    context: Context, out: Output, *, pattern: Pattern | None = None, sid: int | None = None
) -> int:
    from pyiscsi.ops.rescan import rescan_all

    status = rescan_all(_some(_select(context, pattern, sid)), _rescan_reporter(out))
    return _close(out, status)


def do_stats(
    context: Context, out: Output, *, pattern: Pattern | None = None, sid: int | None = None
) -> int:
    """Print statistics of each session up to the first that fails."""
    from pyiscsi.ops.stats import TIMEOUT_S, session_stats
    from pyiscsi.printers.stats import stats_lines

    found = _some(_select(context, pattern, sid))
    try:
        for one in session_stats(context, found, timeout_s=TIMEOUT_S if sid is None else None):
            out.out_lines(stats_lines(one.session, one.counters, one.custom))
    except PyIscsiError as error:
        # Only what is wrong with the connection has lines of its own, as in the original.
        from pyiscsi.ops.requests import extra_lines

        for line in extra_lines(error):
            out.err(line)
        return _close(out, error.exit_code)
    return ExitCode.SUCCESS


def _close(out: Output, status: int) -> int:
    if status:
        out.err(f"Could not execute operation on all sessions: {error_text(status)}")
    return status


def _select(context: Context, pattern: Pattern | None, sid: int | None) -> list[Session]:
    from pyiscsi.ops import sessions

    if sid is not None:
        return [sessions.one_session(context, sid)]
    return sessions.matching(context, pattern)


def _some(found: list[Session]) -> list[Session]:
    if not found:
        raise NoObjectsFound("No session found.")
    return found


def _key_text(key: NodeKey) -> str:
    return f"[iface: {key.iface}, target: {key.target}, portal: {key.address},{key.port}]"


def _session_text(session: Session) -> str:
    return (
        f"[sid: {session.sid}, target: {session.target}, "
        f"portal: {session.persistent_address},{session.persistent_port}]"
    )


def _failure(out: Output, lines: Sequence[str], what: str, code: int, text: str) -> None:
    for line in lines:
        out.err(line)
    out.err(what)
    out.err(f"initiator reported error ({code} - {text})")


def _present_text(event: events.LoginPresent) -> str:
    plural = "" if event.requested == 1 else "s"
    return (
        f"{event.iface}: {event.requested} session{plural} requested, "
        f"but {event.present} already present."
    )


def failed_login_lines(event: events.LoginFailed) -> list[str]:
    return [
        *event.lines,
        f"Could not login to {_key_text(event.key)}.",
        f"initiator reported error ({event.code} - {event.text})",
    ]


def login_reporter(out: Output) -> Callable[[LoginEvent], None]:
    def report(event: LoginEvent) -> None:
        match event:
            case events.LoginRequested():
                several = " (multiple)" if event.multiple else ""
                out.out(f"Logging in to {_key_text(event.key)}{several}")
                out.before_waiting()
            case events.LoginSucceeded():
                out.out(f"Login to {_key_text(event.key)} successful.")
                out.before_waiting()
            case events.LoginFailed():
                for line in failed_login_lines(event):
                    out.err(line)
            case events.LoginPresent():
                out.err(_present_text(event))
            case events.PortalsMissed():
                out.err(_NOT_ALL_PORTALS)
            case events.LeadingIfaceFailed():
                out.err(f"{_NOT_ALL_PORTALS} on {event.iface}, trying next interface")
            case events.LeadingLoginsMissing():
                out.err("Could not login all leading-login portals")

    return report


def _logout_reporter(out: Output) -> Callable[[LogoutEvent], None]:
    def report(event: LogoutEvent) -> None:
        where = _session_text(event.session)
        if event.session.is_flash:
            _report_firmware_logout(event, out)
            return
        match event:
            case events.LogoutRequested():
                out.out(f"Logging out of session {where}")
                out.before_waiting()
            case events.LogoutSucceeded():
                out.out(f"Logout of {where} successful.")
                out.before_waiting()
            case events.LogoutFailed():
                _failure(out, event.lines, f"Could not logout of {where}.", event.code, event.text)

    return report


def _report_firmware_logout(event: LogoutEvent, out: Output) -> None:
    sid = event.session.sid
    match event:
        case events.LogoutRequested():
            out.out(f"Logout sid {sid}.")
        case events.LogoutSucceeded():
            out.out(f"Logout of sid {sid} successful.")
        case events.LogoutFailed():
            for line in event.lines:
                out.err(line)
            out.err(f"Logout of sid {sid} failed.")


def _rescan_reporter(out: Output) -> Callable[[RescanEvent], None]:
    def report(event: RescanEvent) -> None:
        match event:
            case events.RescanStarted():
                out.out(f"Rescanning session {_session_text(event.session)}")
                out.before_waiting()
            case events.RescanFailed():
                out.err(event.line)
                out.err(f"Could not rescan session sid {event.session.sid}.")

    return report
