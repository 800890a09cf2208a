from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.discover import Discovery, Explore, Job, Portal, parse_job
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import (
    DaemonError,
    ExitCode,
    InvalidArgument,
    LoginFailed,
    PduTimeout,
    PyIscsiError,
    TransportError,
)
from pyiscsi.names import NodeKey
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE

TARGET = "iqn.2000-01.example:disk"
TIMED_OUT = TransportError(exit_code=ExitCode.TRANSPORT_TIMEOUT)


@pytest.fixture
def env(tmp_path: Path) -> Env:
    for name in ("db", "sys", "lock"):
        (tmp_path / name).mkdir()
    return Env(
        config_root=str(tmp_path),
        db_root=str(tmp_path / "db"),
        lock_dir=str(tmp_path / "lock"),
        sysfs_root=str(tmp_path / "sys"),
    )


class Drivers:
    async def transport(self, name: str) -> object:
        if name not in ("bnx2i", "iser"):
            raise TransportError(exit_code=ExitCode.TRANSPORT_NOT_FOUND)
        return object()


Outcome = list[Portal] | PyIscsiError


def exploring(outcomes: dict[str, Outcome]) -> Explore:
    """Explores by iface name; `line of NAME` is reported by each."""

    async def explore(
        job: Job, iface: Record, name: str, alias: str, report: Callable[[str], None]
    ) -> list[Portal]:
        iface_name = iface["iface.iscsi_ifacename"]
        report(f"line of {iface_name}")
        outcome = outcomes[iface_name]
        if isinstance(outcome, PyIscsiError):
            raise outcome
        return outcome

    return explore


def run(env: Env, explore: Explore, **args: Any) -> dict[str, Any]:
    settings = Settings(env.config_file, "", "iqn.2000-01.example:me", "box")
    discovery = Discovery(env, settings, Drivers(), explore)
    return asyncio.run(discovery(request(**args)))


def request(**args: Any) -> dict[str, Any]:
    return {"type": "sendtargets", "address": "10.0.0.1", "port": 3260, "record": {}, **args}


def make_iface(env: Env, name: str, transport: str = "tcp", initiator: str = "") -> None:
    record = Record(IFACE)
    record.set("iface.iscsi_ifacename", name)
    record.set("iface.transport_name", transport)
    if initiator:
        record.set("iface.initiatorname", initiator)
    IfaceStore(env).ensure_dir()
    IfaceStore(env).write(record)


def stored(env: Env) -> list[NodeKey]:
    return NodeStore(env).keys()


def portal(address: str = "10.0.0.1") -> Portal:
    return Portal(TARGET, address, 3260, 1)


def test_what_was_found_is_answered_and_written(env: Env) -> None:
    Path(env.config_file).write_text("node.startup = automatic\n")
    found = [portal(), portal("10.0.0.2")]
    answer = run(env, exploring({"default": found}), new=True, persist=True)
    assert answer["found"] == [
        {"target": TARGET, "address": a, "port": 3260, "tpgt": 1, "iface": "default"}
        for a in ("10.0.0.1", "10.0.0.2")
    ]
    assert answer["messages"] == ["line of default"]
    assert [key.address for key in stored(env)] == ["10.0.0.1", "10.0.0.2"]
    record = NodeStore(env).read(stored(env)[0])
    assert record["node.startup"] == "automatic"
    assert record["node.discovery_type"] == "send_targets"
    assert record["node.discovery_address"] == "10.0.0.1"


def test_what_an_isns_server_told_is_marked_so(env: Env) -> None:
    """DB-068: the source is the server; links are in isns/ while it has no directory."""
    answer = run(env, exploring({"default": [portal()]}), type="isns", new=True, persist=True)
    assert [entry["address"] for entry in answer["found"]] == ["10.0.0.1"]
    record = NodeStore(env).read(stored(env)[0])
    assert record["node.discovery_type"] == "isns"
    assert record["node.discovery_address"] == "10.0.0.1"
    assert (Path(env.db_root) / f"isns/{TARGET},10.0.0.1,3260,1,default").is_symlink()


