"""A discovery in the caller's own process: open-iscsi's daemon does none, its iscsiadm does."""

from __future__ import annotations

import asyncio
import logging

from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.logsetup import NAME
from pyiscsi.daemon.nokernel import NoKernel
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import DaemonError, PyIscsiError
from pyiscsi.ipc.messages import Message


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
        return asyncio.run(_run(Discovery(env, settings, NoKernel()), args))
    except DaemonError:
        raise
    except PyIscsiError as error:
        raise DaemonError(str(error), error.exit_code) from error


async def _run(discovery: Discovery, args: Message) -> Message:
    return await discovery(args)
