"""Boot firmware that a kernel module plays: open-iscsi's programs and ours say and do the same."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence

import pytest

from pyiscsi.env import Env
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.ops import boot_network
from pyiscsi.sysfs.tree import SysfsTree
from tests.kernel import adapter, lio, machine, side_by_side
from tests.kernel.checks.conftest import Lab
from tests.kernel.side_by_side import Answer

pytestmark = pytest.mark.guest

Files = Mapping[str, object]

IQN, OTHER = "iqn.2026-11.test:boot", "iqn.2026-11.test:two"
NEAR, FAR = "192.0.2.1", "198.51.100.1"
NAME: Files = {"flags": 3, "initiator-name": "iqn.2026-11.test:ibft"}
NIC: Files = {
    "flags": 3, "mac": "02:00:00:00:00:01", "ip-addr": "192.0.2.9", "prefix-len": 24,
    "subnet-mask": "255.255.255.0", "origin": 1, "vlan": 0,
}  # fmt: skip
SECOND_NIC: Files = {
    "flags": 1, "mac": "02:00:00:00:00:02", "ip-addr": "198.51.100.9",
    "subnet-mask": "255.255.255.0",
}  # fmt: skip
DISK: Files = {
    "flags": 3, "ip-addr": NEAR, "port": 3260, "lun": "00000000", "target-name": IQN,
    "chap-type": 0, "nic-assoc": 0,
}  # fmt: skip
SECOND_DISK: Files = {"flags": 1, "ip-addr": FAR, "target-name": OTHER, "nic-assoc": 1}
BOOT: dict[str, Files] = {"initiator": NAME, "ethernet0": NIC, "target0": DISK}
TWO = BOOT | {"ethernet1": SECOND_NIC, "target1": SECOND_DISK}
CHAP: Files = {
    "chap-name": "me", "chap-secret": "secretsecret12",
    "rev-chap-name": "you", "rev-chap-name-secret": "secretsecret34",
}  # fmt: skip


def without(files: Files, *names: str) -> Files:
    return {name: value for name, value in files.items() if name not in names}


TABLES: dict[str, dict[str, Files]] = {
    "static": BOOT,
    "two of all": TWO,
    "DHCP and CHAP": BOOT
    | {
        "ethernet0": {
            **NIC, "origin": 3, "gateway": "192.0.2.254",
            "primary-dns": "192.0.2.5", "secondary-dns": "192.0.2.6",
        },
        "target0": {**DISK, **CHAP},
    },
    "a DHCP server is named": BOOT | {"ethernet0": {**NIC, "origin": 7, "dhcp": "192.0.2.3"}},
    "no DHCP server": BOOT | {"ethernet0": {**NIC, "origin": 7, "dhcp": "0.0.0.0"}},
    "nothing that can be missing": {
        "initiator": {"flags": 3},
        "ethernet0": {"flags": 1, "mac": "02:00:00:00:00:01"},
        "target0": without(DISK, "flags", "port", "lun", "chap-type") | {"flags": 1},
    },
    "IPv6": BOOT
    | {
        "ethernet0": {**without(NIC, "subnet-mask"), "ip-addr": "2001:db8::9", "prefix-len": 64},
        "target0": {**DISK, "ip-addr": "2001:db8::1"},
    },
    "a device without flags": BOOT | {"ethernet0": {**NIC, "flags": 0}},
    "no target name": BOOT | {"target0": without(DISK, "target-name")},
}  # fmt: skip

USABLE = [*TABLES][:7]


@pytest.fixture(autouse=True)
def _modules() -> None:
    if adapter.why_not():
        pytest.skip(adapter.why_not())


@pytest.fixture
def boot_lab(idle_lab: Lab) -> Lab:
    """Targets IQN at NEAR and OTHER at FAR, both addresses of this guest; no daemon."""
    for address in (NEAR, FAR):
        idle_lab.shell(f"ip addr add {address}/32 dev lo", f"ip addr del {address}/32 dev lo")
    lio.create_target(IQN, [f"{NEAR}:3260"])
    lio.create_target(OTHER, [f"{FAR}:3260"])
    return idle_lab


@contextlib.contextmanager
def side(lab: Lab, programs: str, *, daemon: bool) -> Iterator[None]:
    """An empty machine that runs `programs`; it is empty again afterwards, but for the targets."""
    machine.clear_database()
    with machine.using(programs):
        if daemon:
            lab.start()
        try:
            yield
        finally:
            lab.daemon.kill()
            machine.drop_sessions()
            machine.clear_database()


def play(
    lab: Lab,
    programs: str,
    table: Mapping[str, Files],
    commands: Sequence[str],
    *,
    daemon: bool = False,
) -> list[Answer]:
    """What `programs` answer to shell commands with a firmware's table."""
    with side(lab, programs, daemon=daemon), adapter.fakeibft(**table):
        return [_answer(command, programs) for command in commands]


