"""Sessions through an adapter's driver: the host, its settings, the endpoint, firmware logins."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon.adapters import ANY_HOST, Adapter, HostNotReady
from pyiscsi.daemon.parameters import prepare
from pyiscsi.errors import ExitCode, LoginFailed, PyIscsiError, TransportError
from pyiscsi.ipc import iscsiuio
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.numbers import Cap, HostParam
from pyiscsi.transport.scripted import ScriptedTransport
from pyiscsi.transport.uevent import Refused
from pyiscsi.transports import TABLE
from tests.unit.daemon.actor_parts import run

MAC = "02:fa:e0:00:00:01"
V4, V6 = [("192.0.2.1", 3260)], [("fe80::1", 3260, 0, 7)]
REFUSED = Refused("transport_ep_poll", 111)


class Machine:
    """A sysfs with one adapter, host 4; what iscsiuio was told is in `asked`."""

    def __init__(self, root: Path, transport: str) -> None:
        self.root = root
        self.tree = SysfsTree(str(root))
        self.transport = ScriptedTransport(name=transport)
        self.transport.sessions[0] = 4  # so that host 4 takes parameters
        self.asked: list[Mapping[str, str]] = []
        self.answers: list[Exception] = []

    def plug_in(self, netdev: str = "") -> None:
        base = self.root / "class/iscsi_host/host4"
        base.mkdir(parents=True)
        (base / "hwaddress").write_text(f"{MAC}\n")
        (base / "ipaddress").write_text("192.0.2.11\n")
        if netdev:
            (base / "netdev").write_text(f"{netdev}\n")

    def iscsiuio(self, iface: Mapping[str, str]) -> None:
        self.asked.append(iface)
        if self.answers:
            raise self.answers.pop(0)

    def adapter(self, **binding: str) -> Adapter:
        values = {f"iface.{key}": value for key, value in binding.items()}
        iface = Record(NODE, {"iface.iscsi_ifacename": "card", **values})
        return Adapter(self.tree, self.transport, iface, self.iscsiuio)


@pytest.fixture
def qla(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "qla4xxx")


@pytest.fixture
def bnx(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "bnx2i")


@pytest.mark.parametrize("binding", [{"hwaddress": MAC.upper()}, {"ipaddress": "192.0.2.11"}])
def test_the_endpoint_goes_through_the_host_of_the_iface(
    qla: Machine, binding: dict[str, str]
) -> None:
    """By hardware address, network device or IP address, the first that is set."""
    qla.plug_in()
    adapter = qla.adapter(**binding)
    run(adapter.wait_until_ready(1))
    assert run(adapter.connect(V4, 3261, 5)) == 1
    [connect] = [call for call in qla.transport.calls if call.operation == "ep_connect"]
    address = socket.AF_INET.to_bytes(2, "little") + bytes([12, 189, 192, 0, 2, 1]) + bytes(8)
    assert connect.arguments == {"address": address, "host_no": 4}


def test_the_host_of_a_software_session_is_no_adapter(qla: Machine) -> None:
    """It has the hardware address of the device that the session is bound to."""
    qla.plug_in()
    other = qla.root / "class/iscsi_host/host10"
    other.mkdir()
    (other / "hwaddress").write_text(f"{MAC}\n")
    for host, driver in (("host10", "iscsi_tcp"), ("host4", "qla4xxx")):
        base = qla.root / "class/scsi_host" / host
        base.mkdir(parents=True)
        (base / "proc_name").write_text(f"{driver}\n")
    adapter = qla.adapter(hwaddress=MAC)
    run(adapter.wait_until_ready(1))
    assert adapter.host_no == 4


@pytest.mark.parametrize("hwaddress", ["", "default"])
def test_an_iface_bound_to_nothing_uses_any_host(qla: Machine, hwaddress: str) -> None:
    adapter = qla.adapter(hwaddress=hwaddress)
    run(adapter.wait_until_ready(1))
    assert adapter.host_no == ANY_HOST


def test_ipv6_has_its_scope(qla: Machine) -> None:
    adapter = qla.adapter()
    run(adapter.connect(V6, 3260, 5))
    address = qla.transport.calls[0].arguments["address"]
    assert isinstance(address, bytes)
    assert len(address) == 28
    assert address[24:] == (7).to_bytes(4, "little")


def test_a_host_that_is_missing_is_waited_for_and_then_23(qla: Machine) -> None:
    """Once a second, `login_timeout` times."""
    with pytest.raises(HostNotReady) as caught:
        run(qla.adapter(hwaddress=MAC).wait_until_ready(15))
    assert caught.value.exit_code == ExitCode.HOST_NOT_FOUND


def test_a_host_that_comes_is_used(qla: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = qla.adapter(hwaddress=MAC)
    calls: list[float] = []

    async def sleep(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == 3:
            qla.plug_in()

    monkeypatch.setattr("pyiscsi.daemon.adapters.asyncio.sleep", sleep)
    run(adapter.wait_until_ready(15))
    assert (adapter.host_no, len(calls)) == (4, 3)


def test_polling_until_connected(qla: Machine) -> None:
    qla.transport.when("ep_poll", error=BlockingIOError(), times=7)
    assert run(qla.adapter().connect(V4, 3260, 5)) == 1
    assert qla.transport.operations().count("ep_poll") == 8


@pytest.mark.parametrize(
    ("error", "times", "code"), [(REFUSED, 1, 4), (BlockingIOError(), 10_000, 8)]
)
def test_an_endpoint_that_never_connects_is_given_back(
    qla: Machine, error: Exception, times: int, code: int
) -> None:
    qla.transport.when("ep_poll", error=error, times=times)
    with pytest.raises(TransportError) as caught:
        run(qla.adapter().connect(V4, 3260, 5))
    assert caught.value.exit_code == code
    assert qla.transport.endpoints == set()


def test_the_next_address_is_tried(qla: Machine) -> None:
    qla.transport.when("ep_poll", error=REFUSED)
    assert run(qla.adapter().connect([*V4, *V6], 3260, 5)) == 2
    assert qla.transport.endpoints == {2}


def test_the_adapter_is_given_its_address(bnx: Machine) -> None:
    """After iscsiuio, which is told the network device, has it up."""
    bnx.plug_in()
    adapter = bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77", net_ifacename="nosuch0")
    run(adapter.wait_until_ready(1))
    assert bnx.transport.host_params == {
        4: {
            HostParam.IPADDRESS: "192.0.2.77",
            HostParam.NETDEV_NAME: "nosuch0",
            HostParam.HWADDRESS: MAC,
        }
    }
    assert [each["iface.net_ifacename"] for each in bnx.asked] == ["nosuch0"]


def test_the_network_device_is_the_hosts(bnx: Machine) -> None:
    bnx.plug_in("nosuch1")
    run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(1))
    assert [each["iface.net_ifacename"] for each in bnx.asked] == ["nosuch1"]


def test_switching_a_device_on_holds_nobody_up(
    bnx: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers load firmware meanwhile."""
    bnx.plug_in("nosuch1")
    goes_on = threading.Event()
    waited: list[bool] = []
    monkeypatch.setattr(
        "pyiscsi.daemon.adapters.links.bring_up",
        lambda device: waited.append(goes_on.wait(5)),
    )

    async def test() -> None:
        asyncio.get_running_loop().call_soon(goes_on.set)
        await bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(1)

    asyncio.run(test())
    assert waited == [True]


