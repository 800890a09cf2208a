"""The node records that iscsistart logs in with."""

import asyncio
from types import SimpleNamespace

import pytest

from pyiscsi.daemon.boot import _log_in_to_all, boot_records
from pyiscsi.errors import InvalidArgument, PyIscsiError
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.firmware.trees import MAC, Place


def boot(**changes):
    values = {
        "config_file": "/nowhere",
        "entries": [],
        "initiator_name": "iqn.x:i",
        "target_name": "iqn.x:t",
        "address": "192.0.2.1",
        "port": 3261,
        "tpgt": 2,
        "username": "",
        "password": "",
        "username_in": "",
        "password_in": "",
        "params": [],
        "debug": 0,
    }
    return SimpleNamespace(**(values | changes))


def boot_record(settings):
    (record,) = boot_records(settings, SysfsTree("/nowhere"), [])
    return record


def test_identity_and_forced_values():
    """D-093: pings off, patience for a target that is slow to come up."""
    record = boot_record(boot(username="u", password="secret"))
    assert record.node_key().fields() == ("iqn.x:t", "192.0.2.1", 3261, 2, "default")
    expected = {
        "iface.initiatorname": "iqn.x:i",
        "node.session.auth.username": "u",
        "node.session.auth.password": "secret",
        "node.session.initial_login_retry_max": "30",
        "node.conn[0].timeo.noop_out_interval": "0",
        "node.conn[0].timeo.noop_out_timeout": "0",
        "node.session.scan": "auto",
    }
    assert {key: record[key] for key in expected} == expected


def test_parameters_win_in_order():
    """-P comes last, later pairs over earlier ones."""
    params = [
        ("node.conn[0].timeo.noop_out_interval", "5"),
        ("node.session.scan", "auto"),
        ("node.session.scan", "manual"),
    ]
    record = boot_record(boot(params=params))
    assert record["node.conn[0].timeo.noop_out_interval"] == "5"
    assert record["node.session.scan"] == "manual"


def test_a_value_no_record_can_hold():
    with pytest.raises(InvalidArgument, match="sometimes"):
        boot_record(boot(params=[("node.session.scan", "sometimes")]))


def entry(number, **changes):
    values = {"target_name": f"iqn.x:{number}", "address": "192.0.2.1", "root": "ibft"}
    return BootEntry(**(values | {"initiator_name": "iqn.x:fw"} | changes))


def test_firmware(tmp_path):
    """Settings of -c, the names of the firmware, -P over both."""
    (tmp_path / "iscsid.conf").write_text("node.session.timeo.replacement_timeout = 77\n")
    settings = boot(
        config_file=str(tmp_path / "iscsid.conf"),
        entries=[entry(1), entry(2, username="u", password="secret")],
        params=[("node.session.auth.username", "other"), ("iface.net_ifacename", "eth1")],
    )
    first, second = boot_records(settings, SysfsTree("/nowhere"), [])
    assert first.node_key().fields() == ("iqn.x:1", "192.0.2.1", 3260, 1, "default")
    expected = {
        "iface.initiatorname": "iqn.x:fw",
        "iface.net_ifacename": "eth1",
        "node.session.timeo.replacement_timeout": "77",
        "node.session.auth.username": "other",
        "node.session.auth.password": "secret",
        "node.session.initial_login_retry_max": "30",
    }
    assert {key: second[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("iface.net_ifacename", "iface.hwaddress"),
        ("iface.transport_name", "iface.hwaddress"),
        ("iface.transport_name", "iface.ipaddress"),
    ],
)
def test_what_a_parameter_binds_to(tmp_path, name, gone):
    """The adapter of the firmware does not go with another device or driver."""
    place = Place(tmp_path)
    place.adapter(4)
    one = entry(1, host_no=4, root="iscsi_boot4", hwaddress=MAC, ip_address="192.0.2.9")
    (as_is,) = boot_records(boot(entries=[one]), place.tree, [])
    (changed,) = boot_records(boot(entries=[one], params=[(name, "tcp")]), place.tree, [])
    assert as_is[gone]
    assert (changed[gone], changed[name]) == ("", "tcp")


def test_a_target_that_is_named_twice():
    """Over two devices, say: one login, for the second could only find the first in its way."""
    twice = [entry(1, nic="ethernet0"), entry(2), entry(1, nic="ethernet1")]
    records = boot_records(boot(entries=twice), SysfsTree("/nowhere"), [])
    assert [record["node.name"] for record in records] == ["iqn.x:1", "iqn.x:2"]
    assert records[0].unknown["node.session.boot_nic"] == "ethernet0"


class Registry:
    """Logins that end as told: an error, at once (0) or never (None)."""

    def __init__(self, outcomes):
        self.outcomes = outcomes
        self.asked = []

    async def login(self, record):
        self.asked.append(record["node.name"])
        outcome = self.outcomes[record["node.name"]]
        if outcome is None:
            await asyncio.Event().wait()
        if outcome:
            raise PyIscsiError(exit_code=outcome)
        return 1, 1


def log_in(outcomes, monkeypatch, caplog):
    monkeypatch.setattr("pyiscsi.daemon.boot.OTHER_PATHS_S", 0.01)
    entries = [entry(number) for number in range(len(outcomes))]
    records = boot_records(boot(entries=entries), SysfsTree("/nowhere"), [])
    registry = Registry(dict(zip((r["node.name"] for r in records), outcomes, strict=True)))
    status = asyncio.run(_log_in_to_all(registry, records))
    assert len(registry.asked) == len(outcomes)
    return status, [record.message for record in caplog.records]


@pytest.mark.parametrize(
    ("outcomes", "status", "lines"),
    [
        ([0], 0, []),
        ([15], 1, ["initiator reported error (15 - session exists)"]),
        (
            [0, 24],
            0,
            [
                "Could not log in to iqn.x:1 192.0.2.1:3260.",
                "initiator reported error (24 - iSCSI login failed due to authorization failure)",
            ],
        ),
        (
            [None, 0],
            0,
            [
                "Could not log in to iqn.x:0 192.0.2.1:3260.",
                "initiator reported error (8 - connection timed out)",
            ],
        ),
        (
            [15, 15],
            1,
            [
                "Could not log in to iqn.x:0 192.0.2.1:3260.",
                "initiator reported error (15 - session exists)",
                "Could not log in to iqn.x:1 192.0.2.1:3260.",
                "initiator reported error (15 - session exists)",
            ],
        ),
    ],
)
def test_first_path_is_enough(monkeypatch, caplog, outcomes, status, lines):
    """All are tried at the same time; each that fails is named, unless there is but one."""
    found, said = log_in(outcomes, monkeypatch, caplog)
    assert found == status
    assert sorted(said) == sorted(lines)


class Trickle(Registry):
    """The first target answers at once; the others fail one after the other, 50 ms apart."""

    async def login(self, record):
        number = int(record["node.name"].rpartition(":")[2])
        await asyncio.sleep(number / 20)
        return await super().login(record)


def test_targets_that_fail_one_by_one_do_not_prolong_the_wait(monkeypatch, caplog):
    """The time the others get counts from the first session."""
    monkeypatch.setattr("pyiscsi.daemon.boot.OTHER_PATHS_S", 0.2)
    records = boot_records(
        boot(entries=[entry(number) for number in range(60)]), SysfsTree("/nowhere"), []
    )
    outcomes = {record["node.name"]: 24 for record in records} | {"iqn.x:0": 0}
    assert asyncio.run(_log_in_to_all(Trickle(outcomes), records)) == 0
    said = [record.message for record in caplog.records]
    assert "initiator reported error (8 - connection timed out)" in said
