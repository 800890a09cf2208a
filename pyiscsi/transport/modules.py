"""Kernel modules of the transports, loaded through modprobe off the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transports import traits

_LOG = logging.getLogger("iscsid")

TRANSPORT_CLASS = "scsi_transport_iscsi"
LOAD_DEADLINE_S = 30.0
_MODPROBE = ("modprobe", "-b", "--")
"""-b: the administrator's blacklist holds."""


class ModuleLoader:
    """Loads each module at most once, however many ask at the same time.

    A module that could not be loaded is not tried again, except after the deadline.
    """

    def __init__(
        self, command: Sequence[str] = _MODPROBE, *, deadline_s: float = LOAD_DEADLINE_S
    ) -> None:
        self._command = tuple(command)
        self._deadline_s = deadline_s
        self._tried: set[str] = set()
        self._lock = asyncio.Lock()

    async def load_transport(self, name: str) -> None:
        """Load the module of transport `name`. Raises TransportError (12)."""
        if not name.replace("_", "").isalnum() or not name.isascii():
            raise TransportError(exit_code=ExitCode.TRANSPORT_NOT_FOUND)
        await self.load(traits(name).module)

    async def load(self, module: str) -> None:
        async with self._lock:
            if module in self._tried:
                return
            self._tried.add(module)
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._run(module)
            except TimeoutError:
                self._tried.discard(module)
                raise self._failed(module, f"no answer in {self._deadline_s:g} s") from None

    async def _run(self, module: str) -> None:
        program = self._command[0]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        try:
            process = await asyncio.create_subprocess_exec(
                shutil.which(program, path=path) or program,
                *self._command[1:],
                module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as exc:
            raise self._failed(module, f"{program}: {exc.strerror}") from exc
        try:
            _, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise self._failed(module, stderr.decode(errors="replace").strip())

    def _failed(self, module: str, reason: str) -> TransportError:
        _LOG.error("Could not insert module %s: %s", module, reason)
        return TransportError(exit_code=ExitCode.TRANSPORT_NOT_FOUND)
