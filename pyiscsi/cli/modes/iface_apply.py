"""`iscsiadm -m iface -o apply` and `applyall`: network settings of an adapter's interfaces.

The order of the checks and the texts are those of open-iscsi's exec_iface_op and
iface_apply_net_config. A software iface has nothing to configure unless its record says so; its
driver then refuses.
"""

from __future__ import annotations

from pyiscsi.cli.modes.drivers import explain_missing
from pyiscsi.errors import ExitCode, InvalidArgument, TransportError
from pyiscsi.ops import adapter, iface_net, ifaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.cli.options import Options
    from pyiscsi.cli.report import Output
    from pyiscsi.ops.adapter import Adapter
    from pyiscsi.ops.context import Context


def apply(_options: Options, name: str, context: Context, out: Output) -> int:
    if not name:
        raise InvalidArgument("Apply requires iface.")
    record = ifaces.read_for_driver(context, name)
    _configure(iface_net.settings([record]), lambda: adapter.of_iface(context, record), out)
    out.out(f"{name} applied.")
    return ExitCode.SUCCESS


def apply_all(options: Options, _name: str, context: Context, out: Output) -> int:
    """Every iface with the host's hardware address, which a software host does not have."""
    from pyiscsi.sysfs.hosts import Host

    host = Host(context.tree, options.host_no)
    hwaddress, transport = host.hwaddress or "", host.transport or ""
    mine = [one for one in ifaces.all_ifaces(context) if one["iface.hwaddress"] == hwaddress]
    settings = iface_net.settings(mine)
    if host.transport is None:
        tell = out.err if settings else out.notice
        tell(f"Could not read proc_name for host{host.number} rc 5.")
    _configure(settings, lambda: adapter.on_host(context, transport, host.number), out)
    out.out(f"Applied settings to ifaces attached to host{host.number}.")
    for line in context.ifaces.problems:
        out.notice(line)
    return context.ifaces.exit_code


def _configure(settings: list[bytes], find: Callable[[], Adapter], out: Output) -> None:
    """Raises PyIscsiError (1)."""
    if not settings:
        out.notice("Nothing to configure.")
        return
    try:
        found = find()
    except TransportError as error:
        explain_missing(error, out)
        raise iface_net.not_applied(f"{error}\nCan't find transport.") from error
    iface_net.configure(found, settings)
