"""One record: defaults, reading, writing, showing."""

import json
from pathlib import Path

import pytest

from pyiscsi.records.config import Config
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS
from tests.unit.records.samples import HAND_WRITTEN, node

PARITY = Path(__file__).parents[2] / "parity"
PASSWORD = "node.session.auth.password"


def recorded(scenario, command, path):
    """The text of a file after a step of the recorded original."""
    steps = json.loads((PARITY / f"expected/{scenario}.json").read_text())["steps"]
    text = next(s["db"][path] for s in steps if s["cmd"].endswith(command) and path in s["db"])
    return text.partition("\n")[2]


def test_default_node_record_with_debian_configuration():
    """DB-010, DB-110: byte for byte what open-iscsi wrote."""
    record = Config(str(PARITY / "iscsid.conf")).defaults(NODE)
    name = "iqn.2026-11.test:a"
    record.values |= {
        "node.name": name,
        "node.tpgt": "1",
        "node.conn[0].address": "10.0.0.1",
    }
    expected = recorded("node-records", ":3260,1", f"nodes/{name}/10.0.0.1,3260,1/default")
    assert record.render().decode() == expected


def test_default_node_record_without_configuration(tables):
    """DB-010: the built-in defaults of both formats."""
    for fmt, version in (("2.1.8", "2.1.8"), ("master", "2.1.11")):
        fields = {f["key"]: f for f in tables["fields"] if f["record"] == "node"}
        lines = [
            f"{key} = {fields[key]['default'][fmt]}"
            for key in tables["orders"][fmt]["node.ipv4.file"]
            if fields[key]["default"][fmt]
        ]
        text = Record(NODE, fmt=fmt).render().decode().split("\n")
        assert text == [f"# BEGIN RECORD {version}", *lines, "# END RECORD", ""]


ST_CONFIG = """# BEGIN RECORD 2.1.8
discovery.startup = manual
discovery.type = sendtargets
discovery.sendtargets.address = 10.0.0.1
discovery.sendtargets.port = 3260
discovery.sendtargets.auth.authmethod = None
node.session.auth.chap_algs = MD5
discovery.sendtargets.timeo.login_timeout = 15
discovery.sendtargets.use_discoveryd = No
discovery.sendtargets.discoveryd_poll_inval = 30
discovery.sendtargets.reopen_max = 5
discovery.sendtargets.timeo.auth_timeout = 45
discovery.sendtargets.timeo.active_timeout = 30
discovery.sendtargets.iscsi.MaxRecvDataSegmentLength = 32768
# END RECORD
"""
ISNS_CONFIG = """# BEGIN RECORD 2.1.8
discovery.startup = manual
discovery.type = isns
discovery.sendtargets.address = 10.0.0.1
discovery.sendtargets.port = 3260
discovery.isns.use_discoveryd = No
discovery.isns.discoveryd_poll_inval = -1
# END RECORD
"""


@pytest.mark.parametrize(("kind", "text"), [(SENDTARGETS, ST_CONFIG), (ISNS, ISNS_CONFIG)])
def test_default_discovery_records(kind, text):
    """DB-011"""
    record = Record(kind)
    record.values["discovery.sendtargets.address"] = "10.0.0.1"
    record.values["discovery.sendtargets.port"] = "3260"
    assert record.render().decode() == text


IFACE_TAIL = """iface.tcp_wsf = 0
iface.tcp_timer_scale = 0
iface.def_task_mgmt_timeout = 0
iface.erl = 0
iface.max_receive_data_len = 0
iface.first_burst_len = 0
iface.max_outstanding_r2t = 0
iface.max_burst_len = 0
# END RECORD
"""
IFACE_HEAD = """iface.prefix_len = 0
iface.transport_name = tcp
iface.vlan_id = 0
iface.vlan_priority = 0
iface.iface_num = 0
iface.mtu = 0
iface.port = 0
"""
IPV4 = "iface.tos = 0\niface.ttl = 0\n"
IPV6 = """iface.dup_addr_detect_cnt = 0
iface.flow_label = 0
iface.hop_limit = 0
iface.nd_reachable_tmo = 0
iface.nd_rexmit_time = 0
iface.nd_stale_tmo = 0
iface.router_adv_link_mtu = 0
iface.traffic_class = 0
"""


@pytest.mark.parametrize(("name", "middle"), [("if0", IPV4), ("my-ipv6-0", IPV6)])
def test_default_iface_records(name, middle):
    """DB-011: the name decides about the address family."""
    record = Record(IFACE, {"iface.iscsi_ifacename": name})
    begin = f"# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = {name}\n"
    text = record.render().decode()
    assert text == begin + IFACE_HEAD + middle + IFACE_TAIL
    assert name != "if0" or len(text) == 430


def full_value(field):
    """A legal value that is not the default."""
    if field.allowed:
        return field.allowed[-1] if field.allowed[-1] != field.default else field.allowed[0]
    if field.type == "string":
        return f"v-{field.key.rpartition('.')[2]}"[: field.max_len]
    return "7"


