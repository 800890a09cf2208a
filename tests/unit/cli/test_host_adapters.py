"""`-m host` and `-m iface` on an adapter: its sysfs as recorded, a stand-in for its driver.

Expected output is what open-iscsi 2.1.8 printed while the recording was made (tests/data/sysfs).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyiscsi.transport.control import Control
from pyiscsi.transport.numbers import KEvent, UEvent
from tests.unit.cli.commands import Machine
from tests.unit.cli.test_matrix_hosts import check
from tests.unit.sysfs.capture import golden, unpack
from tests.unit.transport.driver import (
    Driver,
    Request,
    happening,
    multicast,
    refusal,
    reply,
    succeed,
)

CHAP = "-m host -H 1 -C chap"
NODE = "-m host -H 1 -C flashnode"
PAIR = "-n host.auth.username_in -v bob -n host.auth.password_in -v secret"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    with Driver() as made:
        monkeypatch.setattr(Control, "open", made.control)
        yield made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Machine:
    """One adapter, host 1, with three flashnodes."""
    made = Machine(tmp_path, monkeypatch)
    unpack("adapter", tmp_path)
    return made


def text(name: str) -> str:
    return "".join(f"{line}\n" for line in golden(f"adapter-{name}"))


def test_listings(machine: Machine) -> None:
    check(machine.run_line("-m host"), 0, text("host-P0"))
    check(machine.run_line("-m host -P 1"), 0, text("host-P1"))


def test_host_by_hardware_address(machine: Machine) -> None:
    assert machine.run_line("-m host -H 02:FA:e0:00:00:01 -C flashnode").out == text("flashnodes")


def entry(index: int, name: bytes, secret: bytes = b"s", kind: int = 0) -> bytes:
    head = struct.pack("=HHI", index, 0, kind) + name.ljust(256, b"\0") + secret.ljust(256, b"\0")
    return head + bytes([len(secret), 0, 0, 0])


def serve_table(driver: Driver, table: dict[int, bytes]) -> None:
    """GET_CHAP: as many used entries from an index on as were asked for."""

    def get(request: Request) -> list[bytes]:
        first, room = request.fields["idx"], request.fields["num_entries"]
        found = [row for index, row in sorted(table.items()) if index >= first][:room]
        payload = b"".join(found).ljust(524 * room, b"\0")
        return [multicast(request, payload, num_entries=len(found))]

    driver.on[UEvent.GET_CHAP] = get


def test_chap_table(machine: Machine, driver: Driver) -> None:
    """Secrets are shown, as in the original; the status is 0, as it should be there."""
    serve_table(driver, {0: entry(0, b"alice", b"secretsecret1")})
    check(machine.run_line(f"{CHAP} -o show"), 0, text("chap"))
    serve_table(driver, {})
    check(machine.run_line(f"{CHAP} -o show"), 0)


@pytest.mark.parametrize(("count", "trips"), [(6, 1), (7, 2), (16, 3)])
def test_chap_table_of_many(machine: Machine, driver: Driver, count: int, trips: int) -> None:
    """Seven at a time, each after the last one seen; a name stays on its line."""
    table = {3 * n: entry(3 * n, b"u\n%d\xff" % n, kind=n % 2) for n in range(count)}
    serve_table(driver, table)
    answer = machine.run_line(f"{CHAP} -o show")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [line for line in lines if "tbl_idx" in line] == [
        f"host.auth.tbl_idx = {index}" for index in table
    ]
    names = [line.partition(" = ") for line in lines if "username" in line]
    assert [(key.rpartition(".")[2], value) for key, _, value in names] == [
        (("username", "username_in")[n % 2], f"u\\x0a{n}\udcff") for n in range(count)
    ]
    assert len(driver.requests) == trips


@pytest.mark.parametrize(("first", "shown"), [(0, 14), (65529, 7)])
def test_chap_table_without_end(machine: Machine, driver: Driver, first: int, shown: int) -> None:
    """A driver that always answers the same seven, and a table up to the last index."""
    payload = b"".join(entry(first + n, b"u") for n in range(7))
    driver.on[UEvent.GET_CHAP] = lambda request: [multicast(request, payload, num_entries=7)]
    answer = machine.run_line(f"{CHAP} -o show")
    assert (answer.status, answer.out.count("tbl_idx")) == (0, shown)


def test_chap_entry_is_set(machine: Machine, driver: Driver) -> None:
    """-x names the entry; without it any free one, which is an index beyond every table."""
    for words, index in ((f"{CHAP} -o update -x 9 {PAIR}", 9), (f"{CHAP} -o new {PAIR}", 2049)):
        check(machine.run_line(words), 0)
        request = driver.requests[-1]
        assert (request.event, request.fields) == (UEvent.SET_CHAP, {"host_no": 1})
        assert request.payload[:12] == struct.pack("=HHIHH", 12, 0, 2, 0, index)
        assert b"\3\0\0\0\2\0bob" in request.payload
        assert b"\6\0\0\0\3\0secret" in request.payload


@pytest.mark.parametrize(
    ("number", "status", "reasons", "more"),
    [
        (errno.EINVAL, 1, ["Received iferror -22: Invalid argument."], []),
        (errno.ENOSYS, 1, [], []),
        (errno.EBUSY, 28, ["Received iferror -16: Device or resource busy."],
         ["CHAP index 4 is in use."]),
    ],
)  # fmt: skip
def test_chap_entry_is_refused(
    machine: Machine, driver: Driver, number: int, status: int, reasons: list[str], more: list[str]
) -> None:
    for event in (UEvent.SET_CHAP, UEvent.DELETE_CHAP):
        driver.refuse(event, number)
    check(
        machine.run_line(f"{CHAP} -o new -x 4 {PAIR}"),
        status, "", *reasons, "CHAP setting failed", *more,
    )  # fmt: skip
    check(
        machine.run_line(f"{CHAP} -o delete -x 4"),
        status, "Deleting CHAP index: 4\n", *reasons, "CHAP Delete failed.", *more,
    )  # fmt: skip


def test_chap_entry_is_deleted(machine: Machine, driver: Driver) -> None:
    check(machine.run_line(f"{CHAP} -o delete -x 2048"), 0, "Deleting CHAP index: 2048\n")
    assert driver.requests[-1].fields == {"host_no": 1, "idx": 2048}


def test_statistics(machine: Machine, driver: Driver) -> None:
    values = struct.pack("=82QI", *range(2000, 2082), 0)
    driver.on[UEvent.GET_HOST_STATS] = lambda request: [multicast(request, values)]
    check(machine.run_line("-m host -H 1 -C stats"), 0, text("stats"))


def test_flashnodes_shown(machine: Machine, driver: Driver) -> None:
    """From sysfs alone: the driver is not asked."""
    check(machine.run_line(NODE), 0, text("flashnodes"))
    for index in (0, 1):
        check(machine.run_line(f"{NODE} -o show -x {index}"), 0, text(f"flashnode-{index}"))
    assert driver.requests == []


def test_flashnode_is_made(machine: Machine, driver: Driver) -> None:
    driver.on[UEvent.NEW_FLASHNODE] = lambda request: [reply(request, struct.pack("=I", 3))]
    check(
        machine.run_line(f"{NODE} -o new -A ipv6"),
        0,
        "Create new flashnode for host 1.\nNew flashnode for host 1 added at index 3.\n",
    )
    assert driver.requests[-1].payload == b"ipv6\0"


def test_flashnode_is_changed(machine: Machine, driver: Driver) -> None:
    """Everything that is sent goes out in one request, in the order given."""
    words = "-n flashnode.session.tpgt -v 9 -n flashnode.session.erl -v 2"
    check(
        machine.run_line(f"{NODE} -o update -x 1 {words}"),
        0,
        "Update flashnode 1.\nUpdate for flashnode 1 of host 1 successful.\n",
    )
    (request,) = driver.requests
    assert request.event == UEvent.SET_FLASHNODE_PARAMS
    assert request.fields == {"host_no": 1, "idx": 1, "count": 2}
    assert request.payload.hex() == "0c002c00020000002c0009000b0010000100000010000200"


UPDATE_FAILED = "Update for flashnode 1 of host 1 failed."
BUILD_FAILED = "Build flashnode config failed."


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("", 1, BUILD_FAILED),
        ("-n flashnode.session.bogus -v 1", 7,
         "Cannot modify flashnode.session.bogus. Invalid param name."),
        ("-n flashnode.conn[0].ipaddress -v 192.0.2.1", 1, BUILD_FAILED),
        ("-n flashnode.session.username -v u -n flashnode.session.tpgt -v 7", 1, BUILD_FAILED),
    ],
)  # fmt: skip
def test_flashnode_change_that_is_wrong(
    machine: Machine, driver: Driver, words: str, status: int, line: str
) -> None:
    """Nothing is sent, not even the part that could be."""
    check(machine.run_line(f"{NODE} -o update -x 1 {words}"), status, "", line, UPDATE_FAILED)
    assert driver.requests == []


@pytest.mark.parametrize(
    ("op", "event", "number", "status", "out", "err"),
    [
        ("delete", UEvent.DEL_FLASHNODE, 0, 0,
         ["Delete flashnode 2.", "Flashnode 2 of host 1 deleted."], []),
        ("delete", UEvent.DEL_FLASHNODE, errno.ENODEV, 1, ["Delete flashnode 2."],
         ["Received iferror -19: No such device.",
          "Deletion of flashnode 2 of host 1 failed."]),
        ("login", UEvent.LOGIN_FLASHNODE, 0, 0,
         ["Login to flashnode 2.", "Login to flashnode 2 of host 1 successful."], []),
        ("login", UEvent.LOGIN_FLASHNODE, errno.EPERM, 15,
         ["Login to flashnode 2.", "Flashnode 2 of host 1 already logged in."],
         ["Received iferror -1: Operation not permitted."]),
        ("login", UEvent.LOGIN_FLASHNODE, errno.EEXIST, 5, ["Login to flashnode 2."],
         ["Received iferror -17: File exists.", "Login to flashnode 2 of host 1 failed."]),
        ("logout", UEvent.LOGOUT_FLASHNODE, 0, 0,
         ["Logout flashnode 2.", "Logout of flashnode 2 of host 1 successful."], []),
        ("logout", UEvent.LOGOUT_FLASHNODE, errno.ESRCH, 2,
         ["Logout flashnode 2.", "Flashnode 2 of host 1 not logged in."],
         ["Received iferror -3: No such process."]),
        ("logout", UEvent.LOGOUT_FLASHNODE, errno.ENODEV, 10, ["Logout flashnode 2."],
         ["Received iferror -19: No such device.", "Logout of flashnode 2 of host 1 failed."]),
    ],
)  # fmt: skip
def test_flashnode_actions(
    machine: Machine,
    driver: Driver,
    op: str,
    event: UEvent,
    number: int,
    status: int,
    out: list[str],
    err: list[str],
) -> None:
    if number:
        driver.refuse(event, number)
    answer = machine.run_line(f"{NODE} -o {op} -x 2")
    check(answer, status, "".join(f"{line}\n" for line in out), *err)
    assert [(request.event, request.fields) for request in driver.requests] == [
        (event, {"host_no": 1, "idx": 2})
    ]


# an adapter's interface


@pytest.fixture
def iface(machine: Machine) -> str:
    words = "-n iface.transport_name -v qla4xxx -n iface.hwaddress -v 02:fa:e0:00:00:01"
    assert machine.run_line(f"-m iface -I hba -o new {words} -n iface.iface_num -v 1").status == 0
    return "-m iface -I hba"


def pinged(*statuses: int) -> Callable[[Request], list[bytes]]:
    """A driver whose pings end so, one after the other, among other pings' ends."""
    left = [*statuses]

    def ping(request: Request) -> list[bytes]:
        number, host = request.fields["id"], request.fields["host_no"]
        stray = struct.pack("=IIII", host, 5, number ^ 1, 0)
        ours = struct.pack("=IIII", host, left.pop(0), number, 0)
        return [
            *succeed(request),
            happening(KEvent.PING_COMP, stray),
            happening(KEvent.PING_COMP, ours),
        ]

    return ping