LISTS = ("-u", "-m discovery -P 1", "-m session", "-m node")
"""Of commands whose lines come as directories have them."""


def _answer(command: str, programs: str) -> Answer:
    """No connection numbers, lists sorted, nothing that open-iscsi says beside a success: ours has
    to be silent then.
    """
    answer = side_by_side.answer(command)
    err = re.sub(r"Connection\d+:0", "ConnectionN:0", answer.err)
    if programs == "debian":
        err = re.sub(r".*Could not get driver.*\n", "", err)
        if answer.status == 0 and command.startswith("iscsiadm"):
            err = ""
    out = answer.out
    if any(word in command for word in LISTS):
        out = "".join(sorted(out.splitlines(keepends=True)))
    return Answer(command, answer.status, out, err)


def equal(
    lab: Lab, table: Mapping[str, Files], commands: Sequence[str], *, daemon: bool = False
) -> list[Answer]:
    """Our answers, which must be open-iscsi's."""
    wanted = play(lab, "debian", table, commands, daemon=daemon)
    got = play(lab, "ours", table, commands, daemon=daemon)
    assert [*map(str, got)] == [*map(str, wanted)]
    return got


def test_shown(idle_lab: Lab) -> None:
    """CLI-362, D-084: the records, or status 21; secrets in clear, files that are missing."""
    for name, table in TABLES.items():
        (shown,) = equal(idle_lab, table, ["iscsistart -f"])
        usable = name in USABLE
        assert (shown.status, "# BEGIN RECORD" in shown.out) == (0 if usable else 21, usable), name


@pytest.mark.parametrize("name", ["two of all", "no target name"])
def test_shown_by_iscsiadm(idle_lab: Lab, name: str) -> None:
    """CLI-362: the same text, and open-iscsi's line where there is none."""
    shown, listed = equal(idle_lab, TABLES[name], ["iscsistart -f", "iscsiadm -m fw"])
    assert (shown.out == listed.out) == (name in USABLE)


LOGGED_IN = "until grep -qs LOGGED_IN /sys/class/iscsi_session/session*/state; do sleep 0.1; done"
DISKS = "ls -d /sys/class/iscsi_session/session*/device/target*/*/block 2>/dev/null | wc -l"


def test_login(boot_lab: Lab) -> None:
    """CLI-365, CLI-366, CLI-367, CLI-368: no record is written, pairs change this login only."""
    answers = equal(
        boot_lab,
        TWO,
        [
            "iscsiadm -m fw -l",
            "iscsiadm -m session",
            "iscsiadm -m fw -l",
            "iscsiadm -m session -u",
            "iscsiadm -m fw -l -W",
            LOGGED_IN,
            "sleep 1; iscsiadm -m session -u",
            "iscsiadm -m fw -l -n node.session.scan -v manual",
            DISKS,
            "iscsiadm -m session -u",
            "iscsiadm -m fw -l -n iface.hwaddress -v x",
            "iscsiadm -m fw -l -n bogus -v x",
            "iscsiadm -m fw -l -n node.startup -v nonsense",
            "iscsiadm -m fw -n bogus -v x",
            "find /etc/iscsi -mindepth 1 -type d | sort",
        ],
        daemon=True,
    )
    assert [answer.status for answer in answers[10:13]] == [7] * 3
    assert answers[0].out.count("successful.\n") == 2
    assert answers[8].out == "0\n"


