"""Sessions on a real kernel: values, scanning, several sessions, how they are shown."""

from __future__ import annotations

import os

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:one"
PORTALS = ["127.0.0.1:3260"]


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """One open target with two disks, its record made."""
    lio.create_target(IQN, PORTALS, luns=2)
    lab.discover()
    return lab


def test_negotiated_values_reach_the_kernel(ready: Lab) -> None:
    """D-032: sysfs holds what the RFC's result functions make of our offer and LIO's."""
    lio.set_parameter(IQN, "MaxBurstLength", "131072")
    lio.set_parameter(IQN, "FirstBurstLength", "32768")
    lio.set_parameter(IQN, "InitialR2T", "No")
    lio.set_parameter(IQN, "ImmediateData", "Yes")
    lio.set_parameter(IQN, "MaxOutstandingR2T", "4")
    # LIO declares its own limit under this name
    lio.set_parameter(IQN, "MaxXmitDataSegmentLength", "65536")
    ready.set(IQN, {"node.session.iscsi.MaxOutstandingR2T": 2})
    ready.login(IQN)
    sid = ready.only_session()
    session = {
        "max_burst_len": "131072",
        "first_burst_len": "32768",
        "initial_r2t": "0",
        "immediate_data": "1",
        "max_outstanding_r2t": "2",
        "erl": "0",
    }
    assert {name: machine.session_value(sid, name) for name in session} == session
    connection = {
        "max_recv_dlength": "262144",
        "max_xmit_dlength": "65536",
        "header_digest": "0",
        "data_digest": "0",
    }
    assert {name: machine.connection_value(sid, name) for name in connection} == connection


@pytest.mark.parametrize(
    ("wanted", "offered", "used"),
    [
        ("CRC32C", "CRC32C,None", "1"),
        ("CRC32C,None", "CRC32C,None", "1"),
        ("None,CRC32C", "CRC32C,None", "0"),
        ("None", "CRC32C,None", "0"),
        ("None,CRC32C", "CRC32C", "1"),
    ],
)
def test_digests(ready: Lab, wanted: str, offered: str, used: str) -> None:
    """D-031: digest preferences are honoured; data flows with them."""
    for name in ("HeaderDigest", "DataDigest"):
        lio.set_parameter(IQN, name, offered)
    ready.set(
        IQN,
        {"node.conn[0].iscsi.HeaderDigest": wanted, "node.conn[0].iscsi.DataDigest": wanted},
    )
    ready.login(IQN)
    sid = ready.only_session()
    assert machine.connection_value(sid, "header_digest") == used
    assert machine.connection_value(sid, "data_digest") == used
    disk = f"/dev/{machine.disks(sid)[0]}"
    assert machine.run(f"dd if={disk} of=/dev/null bs=1M count=4 iflag=direct").rc == 0


def test_exclusive_digest_mismatch(ready: Lab) -> None:
    """D-031: a digest one side insists on and the other refuses is 19."""
    lio.set_parameter(IQN, "HeaderDigest", "None")
    ready.set(IQN, {"node.conn[0].iscsi.HeaderDigest": "CRC32C"})
    ready.login(IQN, 19)
    assert machine.session_ids() == []


def test_session_show_equals_sysfs(ready: Lab) -> None:
    """D-032: the figures of `session -P 3` are those of sysfs."""
    ready.login(IQN)
    sid = ready.only_session()
    lines = ready.adm("-m session -P 3", 0).out.splitlines()
    shown = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    session = {
        "FirstBurstLength": "first_burst_len",
        "MaxBurstLength": "max_burst_len",
        "MaxOutstandingR2T": "max_outstanding_r2t",
        "Recovery Timeout": "recovery_tmo",
        "Target Reset Timeout": "tgt_reset_tmo",
        "LUN Reset Timeout": "lu_reset_tmo",
        "Abort Timeout": "abort_tmo",
        "iSCSI Session State": "state",
    }
    for label, name in session.items():
        assert shown[label] == machine.session_value(sid, name), label
    connection = {
        "MaxRecvDataSegmentLength": "max_recv_dlength",
        "MaxXmitDataSegmentLength": "max_xmit_dlength",
    }
    for label, name in connection.items():
        assert shown[label] == machine.connection_value(sid, name), label
    yes_no = {"0": "No", "1": "Yes"}
    assert shown["ImmediateData"] == yes_no[machine.session_value(sid, "immediate_data")]
    assert shown["InitialR2T"] == yes_no[machine.session_value(sid, "initial_r2t")]
    assert shown["SID"] == str(sid)
    for disk in machine.disks(sid):
        assert any(f"Attached scsi disk {disk}\t" in line for line in lines)