@pytest.mark.parametrize(
    ("statuses", "status", "lines"),
    [
        ([0, 0], 0, ["completed", "completed"]),
        ([4, 7], 1, ["failed: timed out", "failed: ICMP error"]),
        ([0, 1], 1, ["completed", "failed: firmware disabled"]),
        ([9, 0], 0, ["failed: No ARP response received", "completed"]),
        ([10], 1, ["failed: status 10"]),
    ],
)
def test_ping(
    machine: Machine, driver: Driver, iface: str, statuses: list[int], status: int, lines: list[str]
) -> None:
    """The last one decides, and one that failed is a failure."""
    driver.on[UEvent.PING] = pinged(*statuses)
    answer = machine.run_line(f"{iface} -C ping -a 192.0.2.1 -b 100 -c {len(statuses)}")
    shown = [f"Ping {n} {line}\n" for n, line in enumerate(lines, 1)]
    check(answer, status, "".join(shown))
    fields = {key: value for key, value in driver.requests[0].fields.items() if key != "id"}
    assert fields == {"host_no": 1, "iface_num": 1, "iface_type": 1, "payload_size": 100}
    assert len({request.fields["id"] for request in driver.requests}) == len(statuses)


def test_ping_over_ipv6(machine: Machine, driver: Driver) -> None:
    """The address family of the interface is that of its record, as in the original."""
    driver.on[UEvent.PING] = pinged(0)
    words = "-n iface.transport_name -v qla4xxx -n iface.hwaddress -v 02:fa:e0:00:00:01"
    machine.run_line(f"-m iface -I hba.ipv6.0 -o new {words}")
    check(machine.run_line("-m iface -I hba.ipv6.0 -C ping -a fd00::1"), 0, "Ping 1 completed\n")
    (request,) = driver.requests
    assert request.fields["iface_type"] == 2
    assert request.payload.hex() == "0a00000000000000fd" + "00" * 14 + "01" + "00000000"


