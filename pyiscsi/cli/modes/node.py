"""`iscsiadm -m node`: node records, and logins, logouts, rescans and statistics by record."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.options import OP_DELETE, OP_NEW, OP_NONE, OP_SHOW, OP_UPDATE, TRY_LINE
from pyiscsi.errors import (
    ExitCode,
    InvalidArgument,
    NoObjectsFound,
    PyIscsiError,
    RecordError,
    error_text,
)
from pyiscsi.names import ISCSI_PORT, Pattern
from pyiscsi.ops import nodes
from pyiscsi.printers.node import flat_lines, tree_lines
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context
    from pyiscsi.records.node_bulk import Outcome
    from pyiscsi.records.record import Record

_TARGET_SIZE = 254
"""Bytes of -T that count, as many as a record keeps of a target's name."""
_LOGINALL_MODES = ("all", "automatic", "manual", "onboot")
_LOGOUTALL_MODES = ("all", "automatic", "manual")


def run(options: Options, context: Context, out: Output) -> int:
    """Which of several things asked for is done follows open-iscsi's exec_node_op."""
    if options.loginall is not None or options.logoutall is not None:
        return _all(options, context, out)
    pattern = _pattern(options, context, out)
    if options.op == OP_NEW:
        return _new(options, pattern, context, out)
    if options.rescan or options.stats:
        return _sessions(options, pattern, context, out)
    if options.login and options.logout:
        raise InvalidArgument("Invalid parameters. Both login and logout passed in")
    if (options.login or options.logout) and options.op:
        raise InvalidArgument("Invalid parameters. Login/logout and op passed in")
    if options.login:
        return _login(options, pattern, context, out)
    if options.logout:
        return _sessions(options, pattern, context, out)
    if options.op == OP_NONE and not (pattern.target or pattern.address or pattern.iface):
        return _list(options.print_level, context, out)
    if options.op in (OP_NONE, OP_SHOW):
        return show(context, out, pattern, options.show)
    if options.op == OP_UPDATE:
        return update(context, out, pattern, options.params)
    if options.op == OP_DELETE:
        return delete(context, out, pattern)
    raise InvalidArgument("operation is not supported.")


def _pattern(options: Options, context: Context, out: Output) -> Pattern:
    if len(options.ifaces) > 1:
        out.notice(
            "NODE mode only accepts one interface. Using the first one "
            "driver  hwaddress  ipaddress ."
        )
    iface = options.ifaces[0] if options.ifaces else ""
    if iface:
        try:
            context.ifaces.read(iface)
        except RecordError as error:
            context.ifaces.ensure_dir()
            raise RecordError(
                f"Could not read iface info for {iface}.", exit_code=ExitCode.NO_MEMORY
            ) from error
    port = options.port
    if options.portal_address is not None and port == -1:
        port = ISCSI_PORT
    target = options.targetname or ""
    if len(target) > _TARGET_SIZE:
        from pyiscsi.records.values import cut

        target = cut(target, _TARGET_SIZE)
    return Pattern(target, options.portal_address or "", port, iface)


