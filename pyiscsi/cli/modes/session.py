"""`iscsiadm -m session`: what is running, and what can be done with one session or all."""

from __future__ import annotations

from pyiscsi.cli.options import OP_DELETE, OP_NEW, OP_NONE, OP_SHOW, OP_UPDATE
from pyiscsi.errors import (
    ExitCode,
    InvalidArgument,
    NoObjectsFound,
    RecordError,
)
from pyiscsi.names import DEFAULT_IFACE, Pattern
from pyiscsi.ops import sessions
from pyiscsi.printers import session as printer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context
    from pyiscsi.sysfs.sessions import Session

_MAX_LEVEL = 3


def run(options: Options, context: Context, out: Output) -> int:
    """Which of several things asked for is done follows open-iscsi's exec_session_op."""
    if options.sid is not None:
        return _one(options, options.sid, context, out)
    if options.op == OP_NEW:
        raise InvalidArgument(
            "session mode: Operation 'new' only allowed with specific session IDs"
        )
    if options.rescan or options.stats or options.logout:
        return _act(options, context, out)
    return _list(options, sessions.all_sessions(context), context, out)


def _act(options: Options, context: Context, out: Output, sid: int | None = None) -> int:
    """On one session or on all."""
    from pyiscsi.cli.modes import session_actions

    if options.rescan:
        return session_actions.do_rescan(context, out, sid=sid)
    if options.stats:
        return session_actions.do_stats(context, out, sid=sid)
    return session_actions.do_logout(context, out, sid=sid)


def _list(options: Options, found: list[Session], context: Context, out: Output) -> int:
    """The level is judged only where there is something to show, as in the original."""
    if not found:
        raise NoObjectsFound("No active sessions.")
    level = options.print_level
    if level in (-1, 0):
        out.out_lines(printer.flat_lines(found))
        return ExitCode.SUCCESS
    if not 1 <= level <= _MAX_LEVEL:
        raise InvalidArgument(f"Invalid info level {level}. Try 0 - 3.")
    if level == _MAX_LEVEL:
        out.out_lines(sessions.version_lines(context))
    blocks = printer.session_blocks(level)
    details = tree_details(context, found, blocks, secrets=options.show)
    out.out_lines(printer.tree_lines(found, blocks, details))
    return ExitCode.SUCCESS


def tree_details(
    context: Context, found: list[Session], blocks: printer.Blocks, *, secrets: bool
) -> printer.Details:
    """What a tree of these sessions needs from iscsid and from the SCSI layer."""
    sessions.name_ifaces(context, found)
    return printer.Details(
        states=sessions.states(context, found),
        devices=sessions.devices_of(context, found) if blocks.devices else None,
        host_states=sessions.host_states(context, found) if blocks.devices else None,
        secrets=secrets,
    )


def _one(options: Options, sid: int, context: Context, out: Output) -> int:
    found = sessions.one_session(context, sid)
    if not found.transport:
        return ExitCode.SUCCESS
    if options.print_level > 0 and not _is_action(options):
        return _list(options, [found], context, out)
    _require_iface(context, found)
    if options.rescan or options.stats:
        return _act(options, context, out, sid)
    if options.op == OP_NEW:
        return _again(found, context, out)
    if options.logout:
        if options.op:
            raise InvalidArgument("Invalid parameters. Login/logout and op passed in")
        return _act(options, context, out, sid)
    return _edit(options, found, context, out)


def _is_action(options: Options) -> bool:
    return bool(options.op or options.rescan or options.stats or options.logout)


def _require_iface(context: Context, found: Session) -> None:
    if found.ifacename == DEFAULT_IFACE:
        return
    try:
        context.ifaces.read(found.ifacename)
    except RecordError as error:
        raise RecordError(
            f"Could not read iface info for {found.ifacename}.", exit_code=ExitCode.NO_MEMORY
        ) from error


def _again(found: Session, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.session_actions import do_login_again
    from pyiscsi.ops.logout import record_of

    record = record_of(context, found)
    if record is None:
        raise NoObjectsFound("No records found")
    return do_login_again(context, out, record)


def _edit(options: Options, found: Session, context: Context, out: Output) -> int:
    """Operations on the node record the session was made from."""
    from pyiscsi.cli.modes import node

    pattern = Pattern(
        found.target, found.persistent_address, found.persistent_port, found.ifacename
    )
    if options.op in (OP_NONE, OP_SHOW):
        return node.show(context, out, pattern, options.show)
    if options.op == OP_UPDATE:
        return node.update(context, out, pattern, options.params)
    if options.op == OP_DELETE:
        return node.delete(context, out, pattern)
    raise InvalidArgument("operation is not supported.")
