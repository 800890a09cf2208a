"""discoveryd: discovery records with `use_discoveryd = Yes` are asked again and again.

iSNS servers also tell when to ask (isns_watch.py).

New portals are logged in to. Of those that vanish, the sessions that discoveryd itself logged in
to are logged out (open-iscsi's takes any session for its own, usr/discoveryd.c). Node records are
used where they exist and not written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pyiscsi.daemon.discover import Discovery, Job
from pyiscsi.daemon.isns_watch import IsnsWatch
from pyiscsi.daemon.runstate import RunState
from pyiscsi.daemon.settings import Settings
from pyiscsi.daemon.waits import in_thread, stop_tasks
from pyiscsi.discovery.isns import IsnsServer
from pyiscsi.env import Env
from pyiscsi.errors import (
    IsnsError,
    PyIscsiError,
    RecordError,
    SessionExists,
    SessionNotFound,
)
from pyiscsi.names import NodeKey
from pyiscsi.proto.isns import Status
from pyiscsi.records.config import Config
from pyiscsi.records.discovery import DiscoveryStore, source_for
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.merge import new_node_record
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import ISNS, NODE, SENDTARGETS, Kind
from pyiscsi.sysfs.sessions import Session as SysfsSession
from pyiscsi.sysfs.tree import SysfsTree

_log = logging.getLogger("iscsid")

LOOK_EVERY_S = 10.0
"""How soon a record that is polled is polled otherwise, or no more, once it was changed."""
DEFAULT_INTERVAL_S = 30
_FILES_TIMEOUT_S = 30.0
_TITLES = {ISNS: "iSNS discovery", SENDTARGETS: "SendTargets"}

Place = tuple[Kind, str, int]
"""Kind, address and port of a discovery record."""
Stamps = dict[Place, tuple[int, ...] | None]
"""Tell a record that was written anew from what it was."""


class Sessions(Protocol):
    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]: ...

    async def logout(self, sid: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Around:
    """What all pollers share."""

    env: Env
    settings: Settings
    discovery: Discovery
    sessions: Sessions
    state: RunState


class Discoveryd:
    """One poller for each record that asks for it."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._pollers: dict[Place, Poller] = {}
        self._look = asyncio.Event()
        self._stamps: Stamps = {}
        """Of the polled records, as they were read."""

    def look_again(self) -> None:
        """Read the discovery records now: settings were reloaded."""
        self._look.set()

    async def run(self) -> None:
        """Follow the records until cancelled; pollers end with it, their sessions stay."""
        await in_thread(self._forget_the_gone, _FILES_TIMEOUT_S)
        was_asked = True
        try:
            while True:
                try:
                    if was_asked or await self._is_due():
                        wanted, stamps = await in_thread(self._wanted, _FILES_TIMEOUT_S)
                        self._settle(wanted, begin=was_asked)
                        self._stamps = {place: stamps[place] for place in self._pollers}
                except (PyIscsiError, OSError, TimeoutError) as error:
                    _log.error("discovery records could not be read: %s", error)
                was_asked = await self._wait()
        finally:
            await stop_tasks(*(poller.task for poller in self._pollers.values()))

    def _forget_the_gone(self) -> None:
        """Numbers of sessions begin anew with the kernel's module: the target must fit as well."""
        tree, state = SysfsTree(self._around.env.sysfs_root), self._around.state
        for sid, (_, key) in [*state.owned.items()]:
            if SysfsSession(tree, sid).target != key.target:
                state.disown(sid)

    async def _wait(self) -> bool:
        """Until it is time to look; whether somebody asked for it."""
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._look.wait()
        except TimeoutError:
            return False
        self._look.clear()
        return True

    async def _is_due(self) -> bool:
        """Whether a polled record has changed, or its poller has died.

        Opens no file: they may be on the very disk that the daemon is bringing back.
        """
        if any(poller.is_broken for poller in self._pollers.values()):
            return True
        if not self._pollers:
            return False
        return await in_thread(self._new_stamps, _FILES_TIMEOUT_S) != self._stamps

    def _new_stamps(self) -> Stamps:
        store = DiscoveryStore(self._around.env)
        return {place: store.stamp(*place) for place in self._stamps}

    def _wanted(self) -> tuple[dict[Place, Record], Stamps]:
        """The records that ask for it, with their stamps; those of iSNS servers first."""
        store = DiscoveryStore(self._around.env)
        found: dict[Place, Record] = {}
        stamps: Stamps = {}
        places = [(kind, *where) for kind in _TITLES for where in store.addresses(kind)]
        for place in places:
            stamps[place] = store.stamp(*place)
            record = store.read(*place)
            if record is not None and record.get_bool(f"{_prefix(place[0])}use_discoveryd"):
                found[place] = record
        return found, stamps

    def _settle(self, wanted: Mapping[Place, Record], *, begin: bool) -> None:
        """End, change and (where `begin`) start pollers.

        Polling begins when the daemon starts or is told to reload, as scripts know it from
        open-iscsi: switching it on in a record does not log in to anything at once.
        """
        for place, poller in [*self._pollers.items()]:
            record = wanted.get(place)
            changed = record is None or record.values != poller.record.values
            if poller.is_broken:
                _log.error("polling of %s,%d had ended, starting it again", *place[1:])
            if changed or poller.is_broken:
                poller.task.cancel()
                del self._pollers[place]
                if record is not None:
                    self._pollers[place] = Poller(self._around, *place, record, poller.task)
        for place, record in wanted.items():
            if begin and place not in self._pollers:
                self._pollers[place] = Poller(self._around, *place, record)


