"""Hosts and transports of a captured sysfs."""

from pathlib import Path

import pytest

from pyiscsi.sysfs.hosts import find_host, host_numbers, hosts, kernel_ifaces, transport_of_host
from pyiscsi.sysfs.transports import name_from_driver, transport, transports
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transports import TABLE
from tests.unit.sysfs.capture import unpack


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> SysfsTree:
    tree = unpack("up", tmp_path_factory.mktemp("hosts"))
    add_adapter(Path(tree.root))
    return tree


def add_adapter(root: Path) -> None:
    """A qla4xxx host 10 as open-iscsi's fake driver shows it."""
    for path, value in {
        "class/iscsi_host/host10/hwaddress": "02:FA:e0:00:00:01",
        "class/iscsi_host/host10/ipaddress": "192.0.2.11",
        "class/iscsi_host/host10/netdev": "<NULL>",
        "class/iscsi_host/host10/initiatorname": "iqn.2026-11.test:hba",
        "class/iscsi_host/host10/port_state": "Up",
        "class/scsi_host/host10/proc_name": "qla4xxx",
        "class/iscsi_iface/ipv4-iface-10-0/ipaddress": "192.0.2.11",
        "class/iscsi_iface/ipv6-iface-10-1/ipaddress": "fe80::1",
        "class/iscsi_iface/ipv4-iface-1-0/ipaddress": "192.0.2.99",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")


def test_hosts_in_the_order_of_their_names(up: SysfsTree) -> None:
    assert host_numbers(up) == [0, 1, 10, 2, 3, 4, 5]


def test_attributes(up: SysfsTree) -> None:
    """CLI-333, CLI-334."""
    software, _, adapter, *_ = hosts(up)
    assert (software.transport, software.state, software.ipaddress) == (
        "tcp",
        "running",
        "127.0.0.1",
    )
    assert (software.hwaddress, software.netdev, software.initiatorname) == (None, None, None)
    assert (adapter.transport, adapter.state, adapter.port_state) == ("qla4xxx", None, "Up")
    assert (adapter.hwaddress, adapter.netdev) == ("02:FA:e0:00:00:01", None)


def test_kernel_ifaces_of_one_host(up: SysfsTree) -> None:
    found = kernel_ifaces(up, 10)
    assert [(i.name, i.get("ipaddress")) for i in found] == [
        ("ipv4-iface-10-0", "192.0.2.11"),
        ("ipv6-iface-10-1", "fe80::1"),
    ]
    assert found[0].get("gateway") is None
    assert [i.name for i in kernel_ifaces(up, 1)] == ["ipv4-iface-1-0"]
    assert kernel_ifaces(up, 0) == []


def test_transport_of_host(up: SysfsTree) -> None:
    assert transport_of_host(up, 0) == "tcp"
    assert transport_of_host(up, 10) == "qla4xxx"
    assert transport_of_host(up, 99) is None


@pytest.mark.parametrize(
    ("binding", "host"),
    [
        ({"hwaddress": "02:fa:e0:00:00:01"}, 10),
        ({"hwaddress": "02:fa:e0:00:00:02", "ipaddress": "192.0.2.11"}, None),
        ({"ipaddress": "192.0.2.11"}, 10),
        ({"netdev": "eth0"}, None),
        ({}, None),
    ],
)
def test_find_host_uses_the_strongest_binding(
    up: SysfsTree, binding: dict[str, str], host: int | None
) -> None:
    assert find_host(up, **binding) == host


def test_transports(up: SysfsTree) -> None:
    (tcp,) = transports(up)
    assert (tcp.name, tcp.caps) == ("tcp", 0x39)
    assert tcp.handle > 0
    assert transport(up, "iser") is None
    assert transport(up, "../iscsi_transport/tcp") is None
    assert transport(up, "") is None


def test_a_distorted_transport_is_left_out(tmp_path: Path) -> None:
    for name, handle in (("tcp", "1"), ("odd", "x")):
        place = tmp_path / "class/iscsi_transport" / name
        place.mkdir(parents=True)
        (place / "handle").write_text(f"{handle}\n")
        (place / "caps").write_text("0x1\n")
    assert [found.name for found in transports(SysfsTree(str(tmp_path)))] == ["tcp"]


@pytest.mark.parametrize(
    ("driver", "name"),
    [("iscsi_tcp", "tcp"), ("iscsi_iser", "iser"), ("bnx2i", "bnx2i"), (None, "")],
)
def test_driver_names(driver: str | None, name: str) -> None:
    assert name_from_driver(driver) == name
    assert name in TABLE or not name
