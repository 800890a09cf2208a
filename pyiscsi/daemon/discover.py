"""The `discover` request: SendTargets or iSNS once for each iface, then the node records.

Ifaces are asked at the same time; lines and results come out in the order of the ifaces.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pyiscsi.daemon.requests import argument, text_map
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import (
    DaemonError,
    ExitCode,
    InvalidArgument,
    NoObjectsFound,
    PyIscsiError,
    RecordError,
)
from pyiscsi.ipc.messages import Message

if TYPE_CHECKING:
    from pyiscsi.records.merge import Found
    from pyiscsi.records.record import Record
    from pyiscsi.transport.base import Transport

_log = logging.getLogger("iscsid")

_TOLERATED = (ExitCode.TRANSPORT, ExitCode.TRANSPORT_TIMEOUT)
"""One iface that cannot reach the portal does not stop the others (usr/discovery.c)."""

_NOT_STORED = "Could not add/update "
"""How records.merge begins the line about a portal whose record could not be written."""

_NO_IFACE = (
    "Could not read iface info for {name}. Make sure an iface config with the file name and "
    "iface.iscsi_ifacename {name} is in {folder}."
)


@dataclass(frozen=True, slots=True)
class Job:
    """One discovery as the client asked for it. `ifaces` None: bind as without -I."""

    address: str
    port: int
    record: Record
    ifaces: tuple[str, ...] | None
    new: bool
    update: bool
    delete: bool
    persist: bool

    @property
    def writes(self) -> bool:
        return self.persist and (self.new or self.update or self.delete)


@dataclass(frozen=True, slots=True)
class Portal:
    """One line of an answer: a target at an address of it."""

    target: str
    address: str
    port: int
    tpgt: int


@dataclass(slots=True)
class Binding:
    """An iface, and what came of asking through it."""

    iface: Record
    lines: list[str] = field(default_factory=list)
    portals: Sequence[Portal] = ()
    error: PyIscsiError | None = None
    answered: bool = False

    @property
    def name(self) -> str:
        return self.iface["iface.iscsi_ifacename"]


_NONE_ALLOWED = (
    "None of the {count} portals that {job.address} knows is in the list of allowed portals."
)

Explore = Callable[["Job", "Record", str, str, Callable[[str], None]], Awaitable[list[Portal]]]
"""(job, iface record, initiator name, alias, report) to portals; raises PyIscsiError."""


class Drivers(Protocol):
    async def transport(self, name: str) -> Transport: ...


class Discovery:
    """Carries `discover` requests out; any number at a time."""

    def __init__(
        self, env: Env, settings: Settings, kernel: Drivers, explore: Explore | None = None
    ) -> None:
        self._env = env
        self._settings = settings
        self._kernel = kernel
        self._explore = explore or _default_explore(env, kernel)

    async def __call__(self, args: Message) -> Message:
        """Raises DaemonError with the lines the user should see."""
        job = parse_job(args)
        bindings, lines = await self.ask(job)
        for binding in bindings:
            lines += binding.lines
            if binding.error is not None and not _is_tolerated(binding, job, bindings):
                raise DaemonError(str(binding.error), binding.error.exit_code, tuple(lines))
        if all(isinstance(binding.error, NoObjectsFound) for binding in bindings):
            raise DaemonError("", NoObjectsFound.exit_code, tuple(lines))
        # An empty answer deletes nothing, as in the original.
        if job.writes and any(binding.portals for binding in bindings):
            lines += await asyncio.to_thread(self._store, job, bindings)
        if any(line.startswith(_NOT_STORED) for line in lines):
            raise DaemonError("", ExitCode.DATABASE, tuple(lines))
        return {"found": [entry for each in bindings for entry in _entries(each)],
                "messages": lines}  # fmt: skip

    async def ask(self, job: Job) -> tuple[list[Binding], list[str]]:
        """One question for each iface, with its answer or error; and lines about unusable ifaces.

        Nothing is written. Raises DaemonError (21) when there is no iface to ask through.
        """
        bindings, lines = await asyncio.to_thread(self._bind, job)
        bindings, dropped = await self._drop_without_driver(bindings)
        lines += dropped
        if not bindings:
            raise DaemonError("", NoObjectsFound.exit_code, tuple(lines))
        await self._explore_all(job, bindings)
        return bindings, lines

    def _bind(self, job: Job) -> tuple[list[Binding], list[str]]:
        from pyiscsi.records.ifaces import IfaceStore

        store = IfaceStore(self._env)
        lines: list[str] = []
        if job.ifaces is None:
            records = store.for_discovery()
            lines += store.problems
        else:
            records = []
            for name in job.ifaces:
                try:
                    records.append(store.read(name))
                except (RecordError, InvalidArgument):
                    folder = os.path.join(self._env.db_root, "ifaces")
                    lines.append(_NO_IFACE.format(name=name, folder=folder))
        return [Binding(record) for record in records], lines

    async def _drop_without_driver(
        self, bindings: list[Binding]
    ) -> tuple[list[Binding], list[str]]:
        kept, lines = [], []
        for binding in bindings:
            transport = binding.iface["iface.transport_name"]
            try:
                if transport != "tcp":  # its discovery needs no driver
                    await self._kernel.transport(transport)
            except PyIscsiError:
                lines.append(
                    f"Could not load transport {transport}.Dropping interface {binding.name}."
                )
            else:
                kept.append(binding)
        return kept, lines

    async def _explore_all(self, job: Job, bindings: list[Binding]) -> None:
        """Fill the bindings. The first error that is not tolerated ends the others' work."""
        tasks = [asyncio.create_task(self._explore_one(job, each)) for each in bindings]
        try:
            pending = set(tasks)
            while pending:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if any(b.error and not _is_tolerated(b, job, bindings) for b in bindings):
                    break
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _explore_one(self, job: Job, binding: Binding) -> None:
        name = binding.iface["iface.initiatorname"] or self._settings.initiator_name
        try:
            if not name:
                raise InvalidArgument("Cannot perform discovery. Invalid Initiatorname.")
            alias = self._settings.initiator_alias
            is_allowed = allowed_portals(job.record)
            portals = await self._explore(job, binding.iface, name, alias, binding.lines.append)
            binding.portals = [each for each in portals if is_allowed(each.address, each.port)]
            if portals and not binding.portals:
                binding.lines.append(_NONE_ALLOWED.format(job=job, count=len(portals)))
            binding.answered = True
        except InvalidArgument as error:
            binding.lines.append(str(error))
            binding.error = error
        except PyIscsiError as error:
            binding.error = error

    def _store(self, job: Job, bindings: Sequence[Binding]) -> list[str]:
        """Write the node records; runs in a thread. Raises RecordError."""
        from pyiscsi.records.config import Config
        from pyiscsi.records.discovery import source_for
        from pyiscsi.records.merge import apply_discovery
        from pyiscsi.records.schema import NODE
        from pyiscsi.sysfs.sessions import is_in_use, is_same_address
        from pyiscsi.sysfs.tree import SysfsTree

        config = Config(self._settings.config_file)
        tree = SysfsTree(self._env.sysfs_root)
        lines = apply_discovery(
            self._env,
            source_for(job.record.kind, job.address, job.port),
            [found for binding in bindings for found in _found(binding)],
            new=job.new,
            update=job.update,
            delete=job.delete,
            defaults=config.defaults(NODE, self._env.record_format),
            iface_records={binding.name: binding.iface for binding in bindings},
            in_use=lambda key: is_in_use(tree, key),
            is_same_address=is_same_address,
        )
        for line in config.problems:
            _log.warning("%s", line)
        return lines


