"""`iscsiadm -m host -C chap`: the CHAP table of an adapter."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.options import OP_DELETE, OP_NEW, OP_NONE, OP_SHOW, OP_UPDATE
from pyiscsi.errors import ExitCode, InvalidArgument
from pyiscsi.ops import adapter, host_chap
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context


def run(options: Options, context: Context, out: Output) -> int:
    """The order of the checks is that of open-iscsi's exec_host_chap_op."""
    if options.op == OP_NONE:
        raise InvalidArgument("CHAP mode requires host no and valid operation")
    act = _ACTIONS.get(options.op)
    if act is None:
        raise InvalidArgument("Invalid operation.")
    act(options, context, out)
    return ExitCode.SUCCESS


def _show(options: Options, context: Context, out: Output) -> None:
    with adapter.find(context, options.host_no) as host:
        for record in host_chap.entries(host):
            out.out_lines(record_lines(INTERFACE_VERSION, record.shown(secrets=True)))


def _set(options: Options, context: Context, _out: Output) -> None:
    if not options.params:
        raise InvalidArgument("Chap username/password not provided.")
    host = adapter.find(context, options.host_no)
    entry = host_chap.entry_of(options.index, options.params)
    with host:
        host_chap.write(host, entry)


def _delete(options: Options, context: Context, out: Output) -> None:
    index = options.index
    if index is None or index > host_chap.TABLE_MAX:
        raise InvalidArgument("Invalid chap table index.")
    with adapter.find(context, options.host_no) as host:
        out.out(f"Deleting CHAP index: {index}")
        host_chap.delete(host, index)


_ACTIONS = {OP_SHOW: _show, OP_NEW: _set, OP_UPDATE: _set, OP_DELETE: _delete}
