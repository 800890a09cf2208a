"""discoveryd and iSNS servers: what is logged in to and out of, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.discover import Discovery, Job, Portal
from pyiscsi.daemon.discoveryd import Around, Discoveryd
from pyiscsi.daemon.nokernel import NoKernel
from pyiscsi.daemon.runstate import RunState
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import IsnsError, LoginFailed, PduTimeout, SessionExists
from pyiscsi.names import NodeKey
from pyiscsi.proto.isns import Function, Status
from pyiscsi.proto.isns_pdu import Message
from pyiscsi.records.discovery import DiscoveryStore
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, SENDTARGETS, Kind
from tests.unit.daemon.actor_parts import JumpingLoop, until
from tests.unit.daemon.test_isns_watch import by_function
from tests.unit.discovery.isns_server import GROUPS, IsnsScript, answer

ME = "iqn.2026-11.test:me"
ONE, TWO = "iqn.2026-11.test:one", "iqn.2026-11.test:two"


class _Loop(JumpingLoop):
    """What would be done in a thread is done at once: the clock jumps over threads of a pool."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(test)


class Sessions:
    """Counts as the registry of sessions; targets in `failing` refuse."""

    def __init__(self) -> None:
        self.up: dict[int, str] = {}
        self.failing: set[str] = set()
        self.records: list[Record] = []

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]:
        name = record["node.name"]
        if name in self.failing:
            raise LoginFailed
        if name in self.up.values():
            raise SessionExists
        self.records.append(record)
        sid = len(self.records)
        self.up[sid] = name
        return sid, 0

    async def logout(self, sid: int) -> None:
        del self.up[sid]

    @property
    def names(self) -> list[str]:
        return sorted(self.up.values())


class Lab:
    """One machine with its discovery records."""

    def __init__(self, path: Path) -> None:
        (path / "sys").mkdir()
        self.env = Env(
            config_root=str(path), db_root=str(path), lock_dir=str(path / "lock"),
            sysfs_root=str(path / "sys"), socket_path=str(path / "iscsid.sock"),
        )  # fmt: skip
        self.settings = Settings(self.env.config_file, self.env.initiatorname_file, ME, "me")
        self.sessions = Sessions()
        self.state = RunState(str(path / "state"))

    def record(self, kind: Kind, port: int, interval_s: int) -> None:
        record = Record(kind)
        record.set("discovery.sendtargets.address", "127.0.0.1")
        record.set("discovery.sendtargets.port", str(port))
        prefix = f"discovery.{kind.name.lower()}."
        record.set(f"{prefix}use_discoveryd", "Yes")
        record.set(f"{prefix}discoveryd_poll_inval", str(interval_s))
        DiscoveryStore(self.env).write(record)

    def iface(self, name: str) -> None:
        record = Record(IFACE)
        record.set("iface.iscsi_ifacename", name)
        record.set("iface.transport_name", "tcp")
        record.set("iface.initiatorname", f"{ME}-{name}")
        IfaceStore(self.env).ensure_dir()
        IfaceStore(self.env).write(record)

    @asynccontextmanager
    async def discoveryd(self, discovery: Discovery | None = None) -> AsyncIterator[Discoveryd]:
        found = discovery or Discovery(self.env, self.settings, NoKernel())
        around = Around(self.env, self.settings, found, self.sessions, self.state)
        daemon = Discoveryd(around)
        task = asyncio.create_task(daemon.run())
        try:
            yield daemon
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class Answers:
    """What the server has; `None` is what some say when they have nothing."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, bytes]] | None = GROUPS[:4]
        self._other = by_function(60)

    def __call__(self, request: Message) -> bytes | None:
        if request.function == Function.DEVICE_QUERY and b"\0\0\0\x21" in request.payload:
            if self.groups is None:
                return answer(Status.NO_SUCH_ENTRY)(request)
            return answer(0, self.groups)(request)
        return self._other(request)


@pytest.mark.parametrize("nothing", [None, []], ids=["no such entry", "empty"])
def test_polled(lab: Lab, nothing: list[tuple[int, bytes]] | None) -> None:
    """New targets are logged in to, vanished ones out of; no record is written."""

    async def test() -> None:
        answers = Answers()
        async with IsnsScript(others=answers) as script:
            lab.record(ISNS, script.port, 30)
            async with lab.discoveryd():
                await until(lambda: lab.sessions.names == [ONE])
                record = lab.sessions.records[0]
                assert record["node.discovery_type"] == "isns"
                assert record["node.discovery_port"] == str(script.port)
                answers.groups = GROUPS
                await until(lambda: lab.sessions.names == [ONE, TWO])
                answers.groups = GROUPS[4:]
                await until(lambda: lab.sessions.names == [TWO])
                answers.groups = nothing
                await until(lambda: lab.sessions.names == [])
        assert not (Path(lab.env.db_root) / "nodes").exists()

    run(test())


def test_a_server_that_fails_logs_nothing_out(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Neither one that is busy nor one that talks nonsense; it is logged once."""

    async def test() -> None:
        answers = Answers()
        async with IsnsScript(others=lambda request: replies[0](request)) as script:
            replies: list[Callable[[Message], bytes | None]] = [answers]
            lab.record(ISNS, script.port, 30)
            async with lab.discoveryd():
                await until(lambda: lab.sessions.names == [ONE])
                for reply in (answer(12), lambda _: b"", lambda _: b"nonsense ! !"):
                    replies[0] = reply
                    await asyncio.sleep(200)
                    assert lab.sessions.names == [ONE]
                replies[0] = answers
                answers.groups = []
                await until(lambda: lab.sessions.names == [])
        lines = [line for line in caplog.messages if "Could not perform iSNS discovery" in line]
        assert lines == [f"Could not perform iSNS discovery to 127.0.0.1:{script.port}. (Busy)"]

    run(test())