def _all(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes import session_actions

    mode = options.loginall
    if mode is not None:
        if mode in _LOGINALL_MODES:
            return session_actions.do_loginall(context, out, mode, not options.no_wait)
        out.err(f"Invalid loginall option {mode}.")
    else:
        mode = options.logoutall
        if mode in _LOGOUTALL_MODES:
            return session_actions.do_logout(context, out, startup=mode)
        out.err(f"Invalid logoutall option {mode}.")
    out.raw_err(TRY_LINE)
    return ExitCode.INVALID


def _sessions(options: Options, pattern: Pattern, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes import session_actions

    if options.rescan:
        return session_actions.do_rescan(context, out, pattern=pattern)
    if options.stats:
        return session_actions.do_stats(context, out, pattern=pattern)
    return session_actions.do_logout(context, out, pattern=pattern)


def _login(options: Options, pattern: Pattern, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.session_actions import do_login

    records: list[Record] = []
    status = 0
    for key in nodes.matching(context, pattern):
        try:
            records.append(context.nodes.read(key))
        except PyIscsiError as error:
            status = status or out.report_error(error)
    if not records:
        if status:
            return status
        raise NoObjectsFound("No records found")
    done = do_login(context, out, records, not options.no_wait, closing_line=True)
    return status or done


def _list(level: int, context: Context, out: Output) -> int:
    if level not in (-1, 0, 1):
        raise InvalidArgument(f"Invalid info level {level}. Try 0 or 1.")
    keys = context.nodes.keys()
    out.out_lines(tree_lines(keys) if level == 1 else flat_lines(keys))
    return _listed(context, out, bool(keys))


def show(context: Context, out: Output, pattern: Pattern, secrets: bool) -> int:
    """Print all matching records; addresses match as text only, as open-iscsi 2.1.8 does it."""
    found = False
    for record in context.nodes.records(pattern):
        found = True
        out.out_lines(record_lines(INTERFACE_VERSION, record.shown(secrets=secrets)))
    return _listed(context, out, found)


def _listed(context: Context, out: Output, found: bool) -> int:
    """The status of a listing; bad files never hide other records, but decide it."""
    _note_problems(context, out)
    status = context.nodes.exit_code
    if not (found or status):
        raise NoObjectsFound("No records found")
    return status


def _new(options: Options, pattern: Pattern, context: Context, out: Output) -> int:
    try:
        for record in nodes.add(context, pattern, options.tpgt):
            out.out(_added_line(record))
    except InvalidArgument as error:
        out.err(f"Error while adding record: {error}")
        return error.exit_code
    except RecordError as error:
        status = out.report_error(error)
        out.err(f"Error while adding record: {error_text(status)}")
        return status
    _note_problems(context, out)
    return ExitCode.SUCCESS


def _added_line(record: Record) -> str:
    key = record.node_key()
    return (
        f"New iSCSI node [{describe_iface(record)} {key.address},{key.port},{key.tpgt} "
        f"{key.target}] added"
    )


def describe_iface(record: Record) -> str:
    """`transport:[hw=...,ip=...,net_if=...,iscsi_if=...]` of a node or iface record."""
    return (
        f"{record['iface.transport_name']}:[hw={record['iface.hwaddress']},"
        f"ip={record['iface.ipaddress']},net_if={record['iface.net_ifacename']},"
        f"iscsi_if={record['iface.iscsi_ifacename']}]"
    )


def update(
    context: Context, out: Output, pattern: Pattern, params: Sequence[tuple[str, str]]
) -> int:
    """Change every matching record; those that cannot be changed keep their text."""
    pairs = nodes.checked_pairs(context, pattern, params)
    return _each(context, out, nodes.update_all(context, pattern, pairs))


def delete(context: Context, out: Output, pattern: Pattern) -> int:
    """Delete every matching record that no session uses."""
    return _each(context, out, nodes.delete_all(context, pattern))


def _each(context: Context, out: Output, outcomes: Iterator[tuple[NodeKey, Outcome]]) -> int:
    found = False
    status = 0
    try:
        for _, outcome in outcomes:
            found = True
            if isinstance(outcome, PyIscsiError):
                status = _reported(out, outcome, status)
            else:
                out.notices += outcome
    except PyIscsiError as error:
        found = True
        status = _reported(out, error, status)
    _note_problems(context, out)
    if not found:
        raise NoObjectsFound("No records found")
    if status:
        out.err(f"Could not execute operation on all records: {error_text(status)}")
    return status


def _reported(out: Output, error: PyIscsiError, status: int) -> int:
    """Print an error; the status of the first one stays."""
    code = out.report_error(error)
    return status or code


def _note_problems(context: Context, out: Output) -> None:
    for line in context.nodes.problems:
        out.notice(line)
    context.nodes.problems.clear()
