"""What other programs make of sessions, and their whole call sequences, on a real kernel.

Records and argument forms that need no session: tests/unit/cli/test_clients.py.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients import parsers
from tests.clients.facts import Disk, Facts, Node, Row, Session
from tests.clients.sequences import IPV6, SEQUENCES
from tests.kernel import force, lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

PLAIN = "iqn.2005-10.org.freenas.ctl:vol0"
SECURED = "iqn.2026-11.test:chap"
OTHER = "iqn.2026-11.test:other"
CHAP = ("somebody", "twelve-letters", "the-target", "its-own-secret")
RECORD = Node("127.0.0.1", 3260, 1, SECURED)
DISCOVERED = (
    Node("127.0.0.1", 3260, 1, PLAIN),
    Node("[::1]", 3260, 1, PLAIN),
    RECORD,
    Node("127.0.0.2", 3261, 3, OTHER),
)
UNTAGGED = Node("127.0.0.9", 3260, -1, "iqn.2026-11.test:untagged")
IFACE = "c_lo"
ONE = f"-m node -T {SECURED} -p {RECORD.portal}"

OUTPUTS = {
    "session": "-m session",
    "session show": "--mode=session --op=show",
    "session P1": "-m session -P 1",
    "session P2 S": "-m session -P 2 -S",
    "session P3": "-m session -P 3",
    "one session P1": "-m session -r {sid} -P 1",
    "rescan": "-m session -r {sid} --rescan",
    "node": "-m node",
    "node P1": "-m node -P 1",
    "records": "-m node -o show",
    "record": ONE,
    "record S": f"{ONE} -S",
    "discoverydb P1": "-m discoverydb -o show -P 1",
    "discovery P1": "-m discovery -P 1",
    "version": "-V",
}


class Made(NamedTuple):
    """Outputs of real commands, by the names the parsers know them by, and what they are about."""

    outputs: dict[str, str]
    facts: Facts


def _failing(lab: Lab, arguments: str, status: int) -> str:
    return lab.adm(arguments, status).err


def _first(lab: Lab) -> dict[str, str]:
    """Before there is any record."""
    return {
        "session fails": _failing(lab, "-m session", 21),
        "node fails": _failing(lab, "-m node", 21),
        "new": lab.adm(f"{ONE} -o new", 0).out,
        "delete": lab.adm(f"{ONE} -o delete", 0).out,
        "discovery": _sorted(lab.adm("-m discovery -t st -p 127.0.0.1", 0).out),
    }


def _sorted(text: str) -> str:
    """Which target comes first in the answer is the target's business."""
    return "\n".join(sorted(text.splitlines(), key=_by_target)) + "\n"


def _by_target(line: str) -> tuple[str, str]:
    portal, _, target = line.partition(" ")
    return target, portal.replace("[", "~")


def _log_in(lab: Lab) -> dict[str, str]:
    """A session for every portal; ids go up in the order of the listing."""
    auth = "node.session.auth."
    names = ("username", "password", "username_in", "password_in")
    values: dict[str, str | int] = {f"{auth}authmethod": "CHAP"}
    values |= {f"{auth}{name}": value for name, value in zip(names, CHAP, strict=True)}
    lab.set(SECURED, values)
    lab.adm(f"-m node -o new -T {UNTAGGED.target} -p {UNTAGGED.portal}", 0)
    for address in ("127.0.0.1", "[::1]"):
        lab.adm(f"-m node -T {PLAIN} -p {address} -l", 0)
    found = {"login": lab.adm(f"{ONE} --login", 0).out}
    lab.adm(f"-m node -T {OTHER} -l", 0)
    found["login fails"] = _failing(lab, f"{ONE} --login", 15)
    found["update"] = lab.adm(f"{ONE} -o update -n node.session.scan -v manual", 0).out
    return found


def _ifaces(lab: Lab) -> dict[str, str]:
    option = f"-m iface -I {IFACE}"
    found = {
        "iface new": lab.adm(f"{option} -o new", 0).out,
        "iface update": lab.adm(f"{option} -o update -n iface.net_ifacename -v lo", 0).out,
        "iface": lab.adm(f"{option} -o show", 0).out,
        "iface file": (machine.ETC / "ifaces" / IFACE).read_text(),
        "ifaces": lab.adm("-m iface", 0).out,
    }
    found["iface delete"] = lab.adm(f"{option} -o delete", 0).out
    return found