def test_one_path_is_enough(boot_lab: Lab) -> None:
    """CLI-363: login lines target after target; a path that fails beside one that works is told of
    on stdout, status 0."""
    lio.delete_target(OTHER)
    brief = "-n node.session.initial_login_retry_max -v 1 -n node.conn[0].timeo.login_timeout -v 2"
    (answer,) = play(boot_lab, "ours", TWO, [f"iscsiadm -m fw -l {brief}"], daemon=True)
    places = [
        f"[iface: default, target: {target}, portal: {address},3260]"
        for target, address in ((IQN, NEAR), (OTHER, FAR))
    ]
    assert answer.out == (
        f"Logging in to {places[0]}\nLogin to {places[0]} successful.\n"
        f"Logging in to {places[1]}\nCould not login to {places[1]}.\n"
        "initiator reported error (8 - connection timed out)\n"
    )
    assert (answer.status, answer.err) == (0, "")


@pytest.mark.parametrize(("daemon", "command"), [("debian", "ours"), ("ours", "debian")])
def test_login_by_the_other_daemon(boot_lab: Lab, daemon: str, command: str) -> None:
    """Our iscsiadm logs in through open-iscsi's iscsid, and the other way round."""
    with machine.using(daemon):
        boot_lab.start()
    with machine.using(command), adapter.fakeibft(**BOOT):
        assert "successful.\n" in boot_lab.adm("-m fw -l", 0).out
        sid = boot_lab.only_session()
        assert machine.session_value(sid, "initiatorname") == NAME["initiator-name"]
        boot_lab.adm("-m session -u", 0)


def test_no_path_works(boot_lab: Lab) -> None:
    """The lines of open-iscsi, which calls that a success."""
    lio.delete_target(IQN)
    brief = "-n node.session.initial_login_retry_max -v 1 -n node.conn[0].timeo.login_timeout -v 2"
    command = f"iscsiadm -m fw -l {brief}"
    with side(boot_lab, "debian", daemon=True), adapter.fakeibft(**BOOT):
        theirs = machine.run(command)
    with side(boot_lab, "ours", daemon=True), adapter.fakeibft(**BOOT):
        ours = machine.run(command)
    assert (theirs.rc, ours.rc) == (0, 8)
    assert (ours.out, ours.err) == (theirs.out, theirs.err)


RECORDS = "cd /etc/iscsi && find . -mindepth 1 | sort && find nodes -type f | sort | xargs cat"


def test_discovery(boot_lab: Lab) -> None:
    """CLI-369, CLI-370, D-084: portals, node records bound to ifaces, links in fw/."""
    answers = equal(
        boot_lab,
        TWO | {"target0": {**DISK, **CHAP}},
        [
            "iscsiadm -m discovery -t fw -o nonpersistent",
            "iscsiadm -m node",
            "iscsiadm -m discovery -t fw",
            "iscsiadm -m discovery -t fw -P 1",
            RECORDS,
            "iscsiadm -m discovery -P 1",
            "iscsiadm -m discoverydb -t fw",
            "iscsiadm -m discoverydb -t fw -D",
            "iscsiadm -m discovery -t fw -P 2",
            "iscsiadm -m discovery -t fw -I none",
            "iscsiadm -m iface -I t0 -o new",
            "iscsiadm -m discovery -t fw",
            "iscsiadm -m discovery -t fw -P 1",
            RECORDS,
        ],
        daemon=True,
    )
    assert answers[2].out == f"{NEAR}:3260,1 {IQN}\n{FAR}:3260,1 {OTHER}\n"
    assert "node.startup = onboot\n" in answers[4].out
    assert answers[-1].out.count(",t0\n") == 2


def test_what_firmware_no_longer_names(boot_lab: Lab) -> None:
    """A record is deleted when its target is not in the table any more; login with -l."""
    boot_lab.start()
    with adapter.fakeibft(**TWO):
        boot_lab.adm("-m discovery -t fw", 0)
    with adapter.fakeibft(**BOOT):
        boot_lab.adm("-m discovery -t fw -o delete", 0)
        assert boot_lab.adm("-m node", 0).out == f"{NEAR}:3260,1 {IQN}\n"
        boot_lab.adm("-m discovery -t fw -l", 0)
        assert boot_lab.adm("-m discovery -t fw -l", 15).out.startswith(NEAR)
    boot_lab.adm("-m node -u", 0)


