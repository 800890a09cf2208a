from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from pyiscsi.daemon.requests import Requests
from pyiscsi.daemon.settings import Settings
from pyiscsi.errors import InvalidArgument, SessionNotFound
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.transport.base import Statistics


class Sessions:
    """A registry with one session, sid 3."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]:
        self.calls.append((record["node.name"], record["node.session.queue_depth"], multiple))
        return 3, 7

    async def logout(self, sid: int) -> None:
        if sid != 3:
            raise SessionNotFound
        self.calls.append((sid,))

    async def give_up_logins(self, pattern: Pattern) -> list[NodeKey]:
        self.calls.append((pattern.target, pattern.address, pattern.port, pattern.iface))
        return [NodeKey("iqn.a:1", "192.0.2.1", 3260, 1, "default")]

    async def stats(self, sid: int) -> Statistics:
        return Statistics({"txdata_octets": 1, "rxdata_octets": 2}, {"eh_abort_cnt": 0})

    def states(self, sids: Sequence[int] | None) -> dict[int, tuple[str, str]]:
        known = {3: ("LOGGED IN", "NO CHANGE")}
        return {sid: words for sid, words in known.items() if sids is None or sid in sids}


class Fixture:
    def __init__(self) -> None:
        self.sessions = Sessions()
        self.settings = Settings("/c/iscsid.conf", "/c/name", "iqn.a:me", "box")
        self.stopped = 0
        self.table = Requests(self.sessions, self.settings, self.discover, self.stop).table()

    async def discover(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"found": [args["address"]]}

    async def stop(self) -> None:
        self.stopped += 1

    def ask(self, op: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        async def body() -> dict[str, Any]:
            return await self.table[op].run(args or {}, lambda _: None)

        return asyncio.run(body())


@pytest.fixture
def daemon() -> Fixture:
    return Fixture()


def test_the_ops_are_those_of_the_protocol(daemon: Fixture) -> None:
    assert set(daemon.table) == {
        "config", "discover", "give_up_logins", "login", "logout", "ping", "session_info", "stats",
        "stop",
    }  # fmt: skip
    outliving = {op for op, row in daemon.table.items() if row.outlives_client}
    assert outliving == {"login", "logout"}


def test_config_gives_the_values_in_use(daemon: Fixture) -> None:
    """D-010: an empty name is an answer, not an error."""
    expected = {
        "config_file": "/c/iscsid.conf",
        "initiator_name": "iqn.a:me",
        "initiator_alias": "box",
    }
    assert daemon.ask("config") == expected
    daemon.settings.initiator_name = ""
    assert daemon.ask("config") == expected | {"initiator_name": ""}


def test_login_hands_the_record_over(daemon: Fixture) -> None:
    record = Record(NODE)
    record.set("node.name", "iqn.2000-01.example:disk")
    record.set("node.session.queue_depth", "5")
    answer = daemon.ask("login", {"record": record.to_map(), "multiple": True})
    assert answer == {"sid": 3, "host": 7}
    daemon.ask("login", {"record": record.to_map()})
    name = "iqn.2000-01.example:disk"
    assert daemon.sessions.calls == [(name, "5", True), (name, "5", False)]


def test_logout(daemon: Fixture) -> None:
    assert daemon.ask("logout", {"sid": 3}) == {}
    with pytest.raises(SessionNotFound):
        daemon.ask("logout", {"sid": 4})


def test_give_up_logins(daemon: Fixture) -> None:
    key = ["iqn.a:1", "192.0.2.1", 3260, 1, "default"]
    assert daemon.ask("give_up_logins", {"target": "iqn.a:1", "port": 3260}) == {"logins": [key]}
    assert daemon.ask("give_up_logins", {}) == {"logins": [key]}
    assert daemon.sessions.calls == [("iqn.a:1", "", 3260, ""), ("", "", -1, "")]


@pytest.mark.parametrize(
    ("sids", "expected"), [(None, {"3"}), ([3], {"3"}), ([3, 4], {"3"}), ([], set())]
)
def test_session_info(daemon: Fixture, sids: list[int] | None, expected: set[str]) -> None:
    answer = daemon.ask("session_info", {"sids": sids})
    assert set(answer["sessions"]) == expected
    for words in answer["sessions"].values():
        assert words == {"connection": "LOGGED IN", "internal": "NO CHANGE"}


def test_statistics_keep_their_order(daemon: Fixture) -> None:
    answer = daemon.ask("stats", {"sid": 3})
    assert list(answer["counters"].items()) == [("txdata_octets", 1), ("rxdata_octets", 2)]
    assert answer["custom"] == {"eh_abort_cnt": 0}


def test_discover_and_stop(daemon: Fixture) -> None:
    assert daemon.ask("discover", {"address": "10.0.0.1"}) == {"found": ["10.0.0.1"]}
    assert daemon.ask("stop") == {}
    assert daemon.stopped == 1


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("login", {}),
        ("login", {"record": "x"}),
        ("login", {"record": {"node.name": 1}}),
        ("login", {"record": {}, "multiple": "yes"}),
        ("logout", {}),
        ("logout", {"sid": "3"}),
        ("logout", {"sid": True}),
        ("logout", {"sid": None}),
        ("stats", {"sid": 1.5}),
        ("session_info", {"sids": "all"}),
        ("session_info", {"sids": ["3"]}),
        ("session_info", {"sids": [True]}),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(
    daemon: Fixture, op: str, args: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        daemon.ask(op, args)
    assert daemon.sessions.calls == []