@pytest.mark.parametrize(
    ("transport", "fails"), [("bnx2i", True), ("qedi", True), ("cxgb3i", False), ("cxgb4i", False)]
)
def test_no_address_to_give(tmp_path: Path, transport: str, fails: bool) -> None:
    machine = Machine(tmp_path, transport)
    machine.plug_in()
    adapter = machine.adapter(hwaddress=MAC)
    if fails:
        with pytest.raises(LoginFailed, match=r"Please set the iface\.ipaddress for iface card"):
            run(adapter.wait_until_ready(5))
    else:
        run(adapter.wait_until_ready(5))
    assert machine.transport.calls == []


@pytest.mark.parametrize("number", [22, 38])
def test_old_kernels_that_take_no_host_parameters(bnx: Machine, number: int) -> None:
    bnx.plug_in()
    bnx.transport.when("set_host_param", error=Refused("set_host_param", number), times=9)
    run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(1))


def test_a_host_parameter_that_is_refused(bnx: Machine) -> None:
    bnx.plug_in()
    bnx.transport.when("set_host_param", error=Refused("set_host_param", 5))
    with pytest.raises(LoginFailed):
        run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(3))


def test_iscsiuio_is_waited_for(bnx: Machine) -> None:
    bnx.plug_in()
    bnx.answers += [iscsiuio.NotReady()] * 3
    run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(4))
    assert len(bnx.asked) == 4
    bnx.answers += [iscsiuio.NotReady()] * 3
    with pytest.raises(HostNotReady):
        run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(3))


