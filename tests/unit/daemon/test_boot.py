"""The node record that iscsistart logs in with."""

from types import SimpleNamespace

import pytest

from pyiscsi.daemon.boot import boot_record
from pyiscsi.errors import InvalidArgument


def boot(**changes):
    values = {
        "config_file": "/nowhere",
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
