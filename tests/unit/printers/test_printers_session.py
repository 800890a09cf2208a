"""Sessions, hosts and statistics as lines, against what open-iscsi 2.1.8 made of the same sysfs."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pyiscsi.printers import host as host_printer
from pyiscsi.printers import stats as stats_printer
from pyiscsi.printers.session import Blocks, Details, flat_lines, session_blocks, tree_lines
from pyiscsi.sysfs.devices import devices, host_state
from pyiscsi.sysfs.hosts import hosts
from pyiscsi.sysfs.sessions import Session, sessions
from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.sysfs.capture import golden

HEADER = ["iSCSI Transport Class version 2.0-870", "version 2.1.8"]
LOGGED_IN = ("LOGGED IN", "NO CHANGE")
REOPEN = ("TRANSPORT WAIT", "REOPEN")


def details(tree: SysfsTree, found: list[Session], *, secrets: bool = False) -> Details:
    return Details(
        states={s.sid: LOGGED_IN if s.state == "LOGGED_IN" else REOPEN for s in found},
        devices={s.sid: devices(tree, s) for s in found},
        host_states={s.sid: host_state(tree, s.host_no) for s in found},
        secrets=secrets,
    )


@pytest.fixture
def up(shared_up: Path) -> SysfsTree:
    return SysfsTree(str(shared_up / "sys"))


@pytest.fixture
def down(shared_down: Path) -> SysfsTree:
    return SysfsTree(str(shared_down / "sys"))


def test_flat(up: SysfsTree) -> None:
    """CLI-251, CLI-252, CLI-254."""
    assert list(flat_lines(sessions(up))) == golden("session-P0")


@pytest.mark.parametrize(
    ("level", "secrets", "name"),
    [
        (1, False, "session-P1"),
        (2, False, "session-P2"),
        (2, True, "session-P2-S"),
        (3, False, "session-P3"),
        (3, True, "session-P3-S"),
    ],
)
def test_tree(up: SysfsTree, level: int, secrets: bool, name: str) -> None:
    """CLI-255 to CLI-258, CLI-260: two sessions of one portal, IPv6, CHAP both ways, two LUNs."""
    found = sessions(up)
    lines = list(tree_lines(found, session_blocks(level), details(up, found, secrets=secrets)))
    assert (HEADER if level == 3 else []) + lines == golden(name)


def test_tree_of_one(up: SysfsTree) -> None:
    """CLI-271."""
    found = [Session(up, 1)]
    lines = list(tree_lines(found, session_blocks(3), details(up, found)))
    assert HEADER + lines == golden("session-r1-P3")


def test_tree_while_the_target_is_away(down: SysfsTree) -> None:
    """CLI-262: TRANSPORT WAIT, FAILED, REOPEN, and an address in brackets that is none."""
    found = sessions(down)
    lines = list(tree_lines(found, session_blocks(3), details(down, found)))
    assert HEADER + lines == golden("down-session-P3")


def test_tree_without_daemon(down: SysfsTree) -> None:
    """CLI-261."""
    lines = list(tree_lines(sessions(down), session_blocks(1), Details()))
    assert lines == golden("nodaemon-session-P1")


HOST_BLOCKS = {
    1: None,
    2: Blocks(host_line=False),
    3: Blocks(negotiated=True, host_line=False),
    4: Blocks(negotiated=True, devices=True, host_line=False),
}


def host_tree(tree: SysfsTree, level: int) -> list[str]:
    lines = HEADER[:] if level == 4 else []
    blocks = HOST_BLOCKS[level]
    for host in hosts(tree):
        lines += host_printer.host_lines(host, [])
        found = [s for s in sessions(tree) if s.host_no == host.number]
        if blocks and found:
            lines += host_printer.sessions_heading()
            lines += tree_lines(found, blocks, details(tree, found), "\t")
    return lines


def test_host_flat(up: SysfsTree) -> None:
    """CLI-333."""
    assert list(host_printer.flat_lines(hosts(up))) == golden("host-P0")


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_host_tree(up: SysfsTree, level: int) -> None:
    """CLI-334 to CLI-337."""
    assert host_tree(up, level) == golden(f"host-P{level}")


def test_host_tree_while_the_target_is_away(down: SysfsTree) -> None:
    assert host_tree(down, 4) == golden("down-host-P4")


@dataclass(frozen=True)
class Plain:
    """A session with odd values."""

    sid: int = 7
    target: str = "iqn.x:t"
    tpgt: int = 1
    address: str = "10.0.0.1"
    port: int = 3260
    persistent_address: str = "store"
    persistent_port: int = 3260
    transport: str = ""
    is_flash: bool = True
    ifacename: str = ""
    initiatorname: str = ""
    ipaddress: str | None = ""
    hwaddress: str | None = ""
    netdev: str | None = "eth0"
    state: str | None = None
    host_no: int | None = None
    recovery_tmo: int | None = -1
    tgt_reset_tmo: int | None = -1
    lu_reset_tmo: int | None = None
    abort_tmo: int | None = 0
    username: str | None = None
    password: str | None = ""
    username_in: str | None = None
    password_in: str | None = None
    header_digest: int | None = 1
    data_digest: int | None = -1
    max_recv_dlength: int | None = None
    max_xmit_dlength: int | None = 0
    first_burst_len: int | None = None
    max_burst_len: int | None = None
    immediate_data: int | None = 0
    initial_r2t: int | None = None
    max_outstanding_r2t: int | None = None


def test_flash_session_of_an_unknown_driver() -> None:
    """CLI-251: `(flash)`, and brackets round an address without a dot."""
    assert list(flat_lines([Plain()])) == ["<empty>: [7] [store]:3260,1 iqn.x:t (flash)"]


def test_values_the_kernel_lacks() -> None:
    lines = [
        line.strip()
        for line in tree_lines([Plain()], session_blocks(3), Details(secrets=True))
        if "*" not in line
    ]
    assert lines == [
        "Target: iqn.x:t (flash)",
        "Current Portal: 10.0.0.1:3260,1",
        "Persistent Portal: [store]:3260,1",
        "Interface:",
        "Iface Name: <empty>",
        "Iface Transport: <empty>",
        "Iface Initiatorname: <empty>",
        "Iface IPaddress: <empty>",
        "Iface HWaddress: <empty>",
        "Iface Netdev: eth0",
        "SID: 7",
        "iSCSI Connection State: Unknown",
        "iSCSI Session State: Unknown",
        "Internal iscsid Session State: Unknown",
        "Timeouts:",
        "Recovery Timeout: 0",
        "Target Reset Timeout: <empty>",
        "LUN Reset Timeout: <empty>",
        "Abort Timeout: 0",
        "CHAP:",
        "username: <empty>",
        "password: <empty>",
        "username_in: <empty>",
        "password: <empty>",
        "Negotiated iSCSI params:",
        "HeaderDigest: CRC32C",
        "MaxXmitDataSegmentLength: 0",
        "ImmediateData: No",
        "Attached SCSI devices:",
        "Unavailable",
    ]


def test_grouping_compares_with_the_session_before_only() -> None:
    """CLI-260: a target re-appears when ids interleave."""
    first, second = Plain(), Plain(sid=8, target="iqn.x:u")
    lines = list(tree_lines([first, second, first, first], session_blocks(1), Details()))
    heads = [line for line in lines if line.startswith("Target") or not line]
    assert heads == [
        "Target: iqn.x:t (flash)",
        "Target: iqn.x:u (flash)",
        "Target: iqn.x:t (flash)",
        "",
    ]
    moved = replace(first, address="10.0.0.2")
    assert "" not in list(tree_lines([first, moved], session_blocks(1), Details()))


def test_host_without_session_devices() -> None:
    """CLI-258: an unattached host prints just its own line."""
    lines = list(tree_lines([Plain(host_no=3)], session_blocks(3), Details()))
    assert lines[-1] == "\t\tHost Number: 3\tState: Unknown"


@dataclass(frozen=True)
class Adapter:
    number: int = 4
    state: str | None = "running"
    transport: str | None = "qla4xxx"
    initiatorname: str | None = "iqn.x:hba"
    ipaddress: str | None = "fe80::1"
    hwaddress: str | None = "02:fa:e0:00:00:01"
    netdev: str | None = None
    port_state: str | None = "Up"
    port_speed: str | None = None


@dataclass(frozen=True)
class KernelIface:
    name: str
    values: dict[str, str] = field(default_factory=dict)

    def get(self, attribute: str) -> str | None:
        return self.values.get(attribute)


def test_adapter_with_its_interfaces() -> None:
    four = KernelIface("ipv4-iface-4-0", {"ipaddress": "192.0.2.11", "mtu": "1500", "port": "0"})
    six = KernelIface("ipv6-iface-4-1", {"ipaddress": "fe80::1", "link_local_autocfg": "auto"})
    assert list(host_printer.flat_lines([Adapter()])) == [
        "qla4xxx: [4] [fe80::1],[02:fa:e0:00:00:01],<empty> iqn.x:hba"
    ]
    lines = list(host_printer.host_lines(Adapter(), [four, six]))
    first, second = (i for i, line in enumerate(lines) if "Kernel Name" in line)
    common = ["\tPort State: Up", "\tPort Speed: <empty>", "\tPort: <empty>"]
    vlan = ["\tVLAN ID: <empty>", "\tVLAN priority: <empty>"]
    assert lines[first - 3 : second - 3] == [
        "\t**********",
        "\tInterface:",
        "\t**********",
        "\tKernel Name: ipv4-iface-4-0",
        "\tIPaddress: 192.0.2.11",
        "\tGateway: <empty>",
        "\tSubnet: <empty>",
        "\tBootProto: <empty>",
        *common,
        "\tMTU: 1500",
        *vlan,
    ]
    assert lines[second:] == [
        "\tKernel Name: ipv6-iface-4-1",
        "\tIPaddress: [fe80::1]",
        "\tIPaddress Autocfg: <empty>",
        "\tLink Local Address: <empty>",
        "\tLink Local Autocfg: auto",
        "\tRouter Address: <empty>",
        *common,
        "\tMTU: <empty>",
        *vlan,
    ]


def test_statistics(up: SysfsTree) -> None:
    """CLI-282."""
    expected = golden("stats")
    values = dict(line.strip().split(": ") for line in expected if line.startswith("\t"))
    counters = {name: int(values.pop(name)) for name in stats_printer.COUNTERS}
    custom = {name: int(value) for name, value in values.items()}
    assert len(custom) == 3
    found = Session(up, 1)
    assert list(stats_printer.stats_lines(found, counters, custom)) == expected
    bare = list(stats_printer.stats_lines(found, {}, {}))
    assert len(bare) == 2 + len(stats_printer.COUNTERS)
    assert bare[2:] == [f"\t{name}: 0" for name in stats_printer.COUNTERS]