def _default_explore(env: Env, kernel: Drivers) -> Explore:
    import functools

    from pyiscsi.daemon.explore import explore
    from pyiscsi.sysfs.tree import SysfsTree

    return functools.partial(explore, kernel, SysfsTree(env.sysfs_root))


def allowed_portals(record: Record) -> Callable[[str, int], bool]:
    """Whether (address, port) is wanted, as the record says. Raises InvalidArgument."""
    from pyiscsi.discovery.allowed import AllowedPortals

    name = "isns" if record.kind.name == "ISNS" else "sendtargets"
    return AllowedPortals(record[f"discovery.{name}.allowed_portals"]).allows


def _is_tolerated(binding: Binding, job: Job, bindings: Sequence[Binding]) -> bool:
    """Without a named or configured iface there is only `default`, and its error is the result.

    NoObjectsFound: an adapter keeps what it found to itself.
    """
    if isinstance(binding.error, NoObjectsFound):
        return True
    alone = job.ifaces is None and len(bindings) == 1 and binding.name == "default"
    return not alone and binding.error is not None and binding.error.exit_code in _TOLERATED


def _found(binding: Binding) -> list[Found]:
    from pyiscsi.records.merge import Found

    return [
        Found(each.target, each.address, each.port, each.tpgt, binding.name)
        for each in binding.portals
    ]


def _entries(binding: Binding) -> list[Message]:
    return [
        {
            "target": each.target,
            "address": each.address,
            "port": each.port,
            "tpgt": each.tpgt,
            "iface": binding.name,
        }
        for each in binding.portals
    ]


def parse_job(args: Message) -> Job:
    """Raises InvalidArgument, or PyIscsiError for a kind of discovery we do not do."""
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import ISNS, SENDTARGETS

    kind = {"sendtargets": SENDTARGETS, "isns": ISNS}.get(argument(args, "type", str))
    if kind is None:
        raise PyIscsiError(exit_code=ExitCode.UNKNOWN_DISCOVERY_TYPE)
    port = argument(args, "port", int)
    if not 0 < port < 65536:
        raise InvalidArgument(f"invalid port {port}")
    ifaces = argument(args, "ifaces", list, None)
    if ifaces is not None and not all(isinstance(name, str) for name in ifaces):
        raise InvalidArgument("argument ifaces must be a list of names")
    values = text_map("record", argument(args, "record", dict, {}))
    flags = {name: argument(args, name, bool, False) for name in _FLAGS}
    return Job(
        address=argument(args, "address", str),
        port=port,
        record=Record.from_map(kind, values),
        ifaces=None if ifaces is None else tuple(ifaces),
        **flags,
    )


_FLAGS = ("new", "update", "delete", "persist")
