"""`iscsiadm -m discoverydb`: discovery records, and discoveries with their stored settings."""

from __future__ import annotations

from pyiscsi.cli.modes import discovery
from pyiscsi.cli.options import (
    OP_DELETE,
    OP_NEW,
    OP_NONE,
    OP_NONPERSISTENT,
    OP_SHOW,
    OP_UPDATE,
)
from pyiscsi.errors import ExitCode, InvalidArgument, RecordError
from pyiscsi.names import ISCSI_PORT, ISNS_PORT
from pyiscsi.ops import discover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context
    from pyiscsi.records.record import Record


def run(options: Options, context: Context, out: Output) -> int:
    """Which error a wrong combination gets follows open-iscsi's exec_disc2_op."""
    if options.type in ("sendtargets", "isns"):
        return _record(options, context, out)
    if options.type == "slp":
        raise InvalidArgument(discovery.SLP_REFUSED)
    if options.type == "fw":
        if not options.discover:
            raise InvalidArgument("Invalid command. Possibly missing --discover argument.")
        return discovery.perform_firmware(options, context, out)
    if options.portal_address is not None:
        raise InvalidArgument(
            "Invalid command. Possibly missing discovery --type."
            if options.op
            else "Invalid command. Portal not needed or Possibly missing discovery --type."
        )
    if options.op in (OP_NONE, OP_SHOW):
        return discovery.list_all(options.print_level, context, out)
    raise InvalidArgument("Invalid operation. Operation not supported.")


def _record(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.records.schema import ISNS, SENDTARGETS

    kind, port = (SENDTARGETS, ISCSI_PORT) if options.type == "sendtargets" else (ISNS, ISNS_PORT)
    address = options.portal_address
    if address is None:
        raise InvalidArgument("Please specify portal as <ipaddr>[:<ipport>]")
    if options.port >= 0:
        port = options.port
    if options.op & OP_NEW and not options.discover:
        discovery.write_record(context, discover.default_record(context, kind, address, port))
        out.out(f"New discovery record for [{address},{port}] added.")
        return ExitCode.SUCCESS
    record = discover.stored_record(context, kind, address, port)
    discovery.note_problems(context, out)
    if options.discover:
        if record is None:
            record = discover.default_record(context, kind, address, port)
            if not options.op & OP_NONPERSISTENT:
                discovery.write_record(context, record)
        return discovery.perform(options, context, out, record)
    if record is None:
        raise RecordError(f"Discovery record [{address},{port}] not found.")
    return _operate(options, context, out, record)


def _operate(options: Options, context: Context, out: Output, record: Record) -> int:
    if options.op in (OP_NONE, OP_SHOW):
        return discovery.show_record(out, record, options.show)
    if options.op == OP_DELETE:
        return discovery.delete_record(context, out, record)
    if options.op != OP_UPDATE:
        raise InvalidArgument("Operation is not supported.")
    if not options.params:
        raise InvalidArgument("Update requires name and value.")
    where = discover.where(record)
    for warning in context.discovery.update(record.kind, *where, options.params):
        out.notice(warning)
    return ExitCode.SUCCESS
