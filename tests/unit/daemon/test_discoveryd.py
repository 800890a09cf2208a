"""discoveryd goes on polling, whatever ends one of its tasks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.daemon import discoveryd
from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.discoveryd import Around, Discoveryd
from pyiscsi.daemon.nokernel import NoKernel
from pyiscsi.daemon.registry import Registry
from pyiscsi.daemon.runstate import RunState
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.records.discovery import DiscoveryStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import SENDTARGETS, Kind
from tests.unit.daemon.actor_parts import run, until


def around(tmp_path: Path) -> Around:
    """A machine with one polled address, at which nobody answers."""
    (tmp_path / "sys").mkdir()
    env = Env(
        config_root=str(tmp_path), db_root=str(tmp_path), lock_dir=str(tmp_path / "lock"),
        sysfs_root=str(tmp_path / "sys"), socket_path=str(tmp_path / "iscsid.sock"),
    )  # fmt: skip
    record = Record(SENDTARGETS)
    values = {"use_discoveryd": "Yes", "discoveryd_poll_inval": "1", "reopen_max": "0"}
    record.set("discovery.sendtargets.address", "127.0.0.1")
    record.set("discovery.sendtargets.port", "9")
    for name, value in values.items():
        record.set(f"discovery.sendtargets.{name}", value)
    DiscoveryStore(env).write(record)
    settings = Settings(env.config_file, env.initiatorname_file, "iqn.a:me", "me")
    kernel = NoKernel()
    registry = Registry(kernel, env, settings)
    state = RunState(str(tmp_path / "state"))
    return Around(env, settings, Discovery(env, settings, kernel), registry, state)


def test_a_poller_that_is_cancelled_by_a_stranger_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """D-085: at the next look at the records; it is logged with the address."""
    cycles: list[float] = []

    async def cycle(self: discoveryd.Poller) -> None:
        cycles.append(asyncio.get_running_loop().time())

    monkeypatch.setattr(discoveryd.Poller, "_cycle", cycle)

    async def test() -> None:
        ours = asyncio.all_tasks()
        daemon = asyncio.create_task(Discoveryd(around(tmp_path)).run())
        await until(lambda: cycles)
        for task in asyncio.all_tasks() - ours - {daemon}:
            task.cancel()
        await asyncio.sleep(0.1)
        before = len(cycles)
        await until(lambda: len(cycles) > before + 3)
        daemon.cancel()
        await asyncio.gather(daemon, return_exceptions=True)

    run(test())
    assert "polling of 127.0.0.1,9 had ended, starting it again" in caplog.messages


def test_records_are_read_again_only_when_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-057: no file is opened while nothing has changed; a change is noticed as ever."""
    reads: list[str] = []
    asked: list[str] = []
    real = DiscoveryStore.read

    def read(self: DiscoveryStore, kind: Kind, address: str, port: int) -> Record | None:
        reads.append(address)
        return real(self, kind, address, port)

    async def cycle(self: discoveryd.Poller) -> None:
        asked.append(self.record["discovery.sendtargets.discoveryd_poll_inval"])

    monkeypatch.setattr(DiscoveryStore, "read", read)
    monkeypatch.setattr(discoveryd.Poller, "_cycle", cycle)

    async def test() -> None:
        what = around(tmp_path)
        daemon = asyncio.create_task(Discoveryd(what).run())
        await until(lambda: len(asked) > 3)
        await asyncio.sleep(100)
        assert len(reads) == 1
        pairs = [("discovery.sendtargets.discoveryd_poll_inval", "2")]
        DiscoveryStore(what.env).update(SENDTARGETS, "127.0.0.1", 9, pairs)
        await until(lambda: asked[-1] == "2")
        assert asked[0] == "1"
        DiscoveryStore(what.env).delete(SENDTARGETS, "127.0.0.1", 9)
        await asyncio.sleep(20)
        before = len(asked)
        await asyncio.sleep(20)
        assert len(asked) == before
        daemon.cancel()
        await asyncio.gather(daemon, return_exceptions=True)

    run(test())