def test_iscsiuio_that_is_not_there(bnx: Machine) -> None:
    bnx.plug_in()
    bnx.answers.append(PyIscsiError("uIP daemon is not up", ExitCode.DAEMON_NOT_CONNECTED))
    with pytest.raises(LoginFailed) as caught:
        run(bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77").wait_until_ready(15))
    assert caught.value.exit_code == ExitCode.LOGIN
    assert len(bnx.asked) == 1


def test_a_recovery_says_once_what_is_wrong(bnx: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """It may go on for days."""
    caplog.set_level(logging.WARNING)
    bnx.plug_in("nosuch1")
    bnx.answers += [PyIscsiError("uIP daemon is not up", ExitCode.DAEMON_NOT_CONNECTED)] * 2
    adapter = bnx.adapter(hwaddress=MAC, ipaddress="192.0.2.77")
    for _ in range(2):
        with pytest.raises(LoginFailed):
            run(adapter.wait_until_ready(1))
    assert caplog.messages == [
        "Could not brining up netdev nosuch1. Try running 'ifup nosuch1' first if login fails. "
        "(err 19 - No such device)",
        "uIP daemon is not up",
    ]


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        ("tcp", (262144, 0, 262144, 16776192)),
        ("cxgb3i", (8192, 0, 262144, 16776192)),
        ("cxgb4i", (8192, 0, 262144, 16776192)),
        ("be2iscsi", (65536, 0, 8192, 262144)),
    ],
)
def test_what_the_hardware_can_take(transport: str, expected: tuple[int, ...]) -> None:
    values: dict[str, Any] = {
        "node.conn[0].iscsi.MaxRecvDataSegmentLength": "262144",
        "node.session.iscsi.FirstBurstLength": "262144",
        "node.session.iscsi.MaxBurstLength": "16776192",
    }
    prepared, _ = prepare(Record(NODE, values), transport, 0x7FFF)
    assert expected == (
        prepared.max_recv_data_segment_length,
        prepared.max_xmit_data_segment_length,
        prepared.first_burst_length,
        prepared.max_burst_length,
    )


def test_rdma_has_no_digests() -> None:
    wanted = {f"node.conn[0].iscsi.{name}Digest": "CRC32C" for name in ("Header", "Data")}
    prepared, lines = prepare(Record(NODE, wanted), "iser", Cap.HDRDGST | Cap.DATADGST)
    assert (prepared.header_digest, prepared.data_digest, len(lines)) == ("None", "None", 2)


def test_every_transport_has_a_row() -> None:
    """Adapters, and the two whose hosts are made with each session."""
    offload = {name for name, row in TABLE.items() if row.is_offload}
    assert offload == {"cxgb3i", "cxgb4i", "bnx2i", "be2iscsi", "qla4xxx", "qedi", "ocs"}
    assert {name for name, row in TABLE.items() if row.connects} == offload | {"iser"}
    assert {name for name, row in TABLE.items() if row.uses_iscsiuio} == {"bnx2i", "qedi"}
