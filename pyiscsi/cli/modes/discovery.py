"""`iscsiadm -m discovery`, and what it shares with `-m discoverydb`."""

from __future__ import annotations

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.options import (
    OP_DELETE,
    OP_NEW,
    OP_NONE,
    OP_NONPERSISTENT,
    OP_SHOW,
    OP_UPDATE,
)
from pyiscsi.errors import (
    DaemonError,
    ExitCode,
    InvalidArgument,
    IpcError,
    NoObjectsFound,
    PyIscsiError,
    RecordError,
    error_text,
)
from pyiscsi.names import ISCSI_PORT, ISNS_PORT
from pyiscsi.ops import discover
from pyiscsi.printers.discovery import (
    address_lines,
    found_flat_lines,
    found_tree_lines,
    section_lines,
)
from pyiscsi.printers.record import record_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context
    from pyiscsi.printers.discovery import Section
    from pyiscsi.records.record import Record

SLP_REFUSED = "SLP discovery is not fully implemented yet."
_TITLES = {"SENDTARGETS": "SendTargets", "ISNS": "iSNS"}


def run(options: Options, context: Context, out: Output) -> int:
    """Discover (-t), use a stored SendTargets record (-p alone), or list the records."""
    if options.type == "sendtargets":
        return _send_targets(options, context, out)
    if options.type == "isns":
        return _isns(options, context, out)
    if options.type == "fw":
        return perform_firmware(options, context, out)
    if options.type == "slp":
        raise InvalidArgument(SLP_REFUSED)
    if options.portal_address is not None:
        return _stored(options, context, out)
    if options.op in (OP_NONE, OP_SHOW):
        return list_all(options.print_level, context, out)
    raise InvalidArgument("Invalid operation.")


