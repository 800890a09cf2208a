"""`iscsiadm -m fw`: targets the boot firmware names, and `-t fw` of the discovery modes."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.errors import ExitCode, NoObjectsFound
from pyiscsi.ops import events, firmware
from pyiscsi.printers.firmware import entry_pairs
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context
    from pyiscsi.ops.events import LoginEvent


def run(options: Options, context: Context, out: Output) -> int:
    """Show what the firmware says, or log in to it (-l)."""
    if options.login:
        return _log_in(options, context, out)
    for entry, transport in firmware.shown(context):
        out.out_lines(record_lines(INTERFACE_VERSION, entry_pairs(entry, transport)))
    return ExitCode.SUCCESS


def _log_in(options: Options, context: Context, out: Output) -> int:
    """One path is enough; those that failed beside it are told of on stdout, because programs
    take any text on stderr for a failure.
    """
    from pyiscsi.cli.modes.session_actions import failed_login_lines, login_reporter

    report = login_reporter(out)
    kept: list[LoginEvent] = []

    def keep_failures(event: LoginEvent) -> None:
        if isinstance(event, events.LoginFailed | events.LoginPresent):
            kept.append(event)
        else:
            report(event)

    status = firmware.log_in(context, options.params, keep_failures, wait=not options.no_wait)
    for event in kept:
        if status:
            report(event)
        elif isinstance(event, events.LoginFailed):
            out.out_lines(failed_login_lines(event))
    return status


def perform_discovery(options: Options, context: Context, out: Output) -> int:
    """`-t fw`: node records of all targets, their portals, and logins with -l."""
    from pyiscsi.cli.modes.discovery import print_found, read_wish

    try:
        bound = firmware.discover(context, read_wish(options, context, out))
    except NoObjectsFound as error:
        status = out.report_error(error)
        if options.ifaces:
            out.err("Could not perform fw discovery.")
        return status
    keys = [one.key for one in bound]
    print_found(options.print_level, keys, out)
    if not options.login:
        return ExitCode.SUCCESS
    from pyiscsi.cli.modes.session_actions import do_login

    return do_login(context, out, firmware.records_of(context, bound), True, closing_line=False)
