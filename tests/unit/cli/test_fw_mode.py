"""`-m fw`, `-t fw` and iscsistart with boot firmware made by hand, and a stand-in for iscsid."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.cli import iscsistart
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from tests.unit.cli.commands import Machine
from tests.unit.firmware.trees import BOOT, DISK, MAC, NAME, NIC, Place
from tests.unit.ops.daemon import FakeDaemon, serving

ONE, TWO = "iqn.x:t", "iqn.x:two"
SECOND = {"flags": "1", "target-name": TWO, "ip-addr": "198.51.100.1", "nic-assoc": "0"}
RECORD = f"""\
# BEGIN RECORD 2.1.8
iface.initiatorname = iqn.x:i
iface.transport_name = tcp
iface.hwaddress = {MAC}
iface.bootproto = STATIC
iface.ipaddress = 192.0.2.9
iface.prefix_len = -1
node.name = {ONE}
node.conn[0].address = 192.0.2.1
node.conn[0].port = 3260
# END RECORD
"""
AT = {
    ONE: f"[iface: default, target: {ONE}, portal: 192.0.2.1,3260]",
    TWO: f"[iface: default, target: {TWO}, portal: 198.51.100.1,3260]",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def place(machine: Machine) -> Place:
    """The firmware of that machine: one target."""
    made = Place(machine.path)
    made.firmware(BOOT)
    return made


@pytest.fixture
def daemon(machine: Machine) -> Iterator[FakeDaemon]:
    with serving(Env.from_environ(), FakeDaemon(str(machine.path / "etc/iscsid.conf"))) as running:
        yield running


def start(*words: str) -> tuple[int, str, str]:
    stdout, stderr = io.BytesIO(), io.BytesIO()
    status = iscsistart.main(["iscsistart", *words], Output(stdout, stderr, program="iscsistart"))
    return status, stdout.getvalue().decode(), stderr.getvalue().decode()


def test_shown(machine: Machine, place: Place) -> None:
    """CLI-362: without a daemon, by both programs; what is left out is not told beside it."""
    place.firmware({"target0": {"lun": "\x1b"}})
    assert tuple(machine.run_line("-m fw -n bogus -v x")) == (0, RECORD, "")
    assert start("-f") == (0, RECORD, "")


def test_not_usable(machine: Machine, place: Place) -> None:
    """The reason stands before open-iscsi's line."""
    place.firmware({"target0": {"port": "0"}})
    assert tuple(machine.run_line("-m fw")) == (
        21,
        "",
        "iscsiadm: firmware/ibft/target0: port is no port number\n"
        "iscsiadm: Could not get list of targets from firmware. (err 21)\n",
    )


