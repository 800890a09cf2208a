"""All sessions of the daemon: who may log in, who is logged in, who is found at the start."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from pyiscsi.daemon import adopt, parameters
from pyiscsi.daemon.adopt import Found
from pyiscsi.daemon.endpoints import EndpointNotes, take_over
from pyiscsi.daemon.full_feature import exists, is_healthy
from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.daemon.login_driver import Network, Plan, Surroundings
from pyiscsi.daemon.messages import SessionLog
from pyiscsi.daemon.parameters import Initiator
from pyiscsi.daemon.places import Places
from pyiscsi.daemon.scan import Scanner
from pyiscsi.daemon.session import Session
from pyiscsi.daemon.settings import Settings
from pyiscsi.daemon.waits import in_thread
from pyiscsi.daemon.watch import Pauses, Watch
from pyiscsi.env import Env
from pyiscsi.errors import (
    ExitCode,
    LoginFailed,
    PyIscsiError,
    SessionExists,
    SessionNotFound,
    TransportError,
)
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.records.record import Record
from pyiscsi.sysfs import sessions as sysfs_sessions
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport import tcp
from pyiscsi.transport.base import Statistics, Transport

log = logging.getLogger("iscsid")

SYSFS_TIMEOUT_S = 30.0
_ADOPT_TOGETHER = 20
"""Sessions read by one thread: a thread for each costs more than the reading."""
_ADOPT_TOGETHER_S = 3.0
"""Files of a session in sysfs may hang: then each of those read with it gets its own thread."""


class Kernel(Protocol):
    """What the registry needs of transport.kernel.Kernel."""

    async def transport(self, name: str) -> Transport: ...


class Registry:
    """One actor for each session. Everything here runs on one event loop."""

    def __init__(
        self,
        kernel: Kernel,
        env: Env,
        settings: Settings,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
        network: Network = tcp,
    ) -> None:
        self._kernel = kernel
        self._env = env
        self._settings = settings
        tree = SysfsTree(env.sysfs_root)
        notes = EndpointNotes.of(env, tree)
        self._around = Surroundings(tree, network, random_bytes, Places(), endpoints=notes)
        self._scanner = Scanner(self._around.tree)
        self._sessions: list[Session] = []
        self._admitting: list[NodeKey] = []
        self._is_closed = False
        self._watch = Watch()
        self._pauses: dict[int, Pauses] = {}
        """By session, of actors that died of a bug."""

    # Login.

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]:
        """Log in; returns (sid, host number) once its disks were looked for.

        A session for the same target, portal and iface, or a login on its way to one, is
        SessionExists (15) unless `multiple`. Raises the PyIscsiError the login ended with.
        Cancelling the caller does not cancel the login.
        """
        key = record.node_key()
        earlier = [session.key for session in self._sessions] + self._admitting
        if not multiple and any(_is_same(key, other) for other in earlier):
            raise SessionExists
        self._admitting.append(key)
        try:
            if not multiple:
                await self._refuse_existing(key, record["iface.transport_name"], earlier)
            session = await self._make_session(record)
        finally:
            self._admitting.remove(key)
        self._add(session)
        return await session.log_in()

    async def _refuse_existing(
        self, key: NodeKey, transport_name: str, earlier: Sequence[NodeKey]
    ) -> None:
        """Compare with sessions that are not ours, and with ours whose portal may be the same.

        In a thread, because names are resolved. Mostly there is nothing to compare with, and the
        login goes on at once: so logins get their sessions in the order they were asked for.
        """
        tree = self._around.tree
        ours = {session.sid for session in self._sessions}
        foreign = [sid for sid in sysfs_sessions.session_ids(tree) if sid not in ours]
        spellings = [other.address for other in earlier if _may_be_same(key, other)]
        if not foreign and not spellings:
            return

        def is_there() -> bool:
            found = (sysfs_sessions.Session(tree, sid) for sid in foreign)
            return any(
                sysfs_sessions.is_same_address(spelling, key.address) for spelling in spellings
            ) or any(sysfs_sessions.uses(one, key, transport_name) for one in found)

        try:
            if await in_thread(is_there, SYSFS_TIMEOUT_S):
                raise SessionExists
        except TimeoutError:
            log.warning("could not tell whether %s has a session: no answer in time", key.target)

    async def _make_session(self, record: Record) -> Session:
        transport = await self._kernel.transport(record["iface.transport_name"])
        name = record["iface.initiatorname"] or self._settings.initiator_name
        if not name:
            raise LoginFailed("no initiator name is set", ExitCode.LOGIN)
        initiator = Initiator(name, self._settings.initiator_alias)
        return self._new_actor(record, initiator, KernelSession(transport))

    def _new_actor(self, record: Record, initiator: Initiator, kernel: KernelSession) -> Session:
        transport = kernel.transport
        prepared, corrections = parameters.prepare(record, transport.name, transport.caps)
        for line in corrections:
            log.error("%s", line)
        plan = Plan(record, prepared, initiator)
        return Session(self._around, self._scanner, plan, kernel, self._forget)

    def _add(self, session: Session) -> None:
        """Nothing new begins once `close` has: its kernel objects would be left behind."""
        if self._is_closed:
            raise LoginFailed("iscsid is shutting down", ExitCode.LOGIN)
        self._sessions.append(session)

    def _forget(self, session: Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        if session.is_broken and session.sid >= 0:
            pauses = self._pauses.setdefault(session.sid, Pauses())
            pause_s = pauses.after(asyncio.get_running_loop().time())
            log.error("session%d: begun again in %g s", session.sid, pause_s)
            again = functools.partial(self._succeed, session, pause_s)
            self._watch.keep(f"session{session.sid}", again)

    async def _succeed(self, broken: Session, pause_s: float) -> None:
        """A new actor in place of one that a bug has ended; the session is still in the kernel."""
        sid = broken.sid
        await asyncio.sleep(pause_s)
        if exists(self._around.tree, sid) and self._find(sid) is None and not self._is_closed:
            self._look_after(broken.successor(), sid)

    # Logout and questions.

    async def logout(self, sid: int) -> None:
        """End a session, ours or one that is ours to take over.

        SessionNotFound (2), Busy (28, iscsid.safe_logout), LogoutFailed (9).
        """
        session = self._find(sid)
        if session is None:
            await self._adopt_one(sid)
            session = self._get(sid)
        await session.log_out(safely=self._settings.safe_logout, proc_root=self._env.proc_root)

    async def give_up_logins(self, pattern: Pattern) -> list[NodeKey]:
        """End first logins of which the kernel knows nothing yet: nobody can log them out."""
        found = [one for one in self._sessions if one.sid < 0 and pattern.selects(one.key)]
        ends = (session.log_out() for session in found)
        errors = await asyncio.gather(*ends, return_exceptions=True)
        return [one.key for one, error in zip(found, errors, strict=True) if error is None]

    async def stats(self, sid: int) -> Statistics:
        """Counters of a session's connection. SessionNotFound (2), TransportError."""
        return await self._get(sid).statistics()

    def states(self, sids: Sequence[int] | None) -> dict[int, tuple[str, str]]:
        """(connection state, daemon's stage) in iscsiadm's words; sids not known are left out."""
        known = {session.sid: session.words() for session in self._sessions if session.sid >= 0}
        if sids is None:
            return known
        return {sid: known[sid] for sid in sids if sid in known}

    def _find(self, sid: int) -> Session | None:
        return next((one for one in self._sessions if one.sid == sid >= 0), None)

    def _get(self, sid: int) -> Session:
        session = self._find(sid)
        if session is None:
            raise SessionNotFound
        return session

    # Sessions that are there already, and the end.

    async def adopt(self) -> None:
        """Take over the kernel's sessions; returns when all are watched or being recovered."""
        sids = sysfs_sessions.session_ids(self._around.tree)
        alone: list[asyncio.Task[None]] = []
        for start in range(0, len(sids), _ADOPT_TOGETHER):
            together = sids[start : start + _ADOPT_TOGETHER]
            try:
                await self._adopt(together, _ADOPT_TOGETHER_S)
            except (PyIscsiError, TimeoutError):
                alone += [asyncio.create_task(self._try_to_adopt(sid)) for sid in together]
        await asyncio.gather(*alone)

    async def _try_to_adopt(self, sid: int) -> None:
        try:
            await self._adopt_one(sid)
        except PyIscsiError as error:
            log.error("session%d: not taken over: %s", sid, error)

    async def _adopt_one(self, sid: int) -> None:
        try:
            await self._adopt([sid], SYSFS_TIMEOUT_S)
        except TimeoutError:
            raise TransportError(f"sysfs of session {sid} could not be read in time") from None

    async def _adopt(self, sids: Sequence[int], timeout_s: float) -> None:
        """Those that are gone or not ours are left out, and so are those that we have already."""
        args = self._env, self._settings.config_file, self._around.tree
        found = await in_thread(lambda: [adopt.find(*args, sid) for sid in sids], timeout_s)
        ours = [one for one in found if one is not None]
        transports = {
            name: await self._kernel.transport(name)
            for name in {one.transport_name for one in ours}
        }
        for one in ours:
            if self._find(one.sid) is None and not self._is_closed:
                self._take_over(one, transports[one.transport_name])

    def _take_over(self, found: Found, transport: Transport) -> None:
        """Listen first, then look: a failure between the two must not get lost."""
        kernel = take_over(self._around.endpoints, transport, found.sid, found.host_no)
        initiator = Initiator(found.initiator_name, self._settings.initiator_alias)
        self._look_after(self._new_actor(found.record, initiator, kernel), found.sid)

    def _look_after(self, session: Session, sid: int) -> None:
        self._sessions.append(session)
        healthy = is_healthy(self._around.tree, sid)
        words = "in use, left alone" if healthy else "failed, reconnecting"
        SessionLog(session.key).info("session%d: taken over (%s)", sid, words)
        session.adopt(healthy=healthy)

    async def close(self) -> None:
        """Stop all work. Sessions stay in the kernel; logins that were not done are undone."""
        self._is_closed = True
        await self._watch.close()
        await asyncio.gather(*(session.detach() for session in [*self._sessions]))
        self._around.addresses.close()


def _is_same(one: NodeKey, other: NodeKey) -> bool:
    """Same session by name: the portal group does not count (usr/iscsi_util.c)."""
    return (one.target, one.address, one.port, one.iface) == (
        other.target, other.address, other.port, other.iface,
    )  # fmt: skip


def _may_be_same(one: NodeKey, other: NodeKey) -> bool:
    """Same session, as far as can be told without resolving names or reading IPv6 spellings."""
    spellings = (one.address, other.address)
    settled = all("." in each and sysfs_sessions.is_numeric_address(each) for each in spellings)
    same = (one.target, one.port, one.iface) == (other.target, other.port, other.iface)
    return same and not settled