NETWORK = (
    "ip -4 -o addr show | awk '$2 ~ /^(fb|v7)/ {print $2, $4, $6}'; "
    "for device in fb0 fb1 v7; do ip -4 route show dev $device 2>/dev/null; done | "
    "sed 's/ src [0-9.]*//'"
)
VLAN = "ip link add link fb0 name v7 type vlan id 7"


def nets(**changes: object) -> dict[str, Files]:
    return BOOT | {"ethernet0": {**NIC, **changes}}


@pytest.mark.parametrize(
    ("table", "before", "status"),
    [
        (BOOT, "true", 0),
        (TWO | {"ethernet0": {**NIC, "origin": 3}}, "true", 0),
        (nets(vlan=7), VLAN, 0),
        (nets(gateway="192.0.2.129") | {"target0": {**DISK, "ip-addr": FAR}}, "true", 0),
        (BOOT | {"target0": {**DISK, "ip-addr": FAR}}, "true", 1),
        (BOOT | {"ethernet0": without(NIC, "ip-addr")}, "true", 1),
        (BOOT | {"ethernet0": without(NIC, "subnet-mask", "prefix-len")}, "true", 1),
    ],
    ids=["one", "two with DHCP", "VLAN", "gateway", "no gateway", "no address", "no mask"],
)
def test_network(boot_lab: Lab, table: Mapping[str, Files], before: str, status: int) -> None:
    """`-N`: addresses, a route for the target alone, VLANs; the firmware's lease is kept."""
    boot_lab.shell("modprobe 8021q")
    wanted, got = (
        play(boot_lab, programs, table, [before, "iscsistart -N", NETWORK])
        for programs in ("debian", "ours")
    )
    assert got[1].status == wanted[1].status == status
    assert (got[1].out, got[2].out) == (wanted[1].out, wanted[2].out)
    assert bool(got[1].err) == (status == 1)


def test_network_beyond_open_iscsi(boot_lab: Lab) -> None:
    """A VLAN device is made, IPv6 addresses are set, what a device has stays."""
    boot_lab.shell("modprobe -a 8021q ipv6")
    with adapter.fakeibft(**nets(vlan=7)):
        boot_lab.shell("ip addr add 192.0.2.77/24 dev fb0")
        assert machine.run("iscsistart -N").rc == 0
        shown = machine.run("ip -d -o link show fb0.7; ip -4 -o addr show; ip route").out
        assert "vlan protocol 802.1Q id 7 " in shown
        assert "192.0.2.9/24" in shown
        assert "192.0.2.77/24" in shown
        assert f"{NEAR} dev fb0.7 scope link src 192.0.2.9" in shown
    with adapter.fakeibft(**TABLES["IPv6"]):
        assert machine.run("iscsistart -N").rc == 0
        shown = machine.run("ip -6 -o addr show fb0; ip -6 route").out
        assert "2001:db8::9/64" in shown
        assert "2001:db8::1 dev fb0" in shown


def test_network_of_both_families(idle_lab: Lab) -> None:
    """The firmware names one device twice, once for each: it gets both addresses."""
    idle_lab.shell("modprobe ipv6")
    entries = [
        BootEntry(netdev="fb0", ip_address="192.0.2.9", address=NEAR, prefix_len=24),
        BootEntry(netdev="fb0", ip_address="2001:db8::9", address="2001:db8::1", prefix_len=64),
    ]
    said: list[str] = []
    report = boot_network.Report(said.append, said.append)
    with adapter.fakeibft(**BOOT):
        assert boot_network.set_up(Env.from_environ(), SysfsTree(), entries, report), said
        shown = machine.run("ip route show dev fb0; ip -6 route show dev fb0").out
    assert f"{NEAR} scope link src 192.0.2.9" in shown
    assert "2001:db8::1 " in shown