def test_kernel_objects_carry_the_record(ready: Lab) -> None:
    """D-025, D-026: creator, cmds_max, queue_depth and time-outs of the record are the kernel's."""
    ready.set(
        IQN,
        {
            "node.session.cmds_max": 64,
            "node.session.queue_depth": 16,
            "node.session.timeo.replacement_timeout": 77,
            "node.session.err_timeo.abort_timeout": 11,
            "node.session.err_timeo.lu_reset_timeout": 22,
            "node.session.err_timeo.tgt_reset_timeout": 33,
            "node.conn[0].timeo.noop_out_interval": 9,
            "node.conn[0].timeo.noop_out_timeout": 8,
        },
    )
    ready.login(IQN)
    sid = ready.only_session()
    assert machine.session_value(sid, "creator") != "-1"
    expected = {
        "recovery_tmo": "77",
        "abort_tmo": "11",
        "lu_reset_tmo": "22",
        "tgt_reset_tmo": "33",
        "targetname": IQN,
        "tpgt": "1",
        "ifacename": "default",
        "initiatorname": machine.INITIATOR,
    }
    assert {name: machine.session_value(sid, name) for name in expected} == expected
    assert machine.connection_value(sid, "recv_tmo") == "9"
    assert machine.connection_value(sid, "ping_tmo") == "8"
    assert machine.connection_value(sid, "persistent_address") == "127.0.0.1"
    host = machine.host_numbers()[0]
    with open(f"/sys/class/scsi_host/host{host}/cmd_per_lun") as file:
        assert file.read().strip() == "16"


def test_scan_auto(ready: Lab) -> None:
    """D-043: scan=auto brings the devices, with the record's queue depth."""
    ready.set(IQN, {"node.session.queue_depth": 12})
    ready.login(IQN)
    devices = machine.session_devices(ready.only_session())
    machine.wait_until(
        lambda: [(path / "queue_depth").read_text().strip() for path in devices] == ["12", "12"],
        "queue_depth of both devices is 12",
    )


def test_scan_manual(ready: Lab) -> None:
    """D-043: scan=manual answers the login and leaves the target unscanned until asked."""
    ready.set(IQN, {"node.session.scan": "manual"})
    ready.login(IQN)
    sid = ready.only_session()
    assert machine.session_devices(sid) == []
    assert machine.session_value(sid, "target_state") == "ALLOCATED"
    ready.adm(f"-m session -r {sid} --rescan", 0)
    assert len(machine.disks(sid)) == 2


def test_rescan_finds_a_new_disk(ready: Lab) -> None:
    """A LUN added at the target appears with --rescan."""
    ready.login(IQN)
    sid = ready.only_session()
    lio.add_lun(IQN, 2)
    ready.adm("-m session -R", 0)
    assert len(machine.disks(sid)) == 3


def test_second_login(ready: Lab) -> None:
    """D-041: logging in twice is 15 and changes nothing."""
    ready.login(IQN)
    sid = ready.only_session()
    done = ready.login(IQN, 15)
    assert "1 session requested, but 1 already present" in done.err
    assert machine.session_ids() == [sid]


def test_three_sessions_for_one_record(ready: Lab) -> None:
    """D-041: nr_sessions = 3 makes exactly three, and makes up for one that is gone."""
    ready.set(IQN, {"node.session.nr_sessions": 3})
    ready.login(IQN)
    sids = machine.session_ids()
    assert len(sids) == 3
    ready.adm(f"-m session -r {sids[0]} -u", 0)
    assert machine.session_ids() == sids[1:]
    ready.login(IQN)
    assert len(machine.session_ids()) == 3
    ready.login(IQN, 15)


def test_session_new_adds_one(ready: Lab) -> None:
    """D-041: `-m session -r SID -o new` adds one session beside the first."""
    ready.login(IQN)
    sid = ready.only_session()
    ready.adm(f"-m session -r {sid} -o new", 0)
    assert len(machine.session_ids()) == 2


