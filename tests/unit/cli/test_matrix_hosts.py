"""`-m iface` and `-m host` where there is no adapter: every form of the acceptance matrix.

The kernel is a stand-in that refuses what Linux 6.1 refuses for iscsi_tcp; tests/kernel asks the
real one, and the parity scenarios matrix-iface and matrix-host compare with open-iscsi there.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.transport.control import Control
from pyiscsi.transport.numbers import UEvent
from tests.unit.cli.commands import Answer, Machine
from tests.unit.transport.driver import HANDLE, Driver

ONE = "iqn.2026-11.test:one"
FLAT = "default tcp,<empty>,<empty>,<empty>,<empty>\niser iser,<empty>,<empty>,<empty>,<empty>\n"
NO_TRANSPORT = [
    "Could not read proc_name for host9 rc 5.",
    "Could not match hostno 9 to transport.",
]
CHAP = "-m host -H 7 -C chap"
PAIR = "-n host.auth.username -v a -n host.auth.password -v secretsecret1"
NO_PAIR = "Invalid username/password pair passed. Unable to determine the type of chap entry"
NODE = "-m host -H 7 -C flashnode"
REFUSED = (
    UEvent.SET_CHAP, UEvent.DELETE_CHAP, UEvent.NEW_FLASHNODE, UEvent.DEL_FLASHNODE,
    UEvent.LOGIN_FLASHNODE, UEvent.LOGOUT_FLASHNODE, UEvent.SET_FLASHNODE_PARAMS,
    UEvent.GET_HOST_STATS, UEvent.PING, UEvent.SET_IFACE_PARAMS,
)  # fmt: skip
"""Operations iscsi_tcp does not have."""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    with Driver() as made:
        for event in REFUSED:
            made.refuse(event, errno.ENOSYS)
        made.refuse(UEvent.GET_CHAP, errno.EINVAL)
        monkeypatch.setattr(Control, "open", made.control)
        yield made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Machine:
    """A session on host 7, the tcp driver loaded, another driver's host 3, no modprobe."""
    made = Machine(tmp_path, monkeypatch)
    made.session(1, ONE, "127.0.0.1")
    tcp = tmp_path / "sys/class/iscsi_transport/tcp"
    tcp.mkdir(parents=True)
    (tcp / "handle").write_text(f"{HANDLE}\n")
    (tcp / "caps").write_text("0x39\n")
    host = tmp_path / "sys/class/iscsi_host/host7"
    host.mkdir(parents=True)
    (host / "ipaddress").write_text("127.0.0.1\n")
    (host / "hwaddress").write_text("(null)\n")
    other = tmp_path / "sys/class/scsi_host/host3"
    other.mkdir(parents=True)
    (other / "proc_name").write_text("scsi_debug\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    return made


def check(answer: Answer, status: int, out: str = "", *err: str) -> None:
    lines = "".join(f"iscsiadm: {line}\n" for line in err)
    assert (answer.status, answer.out, answer.err) == (status, out, lines)


@pytest.mark.parametrize("words", ["-P 0", "-o show", "-P -1", "-P x", "-C bogus", "-C stats"])
def test_flat_iface_list(machine: Machine, words: str) -> None:
    """CLI-291, CLI-292, CLI-331: level 0, `show` and other submodes list like no option at all."""
    check(machine.run_line("-m iface"), 0, FLAT)
    check(machine.run_line(f"-m iface {words}"), 0, FLAT)


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ("-I nosuch -o update -n iface.mtu -v 9", 7, "",
         ["Could not read iface info for nosuch."]),
        ("-o apply", 7, "", ["Apply requires iface."]),
        ("-I nosuch -o apply", 6, "", ["Could not read iface nosuch (6)."]),
        ("-I default -o apply", 0, "default applied.\n", []),
        ("-H 0 -o applyall", 0, "Applied settings to ifaces attached to host0.\n", []),
        ("-H 7 -o applyall", 0, "Applied settings to ifaces attached to host7.\n", []),
        ("-H -1 -o applyall", 7, "", ["Invalid host no -1. Numerical result out of range."]),
        ("-H 00:11:22:33:44:55 -o applyall", 7, "", ["Could not match MAC to host."]),
        ("-o nonpersistent", 7, "", []),
        ("-o login", 7, "", []),
        ("-o logout", 7, "", []),
        ("-I default -o apply -o applyall", 7, "", []),
    ],
)  # fmt: skip
def test_apply(machine: Machine, words: str, status: int, out: str, err: list[str]) -> None:
    """CLI-310, CLI-321, CLI-322, CLI-323, CLI-324, CLI-325."""
    check(machine.run_line(f"-m iface {words}"), status, out, *err)


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ("", 7, "", ["Ping requires iface."]),
        ("-a 1.2.3.4 -b 0", 7, "", ["Ping requires iface."]),
        ("-I if0 -b 0", 7, "", ["Ping requires destination ipaddress."]),
        ("-I if0 -a 1.2.3.4 -b 0 -c 0", 7, "", ["Invalid packet size: 0."]),
        ("-I if0 -a 1.2.3.4 -b x", 7, "", ["Invalid packet size: 0."]),
        ("-I if0 -a 1.2.3.4 -c 0 -i -1", 7, "", ["Invalid number of packets to transmit: 0."]),
        ("-I if0 -a 1.2.3.4 -i -1", 7, "", ["Invalid timing interval: -1."]),
        ("-I nosuch -a 1.2.3.4", 6, "", ["Could not read iface nosuch (6)."]),
        ("-I default -a 1.2.3.4 -c 2", 27,
         "Ping 1 failed: operation not supported\nPing 2 failed: operation not supported\n", []),
        ("-I default -a ::1", 27, "Ping 1 failed: operation not supported\n", []),
        ("-I iser -a 1.2.3.4", 7, "",
         ["Could not insert module iser. Kmod error -2", "Can't find transport."]),
    ],
)  # fmt: skip
def test_ping(machine: Machine, words: str, status: int, out: str, err: list[str]) -> None:
    """CLI-326, CLI-327, CLI-328, CLI-329, CLI-330."""
    answer = machine.run_line(f"-m iface -C ping {words}")
    answer.err = "".join(
        line for line in answer.err.splitlines(keepends=True) if not line.startswith("libkmod")
    )
    check(answer, status, out, *err)


