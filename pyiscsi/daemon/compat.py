"""What open-iscsi's clients ask for, answered by the request table of the native socket."""

from __future__ import annotations

import asyncio
import pwd
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyiscsi.daemon.requests import STATISTICS_TIMEOUT_S, Requests
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, PyIscsiError, SessionNotFound
from pyiscsi.ipc import compat_socket
from pyiscsi.ipc.messages import Message


def claim(
    env: Env, environ: Mapping[str, str], passed: Iterable[tuple[str, socket.socket]]
) -> socket.socket | None:
    """The socket open-iscsi's clients look for, from systemd or our own; None: not wanted.

    Raises PyIscsiError when another daemon has it, which is the machine's iscsid then.
    """
    name = compat_socket.name_for(env, environ)
    if not name:
        return None
    return compat_socket.choose(passed, name) or compat_socket.bind(name)


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