@pytest.mark.parametrize("fmt", ["2.1.8", "master"])
@pytest.mark.parametrize("variant", ["ipv4", "ipv6"])
def test_full_node_record(tables, fmt, variant):
    """DB-012: every key set, in the order of the file and in the order of show."""
    record = Record(NODE, fmt=fmt)
    for key in NODE.file_order(variant, fmt):
        record.set(key, full_value(NODE.fields[key]))
    record.set("iface.ipaddress", "10.0.0.5" if variant == "ipv4" else "fe80::5")
    order = tables["orders"][fmt]
    lines = record.render().decode().split("\n")[1:-2]
    assert [line.split(" = ")[0] for line in lines] == order[f"node.{variant}.file"]
    shown = [key for key, _ in record.shown(secrets=False)]
    assert shown == order[f"node.{variant}.show"]


@pytest.mark.parametrize(
    ("stored", "secrets", "text"),
    [("", False, "<empty>"), ("", True, "<empty>"), ("s3", False, "********"), ("s3", True, "s3")],
)
def test_secrets(stored, secrets, text):
    """DB-013: clear in files, stars on stdout unless asked."""
    record = node()
    record.set(PASSWORD, stored)
    assert dict(record.shown(secrets=secrets))[PASSWORD] == text
    assert (f"{PASSWORD} = s3\n".encode() in record.render()) == bool(stored)
    assert "s3" not in repr(record)


def test_empty_texts():
    """DB-014: <empty> on stdout, no line in the file; the literal word stays a value."""
    record = node()
    assert dict(record.shown(secrets=False))["node.session.auth.username"] == "<empty>"
    assert b"username" not in record.render()
    record.set("node.session.auth.username", "<empty>")
    again, _ = Record.parse(NODE, record.render())
    assert again["node.session.auth.username"] == "<empty>"


@pytest.mark.parametrize("version", ["2.1.8", "2.0-870", "2.1.11", "nonsense"])
def test_any_header_version_is_read(version):
    """DB-016"""
    text = node().render().replace(b"RECORD 2.1.8", f"RECORD {version}".encode())
    record, problems = Record.parse(NODE, text)
    assert (record["node.name"], problems) == ("iqn.a", [])


def test_rewriting_drops_comments_and_keeps_unknown_keys():
    """DB-015, DB-026: a key we do not know is written back, as it was and where it was found."""
    text = "# note\n" + HAND_WRITTEN + "node.future = x y\nnode.conn[1].address = 10.0.0.2\n"
    record, problems = Record.parse(NODE, text.encode())
    assert problems == []
    assert record.unknown == {"node.future": "x y", "node.conn[1].address": "10.0.0.2"}
    lines = record.render().decode().split("\n")
    assert "# note" not in lines
    assert lines[-4:-1] == ["node.future = x y", "node.conn[1].address = 10.0.0.2", "# END RECORD"]
    assert "node.future" not in dict(record.shown(secrets=True))


def test_bad_word_keeps_the_default():
    """DB-027: the C message, the default, and the rest of the record."""
    text = b"node.name = iqn.a\nnode.startup = sometimes\nnode.session.scan = manual\n"
    record, problems = Record.parse(NODE, text)
    assert [(p.line, p.fatal) for p in problems] == [
        (
            "config file line 2 contains unknown value format 'sometimes' for parameter name "
            "'node.startup'",
            True,
        )
    ]
    assert (record["node.startup"], record["node.session.scan"]) == ("manual", "manual")


def test_malformed_lines_are_not_fatal():
    """DB-020: bad lines of a record are named and skipped."""
    record, problems = Record.parse(NODE, b"node.startup=automatic\nnode.name = iqn.a\n")
    assert [(p.line, p.fatal) for p in problems] == [
        ("Config file line 1 does not have '=' separator", False)
    ]
    assert (record["node.startup"], record["node.name"]) == ("manual", "iqn.a")


def test_missing_key_has_the_built_in_default():
    """DB-028: not the value of iscsid.conf."""
    record, _ = Record.parse(NODE, HAND_WRITTEN.encode())
    assert record["node.conn[0].timeo.login_timeout"] == "30"
    assert record["node.session.cmds_max"] == "64"


def test_values_of_a_file_are_converted():
    """DB-030, DB-034: what is read obeys the same rules as what is set."""
    text = b"node.session.cmds_max = 12abc\niface.vlan_priority = 300\niface.hwaddress = "
    record, problems = Record.parse(NODE, text + b"x" * 40 + b"\n")
    assert problems == []
    assert record["node.session.cmds_max"] == "12"
    assert record["iface.vlan_priority"] == "44"
    assert record["iface.hwaddress"] == "x" * 17


OLD_NAMES = [
    ("node.transport_name = iser", "iface.transport_name", "iser"),
    ("node.cnx[0].address = 10.9.9.9", "node.conn[0].address", "10.9.9.9"),
    ("node.cnx[0].timeo.login_timeout = 99", "node.conn[0].timeo.login_timeout", "99"),
    ("node.session.conn_reopen_log_freq = 9", "node.session.sess_reopen_log_freq", "9"),
]