def test_interval_0_asks_once(lab: Lab) -> None:
    """Nothing is registered, nothing asked again."""

    async def test() -> None:
        async with IsnsScript(others=Answers()) as script:
            lab.record(ISNS, script.port, 0)
            async with lab.discoveryd():
                await until(lambda: lab.sessions.names == [ONE])
                await asyncio.sleep(1000)
            assert script.functions == [Function.DEVICE_QUERY]
        assert lab.sessions.names == [ONE]

    run(test())


def test_a_failed_login_is_tried_again(lab: Lab) -> None:
    """The server will not tell of it."""

    async def test() -> None:
        lab.sessions.failing = {ONE}
        async with IsnsScript(others=Answers()) as script:
            lab.record(ISNS, script.port, -1)
            async with lab.discoveryd():
                await asyncio.sleep(100)
                assert lab.sessions.names == []
                lab.sessions.failing.clear()
                await asyncio.sleep(35)
                assert lab.sessions.names == [ONE]

    run(test())


def test_a_changed_record_is_followed_after_the_old_one(lab: Lab) -> None:
    """The goodbye of what is replaced does not end the registration of what replaces it."""

    async def test() -> None:
        async with IsnsScript(others=Answers()) as script:
            lab.record(ISNS, script.port, -1)
            async with lab.discoveryd() as daemon:
                await until(lambda: lab.sessions.names == [ONE])
                before = len(script.requests)
                lab.record(ISNS, script.port, 3000)
                daemon.look_again()
                await until(lambda: len(script.requests) >= before + 4)
                register, goodbye = Function.DEVICE_REGISTER, Function.DEVICE_DEREGISTER
                assert script.functions[before : before + 2] == [goodbye, register]
            assert script.functions[-1] == goodbye

    run(test())


def test_every_initiator_name_is_registered(lab: Lab) -> None:
    """Those of ifaces too; each asks for itself."""

    async def test() -> None:
        lab.iface("if0")
        async with IsnsScript(others=Answers()) as script:
            lab.record(ISNS, script.port, -1)
            async with lab.discoveryd():
                await until(lambda: lab.sessions.names == [ONE])
            names = [request for request in script.requests if request.function == 5]
            assert len(names) == 2
            assert script.sources() == {ME, f"{ME}-if0"}
        assert lab.sessions.records[0]["iface.iscsi_ifacename"] == "if0"

    run(test())


@pytest.mark.parametrize(
    ("kind", "error"), [(SENDTARGETS, PduTimeout()), (ISNS, IsnsError("Busy", status=12))]
)
def test_an_iface_that_was_not_heard_out_keeps_its_sessions(
    lab: Lab, kind: Kind, error: Exception
) -> None:
    """Another iface failed for good, which ends all questions of this round."""
    lab.iface("bad")
    lab.iface("good")
    key = NodeKey(ONE, "10.0.0.1", 3260, 1, "good")
    lab.record(kind, 3205, 5)
    lab.state.own(7, "isns 127.0.0.1,3205" if kind is ISNS else "127.0.0.1,3205", key)
    lab.sessions.up[7] = ONE
    asked = []

    async def explore(
        job: Job, iface: Record, name: str, alias: str, report: Callable[[str], None]
    ) -> list[Portal]:
        asked.append(iface["iface.iscsi_ifacename"])
        if asked[-1] == "bad":
            raise error
        await asyncio.sleep(60)
        return []

    async def test() -> None:
        discovery = Discovery(lab.env, lab.settings, NoKernel(), explore)
        async with IsnsScript(others=by_function()) as script:
            lab.record(kind, script.port, 5)
            async with lab.discoveryd(discovery):
                await until(lambda: asked.count("good") > 3)
        assert lab.sessions.up == {7: ONE}

    (Path(lab.env.sysfs_root) / "class/iscsi_session/session7").mkdir(parents=True)
    (Path(lab.env.sysfs_root) / "class/iscsi_session/session7/targetname").write_text(ONE)
    run(test())