class Poller:
    """Asks one discovery address, once per interval, an iSNS server when it tells of changes.

    Begins when `before`, the task of the poller it replaces, has ended.
    """

    def __init__(
        self,
        around: Around,
        kind: Kind,
        address: str,
        port: int,
        record: Record,
        before: asyncio.Task[None] | None = None,
    ) -> None:
        self.record = record
        self._around = around
        self._source = source_for(kind, address, port)
        self._name = f"isns {address},{port}" if kind is ISNS else f"{address},{port}"
        self._watch: IsnsWatch | None = None
        self._logins: dict[NodeKey, asyncio.Task[None]] = {}
        self._failing = False
        self.task = asyncio.create_task(self._run(before))
        self.task.add_done_callback(_report_bug)

    def _initiator_names(self) -> tuple[str, ...]:
        """The name of this machine, then those of ifaces."""
        ifaces = IfaceStore(self._around.env).for_discovery()
        names = [self._around.settings.initiator_name]
        names += [iface["iface.initiatorname"] for iface in ifaces]
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def is_broken(self) -> bool:
        """Whether it was ended by an error nobody planned for, or by anybody but us."""
        task = self.task
        return task.done() and (task.cancelled() or task.exception() is not None)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait({before})
            kind = self.record.kind
            interval_s = self.record.get_int(f"{_prefix(kind)}discoveryd_poll_inval")
            if kind is ISNS and interval_s:
                await self._follow(interval_s)
            else:
                await self._poll(interval_s)
        finally:
            await stop_tasks(*self._logins.values())

    async def _poll(self, interval_s: int) -> None:
        while True:
            await self._cycle()
            if interval_s == 0:
                await asyncio.gather(*self._logins.values())
                return
            await asyncio.sleep(interval_s if interval_s > 0 else DEFAULT_INTERVAL_S)

    async def _follow(self, interval_s: int) -> None:
        async def names() -> tuple[str, ...]:
            return await in_thread(self._initiator_names, _FILES_TIMEOUT_S)

        server = IsnsServer(self._source.address, self._source.port)
        self._watch = IsnsWatch(server, interval_s, names, self._cycle)
        await self._watch.run()

    async def _cycle(self) -> bool:
        """Ask, log in and out; whether there was an answer."""
        try:
            found, unreached = await self._ask()
        except PyIscsiError as error:
            level = logging.DEBUG if self._failing else logging.ERROR
            source = self._source
            _log.log(
                level, "Could not perform %s to %s:%d. (%s)",
                _TITLES[self.record.kind], source.address, source.port, error,
            )  # fmt: skip
            self._failing = True
            return False
        self._failing = False
        for key, iface in found.items():
            if key not in self._logins:
                self._begin(key, self._log_in(key, iface))
        for sid, key in self._mine():
            if key not in found and key.iface not in unreached and key not in self._logins:
                self._begin(key, self._log_out(sid, key))
        return True

    async def _ask(self) -> tuple[dict[NodeKey, Record], set[str]]:
        """Every portal of the answer with its iface record, and ifaces that got no answer."""
        job = Job(
            self._source.address, self._source.port, self.record, None,
            new=False, update=False, delete=False, persist=False,
        )  # fmt: skip
        bindings, _ = await self._around.discovery.ask(job)
        for each in bindings:
            each.answered |= _is_empty_answer(each.error)
        errors = [each.error for each in bindings if each.error and not each.answered]
        if errors and len(errors) == len(bindings):
            raise errors[0]
        found = {
            NodeKey(portal.target, portal.address, portal.port, portal.tpgt, each.name): each.iface
            for each in bindings
            for portal in each.portals
        }
        return found, {each.name for each in bindings if not each.answered}

    def _mine(self) -> list[tuple[int, NodeKey]]:
        owned = self._around.state.owned.items()
        return [(sid, key) for sid, (source, key) in owned if source == self._name]

    def _begin(self, key: NodeKey, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._logins[key] = task
        task.add_done_callback(lambda _: self._logins.pop(key, None))
        task.add_done_callback(_report_bug)

    async def _log_in(self, key: NodeKey, iface: Record) -> None:
        try:
            record = await in_thread(lambda: self._record(key, iface), _FILES_TIMEOUT_S)
            sid, _ = await self._around.sessions.login(record)
        except SessionExists:
            return
        except (PyIscsiError, TimeoutError) as error:
            _log.warning("discoveryd: login to %s at %s failed: %s", key.target, self._name, error)
            if self._watch is not None:
                self._watch.look_within(DEFAULT_INTERVAL_S)
            return
        self._around.state.own(sid, self._name, key)

    def _record(self, key: NodeKey, iface: Record) -> Record:
        """The stored node record, else what discovery would write."""
        env = self._around.env
        try:
            return NodeStore(env).read(key)
        except RecordError:
            defaults = Config(self._around.settings.config_file).defaults(NODE, env.record_format)
            place = key.target, key.address, key.port, key.tpgt
            return new_node_record(defaults, *place, iface, self._source)

    async def _log_out(self, sid: int, key: NodeKey) -> None:
        _log.info("session%d: %s has vanished from %s", sid, key.target, self._name)
        try:
            await self._around.sessions.logout(sid)
        except SessionNotFound:
            pass
        except PyIscsiError as error:
            _log.warning("session%d: not logged out: %s", sid, error)
            return
        self._around.state.disown(sid)


def _prefix(kind: Kind) -> str:
    """What names of a discovery record's own settings begin with."""
    return f"discovery.{kind.name.lower()}."


def _is_empty_answer(error: PyIscsiError | None) -> bool:
    """Whether an iSNS server says so that it has no targets for us."""
    return isinstance(error, IsnsError) and error.status == Status.NO_SUCH_ENTRY


def _report_bug(task: asyncio.Task[None]) -> None:
    """An error nobody planned for; the poller it ended starts anew at the next look."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("discoveryd failed", exc_info=task.exception())
