"""Telling an adapter the network settings of its interfaces (open-iscsi iface_apply_net_config)."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, PyIscsiError, TransportError, error_text
from pyiscsi.ops import net_settings
from pyiscsi.ops.adapter import reason
from pyiscsi.transport.numbers import UEvent
from pyiscsi.transport.uevent import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiscsi.ops.adapter import Adapter
    from pyiscsi.records.record import Record


def settings(ifaces: Iterable[Record]) -> list[bytes]:
    """What there is to tell about these interfaces. Raises PyIscsiError for a wrong address."""
    try:
        return [one for iface in ifaces for one in net_settings.encode(iface)]
    except ValueError as error:
        raise not_applied(f"{error}\nBuild netconfig failed.") from error


def configure(adapter: Adapter, found: list[bytes]) -> None:
    """Raises PyIscsiError (1)."""
    try:
        with adapter:
            adapter.ask(UEvent.SET_IFACE_PARAMS, {"count": len(found)}, b"".join(found))
    except Refused as error:
        lines = [*reason(error), f"Set net_config failed. errno={error.errno}"]
        raise not_applied("\n".join(lines)) from error
    except TransportError as error:
        raise not_applied(str(error)) from error


def not_applied(lines: str) -> PyIscsiError:
    code = ExitCode.GENERIC
    return PyIscsiError(f"{lines}\nCould not apply net configuration: {error_text(code)}", code)