def _send_targets(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.records.schema import SENDTARGETS

    if options.portal_address is None:
        raise InvalidArgument("Please specify portal as <ipaddr>[:<ipport>]")
    port = ISCSI_PORT if options.port < 0 else options.port
    record = discover.default_record(context, SENDTARGETS, options.portal_address, port)
    return perform(options, context, out, record, write=True)


def _isns(options: Options, context: Context, out: Output) -> int:
    """No record is read or written, as in the original."""
    from pyiscsi.records.schema import ISNS

    if options.portal_address is None:
        raise InvalidArgument("Please specify portal as <ipaddr>:[<ipport>]")
    port = ISNS_PORT if options.port < 0 else options.port
    record = discover.default_record(context, ISNS, options.portal_address, port)
    return perform(options, context, out, record)


def _stored(options: Options, context: Context, out: Output) -> int:
    from pyiscsi.records.schema import SENDTARGETS

    address = options.portal_address or ""
    port = ISCSI_PORT if options.port < 0 else options.port
    record = discover.stored_record(context, SENDTARGETS, address, port)
    if record is None:
        note_problems(context, out)
        raise InvalidArgument(f"Discovery record [{address},{port}] not found!")
    if options.discover or options.login:
        return perform(options, context, out, record)
    if options.op in (OP_NONE, OP_SHOW):
        return show_record(out, record, options.show)
    if options.op == OP_DELETE:
        return delete_record(context, out, record)
    if options.op in (OP_NEW, OP_UPDATE):
        raise InvalidArgument(
            "Operations new and update for discovery mode is not supported. Use discoverydb mode."
        )
    raise InvalidArgument("Invalid operation.")


def show_record(out: Output, record: Record, secrets: bool) -> int:
    out.out_lines(record_lines(INTERFACE_VERSION, record.shown(secrets=secrets)))
    return ExitCode.SUCCESS


def delete_record(context: Context, out: Output, record: Record) -> int:
    """Delete a record and every node record linked to it, sessions notwithstanding."""
    try:
        context.discovery.delete(record.kind, *discover.where(record))
    except PyIscsiError as error:
        status = out.report_error(error)
        out.err("Unable to delete record!")
        return status
    note_problems(context, out)
    return ExitCode.SUCCESS


def write_record(context: Context, record: Record) -> None:
    """Write a discovery record. Raises RecordError with the original's closing line."""
    try:
        context.discovery.write(record)
    except RecordError as error:
        raise RecordError(f"{error}\nCould not add new discovery record.", error.path) from error


def perform(
    options: Options, context: Context, out: Output, record: Record, *, write: bool = False
) -> int:
    """One discovery with a record. write: it is stored first (unless nonpersistent)."""
    wish = read_wish(options, context, out)
    if wish.ifaces is not None and not wish.ifaces:
        return ExitCode.NO_OBJECTS_FOUND
    # It is about the discovery record alone: node records are written where another -o says so.
    if write and not options.op & OP_NONPERSISTENT:
        write_record(context, record)
    try:
        found, remarks = discover.targets(context, record, wish)
    except (DaemonError, IpcError) as error:
        return _report_failure(error, record, out)
    for line in remarks:
        out.notice(line)
    if not found:
        raise NoObjectsFound("No portals found")
    print_found(options.print_level, found, out)
    return _login(found, record, context, out) if options.login else ExitCode.SUCCESS


def read_wish(options: Options, context: Context, out: Output) -> discover.Wish:
    """What -o and -I ask for, with a notice about each iface that can't be used."""
    op = options.op or OP_NEW | OP_DELETE | OP_UPDATE
    names: list[str] | None = None
    if options.ifaces:
        names, problems = discover.usable_ifaces(context, options.ifaces)
        for line in problems:
            out.notice(line)
    return discover.Wish(
        new=bool(op & OP_NEW),
        update=bool(op & OP_UPDATE),
        delete=bool(op & OP_DELETE),
        persist=bool(op & (OP_NEW | OP_UPDATE | OP_DELETE)),
        ifaces=names,
    )


def _report_failure(error: DaemonError | IpcError, record: Record, out: Output) -> int:
    code = error.exit_code
    lines = error.messages if isinstance(error, DaemonError) else ()
    if not lines and str(error) != error_text(code):
        lines = (str(error),)
    for line in lines:
        out.err(line)
    if isinstance(error, IpcError) and code == ExitCode.DAEMON_NOT_CONNECTED:
        out.err("Cannot perform discovery. Initiatorname required.")
    if code != ExitCode.NO_OBJECTS_FOUND:
        out.err(f"Could not perform {_TITLES[record.kind.name]} discovery: {error_text(code)}")
    return code


def print_found(level: int, found: list[NodeKey], out: Output) -> None:
    if level in (-1, 0):
        out.out_lines(found_flat_lines(found))
    elif level == 1:
        out.out_lines(found_tree_lines(found))


def _login(found: list[NodeKey], record: Record, context: Context, out: Output) -> int:
    from pyiscsi.cli.modes.session_actions import do_login
    from pyiscsi.records.discovery import source_for

    source = source_for(record.kind, *discover.where(record))
    records = discover.found_records(context, found, source)
    return do_login(context, out, records, True, closing_line=False)


def perform_firmware(options: Options, context: Context, out: Output) -> int:
    """What is to be found is in this machine's firmware: no daemon is asked."""
    from pyiscsi.cli.modes import fw

    return fw.perform_discovery(options, context, out)


def list_all(level: int, context: Context, out: Output) -> int:
    """All discovery records, flat below level 1, else with the targets found through each."""
    from pyiscsi.records.schema import ISNS, SENDTARGETS

    send_targets = context.discovery.addresses(SENDTARGETS)
    isns = context.discovery.addresses(ISNS)
    if level < 1:
        out.out_lines(address_lines(send_targets, "sendtargets"))
        out.out_lines(address_lines(isns, "isns"))
        found = bool(send_targets or isns)
    else:
        sections = _sections(context, send_targets, isns)
        out.out_lines(section_lines(sections))
        found = any(source or keys for _, records in sections for source, keys in records)
    note_problems(context, out)
    return ExitCode.SUCCESS if found else ExitCode.NO_OBJECTS_FOUND


def _sections(
    context: Context, send_targets: list[tuple[str, int]], isns: list[tuple[str, int]]
) -> list[Section]:
    nodes = discover.nodes_by_source(context)
    plain = ("", 0)

    def of(kind: str, sources: list[tuple[str, int]]) -> Section:
        heading = _HEADINGS[kind]
        return heading, [
            (None if source == plain else source, nodes.get((kind, *source), []))
            for source in sources
        ]

    return [
        of("send_targets", send_targets),
        of("isns", isns or [plain]),
        of("static", [plain]),
        of("fw", [plain]),
    ]


_HEADINGS = {
    "send_targets": "SENDTARGETS",
    "isns": "iSNS",
    "static": "STATIC",
    "fw": "FIRMWARE",
}


def note_problems(context: Context, out: Output) -> None:
    for store in (context.discovery, context.nodes):
        for line in store.problems:
            out.notice(line)
        store.problems.clear()