@pytest.mark.parametrize(("line", "key", "value"), OLD_NAMES)
def test_old_names_are_read_and_not_written(line, key, value):
    """DB-111: names of earlier releases."""
    record, problems = Record.parse(NODE, f"{line}\n".encode())
    assert problems == []
    assert record[key] == value
    assert record.unknown == {}
    text = record.render().decode()
    assert f"{key} = {value}\n" in text
    assert line not in text


@pytest.mark.parametrize(("line", "key", "value"), OLD_NAMES)
def test_present_name_wins_over_old_name(line, key, value):
    """DB-111: in either order."""
    new = "iser2" if "transport" in key else "11"
    for text in (f"{line}\n{key} = {new}\n", f"{key} = {new}\n{line}\n"):
        record, _ = Record.parse(NODE, text.encode())
        assert record[key] == new


@pytest.mark.parametrize(
    "line",
    [
        "node.session.conn_reopen_log_freq = 5",
        "node.session.sess_reopen_log_freq = 5",
        "node.conn[0].tcp.congestion_control = bbr",
        "node.discovery_type = slp",
        "node.discovery_type = fw",
        "node.discovery_type = offload_send_targets",
        "node.boot_lun = 1",
        "discovery.slp.x = 1",
        "iface.isid = 0",
    ],
)
def test_keys_of_other_releases_are_no_problem(line):
    """DB-111"""
    _, problems = Record.parse(NODE, f"{line}\n".encode())
    assert problems == []


def test_keys_of_master_are_written_when_they_say_something():
    """DB-111: never at their default, which 2.1.8 could not read."""
    text = b"node.session.sess_reopen_log_freq = 1\nnode.conn[0].tcp.congestion_control = bbr\n"
    record, _ = Record.parse(NODE, text)
    written = record.render().decode()
    assert "sess_reopen_log_freq" not in written
    assert "node.conn[0].tcp.congestion_control = bbr\n" in written
    shown = dict(record.shown(secrets=False))
    assert shown["node.conn[0].tcp.congestion_control"] == "bbr"
    assert "node.session.sess_reopen_log_freq" not in shown


VARIANTS = [
    # name, ipaddress, bootproto, variant
    ("default", "", "", "ipv4"),
    ("my-ipv6", "", "", "ipv6"),
    ("my-ipv6", "<empty>", "", "ipv6"),
    ("eth", "default", "", "ipv4"),
    ("eth", "10.0.0.1", "", "ipv4"),
    ("my-ipv6", "10.0.0.1", "", "ipv4"),
    ("eth", "fe80::1", "", "ipv6"),
    ("eth", "fe80::1", "dhcp", "ipv4"),
    ("eth", "fe80::1", "static", "ipv6"),
]


@pytest.mark.parametrize("kind", [NODE, IFACE])
@pytest.mark.parametrize(("name", "address", "bootproto", "variant"), VARIANTS)
def test_variant(kind, name, address, bootproto, variant):
    """DB-081: which address family's keys a record has."""
    values = {
        "iface.iscsi_ifacename": name,
        "iface.ipaddress": address,
        "iface.bootproto": bootproto,
    }
    record = Record(kind, values)
    assert record.variant == variant
    text = record.render().decode()
    assert ("iface.hop_limit" in text) == (variant == "ipv6")
    assert ("iface.ttl" in text) == (variant == "ipv4")


@pytest.mark.parametrize("kind", [NODE, IFACE])
def test_keys_of_the_other_family_survive(kind):
    """DB-081: read whatever the family, and kept when they say something."""
    text = b"iface.transport_name = tcp\niface.hop_limit = 9\niface.flow_label = 0\n"
    record, problems = Record.parse(kind, text)
    assert (problems, record.unknown) == ([], {})
    written = record.render().decode()
    assert "iface.hop_limit = 9\n" in written
    assert "iface.flow_label" not in written
    assert ("iface.hop_limit", "9") in record.shown(secrets=False)


def test_map_round_trip():
    """What the daemon gets over IPC is the record, secrets and unknown keys included."""
    record, _ = Record.parse(NODE, HAND_WRITTEN.encode() + b"node.future = 1\n")
    record.set(PASSWORD, "s3")
    values = record.to_map()
    assert values[PASSWORD] == "s3"
    assert values[f"{PASSWORD}_length"] == "2"
    assert values["node.future"] == "1"
    assert "node.session.auth.username" not in values
    again = Record.from_map(NODE, values)
    assert (again.values, again.unknown) == (record.values, record.unknown)


def test_copy_is_independent():
    record = node()
    other = record.copy()
    other.set("node.startup", "automatic")
    other.unknown["x"] = "y"
    assert (record["node.startup"], record.unknown) == ("manual", {})


def test_typed_access():
    record = node(tpgt=-1)
    assert record.get_int("node.tpgt") == -1
    assert record.get_bool("node.session.iscsi.ImmediateData") is True
    assert record.get_bool("node.leading_login") is False
    assert record.node_key().fields() == ("iqn.a", "10.0.0.1", 3260, -1, "default")
