"""How discovery reaches a portal: resolve, connect, wrap; each way of failing has a class."""

from __future__ import annotations

from dataclasses import dataclass

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport import tcp
from pyiscsi.transport.userspace import UserspaceConnection


class ResolveFailed(TransportError):
    """`host` has no address; str() is the resolver's text."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(reason)
        self.host = host


class ConnectFailed(TransportError):
    """`address` (numeric) refused or cannot be reached; str() is the system's reason."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(reason)
        self.address = address


class ConnectTimedOut(TransportError):
    """`address` (numeric) did not answer in time."""

    exit_code = ExitCode.TRANSPORT_TIMEOUT

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


class PortalFailed(TransportError):
    """A driver could not connect; str() is what there is to say about it, line by line."""


@dataclass(frozen=True, slots=True)
class TcpConnector:
    """Connects as one iface record says; "" leaves a choice to the system."""

    netdev: str = ""
    hwaddress: str = ""
    ipaddress: str = ""

    async def __call__(self, address: str, port: int, timeout_s: float) -> UserspaceConnection:
        """Raises ResolveFailed, ConnectFailed, ConnectTimedOut; InvalidArgument for a binding
        that TCP cannot do.
        """
        try:
            addresses = await tcp.resolve(address, port, timeout_s)
        except TransportError as exc:
            raise ResolveFailed(address, str(exc)) from exc
        shown = str(addresses[0][0])
        try:
            sock = await tcp.connect(
                addresses,
                port,
                netdev=self.netdev,
                hwaddress=self.hwaddress,
                ipaddress=self.ipaddress,
                deadline_s=timeout_s,
            )
        except TransportError as exc:
            if exc.exit_code == ExitCode.TRANSPORT_TIMEOUT:
                raise ConnectTimedOut(shown) from exc
            raise ConnectFailed(shown, str(exc)) from exc
        return await UserspaceConnection.open(sock)
