"""iscsistart: log in to one target with the daemon's own parts, in this process, and leave.

The session stays in the kernel; an iscsid that starts later takes it over as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Protocol

from pyiscsi import INTERFACE_VERSION
from pyiscsi.daemon.logsetup import NAME, threshold
from pyiscsi.daemon.registry import Registry
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError, error_text
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.transport.kernel import Kernel

_FORCED = (
    # Booting waits longer for a target, and a root disk must not be given up because pings are
    # late (open-iscsi usr/iscsistart.c); -P overrides.
    ("node.session.initial_login_retry_max", "30"),
    ("node.conn[0].timeo.noop_out_interval", "0"),
    ("node.conn[0].timeo.noop_out_timeout", "0"),
    ("node.session.scan", "auto"),
)


class Boot(Protocol):
    """What to log in to; `params` are node record keys in the order they apply."""

    config_file: str
    initiator_name: str
    target_name: str
    address: str
    port: int
    tpgt: int
    username: str
    password: str
    username_in: str
    password_in: str
    params: list[tuple[str, str]]
    debug: int


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"iscsistart: {self.format(record)}\n")


def boot_record(boot: Boot) -> Record:
    """The node record of this login: built-in defaults, the command line, -P.

    Raises InvalidArgument.
    """
    record = Record(NODE)
    identity = (
        ("node.name", boot.target_name),
        ("node.tpgt", str(boot.tpgt)),
        ("node.conn[0].address", boot.address),
        ("node.conn[0].port", str(boot.port)),
        ("node.startup", "onboot"),
        ("node.session.auth.username", boot.username),
        ("node.session.auth.password", boot.password),
        ("node.session.auth.username_in", boot.username_in),
        ("node.session.auth.password_in", boot.password_in),
        ("iface.initiatorname", boot.initiator_name),
    )
    for key, value in (*identity, *_FORCED, *boot.params):
        record.set(key, value)
    return record


def run(boot: Boot, env: Env) -> int:
    """Log in and report; 0, or 1 whatever went wrong."""
    log = logging.getLogger(NAME)
    log.setLevel(threshold(boot.debug))
    handler = _Stderr()
    log.addHandler(handler)
    log.info("version %s", INTERFACE_VERSION)
    print(
        f"iscsistart: Logging into {boot.target_name} {boot.address}:{boot.port},{boot.tpgt}",
        flush=True,
    )
    try:
        asyncio.run(_log_in(boot, env))
    except PyIscsiError as error:
        code = error.exit_code
        log.error("initiator reported error (%d - %s)", code, error_text(code))
        return 1
    finally:
        log.removeHandler(handler)
    return 0


async def _log_in(boot: Boot, env: Env) -> None:
    settings = Settings(
        boot.config_file,
        env.initiatorname_file,
        initiator_name=boot.initiator_name,
        initiator_alias=os.uname().nodename,
    )
    kernel = Kernel(env)
    await kernel.open()
    registry = Registry(kernel, env, settings)
    try:
        await registry.login(boot_record(boot))
    finally:
        await registry.close()
        await kernel.close()