def test_boot(boot_lab: Lab) -> None:
    """`iscsistart -b` without a daemon, as open-iscsi's; iscsid takes over what it leaves."""
    answers = equal(
        boot_lab,
        BOOT,
        ["iscsistart -b", "iscsiadm -m session", "iscsistart -b", DISKS],
    )
    assert [answer.status for answer in answers] == [0, 0, 1, 0]
    with adapter.fakeibft(**TWO):
        assert machine.run("iscsistart -b").rc == 0
    sids = machine.session_ids()
    ports = [machine.connection_value(sid, "local_port") for sid in sids]
    assert len(sids) == 2
    assert machine.session_value(sids[0], "initiatorname") == NAME["initiator-name"]
    boot_lab.start()
    for sid in sids:
        machine.wait_until(
            lambda sid=sid: boot_lab.state_words(sid) == ("LOGGED IN", "NO CHANGE"), "taken over"
        )
    assert [machine.connection_value(sid, "local_port") for sid in sids] == ports
    boot_lab.adm("-m session -u", 0)


def test_boot_with_one_path_away(boot_lab: Lab) -> None:
    """The target that is away is reported and does not hold up the boot; its settings are -P's."""
    lio.delete_target(IQN)
    with adapter.fakeibft(**TWO):
        done = machine.run("iscsistart -b -P node.session.initial_login_retry_max=90")
    assert done.rc == 0
    assert done.out == (
        f"iscsistart: Logging into {IQN} {NEAR}:3260,1\n"
        f"iscsistart: Logging into {OTHER} {FAR}:3260,1\n"
    )
    assert f"Connection{boot_lab.only_session()}:0 to [target: {OTHER}, " in done.err
    assert f"Could not log in to {IQN} {NEAR}:3260.\n" in done.err
    assert all(line.startswith("iscsistart: ") for line in done.err.splitlines())
    assert "initiator reported error (8 - connection timed out)\n" in done.err


def test_boot_with_chap(boot_lab: Lab) -> None:
    """Secrets of the firmware, both ways; a wrong one ends with status 1."""
    lio.delete_target(IQN)
    lio.create_target(
        IQN, [f"{NEAR}:3260"], chap=("me", "secretsecret12"), mutual=("you", "secretsecret34")
    )
    with adapter.fakeibft(**BOOT | {"target0": {**DISK, **CHAP}}):
        done = machine.run("iscsistart -b")
        assert done.rc == 0, done
    machine.drop_sessions()
    with adapter.fakeibft(**BOOT | {"target0": {**DISK, **CHAP, "chap-secret": "wrongsecret12"}}):
        done = machine.run("iscsistart -b")
    assert done.rc == 1
    assert "initiator reported error (24 - " in done.err
    assert "secret" not in done.out + done.err


@pytest.mark.parametrize("transport", ["qla4xxx", "be2iscsi"])
def test_adapter(boot_lab: Lab, transport: str) -> None:
    """D-084 (iscsi_bootN): the adapter's transport and iface, from showing to the session."""
    commands = [
        "iscsistart -f",
        "iscsiadm -m fw",
        "iscsiadm -m fw -l",
        "grep -h . /sys/class/iscsi_session/session*/boot_* "
        "/sys/class/iscsi_session/session*/ifacename | sed 's/iscsi_boot[0-9]*/iscsi_bootN/'",
        "iscsiadm -m session -u",
        # open-iscsi's fails where no other command has made the directory.
        "mkdir -p /etc/iscsi/ifaces",
        "iscsiadm -m discovery -t fw -P 1",
        "iscsiadm -m discovery -t fw",
        "cd /etc/iscsi && ls fw && cat nodes/*/*/*",
        "iscsiadm -m node -l",
        "iscsiadm -m node -u",
    ]
    if transport != "qla4xxx":
        commands = commands[:5]
    answers: dict[str, list[str]] = {}
    for programs in ("debian", "ours"):
        with side(boot_lab, programs, daemon=True), adapter.fakehba(transport) as found:
            nic = {**without(NIC, "prefix-len"), "mac": found.mac(1), "vlan": 5}
            table: dict[str, Files | int] = {**BOOT, "ethernet0": nic, "netdevs": 0}
            with adapter.fakeibft(str(found.host(1)), **table):
                got = [_answer(command, programs) for command in commands]
            answers[programs] = [*map(str, got)]
    assert answers["ours"] == answers["debian"]
    assert "iscsi_bootN\n" in answers["ours"][3]
    assert f"iface.transport_name = {transport}\n" in answers["ours"][0]
    assert f"through [iface: {transport}." not in answers["ours"][2]
    assert f"[iface: {transport}.02:fa:e0:00:00:01.ipv4.0, " in answers["ours"][2]