@pytest.mark.parametrize("directory", [True, False])
def test_what_an_isns_server_tells_no_more_is_deleted(env: Env, directory: bool) -> None:
    """DB-068: by links of the old style too; records of other servers stay."""
    explore = exploring({"default": [portal(), portal("10.0.0.2")]})
    run(env, explore, type="isns", new=True, persist=True)
    other = exploring({"default": [portal("10.0.0.3")]})
    run(env, other, type="isns", address="10.0.0.9", new=True, persist=True)
    if directory:
        (Path(env.db_root) / "isns/10.0.0.1,3260").mkdir()
    answer = run(env, exploring({"default": [portal()]}), type="isns", delete=True, persist=True)
    assert answer["messages"] == ["line of default"]
    assert [key.address for key in stored(env)] == ["10.0.0.1", "10.0.0.3"]


@pytest.mark.parametrize(
    "flags",
    [{"persist": True}, {"new": True, "update": True, "delete": True, "persist": False}, {}],
)
def test_nothing_is_written_unless_asked(env: Env, flags: dict[str, bool]) -> None:
    answer = run(env, exploring({"default": [portal()]}), **flags)
    assert len(answer["found"]) == 1
    assert stored(env) == []


PORTALS = [Portal(TARGET, address, 3260, 1) for address in ("10.0.0.1", "192.0.2.1")]


@pytest.mark.parametrize("kind", ["sendtargets", "isns"])
def test_portals_that_are_not_wanted_are_left_out(env: Env, kind: str) -> None:
    """A target's other portals are no concern of this machine: neither answered nor written."""
    record = {f"discovery.{kind}.allowed_portals": "10.0.0.0/8"}
    answer = run(
        env, exploring({"default": PORTALS}), type=kind, record=record, new=True, persist=True
    )
    assert [each["address"] for each in answer["found"]] == ["10.0.0.1"]
    assert answer["messages"] == ["line of default"]
    assert [key.address for key in NodeStore(env).keys()] == ["10.0.0.1"]  # noqa: SIM118 - a store is no dict


def test_no_portal_that_is_wanted(env: Env) -> None:
    record = {"discovery.sendtargets.allowed_portals": "172.16.0.0/12"}
    answer = run(env, exploring({"default": PORTALS}), record=record, new=True, persist=True)
    assert answer["found"] == []
    assert answer["messages"][1:] == [
        "None of the 2 portals that 10.0.0.1 knows is in the list of allowed portals."
    ]


def test_a_list_of_portals_that_is_none(env: Env) -> None:
    record = {"discovery.sendtargets.allowed_portals": "10.0.0.0/99"}
    with pytest.raises(DaemonError) as failed:
        run(env, exploring({"default": PORTALS}), record=record)
    assert failed.value.exit_code == ExitCode.INVALID
    assert "10.0.0.0/99 in a list of allowed portals is no address" in failed.value.messages


def test_what_vanished_is_deleted(env: Env) -> None:
    flags = {"new": True, "delete": True, "persist": True}
    run(env, exploring({"default": [portal(), portal("10.0.0.2")]}), **flags)
    run(env, exploring({"default": [portal()]}), **flags)
    assert [key.address for key in stored(env)] == ["10.0.0.1"]


def test_a_record_that_cannot_be_written_is_a_database_error(env: Env) -> None:
    """Nothing is lost: the portals that could be written are there, the lines say which not."""
    blocked = Path(env.db_root) / "nodes" / TARGET
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    other = Portal("iqn.2000-01.example:other", "10.0.0.1", 3260, 1)
    with pytest.raises(DaemonError) as caught:
        run(env, exploring({"default": [portal(), other]}), new=True, persist=True)
    assert caught.value.exit_code == ExitCode.DATABASE
    assert any(line.startswith("Could not add/update") for line in caught.value.messages)
    keys = stored(env)
    assert other.target in [key.target for key in keys]


