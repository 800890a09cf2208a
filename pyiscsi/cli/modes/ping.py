"""`iscsiadm -m iface -C ping`: an adapter's own ping; software ifaces have none."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, InvalidArgument, RecordError, TransportError, error_text
from pyiscsi.ops.ifaces import is_software
from pyiscsi.ops.modules import ensure_transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.context import Context


def run(options: Options, name: str, context: Context, out: Output) -> int:
    """The order of the checks is that of open-iscsi's exec_ping_op."""
    _check_arguments(options, name)
    try:
        record = context.ifaces.read(name)
    except RecordError as error:
        raise RecordError(f"Could not read iface {name} ({RecordError.exit_code}).") from error
    try:
        ensure_transport(context.tree, record["iface.transport_name"])
    except TransportError as error:
        raise InvalidArgument("Can't find transport.") from error
    if not is_software(record):
        raise InvalidArgument("Can't find host_no.")
    if not _is_numeric(options.ip or ""):
        raise InvalidArgument("Invalid IP address.")
    for number in range(1, options.count + 1):
        out.out(f"Ping {number} failed: {error_text(ExitCode.NOT_SUPPORTED)}")
    return ExitCode.NOT_SUPPORTED


def _check_arguments(options: Options, name: str) -> None:
    if not name:
        raise InvalidArgument("Ping requires iface.")
    if not options.ip:
        raise InvalidArgument("Ping requires destination ipaddress.")
    if options.packetsize <= 0:
        raise InvalidArgument(f"Invalid packet size: {options.packetsize}.")
    if options.count <= 0:
        raise InvalidArgument(f"Invalid number of packets to transmit: {options.count}.")
    if options.interval < 0:
        raise InvalidArgument(f"Invalid timing interval: {options.interval}.")


def _is_numeric(address: str) -> bool:
    from pyiscsi.sysfs.sessions import is_numeric_address

    return is_numeric_address(address)