def test_logins_go_out_together(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """CLI-363: lines target after target, although none is awaited before the last is sent."""
    place.firmware({"target1": SECOND})
    daemon.together = 2
    answer = machine.run_line("-m fw -l -n node.session.scan -v manual")
    assert answer.out == "".join(
        f"Logging in to {AT[name]}\nLogin to {AT[name]} successful.\n" for name in (ONE, TWO)
    )
    assert (answer.status, answer.err) == (0, "")
    records = [args["record"] for args in daemon.of("login")]
    assert [record["node.name"] for record in records] == [ONE, TWO]
    assert {record["node.session.scan"] for record in records} == {"manual"}
    assert {record["node.session.initial_login_retry_max"] for record in records} == {"30"}
    assert machine.files() == set()


def test_one_works(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """CLI-363: the failed one beside it is told of on stdout."""
    place.firmware({"target1": SECOND})
    daemon.login_codes[ONE] = 8
    answer = machine.run_line("-m fw -l")
    assert tuple(answer) == (
        0,
        f"Logging in to {AT[ONE]}\nLogging in to {AT[TWO]}\nLogin to {AT[TWO]} successful.\n"
        f"Could not login to {AT[ONE]}.\ninitiator reported error (8 - connection timed out)\n",
        "",
    )


def test_none_works(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """The status of the first, where open-iscsi says 0."""
    place.firmware({"target1": SECOND})
    daemon.login_codes |= {ONE: 8, TWO: 24}
    answer = machine.run_line("-m fw -l")
    assert answer.status == 8
    assert answer.err == (
        f"iscsiadm: Could not login to {AT[ONE]}.\n"
        "iscsiadm: initiator reported error (8 - connection timed out)\n"
        f"iscsiadm: Could not login to {AT[TWO]}.\n"
        "iscsiadm: initiator reported error "
        "(24 - iSCSI login failed due to authorization failure)\n"
    )


def test_one_has_a_session(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """It counts: nothing is asked for it."""
    place.firmware({"target1": SECOND})
    machine.session(1, ONE, "192.0.2.1")
    daemon.login_codes[TWO] = 8
    answer = machine.run_line("-m fw -l")
    assert answer.status == 0
    assert [args["record"]["node.name"] for args in daemon.of("login")] == [TWO]


def test_a_target_that_is_named_twice(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """Over two devices, say: a second login would find the first in its way, and that would look
    like a session although the target is dead.
    """
    place.firmware({"ethernet1": NIC | {"index": "1"}, "target1": DISK | {"nic-assoc": "1"}})
    daemon.login_codes[ONE] = 8
    assert machine.run_line("-m fw -l").status == 8
    assert len(daemon.of("login")) == 1


def test_fewer_sessions_than_asked_for(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """One session is enough here too."""
    machine.session(1, ONE, "192.0.2.1")
    daemon.login_codes[ONE] = 8
    answer = machine.run_line("-m fw -l -n node.session.nr_sessions -v 2")
    assert (answer.status, answer.err) == (0, "")
    assert f"Could not login to {AT[ONE]}.\n" in answer.out


def test_not_waiting(machine: Machine, place: Place, daemon: FakeDaemon) -> None:
    """CLI-365: no result lines."""
    daemon.login_codes[ONE] = 8
    assert tuple(machine.run_line("-m fw -l -W")) == (0, f"Logging in to {AT[ONE]}\n", "")


def test_without_a_daemon(machine: Machine, place: Place) -> None:
    answer = machine.run_line("-m fw -l")
    assert answer.status == 20
    assert answer.err.endswith(
        f"iscsiadm: Could not login to {AT[ONE]}.\n"
        "iscsiadm: initiator reported error (20 - could not connect to iscsid)\n"
    )


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("iface.hwaddress", "Cannot override interface parameters for firmware logins"),
        ("iface.net_ifacename", "Cannot override interface parameters for firmware logins"),
        ("iface.transport_name", "Cannot override interface parameters for firmware logins"),
        ("bogus", "Unknown parameter bogus."),
        (
            "node.startup",
            "unknown value format 'x' for parameter name 'node.startup'\n"
            "iscsiadm: Unknown parameter node.startup.",
        ),
    ],
)
def test_pairs_refused(
    machine: Machine, place: Place, daemon: FakeDaemon, name: str, lines: str
) -> None:
    """CLI-367, CLI-368: before anything is asked."""
    expected = f"iscsiadm: {lines}\niscsiadm: Could not merge user params\n"
    assert tuple(machine.run_line(f"-m fw -l -n {name} -v x")) == (7, "", expected)
    assert daemon.of("login") == []


def test_discovery(machine: Machine, place: Place) -> None:
    """CLI-369, CLI-370: no daemon is needed; what is not persistent is not written."""
    flat = f"192.0.2.1:3260,1 {ONE}\n"
    assert tuple(machine.run_line("-m discovery -t fw -o nonpersistent")) == (0, flat, "")
    assert machine.files() == set()
    tree = f"Target: {ONE}\n\tPortal: 192.0.2.1:3260,1\n\t\tIface Name: default\n"
    assert tuple(machine.run_line("-m discovery -t fw -P 1")) == (0, tree, "")
    assert tuple(machine.run_line("-m discoverydb -t fw -D")) == (0, flat, "")
    assert f"fw/{ONE},192.0.2.1,3260,1,default" in machine.files()
    assert machine.run_line("-m discovery -P 1").out.endswith(f"FIRMWARE:\n{tree}")


def test_a_hostile_name(machine: Machine, place: Place) -> None:
    """It is shown, but becomes no file; the others do."""
    place.firmware({"target0": {"target-name": "../../x"}})
    assert "node.name = ../../x\n" in machine.run_line("-m fw").out
    answer = machine.run_line("-m discovery -t fw")
    assert (answer.status, answer.out) == (21, "")
    assert answer.err.startswith("iscsiadm: FW discovery Target Name invalid: ignoring it\n")
    place.firmware({"target1": SECOND})
    assert machine.run_line("-m discovery -t fw").out == f"198.51.100.1:3260,1 {TWO}\n"


def test_an_adapter_gets_its_iface(machine: Machine, place: Place) -> None:
    """All targets through all adapters, as open-iscsi; an adapter named twice counts once."""
    place.adapter(4)
    other = {"flags": "3", "index": "1", "mac": "02:00:00:00:00:02"}
    table = BOOT | {"ethernet1": other, "target1": SECOND, "target2": SECOND | {"nic-assoc": "1"}}
    (machine.path / "sys/firmware/ibft").rename(machine.path / "sys/firmware/away")
    place.firmware(table, "iscsi_boot4")
    names = [f"qla4xxx.{mac}.ipv4.0" for mac in (MAC, other["mac"])]
    assert "Iface Name: default\n" in machine.run_line("-m discovery -t fw -P 1 -I none").out
    answer = machine.run_line("-m discovery -t fw -P 1")
    assert [line.split()[-1] for line in answer.out.splitlines() if "Iface" in line] == [
        names[0], names[0], names[0], names[1], names[1], names[1],
    ]  # fmt: skip
    assert {f"ifaces/{name}" for name in names} <= machine.files()


def test_ifaces_by_name(machine: Machine, place: Place) -> None:
    """-I: of those that can be read; the firmware's name stays."""
    machine.run_line("-m iface -I t0 -o new")
    assert machine.run_line("-m discovery -t fw -I t0 -I none").status == 0
    shown = machine.run_line(f"-m node -T {ONE} -I t0").out
    assert "iface.initiatorname = iqn.x:i\n" in shown
    assert "node.startup = onboot\n" in shown


@pytest.mark.parametrize("changes", [{}, {"ethernet0": NIC | {"flags": "1"}}])
def test_boot(
    place: Place, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, str]]
) -> None:
    """iscsistart -b: all targets, once one was booted from."""
    seen: list[iscsistart.BootSettings] = []
    monkeypatch.setattr(
        "pyiscsi.daemon.boot.run", lambda settings, _env: seen.append(settings) or 0
    )
    place.firmware({"target1": SECOND} | changes)
    if changes:
        assert start("-b") == (21, "Could not get boot entry.\n", "")
        assert seen == []
        return
    assert start("-b", "-P", "node.session.scan=manual") == (0, "", "")
    (settings,) = seen
    assert settings.initiator_name == NAME["initiator-name"]
    assert [entry.target_name for entry in settings.entries] == [ONE, TWO]
    assert settings.params == [("node.session.scan", "manual")]


def test_boot_without_a_usable_target(place: Place) -> None:
    place.firmware({"target0": DISK | {"nic-assoc": "5"}})
    assert start("-b") == (
        21,
        "Could not setup fw entries.\n",
        "iscsistart: firmware/ibft/target0: Invalid nic-assoc of 5. Max id 1.\n",
    )


def test_network_that_cannot_be_set_up(place: Place) -> None:
    """-N: refused before anything is touched; an adapter has set itself up."""
    place.adapter(4)
    place.firmware(BOOT, "iscsi_boot4")
    status, out, err = start("-N")
    assert (status, err) == (1, "iscsistart: No netdev name in fw entry.\n")
    assert out == (
        "Setting up software interface \nSetting up software interface  failed\n"
        f"Setting up offload interface qla4xxx.{MAC}.ipv4.0\n"
    )
