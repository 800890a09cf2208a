"""Sessions that exist when the daemon starts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pyiscsi.daemon import adopt
from pyiscsi.daemon import registry as registry_module
from pyiscsi.errors import SessionNotFound
from pyiscsi.records.nodes import NodeStore
from tests.unit.daemon.actor_parts import INITIATOR, TARGET, House, node, run, until

FINE = ("LOGGED IN", "NO CHANGE")


def test_a_healthy_session_is_left_alone(tmp_path: Path) -> None:
    """D-070: no request reaches the kernel; a later loss is noticed."""
    house = House(tmp_path)
    house.kernel.put(7)

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        assert registry.states(None) == {7: FINE}
        assert house.kernel.calls == []
        house.kernel.lose(7)
        await until(lambda: registry.states([7])[7] == FINE and house.target.logins)
        await registry.close()

    run(test())
    assert house.kernel.operations()[0] == "stop_conn"
    assert "create_session" not in house.kernel.operations()
    assert house.target.logins[0].isid.hex() == "00023d000007"


def test_failed_sessions_are_recovered_together(tmp_path: Path) -> None:
    """D-071: at once, none waiting for another; a dead one keeps trying."""
    house = House(tmp_path)
    for sid in (1, 2, 3):
        house.kernel.put(sid, host=sid, conn="failed", state="FAILED", ifacename=f"if{sid}")
    house.kernel.put(4, host=4, state="LOGGED_IN", ifacename="if4")
    house.sysfs.connection(4, state="failed")
    house.target.script = ["silent"]

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        states = registry.states(None)
        assert {stage for _, stage in states.values()} == {"REOPEN"}
        await until(lambda: len([s for s in registry.states(None).values() if s == FINE]) == 3)
        assert len(house.target.logins) == 4
        await until(lambda: set(registry.states(None).values()) == {FINE})
        await registry.close()

    run(test())


def test_record_from_the_database(tmp_path: Path) -> None:
    """D-072: settings of the record, credentials of the session."""
    house = House(tmp_path)
    NodeStore(house.env).add(
        node(login_timeout="9", username="changed", password="changed", reopen_max="6")
    )
    house.kernel.put(3, conn="failed", state="FAILED", username="me", password="live-secret")

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        await until(lambda: house.target.logins)
        await registry.close()

    run(test())
    params = house.kernel.params[3, 0]
    assert (params[22], params[24]) == ("me", "live-secret")
    assert house.network.options[0]["deadline_s"] == 3


def test_record_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-072: kept with what the kernel shows, nothing inverted or forgotten; a warning."""
    house = House(tmp_path)
    house.kernel.put(
        3, conn="failed", state="FAILED", recovery_tmo="8", abort_tmo="11", initial_r2t="1",
        immediate_data="0", first_burst_len="65536", max_burst_len="131072",
    )  # fmt: skip

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        await until(lambda: registry.states(None) == {3: FINE})
        await registry.close()

    run(test())
    assert (
        "Could not read data from db. Using default and currently negotiated values" in caplog.text
    )
    params = house.kernel.params[3, 0]
    assert (params[15], params[17], params[18]) == (TARGET, "192.0.2.1", "3260")
    assert (params[19], params[27], params[34]) == ("8", "11", INITIATOR.name)
    offer = house.target.logins[0].data
    for pair in (b"InitialR2T=Yes", b"ImmediateData=No", b"FirstBurstLength=65536"):
        assert pair in offer.split(b"\0")


@pytest.mark.parametrize(
    ("transport", "address"), [("bnx2i", "192.0.2.11"), ("qla4xxx", ""), ("iscsi_tcp", "")]
)
def test_record_missing_of_an_adapters_session(
    tmp_path: Path, transport: str, address: str
) -> None:
    """It stays bound to its adapter, with the address it was given where one is."""
    house = House(tmp_path)
    house.kernel.put(3)
    house.sysfs.write(house.sysfs.root / "devices/host0/scsi_host/host0", proc_name=transport)
    host = house.sysfs.root / "class/iscsi_host/host0"
    host.mkdir()
    house.sysfs.write(host, hwaddress="02:fa:e0:00:00:01", ipaddress="192.0.2.11")
    found = adopt.find(house.env, "", house.sysfs.tree, 3)
    assert found is not None
    record = found.record
    mac = "" if transport == "iscsi_tcp" else "02:fa:e0:00:00:01"
    assert (record["iface.hwaddress"], record["iface.ipaddress"]) == (mac, address)


@pytest.mark.parametrize(
    "attributes", [{"creator": "-1"}, {"targetname": ""}], ids=["flash", "half made"]
)
def test_sessions_that_are_not_ours(tmp_path: Path, attributes: dict[str, str]) -> None:
    """D-073: what a driver made is not touched, and not logged out by us."""
    house = House(tmp_path)
    house.kernel.put(3, state="FAILED", **attributes)

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        assert registry.states(None) == {}
        with pytest.raises(SessionNotFound):
            await registry.logout(3)
        await registry.close()

    run(test())
    assert house.kernel.calls == []


def test_logout_of_a_session_that_appeared_later(tmp_path: Path) -> None:
    """A session made by iscsistart or another daemon is taken over and logged out."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        house.kernel.put(5)
        await registry.logout(5)
        await registry.close()

    run(test())
    assert house.kernel.is_empty()
    assert len(house.target.logouts) == 1


def test_one_session_that_cannot_be_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """D-071: its driver is not there; the others are taken over."""
    house = House(tmp_path)
    house.kernel.put(1, host=1)
    house.kernel.put(2, host=2)
    (house.sysfs.root / "class/scsi_host/host1/proc_name").write_text("nix\n")

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        assert registry.states(None) == {2: FINE}
        await registry.close()

    run(test())
    assert "session1: not taken over" in caplog.text


def test_a_session_whose_files_hang(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are taken over meanwhile, those of the same batch a little later."""
    monkeypatch.setattr(registry_module, "_ADOPT_TOGETHER", 2)
    monkeypatch.setattr(registry_module, "_ADOPT_TOGETHER_S", 0.3)
    monkeypatch.setattr(registry_module, "SYSFS_TIMEOUT_S", 1.0)
    house = House(tmp_path)
    for sid in range(1, 6):
        house.kernel.put(sid, host=sid)
    hanging = house.sysfs.root / "class/iscsi_session/session1/targetname"
    hanging.unlink()
    os.mkfifo(hanging)

    async def test() -> None:
        registry = house.registry()
        await registry.adopt()
        assert registry.states(None) == dict.fromkeys(range(2, 6), FINE)
        await registry.close()

    asyncio.run(test())
    assert "session1: not taken over: sysfs of session 1 could not be read in time" in caplog.text
    os.close(os.open(hanging, os.O_WRONLY | os.O_NONBLOCK))  # lets the threads end