@pytest.mark.parametrize(
    ("number", "status", "line", "reasons"),
    [
        (errno.EINVAL, 7, "invalid parameter", ["Received iferror -22: Invalid argument."]),
        (errno.ENODEV, 1, "unknown error", ["Received iferror -19: No such device."]),
        (errno.ENOSYS, 27, "operation not supported", []),
    ],
)
def test_ping_is_refused(
    machine: Machine, driver: Driver, iface: str, number: int, status: int, line: str,
    reasons: list[str],
) -> None:  # fmt: skip
    driver.refuse(UEvent.PING, number)
    answer = machine.run_line(f"{iface} -C ping -a 192.0.2.1")
    check(answer, status, f"Ping 1 failed: {line}\n", *reasons)


def test_ping_that_never_ends(
    machine: Machine, driver: Driver, iface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyiscsi.ops.ping.ANSWER_S", 0.05)
    answer = machine.run_line(f"{iface} -C ping -a 192.0.2.1")
    check(answer, 8, "Ping 1 failed: connection timed out\n")


def test_apply(machine: Machine, driver: Driver, iface: str) -> None:
    """Each setting of the record, for the host with its hardware address."""
    machine.run_line(f"{iface} -o update -n iface.ipaddress -v 192.0.2.77 -n iface.mtu -v 9000")
    check(machine.run_line(f"{iface} -o apply"), 0, "hba applied.\n")
    (request,) = driver.requests
    assert request.event == UEvent.SET_IFACE_PARAMS
    assert request.fields == {"host_no": 1, "count": 4}
    assert request.payload.hex() == (
        "1100040001000000010000000400010201000000"
        "14000100010000000400000001000102c000024d"
        "1200130001000000020000001300010228230000"
        "12001400010000000200000014000102bc0c0000"
    )


def test_apply_all(machine: Machine, driver: Driver, iface: str) -> None:
    """The ifaces of this host only: two of ours, and those it has by itself."""
    machine.run_line(f"{iface} -o update -n iface.state -v disable")
    for kind in ("ipv4.0", "ipv6.0", "ipv6.1"):
        own = f"-I qla4xxx.02:fa:e0:00:00:01.{kind}"
        assert machine.run_line(f"-m iface {own} -o update -n iface.state -v disable").status == 0
    new = "-o new -n iface.state -v disable -n iface.transport_name -v qla4xxx"
    machine.run_line(f"-m iface -I hba.ipv6 {new} -n iface.hwaddress -v 02:fa:e0:00:00:01")
    machine.run_line(f"-m iface -I other {new} -n iface.hwaddress -v 02:fa:e0:00:00:02")
    machine.run_line(f"-m iface -I none {new}")
    done = "Applied settings to ifaces attached to host1.\n"
    check(machine.run_line("-m iface -H 1 -o applyall"), 0, done)
    (request,) = driver.requests
    assert request.fields == {"host_no": 1, "count": 5}


def test_apply_is_refused(machine: Machine, driver: Driver, iface: str) -> None:
    machine.run_line(f"{iface} -o update -n iface.state -v disable")
    driver.on[UEvent.SET_IFACE_PARAMS] = lambda request: [refusal(request, errno.EIO)]
    lines = [
        "Received iferror -5: Input/output error.",
        "Set net_config failed. errno=5",
        "Could not apply net configuration: unknown error",
    ]
    check(machine.run_line(f"{iface} -o apply"), 1, "", *lines)
    check(machine.run_line("-m iface -H 1 -o applyall"), 1, "", *lines)