def _files() -> dict[str, str]:
    nodes = machine.ETC / "nodes"
    places = [path.name for path in nodes.glob("*/*") if path.is_dir()]
    return {
        "initiatorname": (machine.ETC / "initiatorname.iscsi").read_text(),
        "iscsid.conf": (machine.PROJECT / "etc/iscsid.conf").read_text(),
        "record file": (nodes / SECURED / "127.0.0.1,3260,1/default").read_text(),
        "portal directories": "\n".join(sorted(places)),
    }


def _last(lab: Lab) -> dict[str, str]:
    """Logout, and a database that cannot be changed."""
    found = {
        "logout": lab.adm(f"{ONE} --logout", 0).out,
        "logout fails": _failing(lab, f"{ONE} --logout", 21),
    }
    lock = Path("/run/lock/iscsi")
    lab.shell(f"mv {lock} {lock}.away; touch {lock}")
    found["database fails"] = _failing(lab, f"{ONE} -o update -n node.startup -v manual", 6)
    lab.shell(f"rm {lock}; mv {lock}.away {lock}")
    return found


def _session(sid: int) -> Session:
    """A session, by what the kernel says of it."""
    address = machine.connection_value(sid, "persistent_address")
    devices = machine.session_devices(sid)
    disks = [(path.name.split(":"), next(path.glob("block/*")).name) for path in devices]
    (host,) = {int(numbers[0]) for numbers, _ in disks}
    source = (machine.HOSTS / f"host{host}/ipaddress").read_text().strip()
    return Session(
        sid,
        _bracketed(address),
        int(machine.connection_value(sid, "persistent_port")),
        int(machine.session_value(sid, "tpgt")),
        machine.session_value(sid, "targetname"),
        host,
        tuple(Disk(int(numbers[3]), name) for numbers, name in disks),
        _bracketed(machine.connection_value(sid, "address")),
        _bracketed(source),
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _make(lab: Lab) -> Made:
    force.skip_session_ids(100)  # so that listings, which sort them as text, are in numeric order
    lio.create_target(PLAIN, ["127.0.0.1:3260", "[::1]:3260"], luns=2)
    lio.create_target(SECURED, ["127.0.0.1:3260"], chap=CHAP[:2], mutual=CHAP[2:])
    lio.create_target(OTHER, ["127.0.0.2:3261"], tpgt=3)
    outputs = _first(lab) | _log_in(lab)
    sessions = tuple(map(_session, machine.session_ids()))
    (sid,) = [one.sid for one in sessions if one.target == SECURED]
    for name, arguments in OUTPUTS.items():
        outputs[name] = lab.adm(arguments.format(sid=sid), 0).out
    outputs |= _files() | _ifaces(lab) | _last(lab)
    facts = Facts(
        nodes=(*DISCOVERED, UNTAGGED),
        record=RECORD,
        iface=IFACE,
        netdev="lo",
        initiator=machine.INITIATOR,
        secrets=(CHAP[1], CHAP[3]),
        discovered=DISCOVERED,
        sessions=sessions,
        chap=CHAP,
        more={"discovery": ("127.0.0.1", "3260")},
    )
    return Made(outputs, facts)


@pytest.fixture(scope="module")
def made() -> Made:
    """Four sessions of three targets, over IPv4 and IPv6, one with CHAP; all gone again."""
    machine.write_configuration(machine.configuration())
    lab = Lab()
    try:
        lab.start()
        return _make(lab)
    finally:
        lab.close()


@pytest.mark.parametrize("row", parsers.ROWS, ids=parsers.name)
def test_output_is_understood(made: Made, row: Row) -> None:
    """Every known parser reads our real output."""
    parsers.check(row, made.outputs, made.facts)


# Call sequences

PORTAL_4, PORTAL_6 = "127.0.0.1:3260", "[::1]:3260"


class Client:
    """Plays the steps of a client (tests/clients/sequences.py)."""

    def __init__(self, lab: Lab, target: str, portal: str) -> None:
        self.lab = lab
        self.words = {
            "T": target,
            "P": portal,
            "IP": portal.rpartition(":")[0],
            "TAG": "1",
            "USER": CHAP[0],
            "SECRET": CHAP[1],
            "IF": f"{portal}:pvc-1",
        }

    def play(self, step: str) -> None:
        """One step; a status that is not listed fails the test."""
        if step.startswith("@"):
            getattr(self, step.removeprefix("@"))()
            return
        status, _, arguments = step.partition(" ")
        sids = machine.session_ids()
        words = self.words | {"SID": str(sids[0]) if sids else ""}
        self.lab.adm(arguments.format(**words), int(status))

    def _link(self) -> Path:
        portal = self.words["P"].replace("[", "").replace("]", "")
        return Path(f"/dev/disk/by-path/ip-{portal}-iscsi-{self.words['T']}-lun-0")

    def scan(self) -> None:
        """What os-brick and kubelet write for `node.session.scan = manual`."""
        sid = self.lab.only_session()
        assert machine.session_devices(sid) == []
        device = (machine.SESSIONS / f"session{sid}/device").resolve()
        host = device.parent.name
        Path(f"/sys/class/scsi_host/{host}/scan").write_text("0 0 0\n")
        machine.settle()

    def disk(self) -> None:
        """The link that everybody waits for."""
        machine.wait_until(self._link().exists, f"{self._link()} appears")

    def remove(self) -> None:
        """Take the disk away before the logout."""
        name = os.path.basename(os.path.realpath(self._link()))
        Path(f"/sys/block/{name}/device/delete").write_text("1\n")
        machine.settle()

    def clone(self) -> None:
        """kubelet: every setting of the default iface that is set, and the initiator's name."""
        shown = self.lab.adm("-m iface -I default -o show", 0).out
        rows = [line.split() for line in shown.splitlines() if line.startswith("iface.")]
        pairs = {row[0]: row[2] for row in rows if "<empty>" not in row}
        del pairs["iface.iscsi_ifacename"]
        pairs["iface.initiatorname"] = machine.INITIATOR
        iface = shlex.quote(self.words["IF"])
        for name, value in pairs.items():
            self.lab.adm(f"-m iface -I {iface} -o update -n {name} -v {value}", 0)

    def session(self) -> None:
        """vdsm finds its session by these."""
        sid = self.lab.only_session()
        assert machine.session_value(sid, "ifacename") == self.words["IF"]
        assert machine.session_value(sid, "targetname") == self.words["T"]
        assert machine.connection_value(sid, "persistent_address") in self.words["IP"]
        assert f":{machine.connection_value(sid, 'persistent_port')}" in self.words["P"]


PLAYED = [(name, PORTAL_4) for name in SEQUENCES] + [(name, PORTAL_6) for name in IPV6]


@pytest.mark.parametrize(("name", "portal"), PLAYED)
def test_call_sequence(lab: Lab, name: str, portal: str) -> None:
    """Attach, find the disk, detach: each status is one the client goes on with.

    Commands that succeed say nothing on stderr; in the end no session and no record is left.
    """
    lio.create_target(SECURED, [portal], chap=CHAP[:2])
    client = Client(lab, SECURED, portal)
    for step in SEQUENCES[name]:
        client.play(step)
    assert machine.session_ids() == []
    assert [path.name for path in (machine.ETC / "nodes").glob("*")] == []
    assert not client._link().is_symlink()


# Argument forms that need a session

FORMS = {
    "Proxmox": "--mode session --sid {sid} --rescan",
    "logout-all.sh": "-m session -r {path} -P 1",
    "secrets before the mode": "-S -m session -r {sid}",
    "goiscsi": "-m session -P 2 -S",
    "sts-libs": "-m session -r {sid} -S",
    "libsan": "-m session -r {sid} -P 3 -S",
    "jiva, cstor": "-m node -T {target} -P 127.0.0.1:3260 --rescan",
    "Dell goiscsi": "-m node --rescan",
    "csi-lib-iscsi": "-m node -T {target} -p 127.0.0.1 -R",
    "a word too many": "-m node -p 127.0.0.1 3260 -T {target} --rescan",
    "vdsm": "-m session -R",
    "Infinidat": "-m discovery -t st -p 127.0.0.1 --discover --op new --op delete",
    "HPE": "-m discovery -t st -p 127.0.0.1 -o new",
    "libvirt": "--mode discovery --type sendtargets --portal 127.0.0.1 --op nonpersistent",
    "xapi": "-m discovery -t st -p 127.0.0.1 -I default -I default",
}
LOGOUTS = {
    "avocado-vt": "--mode node --logout all -T {target}",
    "TrueNAS": "-m node -p 127.0.0.1 --logoutall=all",
    "not waiting": "-m node -T {target} --logout --no_wait",
    "all, not waiting": "-m node --logoutall=all -W",
    "logout-all.sh": "-m session -r {path} --logout",
    "vdsm": "-m session -r {sid} -u",
    "Debian": "-m node --logoutall=all",
}


@pytest.fixture
def logged_in(lab: Lab) -> Lab:
    """One session with a disk."""
    lio.create_target(PLAIN, ["127.0.0.1:3260"])
    lab.discover()
    lab.login(PLAIN)
    return lab


def _filled(line: str, sid: int) -> str:
    path = (machine.SESSIONS / f"session{sid}/device").resolve()
    return line.format(sid=sid, target=PLAIN, path=path)


def test_forms_of_a_command_on_a_session(logged_in: Lab) -> None:
    """All of them work, quietly, and leave the session where it was."""
    sid = logged_in.only_session()
    for name, line in FORMS.items():
        done = logged_in.adm(_filled(line, sid), 0)
        assert done.out, name
        assert machine.session_ids() == [sid], name


def test_forms_of_a_logout(logged_in: Lab) -> None:
    """Every one ends the session; the next login brings another."""
    for name, line in LOGOUTS.items():
        logged_in.adm(_filled(line, logged_in.only_session()), 0)
        machine.wait_until(lambda: not machine.session_ids(), f"{name}: the session is gone")
        logged_in.login(PLAIN)


# Statuses


@pytest.fixture
def refusing(lab: Lab) -> Lab:
    """A target that wants CHAP, and its record without."""
    lio.create_target(SECURED, [PORTAL_4], chap=CHAP[:2])
    lab.discover()
    return lab


def test_statuses_that_clients_branch_on(refusing: Lab) -> None:
    """15 and 24 of a login, 22 of a session nobody has, 11 of a portal nobody listens on.

    Without the daemon 20 of a discovery; of a logout it is 21, as in the original.
    """
    refusing.adm(f"-m node -T {SECURED} -l", 24)
    refusing.chap(SECURED, *CHAP[:2])
    refusing.login(SECURED)
    refusing.login(SECURED, 15)
    sid = refusing.only_session()
    refusing.adm(f"-m session -r {sid + 1000}", 22)
    refusing.adm(f"-m node -T {SECURED} -o delete", 15)
    done = refusing.adm("-m discovery -t st -p 127.0.0.1:3998", 11)
    refused = r"iscsiadm: cannot make connection to 127\.0\.0\.1: Connection refused\n"
    assert len(re.findall(refused, done.err)) == 6
    lio.set_discovery_chap(("other", "another-secret"))
    refusing.adm("-m discovery -t st -p 127.0.0.1", 24)
    refusing.daemon.kill()
    refusing.adm("-m discovery -t st -p 127.0.0.1", 20)
    refusing.adm(f"-m node -T {SECURED} -u", 21)


# What the checklist says of records that sessions and boot use


@pytest.mark.parametrize("setting", ["node.startup", "node.conn[0].startup"])
def test_login_at_boot_honours_either_setting(lab: Lab, setting: str) -> None:
    """DB-051: -L logs in to records of which one of the two says so, -U logs them out."""
    for target in (PLAIN, OTHER):
        lio.create_target(target, [PORTAL_4])
    lab.discover()
    for target in (PLAIN, OTHER):
        lab.set(target, {"node.startup": "manual", "node.conn[0].startup": "manual"})
    lab.set(PLAIN, {setting: "automatic"})
    lab.adm("-m node -L automatic", 0)
    sid = lab.only_session()
    assert machine.session_value(sid, "targetname") == PLAIN
    lab.login(OTHER)
    lab.adm("-m node -U automatic", 0)
    assert machine.session_value(lab.only_session(), "targetname") == OTHER
    lab.adm("-m node -U manual", 0)
    assert machine.session_ids() == []


def test_session_mode_edits_the_record_of_the_session(logged_in: Lab) -> None:
    """DB-052: update changes it and no other; delete is refused while the session is there."""
    logged_in.adm(f"-m node -o new -T {PLAIN} -p 127.0.0.9:3260,1", 0)
    sid = logged_in.only_session()
    logged_in.adm(f"-m session -r {sid} -o update -n node.session.cmds_max -v 64", 0)
    dumps = [
        logged_in.adm(f"-m node -T {PLAIN} -p {portal}", 0).out
        for portal in ("127.0.0.1", "127.0.0.9")
    ]
    assert ["node.session.cmds_max = 64\n" in dump for dump in dumps] == [True, False]
    logged_in.adm(f"-m session -r {sid} -o delete", 15)
    assert len(logged_in.adm("-m node", 0).out.splitlines()) == 2
