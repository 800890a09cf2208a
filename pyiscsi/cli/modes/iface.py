"""`iscsiadm -m iface`: records that bind sessions to an adapter or a network device."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.options import (
    OP_APPLY,
    OP_APPLYALL,
    OP_DELETE,
    OP_NEW,
    OP_NONE,
    OP_SHOW,
    OP_UPDATE,
)
from pyiscsi.errors import (
    ExitCode,
    InvalidArgument,
    PyIscsiError,
    SessionExists,
    error_text,
)
from pyiscsi.ops import ifaces
from pyiscsi.ops.host_ifaces import set_up
from pyiscsi.printers import iface as printer
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context

    Action = Callable[[Options, str, Context, Output], int]


def run(options: Options, context: Context, out: Output) -> int:
    """A combination of operations does nothing, as in the original."""
    for line in set_up(context):
        out.notice(line)
    name = options.ifaces[0] if options.ifaces else ""
    if len(options.ifaces) > 1:
        out.notice(f"iface mode only accepts one interface. Using the first one {name}.")
    if options.submode == "ping":
        from pyiscsi.cli.modes.ping import run as ping

        return ping(options, name, context, out)
    act = _ACTIONS.get(options.op)
    return ExitCode.INVALID if act is None else act(options, name, context, out)


def _show(options: Options, name: str, context: Context, out: Output) -> int:
    if options.print_level == 1:
        return _tree(name, context, out)
    if options.print_level not in (-1, 0):
        raise InvalidArgument(f"Invalid info level {options.print_level}. Try 0 - 1.")
    if name:
        record = ifaces.read(context, name)
        out.out_lines(record_lines(INTERFACE_VERSION, record.shown(secrets=True)))
        return ExitCode.SUCCESS
    out.out_lines(printer.flat_lines(ifaces.all_ifaces(context)))
    return _listed(context, out)


def _tree(name: str, context: Context, out: Output) -> int:
    """Nothing at all without node records, whatever the iface, as in the original."""
    bound = ifaces.bound_nodes(context)
    if bound:
        chosen = [ifaces.read(context, name)] if name else ifaces.all_ifaces(context)
        for record in chosen:
            title = record["iface.iscsi_ifacename"]
            out.out_lines(printer.tree_lines(title, bound.get(title, [])))
    return _listed(context, out)


def _listed(context: Context, out: Output) -> int:
    """The status of a listing; bad files never hide other records, but decide it."""
    for line in context.ifaces.problems:
        out.notice(line)
    context.ifaces.problems.clear()
    return context.ifaces.exit_code


def _new(options: Options, name: str, context: Context, out: Output) -> int:
    if not name:
        raise PyIscsiError(
            "Could not add interface. No interface passed in.", ExitCode.SYSFS_LOOKUP
        )
    failed = f"Could not create new interface {name}."
    try:
        ifaces.create(context, name)
    except SessionExists as error:
        raise SessionExists(failed) from error
    except PyIscsiError as error:
        raise PyIscsiError(f"{error}\n{failed}", error.exit_code) from error
    status = _apply_pairs(options, name, context, out)
    out.out(f"New interface {name} added")
    return status


def _update(options: Options, name: str, context: Context, out: Output) -> int:
    if not name or not options.params:
        raise InvalidArgument("Update requires name, value, and iface.")
    try:
        ifaces.require_transport(context, name)
    except InvalidArgument as error:
        from pyiscsi.cli.modes.drivers import explain_missing

        explain_missing(error, out)
        raise
    return _apply_pairs(options, name, context, out)


def _apply_pairs(options: Options, name: str, context: Context, out: Output) -> int:
    try:
        for line in ifaces.update(context, name, options.params):
            out.notice(line)
    except InvalidArgument as error:
        status = out.report_error(error)
        out.err(f"Could not update iface {name}: {error_text(status)}")
        return status
    if options.op == OP_UPDATE:
        for other in ifaces.sharing_vlan(context, name):
            out.out(f"{other} updated.")
    out.out(f"{name} updated.")
    return ExitCode.SUCCESS


def _delete(_options: Options, name: str, context: Context, out: Output) -> int:
    if not name:
        raise InvalidArgument("Could not delete interface. No interface passed in.")
    try:
        ifaces.delete(context, name)
    except PyIscsiError as error:
        status = out.report_error(error)
        out.err(f"Could not delete iface {name}: {error_text(status)}")
        return status
    out.out(f"{name} unbound and deleted.")
    return ExitCode.SUCCESS


def _apply(options: Options, name: str, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.iface_apply import apply

    return apply(options, name, context, out)


def _apply_all(options: Options, name: str, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.iface_apply import apply_all

    return apply_all(options, name, context, out)


_ACTIONS: dict[int, Action] = {
    OP_NONE: _show,
    OP_SHOW: _show,
    OP_NEW: _new,
    OP_UPDATE: _update,
    OP_DELETE: _delete,
    OP_APPLY: _apply,
    OP_APPLYALL: _apply_all,
}
