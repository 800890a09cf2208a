"""`iscsiadm -m host -C stats`: the counters of an adapter."""

from __future__ import annotations

from pyiscsi.errors import ExitCode
from pyiscsi.ops import adapter, host_stats
from pyiscsi.printers.host import statistics_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context


def run(options: Options, context: Context, out: Output) -> int:
    with adapter.find(context, options.host_no) as host:
        out.out_lines(statistics_lines(host_stats.counters(host)))
    return ExitCode.SUCCESS