def test_ping_of_a_name(machine: Machine, driver: Driver) -> None:
    """The first address; a name that has none is said so as by the resolver."""
    assert machine.run_line("-m iface -I default -C ping -a localhost").status == 27
    assert [request.event for request in driver.requests] == [UEvent.PING]
    answer = machine.run("-m", "iface", "-I", "default", "-C", "ping", "-a", "")
    assert answer.status == 7
    first, second = answer.err.splitlines()
    assert first.startswith("iscsiadm: Cannot resolve host . getaddrinfo error: [")
    assert second == "iscsiadm: Invalid IP address."


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ("", 0xFFFFFFFF),
        ("-n iface.ipaddress -v 127.0.0.1", 7),
        ("-n iface.ipaddress -v 127.0.0.2", 0xFFFFFFFF),
        ("-n iface.hwaddress -v 00:11:22:33:44:55 -n iface.ipaddress -v 127.0.0.1", 0xFFFFFFFF),
        ("-n iface.net_ifacename -v default -n iface.ipaddress -v 127.0.0.1", 7),
    ],
)
def test_host_of_a_ping(machine: Machine, driver: Driver, settings: str, host: int) -> None:
    """By hardware address, else by network device, else by address; none is all ones."""
    machine.run_line(f"-m iface -I if0 -o new {settings}")
    assert machine.run_line("-m iface -I if0 -C ping -a 1.2.3.4 -b 100").status == 27
    (request,) = driver.requests
    fields = {key: value for key, value in request.fields.items() if key != "id"}
    assert fields == {"host_no": host, "iface_num": 0, "iface_type": 1, "payload_size": 100}
    assert request.payload.hex() == "02000000010203040000000000000000"


def test_apply_what_a_software_iface_can_not_have(machine: Machine, driver: Driver) -> None:
    """An address in the record is told to the driver, which refuses: with the reason, status 1."""
    machine.run_line("-m iface -I if0 -o new -n iface.ipaddress -v 127.0.0.1")
    refused = [
        "Set net_config failed. errno=38",
        "Could not apply net configuration: unknown error",
    ]
    check(machine.run_line("-m iface -I if0 -o apply"), 1, "", *refused)
    check(machine.run_line("-m iface -H 7 -o applyall"), 1, "", *refused)
    assert [request.event for request in driver.requests] == [UEvent.SET_IFACE_PARAMS] * 2
    assert [request.fields for request in driver.requests] == [{"host_no": 7, "count": 3}] * 2
    machine.run_line("-m iface -I if0 -o update -n iface.ipaddress -v 127.0.0.256")
    check(
        machine.run_line("-m iface -I if0 -o apply"),
        1,
        "",
        "127.0.0.256 is no address",
        "Build netconfig failed.",
        refused[1],
    )


