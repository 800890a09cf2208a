"""iscsistart: log in with the daemon's own parts, in this process, and leave.

The sessions stay in the kernel; an iscsid that starts later takes them over as they are.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol

from pyiscsi import INTERFACE_VERSION
from pyiscsi.daemon.logsetup import NAME, threshold
from pyiscsi.daemon.registry import Registry
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, PyIscsiError, error_text
from pyiscsi.firmware import node
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.names import DEFAULT_IFACE
from pyiscsi.records.config import Config, read_scalar
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, NODE
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.kernel import Kernel

log = logging.getLogger(NAME)

OTHER_PATHS_S = 10.0
"""How much longer the other targets get once one has a session: enough for any that answers."""

_OTHERS_OF = {
    # what -P changes: settings that would then belong to another device
    "iface.net_ifacename": ("iface.hwaddress",),
    "iface.hwaddress": ("iface.net_ifacename",),
}
_TRANSPORT = "iface.transport_name"


class Boot(Protocol):
    """What to log in to: `entries` of the firmware, or the one target of the command line.

    `params` are node record keys in the order they apply.
    """

    config_file: str
    entries: list[BootEntry]
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


def boot_records(boot: Boot, tree: SysfsTree, problems: list[str]) -> list[Record]:
    """The node records of this run. Lines about the firmware and the settings go to `problems`.

    Raises InvalidArgument.
    """
    if boot.entries:
        defaults = Config(boot.config_file).defaults(NODE)
        records = [node.login_record(defaults, one, tree, problems) for one in boot.entries]
    else:
        records = [_record_of_line(boot)]
    for record in records:
        _apply(boot.params, record)
    return node.without_repeats(records)


def _record_of_line(boot: Boot) -> Record:
    """Built-in defaults and the command line."""
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
    for key, value in (*identity, *node.FORCED):
        record.set(key, value)
    return record


def _apply(params: Sequence[tuple[str, str]], record: Record) -> None:
    """-P. What it binds to takes the place of what the firmware binds to."""
    names = {name for name, _ in params}
    if _TRANSPORT in names:
        record.values |= Record(IFACE, {"iface.iscsi_ifacename": DEFAULT_IFACE}).values
    for name in names:
        for other in _OTHERS_OF.get(name, ()):
            record.values[other] = ""
    for name, value in params:
        record.set(name, value)


def run(boot: Boot, env: Env) -> int:
    """Log in and report; 0 once a target has a new session, 1 whatever went wrong.

    SIGINT is ignored: a key pressed on the console must not cost the root disk. SIGTERM undoes the
    logins that are under way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.setLevel(threshold(boot.debug))
    handler = _Stderr()
    log.addHandler(handler)
    try:
        log.info("version %s", INTERFACE_VERSION)
        problems: list[str] = []
        records = boot_records(boot, SysfsTree(env.sysfs_root), problems)
        for line in problems:
            log.warning("%s", line)
        for record in records:
            key = record.node_key()
            where = f"{key.address}:{key.port},{key.tpgt}"
            print(f"iscsistart: Logging into {key.target} {where}", flush=True)
        return asyncio.run(_log_in(boot, env, records))
    except PyIscsiError as error:
        _report(error)
        return 1
    except asyncio.CancelledError:
        log.error("terminated")
        return 1
    finally:
        log.removeHandler(handler)


def _report(error: PyIscsiError) -> None:
    code = error.exit_code
    log.error("initiator reported error (%d - %s)", code, error_text(code))


def _initiator_name(boot: Boot, env: Env) -> str:
    return boot.initiator_name or read_scalar(env.initiatorname_file, "InitiatorName")[0] or ""


async def _log_in(boot: Boot, env: Env, records: Sequence[Record]) -> int:
    settings = Settings(
        boot.config_file,
        env.initiatorname_file,
        initiator_name=_initiator_name(boot, env),
        initiator_alias=os.uname().nodename,
    )
    myself = asyncio.current_task()
    assert myself is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, myself.cancel)
    kernel = Kernel(env)
    await kernel.open()
    registry = Registry(kernel, env, settings)
    try:
        return await _log_in_to_all(registry, records)
    finally:
        await registry.close()
        await kernel.close()


async def _log_in_to_all(registry: Registry, records: Sequence[Record]) -> int:
    """All at the same time. The first session is enough: after it the rest has OTHER_PATHS_S."""
    logins = {asyncio.create_task(registry.login(record)): record for record in records}
    pending = {*logins}
    now = asyncio.get_running_loop().time
    until: float | None = None
    while pending:
        limit_s = None if until is None else max(0.0, until - now())
        done, pending = await asyncio.wait(
            pending, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
        for task in done:
            error = task.exception()
            if error is None:
                until = until or now() + OTHER_PATHS_S
            elif isinstance(error, PyIscsiError):
                _report_path(logins[task], error, is_alone=len(records) == 1)
            else:
                raise error
    for task in pending:
        task.cancel()
        _report_path(logins[task], _given_up(), is_alone=False)
    return 1 if until is None else 0


def _given_up() -> PyIscsiError:
    return PyIscsiError(exit_code=ExitCode.TRANSPORT_TIMEOUT)


def _report_path(record: Record, error: PyIscsiError, *, is_alone: bool) -> None:
    if not is_alone:
        key = record.node_key()
        log.error("Could not log in to %s %s:%d.", key.target, key.address, key.port)
    _report(error)
