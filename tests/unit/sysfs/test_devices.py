"""Logical units of a captured sysfs, and the words written to them."""

from pathlib import Path

import pytest

from pyiscsi.errors import SysfsError
from pyiscsi.sysfs.devices import (
    devices,
    host_state,
    rescan,
    scan_host,
    set_queue_depth,
    set_running,
)
from pyiscsi.sysfs.sessions import Session
from pyiscsi.sysfs.tree import SysfsTree


def shown(tree: SysfsTree, sid: int) -> list[tuple[object, ...]]:
    return [
        (d.name, d.host, d.channel, d.target, d.lun, d.block, d.state)
        for d in devices(tree, Session(tree, sid))
    ]


def device_file(tree: SysfsTree, name: str, attribute: str) -> Path:
    return Path(tree.real(f"bus/scsi/devices/{name}")) / attribute


def test_units_with_disk_and_state(up: SysfsTree) -> None:
    """CLI-258."""
    assert shown(up, 3) == [
        ("2:0:0:0", 2, 0, 0, 0, "sdc", "running"),
        ("2:0:0:1", 2, 0, 0, 1, "sdd", "running"),
    ]


def test_states_of_a_failed_session(shared_down: Path) -> None:
    tree = SysfsTree(str(shared_down / "sys"))
    assert {unit[-1] for unit in shown(tree, 3)} == {"blocked"}


def test_order_is_that_of_the_names(own: SysfsTree) -> None:
    """CLI-258: LUNs 0, 1, 10, 2."""
    target = Path(own.real("bus/scsi/devices/target2:0:0"))
    for lun in (10, 2):
        (target / f"2:0:0:{lun}").mkdir()
    (target / "power").mkdir()
    assert [d.lun for d in devices(own, Session(own, 3))] == [0, 1, 10, 2]


def test_units_without_a_disk(own: SysfsTree) -> None:
    """An enclosure has no block device; kernels before 2.6.27 name it in a link."""
    target = Path(own.real("bus/scsi/devices/target2:0:0"))
    (target / "2:0:0:2").mkdir()
    (target / "2:0:0:3").mkdir()
    (target / "2:0:0:3/block:sdz").symlink_to("nowhere")
    assert [d.block for d in devices(own, Session(own, 3))] == ["sdc", "sdd", None, "sdz"]


def test_session_without_target(up: SysfsTree) -> None:
    assert devices(up, Session(up, 77)) == []
    assert host_state(up, None) is None
    assert host_state(up, 77) is None
    assert host_state(up, 2) == "running"


def test_rescan_asks_every_unit_and_then_the_host(own: SysfsTree) -> None:
    """CLI-281."""
    Path(own.real("class/scsi_host/host2/scan")).write_text("")
    rescan(Session(own, 3))
    assert device_file(own, "2:0:0:0", "rescan").read_text().startswith("1")
    assert device_file(own, "2:0:0:1", "rescan").read_text().startswith("1")
    assert Path(own.real("class/scsi_host/host2/scan")).read_text() == "- - -"
    assert Path(own.real("class/scsi_host/host1/scan")).read_text() == "\n"


def test_rescan_survives_a_unit_that_cannot_be_read_again(own: SysfsTree) -> None:
    device_file(own, "2:0:0:0", "rescan").unlink()
    rescan(Session(own, 3))
    assert device_file(own, "2:0:0:1", "rescan").read_text().startswith("1")


@pytest.mark.parametrize("sid", [3, 77])
def test_rescan_without_host_is_an_error(own: SysfsTree, sid: int) -> None:
    Path(own.real("class/scsi_host/host2/scan")).unlink()
    with pytest.raises(SysfsError):
        rescan(Session(own, sid))
    with pytest.raises(SysfsError):
        scan_host(own, 77)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("offline\n", "running\n"),
        ("transport-offline\n", "running\n"),
        ("blocked\n", "blocked\n"),
        ("running\n", "running\n"),
        ("quiesce\n", "quiesce\n"),
    ],
)
def test_set_running_touches_only_offline_units(own: SysfsTree, state: str, after: str) -> None:
    """D-055."""
    file = device_file(own, "2:0:0:1", "state")
    file.write_text(state)
    set_running(Session(own, 3))
    assert file.read_text()[: len(after)] == after


def test_queue_depth(own: SysfsTree) -> None:
    """D-043; a driver that refuses is no error."""
    device_file(own, "2:0:0:0", "queue_depth").unlink()
    set_queue_depth(Session(own, 3), 64)
    assert device_file(own, "2:0:0:1", "queue_depth").read_text().startswith("64")