def test_statistics_count_commands(ready: Lab) -> None:
    """Statistics come from the kernel: reading a disk makes them grow."""
    ready.login(IQN)
    sid = ready.only_session()

    def received() -> int:
        lines = ready.adm(f"-m session -r {sid} -s", 0).out.splitlines()
        return next(int(line.split()[1]) for line in lines if "rxdata_octets" in line)

    before = received()
    disk = f"/dev/{machine.disks(sid)[0]}"
    assert machine.run(f"dd if={disk} of=/dev/null bs=1M count=2 iflag=direct").rc == 0
    assert received() - before >= 2 << 20


def test_bound_to_a_device(lab: Lab) -> None:
    """D-044: an iface with a netdev logs in through that device; the session names the iface."""
    lio.create_target(IQN, PORTALS)
    lab.adm("-m iface -I loop0 -o new", 0)
    lab.adm("-m iface -I loop0 -o update -n iface.net_ifacename -v lo", 0)
    lab.adm("-m discovery -t st -p 127.0.0.1 -I loop0", 0)
    lab.login(IQN)
    sid = lab.only_session()
    assert machine.session_value(sid, "ifacename") == "loop0"
    host = machine.host_numbers()[0]
    with open(f"/sys/class/iscsi_host/host{host}/netdev") as file:
        assert file.read().strip() == "lo"


def test_bound_to_the_wrong_device(lab: Lab) -> None:
    """D-044: a device that can't reach the portal does not, although another one could."""
    lab.network()
    lio.create_target(IQN, PORTALS)
    lab.adm("-m iface -I near0 -o new", 0)
    lab.adm("-m iface -I near0 -o update -n iface.net_ifacename -v near", 0)
    lab.adm(f"-m node -o new -T {IQN} -p 127.0.0.1:3260,1 -I near0", 0)
    lab.short_window(IQN)
    done = lab.adm(f"-m node -T {IQN} -l")
    assert done.rc in (8, 11), done
    assert machine.session_ids() == []


def test_ip_only_binding_is_refused(lab: Lab) -> None:
    """D-044: software iSCSI can't bind to an address alone, and says so."""
    lio.create_target(IQN, PORTALS)
    lab.adm("-m iface -I ip0 -o new", 0)
    lab.adm("-m iface -I ip0 -o update -n iface.ipaddress -v 127.0.0.1", 0)
    lab.adm(f"-m node -o new -T {IQN} -p 127.0.0.1:3260,1 -I ip0", 0)
    lab.short_window(IQN)
    assert lab.adm(f"-m node -T {IQN} -l").rc != 0
    assert machine.session_ids() == []


def test_ipv6_portal(lab: Lab) -> None:
    """Discovery and login through [::1]."""
    lab.shell("modprobe ipv6 || true; ip -6 addr show dev lo | grep -q ::1")
    lio.create_target(IQN, ["[::1]:3260"])
    lab.discover("[::1]")
    lab.login(IQN)
    sid = lab.only_session()
    assert machine.connection_value(sid, "persistent_address") in ("::1", "[::1]")
    by_path = os.listdir("/dev/disk/by-path")
    assert any(IQN in name for name in by_path)


def test_two_portal_groups(lab: Lab) -> None:
    """Each portal group is a record of its own, and a session of its own."""
    lio.create_target(IQN, ["127.0.0.1:3260"], tpgt=1)
    lio.create_target(IQN, ["127.0.0.2:3260"], tpgt=2)
    lab.discover()
    lab.login(IQN)
    tags = {machine.session_value(sid, "tpgt") for sid in machine.session_ids()}
    assert tags == {"1", "2"}


def test_fifty_targets(lab: Lab) -> None:
    """Fifty targets behind one portal: one command logs in to all of them."""
    names = [f"iqn.2026-11.test:t{number:02}" for number in range(50)]
    for name in names:
        lio.create_target(name, PORTALS, size_mb=1)
    lab.discover()
    lab.adm("-m node -l", 0)
    sids = machine.session_ids()
    assert {machine.session_value(sid, "targetname") for sid in sids} == set(names)
    assert [machine.session_value(sid, "state") for sid in sids] == ["LOGGED_IN"] * 50
    assert len(lab.adm("-m session", 0).out.splitlines()) == 50
    lab.adm("-m node -u", 0)
    assert machine.session_ids() == []
