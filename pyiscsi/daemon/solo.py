"""A discovery in the caller's own process: open-iscsi's daemon does none, its iscsiadm does."""

from __future__ import annotations

import asyncio
import logging

from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.logsetup import NAME
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import DaemonError, PyIscsiError
from pyiscsi.ipc.messages import Message
from pyiscsi.transport.base import Transport
from pyiscsi.transport.kernel import Kernel


def discover(env: Env, config: Message, args: Message) -> Message:
    """What the native socket's `discover` answers, with the settings a daemon told (`config`).

    Raises DaemonError, as that request does.
    """
    # The daemon's log lines are not for a command's stderr, where logging would put them.
    logging.getLogger(NAME).addHandler(logging.NullHandler())
    settings = Settings(
        config["config_file"] or env.config_file,
        env.initiatorname_file,
        config["initiator_name"],
        config["initiator_alias"],
    )
    try:
        return asyncio.run(_run(env, settings, args))
    except DaemonError:
        raise
    except PyIscsiError as error:
        raise DaemonError(str(error), error.exit_code) from error


async def _run(env: Env, settings: Settings, args: Message) -> Message:
    kernel = _LateKernel(env)
    try:
        return await Discovery(env, settings, kernel)(args)
    finally:
        await kernel.close()


class _LateKernel:
    """The kernel's iSCSI interface, opened for the first driver that has to be asked."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._kernel: Kernel | None = None

    async def transport(self, name: str) -> Transport:
        if self._kernel is None:
            kernel = Kernel(self._env)
            await kernel.open()
            self._kernel = kernel
        return await self._kernel.transport(name)

    async def close(self) -> None:
        if self._kernel is not None:
            await self._kernel.close()
