"""`iscsiadm -m iface -C ping`: an adapter's own ping; the drivers of software ifaces have none."""

from __future__ import annotations

from pyiscsi.cli.modes.drivers import explain_missing
from pyiscsi.errors import ExitCode, InvalidArgument, TransportError, error_text
from pyiscsi.ops import adapter, ping
from pyiscsi.ops.ifaces import read_for_driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.adapter import Adapter
    from pyiscsi.ops.context import Context
    from pyiscsi.records.record import Record


def run(options: Options, name: str, context: Context, out: Output) -> int:
    """The order of the checks is that of open-iscsi's exec_ping_op; the last ping decides."""
    import time

    _check_arguments(options, name)
    record = read_for_driver(context, name)
    try:
        host = adapter.of_iface(context, record)
    except TransportError as error:
        explain_missing(error, out)
        raise InvalidArgument(f"{error}\nCan't find transport.") from error
    target = ping.resolve(options.ip or "")
    status = ExitCode.SUCCESS
    with host:
        for number in range(1, options.count + 1):
            status, words = _once(host, record, target, options.packetsize, out)
            out.out(f"Ping {number} {words}")
            if number < options.count:
                out.before_waiting()
                time.sleep(options.interval)
    return status


def _once(host: Adapter, record: Record, target: bytes, size: int, out: Output) -> tuple[int, str]:
    """One ping: its status and what became of it."""
    try:
        trouble = ping.send(host, record, target, size)
    except ping.NotSent as error:
        for line in error.lines:
            out.err(line)
        return error.exit_code, f"failed: {error_text(error.exit_code)}"
    except TransportError as error:
        if error.exit_code != ExitCode.TRANSPORT_TIMEOUT:
            raise
        return error.exit_code, f"failed: {error_text(error.exit_code)}"
    return (ExitCode.GENERIC, f"failed: {trouble}") if trouble else (ExitCode.SUCCESS, "completed")


def _check_arguments(options: Options, name: str) -> None:
    if not name:
        raise InvalidArgument("Ping requires iface.")
    if options.ip is None:
        raise InvalidArgument("Ping requires destination ipaddress.")
    if options.packetsize <= 0:
        raise InvalidArgument(f"Invalid packet size: {options.packetsize}.")
    if options.count <= 0:
        raise InvalidArgument(f"Invalid number of packets to transmit: {options.count}.")
    if options.interval < 0:
        raise InvalidArgument(f"Invalid timing interval: {options.interval}.")
