"""Iface records that adapters get by themselves; the adapter's sysfs is a recorded one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import TransportError
from pyiscsi.ops import adapter, host_ifaces, modules
from pyiscsi.ops.context import Context
from pyiscsi.ops.discover import usable_ifaces
from tests.unit.cli.commands import Machine
from tests.unit.sysfs.capture import unpack

MAC = "02:fa:e0:00:00:01"
CARD = f"qla4xxx.{MAC}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One adapter, host 1."""
    made = Machine(tmp_path, monkeypatch)
    unpack("adapter", tmp_path)
    return made


def files(machine: Machine) -> list[str]:
    return sorted(path.name for path in (machine.path / "db/ifaces").iterdir())


def text(machine: Machine, name: str) -> str:
    return (machine.path / "db/ifaces" / name).read_text()


def test_one_for_each_interface(machine: Machine) -> None:
    lines = machine.run_line("-m iface").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{CARD}.ipv4.0", f"{CARD}.ipv6.0", f"{CARD}.ipv6.1", "default", "iser",
    ]  # fmt: skip
    shown = text(machine, f"{CARD}.ipv4.0")
    for line in (
        "iface.transport_name = qla4xxx", f"iface.hwaddress = {MAC}", "iface.iface_num = 0",
        "iface.net_ifacename = default", "iface.ipaddress = 192.0.2.11", "iface.mtu = 9000",
    ):  # fmt: skip
        assert f"{line}\n" in shown
    assert "iface.iface_num = 1\n" in text(machine, f"{CARD}.ipv6.1")
    assert "bootproto" not in text(machine, f"{CARD}.ipv6.1")


def test_a_record_that_is_there_stays(machine: Machine) -> None:
    machine.run_line("-m iface")
    name = f"{CARD}.ipv4.0"
    assert machine.run_line(f"-m iface -I {name} -o update -n iface.mtu -v 1400").status == 0
    machine.run_line("-m iface")
    assert "iface.mtu = 1400\n" in text(machine, name)


def test_an_adapter_without_interfaces(machine: Machine) -> None:
    shutil.rmtree(machine.path / "sys/class/iscsi_iface")
    machine.run_line("-m iface")
    assert files(machine) == [CARD]
    assert "iface.net_ifacename" not in text(machine, CARD)


@pytest.mark.parametrize("driver", ["iscsi_tcp", "iscsi_iser", "nobody_knows"])
def test_no_records_for_others(machine: Machine, driver: str) -> None:
    """A software session bound by MAC address gets none, unlike open-iscsi's (tcp.<mac>.ipv4.0)."""
    (machine.path / "sys/class/scsi_host/host1/proc_name").write_text(f"{driver}\n")
    machine.run_line("-m iface")
    assert files(machine) == []


def test_an_adapter_without_address(machine: Machine) -> None:
    """A line, if the command fails; otherwise nothing."""
    (machine.path / "sys/class/iscsi_host/host1/hwaddress").unlink()
    done = machine.run_line("-m iface")
    assert (done.status, done.err) == (0, "")
    done = machine.run_line("-m iface -o apply")
    assert (
        "Invalid offload iSCSI host 1. Missing hwaddress. Try upgrading qla4xxx driver." in done.err
    )


def test_a_discovery_that_names_one_makes_them(machine: Machine) -> None:
    context = Context(Env.from_environ())
    assert usable_ifaces(context, [f"{CARD}.ipv4.0"]) == ([f"{CARD}.ipv4.0"], [])
    _, [line] = usable_ifaces(context, ["nosuch"])
    assert line.startswith("Could not read iface info for nosuch.")


@pytest.mark.parametrize(
    ("network", "kind", "iscsiuio", "module"),
    [
        ("cxgb4", "1", False, "cxgb4i"),
        ("cxgb3", "1", False, "cxgb3i"),
        ("bnx2x", "1", True, "bnx2i"),
        ("bnx2", "1", False, None),
        ("cxgb4", "772", False, None),
        ("e1000", "1", True, None),
    ],
)
def test_drivers_of_cards_that_are_there(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    network: str,
    kind: str,
    iscsiuio: bool,
    module: str | None,
) -> None:
    """The iSCSI part of a card whose network part is loaded; bnx2i only where iscsiuio is."""
    device = machine.path / "sys/class/net/eth0"
    (device / "device").mkdir(parents=True)
    (device / "type").write_text(f"{kind}\n")
    (device / "device/driver").symlink_to(f"../../bus/pci/drivers/{network}")
    loaded: list[str] = []

    def load(_tree: object, name: str) -> None:
        loaded.append(name)
        raise TransportError

    monkeypatch.setattr(modules, "ensure_transport", load)
    monkeypatch.setattr(host_ifaces, "ISCSIUIO", "/" if iscsiuio else "/nonexistent/iscsiuio")
    machine.run_line("-m iface")
    assert loaded == ([module] if module else [])


def test_one_vlan_for_all_ifaces_of_a_card(machine: Machine) -> None:
    """be2iscsi: what is not VLAN stays with the one iface."""
    (machine.path / "sys/class/scsi_host/host1/proc_name").write_text("be2iscsi\n")
    transport = machine.path / "sys/class/iscsi_transport"
    shutil.copytree(transport / "qla4xxx", transport / "be2iscsi")
    card = f"be2iscsi.{MAC}"
    name = f"{card}.ipv4.0"
    done = machine.run_line(
        f"-m iface -I {name} -o update -n iface.vlan_id -v 5 -n iface.mtu -v 1400"
    )
    assert done.out.splitlines() == [f"{each} updated." for each in (name, f"{card}.ipv6.0", name)]
    for iface, vlan, mtu in (("ipv4.0", 5, 1400), ("ipv6.0", 5, 1500), ("ipv6.1", 0, 1500)):
        shown = text(machine, f"{card}.{iface}")
        assert f"iface.vlan_id = {vlan}\n" in shown
        assert f"iface.mtu = {mtu}\n" in shown


def test_a_firmware_session_has_the_adapters_first(machine: Machine) -> None:
    """The kernel names none for it; the record is made if need be."""
    machine.session(7, "iqn.2026-11.test:f0", "192.0.2.50")
    session = machine.path / "sys/class/iscsi_session/session7"
    (session / "ifacename").unlink()
    (session / "creator").write_text("-1\n")
    number = next(
        part.removeprefix("host")
        for part in session.resolve().parts
        if part.startswith("host") and part[4:].isdigit()
    )
    host = machine.path / f"sys/class/iscsi_host/host{number}"
    shutil.copytree(machine.path / "sys/class/iscsi_host/host1", host, dirs_exist_ok=True)
    assert f"Iface Name: {CARD}.ipv4.0\n" in machine.run_line("-m session -P 1").out
    assert files(machine) == [f"{CARD}.{kind}" for kind in ("ipv4.0", "ipv6.0", "ipv6.1")]


def test_a_host_of_another_driver_is_not_asked(machine: Machine) -> None:
    """A session over TCP, bound to the same MAC address, has a host that shows it too."""
    host = machine.path / "sys/class/iscsi_host/host0"
    host.mkdir(exist_ok=True)
    (host / "hwaddress").write_text(f"{MAC}\n")
    driver = machine.path / "sys/class/scsi_host/host0"
    driver.mkdir(exist_ok=True)
    (driver / "proc_name").write_text("iscsi_tcp\n")
    machine.run_line("-m iface")
    context = Context(Env.from_environ())
    assert adapter.of_iface(context, context.ifaces.read(f"{CARD}.ipv4.0")).host_no == 1
