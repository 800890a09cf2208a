"""`iscsiadm -m host -C flashnode`: targets an adapter keeps and logs in to by itself."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.options import (
    OP_DELETE,
    OP_LOGIN,
    OP_LOGOUT,
    OP_NEW,
    OP_NONE,
    OP_SHOW,
    OP_UPDATE,
)
from pyiscsi.errors import (
    ExitCode,
    InvalidArgument,
    NoObjectsFound,
    PyIscsiError,
    SessionExists,
    SessionNotFound,
)
from pyiscsi.ops import adapter, flashnodes
from pyiscsi.printers import flashnode as printer
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.adapter import Adapter
    from pyiscsi.ops.context import Context

    Action = Callable[[Options, Adapter, Output], int]


def run(options: Options, context: Context, out: Output) -> int:
    """The order of the checks is that of open-iscsi's exec_flashnode_op."""
    if _index(options) is None and options.op not in (OP_NONE, OP_SHOW, OP_NEW):
        raise InvalidArgument("Invalid flashnode index")
    host = adapter.find(context, options.host_no)
    act = _ACTIONS.get(options.op)
    if act is None:
        raise InvalidArgument("Invalid operation")
    return act(options, host, out)


def _index(options: Options) -> int | None:
    """-x; None also for a number no flashnode can have."""
    index = options.index
    return None if index is None or index > flashnodes.INDEX_MAX else index


def _show(options: Options, host: Adapter, out: Output) -> int:
    index = _index(options)
    if index is not None:
        record = flashnodes.read(host, index, f" of host {host.host_no}")
        out.out_lines(record_lines(INTERFACE_VERSION, record.shown(secrets=True)))
        return ExitCode.SUCCESS
    found = flashnodes.listing(host)
    if not found:
        raise NoObjectsFound(f"No flashnodes attached to host {host.host_no}.")
    out.out_lines(printer.flat_lines(host.transport, found))
    return ExitCode.SUCCESS


def _new(options: Options, host: Adapter, out: Output) -> int:
    if options.portal_type is None:
        raise InvalidArgument("Invalid type mentioned for flashnode")
    with host:
        out.out(f"Create new flashnode for host {host.host_no}.")
        index = flashnodes.create(host, options.portal_type)
    out.out(f"New flashnode for host {host.host_no} added at index {index}.")
    return ExitCode.SUCCESS


def _delete(options: Options, host: Adapter, out: Output) -> int:
    index = _index(options) or 0
    with host:
        out.out(f"Delete flashnode {index}.")
        flashnodes.delete(host, index)
    out.out(f"Flashnode {index} of host {host.host_no} deleted.")
    return ExitCode.SUCCESS


def _update(options: Options, host: Adapter, out: Output) -> int:
    index = _index(options) or 0
    update = flashnodes.Update(host, index, options.params)
    with host:
        out.out(f"Update flashnode {index}.")
        update.send()
    out.out(f"Update for flashnode {index} of host {host.host_no} successful.")
    return ExitCode.SUCCESS


def _login(options: Options, host: Adapter, out: Output) -> int:
    index = _index(options) or 0
    with host:
        out.out(f"Login to flashnode {index}.")
        try:
            flashnodes.login(host, index)
        except SessionExists as error:
            return _already(error, f"Flashnode {index} of host {host.host_no} already", out)
    out.out(f"Login to flashnode {index} of host {host.host_no} successful.")
    return ExitCode.SUCCESS


def _logout(options: Options, host: Adapter, out: Output) -> int:
    index = _index(options) or 0
    with host:
        out.out(f"Logout flashnode {index}.")
        try:
            flashnodes.logout(host, index)
        except SessionNotFound as error:
            return _already(error, f"Flashnode {index} of host {host.host_no} not", out)
    out.out(f"Logout of flashnode {index} of host {host.host_no} successful.")
    return ExitCode.SUCCESS


def _already(error: PyIscsiError, words: str, out: Output) -> int:
    """What was asked for is so already: said on stdout, as by the original, and in the status."""
    out.out(f"{words} logged in.")
    return out.report_error(error)


_ACTIONS: dict[int, Action] = {
    OP_NONE: _show,
    OP_SHOW: _show,
    OP_NEW: _new,
    OP_DELETE: _delete,
    OP_UPDATE: _update,
    OP_LOGIN: _login,
    OP_LOGOUT: _logout,
}