def test_ifaces_are_those_with_files_unless_named(env: Env) -> None:
    make_iface(env, "b")
    make_iface(env, "a")
    outcomes: dict[str, Outcome] = {name: [portal()] for name in ("a", "b", "default", "iser")}
    answer = run(env, exploring(outcomes), ifaces=None)
    assert [entry["iface"] for entry in answer["found"]] == ["a", "b"]
    assert answer["messages"] == ["line of a", "line of b"]
    answer = run(env, exploring(outcomes), ifaces=["b", "iser", "default"])
    assert [entry["iface"] for entry in answer["found"]] == ["b", "iser", "default"]


def test_ifaces_that_cannot_be_used_are_dropped_with_a_line(env: Env) -> None:
    make_iface(env, "card", "bnx2i")
    make_iface(env, "absent", "cxgb4i")
    names = ["missing", "a/b", "card", "absent"]
    answer = run(env, exploring({"card": [portal()]}), ifaces=names)
    assert [entry["iface"] for entry in answer["found"]] == ["card"]
    lines = answer["messages"]
    assert lines[0] == (
        "Could not read iface info for missing. Make sure an iface config with the file name and "
        f"iface.iscsi_ifacename missing is in {env.db_root}/ifaces."
    )
    assert "iface info for a/b" in lines[1]
    assert lines[2:] == [
        "Could not load transport cxgb4i.Dropping interface absent.",
        "line of card",
    ]


def test_no_iface_left(env: Env) -> None:
    with pytest.raises(DaemonError) as caught:
        run(env, exploring({}), ifaces=["missing"])
    assert caught.value.exit_code == ExitCode.NO_OBJECTS_FOUND
    assert len(caught.value.messages) == 1


@pytest.mark.parametrize("error", [TransportError("refused"), TIMED_OUT])
def test_an_unreachable_portal_of_one_iface_does_not_stop_the_others(
    env: Env, error: PyIscsiError
) -> None:
    """Errors 4 and 8 (usr/discovery.c); the lines of all come in the order of the ifaces."""
    make_iface(env, "a")
    make_iface(env, "b")
    answer = run(env, exploring({"a": error, "b": [portal()]}), new=True, persist=True)
    assert [entry["iface"] for entry in answer["found"]] == ["b"]
    assert answer["messages"] == ["line of a", "line of b"]
    assert [key.iface for key in stored(env)] == ["b"]
    answer = run(env, exploring({"a": error, "b": error}))
    assert answer["found"] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransportError("no address"), 4),
        (TIMED_OUT, 8),
        (PduTimeout("refused"), 11),
        (LoginFailed("", 24), 24),
        (LoginFailed("", 19), 19),
    ],
)
def test_the_error_of_the_only_way_is_the_answer(env: Env, error: PyIscsiError, code: int) -> None:
    """D-081, D-082."""
    with pytest.raises(DaemonError) as caught:
        run(env, exploring({"default": error}))
    assert caught.value.exit_code == code
    assert caught.value.messages == ("line of default",)


def test_a_fatal_error_ends_the_other_ifaces(env: Env) -> None:
    make_iface(env, "a")
    make_iface(env, "b")
    ended: list[str] = []

    async def explore(job: Job, iface: Record, *rest: Any) -> list[Portal]:
        if iface["iface.iscsi_ifacename"] == "b":
            raise LoginFailed("", ExitCode.LOGIN_AUTH_FAILED)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("a")
        return []

    with pytest.raises(DaemonError) as caught:
        run(env, explore, new=True, persist=True)
    assert caught.value.exit_code == ExitCode.LOGIN_AUTH_FAILED
    assert ended == ["a"]
    assert stored(env) == []


def test_ifaces_are_asked_at_the_same_time(env: Env) -> None:
    make_iface(env, "a")
    make_iface(env, "b")
    arrived: list[str] = []
    both = asyncio.Event()

    async def explore(job: Job, iface: Record, *rest: Any) -> list[Portal]:
        arrived.append(iface["iface.iscsi_ifacename"])
        if len(arrived) == 2:
            both.set()
        async with asyncio.timeout(10):
            await both.wait()
        return []

    run(env, explore)
    assert sorted(arrived) == ["a", "b"]


