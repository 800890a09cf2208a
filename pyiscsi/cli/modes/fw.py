"""`iscsiadm -m fw`: targets the boot firmware names."""

from __future__ import annotations

from pyiscsi.errors import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context


def run(_options: Options, _context: Context, out: Output) -> int:
    """Boot firmware is not read yet; answered as by a machine that has none."""
    out.err(f"Could not get list of targets from firmware. (err {ExitCode.NO_OBJECTS_FOUND})")
    return ExitCode.NO_OBJECTS_FOUND
