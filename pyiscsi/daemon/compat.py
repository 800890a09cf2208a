"""What open-iscsi's clients ask for, answered by the request table of the native socket."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyiscsi.daemon.requests import STATISTICS_TIMEOUT_S, Requests
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, PyIscsiError, SessionNotFound
from pyiscsi.ipc import compat_server, compat_socket
from pyiscsi.ipc.messages import Message

HOLDER_PATIENCE_S = 2.0
"""For another iscsid that has the name to listen, or to accept us."""
RETRY_S = 10.0
"""Between attempts to get a name that a user has taken."""

_log = logging.getLogger("iscsid")


async def claim(env: Env, passed: Iterable[tuple[str, socket.socket]]) -> socket.socket | None:
    """The socket open-iscsi's clients look for, from systemd or our own.

    None: not wanted, or taken by an ordinary user, which must not keep us from starting. Raises
    PyIscsiError when another daemon has it, which is the machine's iscsid then.
    """
    name = env.compat_socket
    if not name:
        return None
    given = compat_socket.choose(passed, name)
    if given is not None:
        return given
    try:
        return compat_socket.bind(name)
    except compat_socket.NameTaken:
        owner = await asyncio.to_thread(compat_socket.holder, name, HOLDER_PATIENCE_S)
        if _is_daemon(owner, env.proc_root):
            raise
    who = "process {} of user {}".format(*owner) if owner else "a process that does not answer"
    _log.error(
        "@%s is held by %s, which is no iscsid: open-iscsi's own programs cannot reach us until "
        "it is free; %s is served",
        *(name, who, env.socket_path),
    )
    return None


def _is_daemon(owner: tuple[int, int] | None, proc_root: str) -> bool:
    """Whether it is root, or who we are, that has the name."""
    if owner is None:
        return any(_is_iscsid(f"{proc_root}/{name}") for name in os.listdir(proc_root))
    return owner[1] in (0, os.geteuid())


def _is_iscsid(process: str) -> bool:
    """Whether a directory of /proc is another iscsid that can have the same abstract name."""
    pid = os.path.basename(process)
    # The process that started us waits until we are ready.
    if not pid.isdecimal() or int(pid) in (os.getpid(), os.getppid()):
        return False
    try:
        if os.stat(process).st_uid not in (0, os.geteuid()):
            return False
        with open(f"{process}/comm", encoding="utf-8", errors="replace") as file:
            if file.read().strip() != "iscsid":
                return False
        own = os.path.join(os.path.dirname(process), "self/ns/net")
        return os.readlink(f"{process}/ns/net") == os.readlink(own)
    except OSError:
        return False


async def serve_when_free(server: compat_server.Server, name: str) -> None:
    """Serve open-iscsi's clients once whoever has the name lets go of it."""
    while True:
        await asyncio.sleep(RETRY_S)
        try:
            listener = compat_socket.bind(name)
        except PyIscsiError:
            continue
        await server.start(listener)
        _log.info("@%s is free now, open-iscsi's own programs can reach us", name)
        return


class Peers:
    """Who may use open-iscsi's socket: root, and by iscsid.ipc_auth_uid = No whoever has that name.

    Only the latter are looked up, in a thread: name services may take their time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, uid: int) -> bool:
        if uid == 0 or self._settings.ipc_auth_uid:
            return uid == 0
        return await asyncio.to_thread(_name_of, uid) == "root"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@dataclass(frozen=True, slots=True)
class Statistics:
    """transport.base.Statistics, as it comes out of a reply."""

    counters: dict[str, int]
    custom: dict[str, int]


class CompatRequests:
    """ipc.compat_server.Handlers: both sockets do the same things by the same code."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def login(self, record: dict[str, str], *, multiple: bool) -> None:
        await self._requests.login({"record": record, "multiple": multiple}, _no_report)

    async def logout(self, sid: int) -> None:
        await self._requests.logout({"sid": sid}, _no_report)

    async def stats(self, sid: int) -> Statistics:
        """Raises PyIscsiError 33 when the kernel does not answer."""
        try:
            async with asyncio.timeout(STATISTICS_TIMEOUT_S):
                return Statistics(**await self._requests.stats({"sid": sid}, _no_report))
        except TimeoutError as error:
            raise PyIscsiError("no statistics in time", ExitCode.REQUEST_TIMED_OUT) from error

    async def states(self, sid: int) -> tuple[str, str]:
        """Raises SessionNotFound."""
        answer = await self._requests.session_info({"sids": [sid]}, _no_report)
        words = answer["sessions"].get(str(sid))
        if words is None:
            raise SessionNotFound
        return words["connection"], words["internal"]

    async def config_file(self) -> str:
        return str(await self._config("config_file"))

    async def initiator_name(self) -> str:
        return str(await self._config("initiator_name"))

    async def initiator_alias(self) -> str:
        return str(await self._config("initiator_alias"))

    async def stop(self) -> None:
        await self._requests.stop({}, _no_report)

    async def _config(self, name: str) -> Any:
        return (await self._requests.config({}, _no_report))[name]


def _no_report(progress: Message) -> None:
    """This protocol has no word for progress."""