def test_apply_to_a_host_that_is_not_there(machine: Machine) -> None:
    """Nothing to configure is no failure; with something to configure it is one."""
    check(
        machine.run_line("-m iface -H 9 -o applyall"),
        0,
        "Applied settings to ifaces attached to host9.\n",
    )
    machine.run_line("-m iface -I if0 -o new -n iface.bootproto -v dhcp")
    answer = machine.run_line("-m iface -H 9 -o applyall")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.splitlines() == [
        "iscsiadm: Could not read proc_name for host9 rc 5.",
        "libkmod: ERROR ../libkmod/libkmod-module.c:895 kmod_module_insert_module: could not find "
        "module by name=''",
        "iscsiadm: Could not insert module . Kmod error -2",
        "iscsiadm: Can't find transport.",
        "iscsiadm: Could not apply net configuration: unknown error",
    ]


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ("-m host -C ping", 7, "", ["Invalid Sub Mode"]),
        ("-m host -C chap", 7, "", ["CHAP mode requires host no and valid operation"]),
        ("-m host -H 9 -C chap -o show", 12, "", NO_TRANSPORT),
        ("-m host -H 9 -C chap -o delete -x 5", 12, "", NO_TRANSPORT),
        ("-m host -H 9 -C chap -o new -n host.auth.username -v a", 12, "", NO_TRANSPORT),
        ("-m host -H 9 -C chap -o new", 7, "", ["Chap username/password not provided."]),
        ("-m host -H 3 -C chap -o show", 12, "", ["Could not match hostno 3 to transport."]),
        (f"{CHAP} -o show", 1, "",
         ["Received iferror -22: Invalid argument.", "get_chap_info failed. errno=0"]),
        (f"{CHAP} -o new", 7, "", ["Chap username/password not provided."]),
        (f"{CHAP} -o new -n host.auth.username -v a", 7, "", [NO_PAIR]),
        (f"{CHAP} -o update -n host.auth.username -v a -n host.auth.password_in -v b", 7, "",
         [NO_PAIR]),
        (f"{CHAP} -o new {PAIR}", 1, "", ["CHAP setting failed"]),
        (f"{CHAP} -o update -x 3 {PAIR}", 1, "", ["CHAP setting failed"]),
        (f"{CHAP} -o new {PAIR} -n host.auth.username -v b", 1, "",
         ["Only one pair of username/password can be passed."]),
        (f"{CHAP} -o new {PAIR} -n host.auth.username_in -v b", 7, "", [NO_PAIR]),
        (f"{CHAP} -o new {PAIR} -x 65536", 7, "", ["Invalid chap table index."]),
        (f"{CHAP} -o delete", 7, "", ["Invalid chap table index."]),
        (f"{CHAP} -o delete -x 2049", 7, "", ["Invalid chap table index."]),
        (f"{CHAP} -o delete -x 65536", 7, "", ["Invalid chap table index."]),
        (f"{CHAP} -o delete -x 5", 1, "Deleting CHAP index: 5\n", ["CHAP Delete failed."]),
        (f"{CHAP} -o login", 7, "", ["Invalid operation."]),
        (f"{CHAP} -o show -o new", 7, "", ["Invalid operation."]),
    ],
)  # fmt: skip
def test_chap(machine: Machine, words: str, status: int, out: str, err: list[str]) -> None:
    """CLI-341, CLI-342, CLI-343, CLI-344, CLI-345, CLI-346, CLI-347, CLI-348, CLI-349, CLI-350: as
    in the matrix, but a failure never ends with status 0."""
    check(machine.run_line(words), status, out, *err)


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (NODE, 21, "", ["No flashnodes attached to host 7."]),
        (f"{NODE} -o show -x 4294967296", 21, "", ["No flashnodes attached to host 7."]),
        ("-m host -H 9 -C flashnode", 12, "", NO_TRANSPORT),
        ("-m host -H 9 -C flashnode -o apply -x 0", 12, "", NO_TRANSPORT),
        ("-m host -H 9 -C flashnode -o apply", 7, "", ["Invalid flashnode index"]),
        (f"{NODE} -x 0", 2, "",
         ["Could not read info for flashnode 0 of host 7, No such file or directory"]),
        (f"{NODE} -o new", 7, "", ["Invalid type mentioned for flashnode"]),
        (f"{NODE} -o new -A ipx", 7, "", ["Invalid type mentioned for flashnode"]),
        (f"{NODE} -o new -A ipv4", 1, "Create new flashnode for host 7.\n",
         ["Creation of flashnode for host 7 failed."]),
        (f"{NODE} -o delete", 7, "", ["Invalid flashnode index"]),
        (f"{NODE} -o delete -x 4294967296", 7, "", ["Invalid flashnode index"]),
        (f"{NODE} -o delete -x 0", 1, "Delete flashnode 0.\n",
         ["Deletion of flashnode 0 of host 7 failed."]),
        (f"{NODE} -o update -x 0 -n flashnode.session.tpgt -v 3", 2, "",
         ["Could not read info for flashnode 0, No such file or directory",
          "Update for flashnode 0 of host 7 failed."]),
        (f"{NODE} -o login -x 0", 5, "Login to flashnode 0.\n",
         ["Login to flashnode 0 of host 7 failed."]),
        (f"{NODE} -o logout -x 0", 10, "Logout flashnode 0.\n",
         ["Logout of flashnode 0 of host 7 failed."]),
        (f"{NODE} -o apply -x 0", 7, "", ["Invalid operation"]),
        ("-m host -H 7 -C stats", 1, "", ["get_host_stats failed. errno=0"]),
        ("-m host -H 9 -C stats", 12, "", NO_TRANSPORT),
        ("-m host -H 3 -C stats", 12, "", ["Could not match hostno 3 to transport."]),
    ],
)  # fmt: skip
def test_flashnode_and_stats(
    machine: Machine, words: str, status: int, out: str, err: list[str]
) -> None:
    """CLI-351, CLI-352, CLI-353, CLI-354, CLI-355, CLI-356, CLI-357, CLI-358, CLI-359, CLI-360."""
    check(machine.run_line(words), status, out, *err)