def test_a_discovery_that_nobody_waits_for_ends(env: Env) -> None:
    ended: list[bool] = []

    async def body() -> None:
        started = asyncio.Event()

        async def explore(*_: Any) -> list[Portal]:
            started.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(True)
            return []

        settings = Settings(env.config_file, "", "iqn.a:me")
        task = asyncio.create_task(
            Discovery(env, settings, Drivers(), explore)(request())  # type: ignore[arg-type]
        )
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(body())
    assert ended == [True]


def test_a_bug_in_one_iface_is_not_hidden(env: Env) -> None:
    async def explore(*_: Any) -> list[Portal]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(env, explore)


def test_the_initiator_name_is_the_ifaces_or_ours(env: Env) -> None:
    make_iface(env, "own", initiator="iqn.2000-01.example:special")
    names: list[tuple[str, str]] = []

    async def explore(
        job: Job, iface: Record, name: str, alias: str, report: Callable[[str], None]
    ) -> list[Portal]:
        names.append((name, alias))
        return []

    run(env, explore, ifaces=["own", "default"])
    assert names == [
        ("iqn.2000-01.example:special", "box"),
        ("iqn.2000-01.example:me", "box"),
    ]


def test_no_initiator_name(env: Env) -> None:
    """The daemon runs without a name, discovery ends with 7."""
    discovery = Discovery(env, Settings(env.config_file, ""), Drivers(), exploring({}))
    with pytest.raises(DaemonError) as caught:
        asyncio.run(discovery(request()))
    assert caught.value.exit_code == ExitCode.INVALID
    assert caught.value.messages == ("Cannot perform discovery. Invalid Initiatorname.",)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"type": "slp"}, ExitCode.UNKNOWN_DISCOVERY_TYPE),
        ({"type": None}, ExitCode.INVALID),
        ({"address": 1}, ExitCode.INVALID),
        ({"port": "3260"}, ExitCode.INVALID),
        ({"port": 0}, ExitCode.INVALID),
        ({"port": 65536}, ExitCode.INVALID),
        ({"ifaces": "eth0"}, ExitCode.INVALID),
        ({"ifaces": [1]}, ExitCode.INVALID),
        ({"record": []}, ExitCode.INVALID),
        ({"record": {"a": 1}}, ExitCode.INVALID),
        ({"new": "yes"}, ExitCode.INVALID),
        ({"persist": 1}, ExitCode.INVALID),
    ],
)
def test_bad_requests(args: dict[str, Any], code: int) -> None:
    with pytest.raises(PyIscsiError) as caught:
        parse_job(request(**args))
    assert caught.value.exit_code == code


def test_settings_of_the_discovery_record_reach_the_exchange() -> None:
    from pyiscsi.daemon.explore import _request

    prefix = "discovery.sendtargets."
    record = {
        f"{prefix}timeo.login_timeout": "3",
        f"{prefix}timeo.auth_timeout": "4",
        f"{prefix}timeo.active_timeout": "5",
        f"{prefix}reopen_max": "-2",
        f"{prefix}iscsi.MaxRecvDataSegmentLength": "8192",
        f"{prefix}auth.username": "user",
        f"{prefix}auth.password": "a secret",
        "node.session.auth.chap_algs": "SHA256,MD5",
    }
    made = _request(parse_job(request(record=record)), "iqn.a:me", "box")
    assert (made.address, made.port) == ("10.0.0.1", 3260)
    assert (made.initiator_name, made.initiator_alias) == ("iqn.a:me", "box")
    assert (made.login_timeout_s, made.auth_timeout_s, made.active_timeout_s) == (3, 4, 5)
    assert (made.reopen_max, made.max_recv_data_segment_length) == (0, 8192)
    assert made.auth is not None
    assert (made.auth.username, made.auth.algorithms) == ("user", ("SHA256", "MD5"))
    assert "a secret" not in repr(made)
    assert _request(parse_job(request()), "iqn.a:me", "box").auth is None


def test_a_number_that_is_none_is_refused() -> None:
    from pyiscsi.daemon.explore import _request

    record = {"discovery.sendtargets.reopen_max": "many"}
    with pytest.raises(InvalidArgument, match="reopen_max is not a number"):
        _request(parse_job(request(record=record)), "iqn.a:me", "box")
