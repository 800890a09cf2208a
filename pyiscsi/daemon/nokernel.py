"""Stands in for the kernel where a daemon without one is wanted (PYISCSI_NO_KERNEL=1).

Discovery works; every login ends with status 12, as without the driver's module.
"""

from __future__ import annotations

from typing import NoReturn

from pyiscsi.errors import ExitCode, TransportError


class NoKernel:
    """The parts of transport.kernel.Kernel that are used before a session exists."""

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    def trouble(self) -> str:
        return ""

    def delay(self) -> str:
        return ""

    async def transport(self, name: str) -> NoReturn:
        raise TransportError(
            f"iSCSI driver {name} is not loaded. Load the module then retry the command.",
            ExitCode.TRANSPORT_NOT_FOUND,
        )
