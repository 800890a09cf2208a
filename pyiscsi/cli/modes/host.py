"""`iscsiadm -m host`: adapters and the hosts of software sessions."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, InvalidArgument, NoObjectsFound
from pyiscsi.ops import sessions
from pyiscsi.printers import host as printer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context
    from pyiscsi.sysfs.hosts import Host
    from pyiscsi.sysfs.sessions import Session

_MAX_LEVEL = 4


def run(options: Options, context: Context, out: Output) -> int:
    """-H selects a host for submodes only; listings show all of them, as in the original."""
    submode = _SUBMODES.get(options.submode or "")
    if submode is not None:
        return submode(options, context, out)
    return _list(options.print_level, context, out)


def _list(level: int, context: Context, out: Output) -> int:
    from pyiscsi.sysfs.hosts import hosts

    if not -1 <= level <= _MAX_LEVEL:
        raise InvalidArgument(f"Invalid info level {level}. Try 0 - 4.")
    if level == _MAX_LEVEL:
        out.out_lines(sessions.version_lines(context))
    found = hosts(context.tree)
    if not found:
        raise NoObjectsFound("No iSCSI hosts.")
    if level < 1:
        out.out_lines(printer.flat_lines(found))
    else:
        _tree(level, found, context, out)
    return ExitCode.SUCCESS


def _tree(level: int, found: list[Host], context: Context, out: Output) -> None:
    from pyiscsi.cli.modes.session import tree_details
    from pyiscsi.printers.session import Blocks, tree_lines
    from pyiscsi.sysfs.hosts import kernel_ifaces

    running = sessions.all_sessions(context) if level > 1 else []
    blocks = Blocks(negotiated=level > 2, devices=level > 3, host_line=False)
    details = tree_details(context, running, blocks, secrets=False) if running else None
    of_host: dict[int | None, list[Session]] = {}
    for one in running:
        of_host.setdefault(one.host_no, []).append(one)
    for host in found:
        out.out_lines(printer.host_lines(host, kernel_ifaces(context.tree, host.number)))
        mine = of_host.get(host.number)
        if mine and details:
            out.out_lines(printer.sessions_heading())
            out.out_lines(tree_lines(mine, blocks, details, "\t"))


def _ping(_options: Options, _context: Context, out: Output) -> int:
    out.err("Invalid Sub Mode")
    return ExitCode.INVALID


def _chap(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.host_chap import run

    return run(options, context, out)


def _flashnode(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.host_flashnode import run

    return run(options, context, out)


def _stats(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.host_stats import run

    return run(options, context, out)


_SUBMODES: dict[str, Callable[[Options, Context, Output], int]] = {
    "ping": _ping,
    "chap": _chap,
    "flashnode": _flashnode,
    "stats": _stats,
}