def test_the_kernel_was_asked(machine: Machine, driver: Driver) -> None:
    """What an answer says of the driver is the driver's own answer."""
    for words in (
        f"{CHAP} -o show", f"{CHAP} -o new {PAIR}", f"{CHAP} -o delete -x 5",
        f"{NODE} -o new -A ipv6", f"{NODE} -o delete -x 1", f"{NODE} -o login -x 2",
        f"{NODE} -o logout -x 3", "-m host -H 7 -C stats",
    ):  # fmt: skip
        assert machine.run_line(words).status
    assert [(r.event, r.fields) for r in driver.requests] == [
        (UEvent.GET_CHAP, {"host_no": 7, "num_entries": 7, "idx": 0}),
        (UEvent.SET_CHAP, {"host_no": 7}),
        (UEvent.DELETE_CHAP, {"host_no": 7, "idx": 5}),
        (UEvent.NEW_FLASHNODE, {"host_no": 7, "length": 5}),
        (UEvent.DEL_FLASHNODE, {"host_no": 7, "idx": 1}),
        (UEvent.LOGIN_FLASHNODE, {"host_no": 7, "idx": 2}),
        (UEvent.LOGOUT_FLASHNODE, {"host_no": 7, "idx": 3}),
        (UEvent.GET_HOST_STATS, {"host_no": 7}),
    ]


def test_listings(machine: Machine) -> None:
    """CLI-333, CLI-338, CLI-339, CLI-340: -H chooses nothing in a listing."""
    flat = "tcp: [7] 127.0.0.1,[<empty>],<empty> <empty>\n"
    for words in ("", "-P 0", "-H 0", "-H 9", "-C bogus", "-o delete", "-t st"):
        check(machine.run_line(f"-m host {words}"), 0, flat)
    tree = machine.run_line("-m host -P 1")
    assert tree.out.startswith("Host Number: 7\n\tState: ")
    check(machine.run_line("-m host -H 9 -P 1"), 0, tree.out)
    for level in (5, -2):
        line = f"Invalid info level {level}. Try 0 - 4."
        check(machine.run_line(f"-m host -P {level}"), 7, "", line)


def test_no_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI-332, CLI-361, CLI-364: level 4 has said its versions by then."""
    machine = Machine(tmp_path, monkeypatch)
    module = tmp_path / "sys/module/scsi_transport_iscsi"
    module.mkdir(parents=True)
    (module / "version").write_text("2.0-870\n")
    check(machine.run_line("-m host"), 21, "", "No iSCSI hosts.")
    check(
        machine.run_line("-m host -P 4"),
        21,
        "iSCSI Transport Class version 2.0-870\nversion 2.1.8\n",
        "No iSCSI hosts.",
    )
    for words in ("-m fw", "-m fw -l"):
        line = "Could not get list of targets from firmware. (err 21)"
        check(machine.run_line(words), 21, "", line)


def test_kernel_that_can_not_be_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to it, or without iSCSI: the reason, and no silent success."""
    from pyiscsi.errors import ExitCode, TransportError

    lines = "can not bind NETLINK_ISCSI socket [Operation not permitted]\nNetlink open failed."

    def denied() -> Control:
        raise TransportError(lines, ExitCode.INTERNAL)

    monkeypatch.setattr(Control, "open", denied)
    machine.run_line("-m iface -I if0 -o new -n iface.bootproto -v dhcp")
    for words in (f"{CHAP} -o show", f"{CHAP} -o delete -x 5", f"{NODE} -o login -x 0",
                  "-m host -H 7 -C stats", "-m iface -I default -C ping -a 1.2.3.4"):  # fmt: skip
        check(machine.run_line(words), 9, "", *lines.split("\n"))
    check(
        machine.run_line("-m iface -I if0 -o apply"),
        1,
        "",
        *lines.split("\n"),
        "Could not apply net configuration: unknown error",
    )
