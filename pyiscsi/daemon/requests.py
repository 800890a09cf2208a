"""The request table: what each op of the native socket takes, does and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pyiscsi.daemon.settings import Settings
from pyiscsi.errors import InvalidArgument, PyIscsiError
from pyiscsi.ipc.messages import Message
from pyiscsi.ipc.server import Operation, Report
from pyiscsi.names import ANY_PORT, Pattern

if TYPE_CHECKING:
    from pyiscsi.names import NodeKey
    from pyiscsi.records.record import Record
    from pyiscsi.transport.base import Statistics

DISCOVERY_TIMEOUT_S = 3600.0
"""For a client that set none: longer than any sensible reopen_max needs, but an end."""

STATISTICS_TIMEOUT_S = 60.0
"""open-iscsi gives its own statistics requests as long."""


class Sessions(Protocol):
    """What requests need of daemon.registry.Registry."""

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]: ...

    async def logout(self, sid: int) -> None: ...

    async def give_up_logins(self, pattern: Pattern) -> list[NodeKey]: ...

    async def stats(self, sid: int) -> Statistics: ...

    def states(self, sids: Sequence[int] | None) -> dict[int, tuple[str, str]]: ...


class Requests:
    """Handlers of all ops.

    `discover`: carries a discovery out (daemon.discover). `stop`: begins the daemon's end and
    returns when everything but the answer is done. `keep_trying`: takes over an automatic login
    that failed.
    """

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        discover: Callable[[Message], Awaitable[Message]],
        stop: Callable[[], Awaitable[None]],
        keep_trying: Callable[[NodeKey, PyIscsiError], None] | None = None,
    ) -> None:
        self._keep_trying = keep_trying
        self._sessions = sessions
        self._settings = settings
        self._discover = discover
        self._stop = stop

    def table(self) -> dict[str, Operation]:
        return {
            "config": Operation(self.config),
            "discover": Operation(self.discover, timeout_s=DISCOVERY_TIMEOUT_S),
            "give_up_logins": Operation(self.give_up_logins),
            "login": Operation(self.login, outlives_client=True),
            "logout": Operation(self.logout, outlives_client=True),
            "ping": Operation(self.ping),
            "session_info": Operation(self.session_info),
            "stats": Operation(self.stats, timeout_s=STATISTICS_TIMEOUT_S),
            "stop": Operation(self.stop),
        }

    async def config(self, args: Message, report: Report) -> Message:
        return {
            "config_file": self._settings.config_file,
            "initiator_name": self._settings.initiator_name,
            "initiator_alias": self._settings.initiator_alias,
        }

    async def discover(self, args: Message, report: Report) -> Message:
        return await self._discover(args)

    async def login(self, args: Message, report: Report) -> Message:
        record = node_record(argument(args, "record", dict))
        multiple = argument(args, "multiple", bool, False)
        keep_trying = argument(args, "keep_trying", bool, False)
        try:
            sid, host = await self._sessions.login(record, multiple=multiple)
        except PyIscsiError as error:
            wanted = keep_trying and self._settings.retry_automatic_logins
            if wanted and self._keep_trying is not None:
                self._keep_trying(record.node_key(), error)
            raise
        return {"sid": sid, "host": host}

    async def logout(self, args: Message, report: Report) -> Message:
        await self._sessions.logout(argument(args, "sid", int))
        return {}

    async def give_up_logins(self, args: Message, report: Report) -> Message:
        pattern = Pattern(
            target=argument(args, "target", str, ""),
            address=argument(args, "address", str, ""),
            port=argument(args, "port", int, ANY_PORT),
            iface=argument(args, "iface", str, ""),
        )
        ended = await self._sessions.give_up_logins(pattern)
        return {"logins": [[*key.fields()] for key in ended]}

    async def ping(self, args: Message, report: Report) -> Message:
        """Asked by a client that waits for something else: whether we live."""
        return {}

    async def session_info(self, args: Message, report: Report) -> Message:
        sids = argument(args, "sids", list, None)
        if sids is not None and not all(type(sid) is int for sid in sids):
            raise InvalidArgument("sids must be a list of integers")
        states = self._sessions.states(sids)
        return {
            "sessions": {
                str(sid): {"connection": connection, "internal": internal}
                for sid, (connection, internal) in states.items()
            }
        }

    async def stats(self, args: Message, report: Report) -> Message:
        statistics = await self._sessions.stats(argument(args, "sid", int))
        return {"counters": statistics.counters, "custom": statistics.custom}

    async def stop(self, args: Message, report: Report) -> Message:
        await self._stop()
        return {}


_REQUIRED = object()


def argument(args: Message, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    """An argument of the given JSON type; null or absent gives the default.

    Raises InvalidArgument for another type, or when there is no default.
    """
    value = args.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if type(value) is not kind:
        raise InvalidArgument(f"argument {name} must be of type {kind.__name__}")
    return value


def text_map(name: str, value: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(text, str) for text in value.values()):
        raise InvalidArgument(f"argument {name} must map names to texts")
    return value


def node_record(values: dict[str, Any]) -> Record:
    """The node record a client sent. Raises InvalidArgument."""
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import NODE

    return Record.from_map(NODE, text_map("record", values))
