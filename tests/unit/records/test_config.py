"""iscsid.conf, the shipped one and anybody's, and the loose reader of single settings."""

import re
from pathlib import Path

import pytest

from pyiscsi.records.config import Config, read_scalar
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS
from pyiscsi.records.text import tokenize

SHIPPED = Path(__file__).parents[3] / "etc/iscsid.conf"
ALGORITHMS = "node.session.auth.chap_algs"


@pytest.fixture
def config(tmp_path):
    def read(text):
        path = tmp_path / "iscsid.conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Config(str(path))

    return read


def test_missing_file(tmp_path):
    """DB-092: built-in defaults, and no word about it."""
    config = Config(str(tmp_path / "none"))
    assert config.problems == []
    assert config.defaults(NODE).values == NODE.defaults("2.1.8")


def test_file_that_cannot_be_read(tmp_path):
    """A directory in its place is said."""
    config = Config(str(tmp_path))
    assert config.problems == [f"Could not open {tmp_path}: Not a regular file"]
    assert config.defaults(NODE).values == NODE.defaults("2.1.8")


def test_each_kind_takes_its_own(config):
    """DB-090: the algorithm list is of both kinds."""
    one = config(
        f"{ALGORITHMS} = SHA256\nnode.startup = automatic\n"
        "discovery.sendtargets.reopen_max = 7\ndiscovery.isns.use_discoveryd = Yes\n"
        "isns.address = 1.2.3.4\nnode.bogus = 1\n"
    )
    node, st, isns = (one.defaults(kind) for kind in (NODE, SENDTARGETS, ISNS))
    assert (node[ALGORITHMS], st[ALGORITHMS]) == ("SHA256", "SHA256")
    assert node["node.startup"] == "automatic"
    assert st["discovery.sendtargets.reopen_max"] == "7"
    assert isns["discovery.isns.use_discoveryd"] == "Yes"
    assert (node.unknown, st.unknown, isns.unknown, one.problems) == ({}, {}, {}, [])


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (NODE, "node.name = x"),
        (NODE, "node.conn[0].address = x"),
        (NODE, "node.tpgt = 5"),
        (NODE, "node.discovery_type = fw"),
        (NODE, "iface.iscsi_ifacename = x"),
        (NODE, "iface.hop_limit = 9"),
        (NODE, "node.transport_name = iser"),
        (NODE, "node.session.auth.password_length = 9"),
        (NODE, "node.conn[0].tcp.congestion_control = bbr"),
        (SENDTARGETS, "discovery.startup = automatic"),
        (SENDTARGETS, "discovery.type = fw"),
        (SENDTARGETS, "discovery.sendtargets.address = x"),
        (ISNS, "discovery.sendtargets.port = 5"),
    ],
)
def test_keys_without_effect(config, kind, line):
    """DB-090: identity, the other address family, hidden keys, keys of the other format."""
    one = config(f"{line}\n")
    assert one.defaults(kind).values == kind.defaults("2.1.8")
    assert one.problems == []


def test_master_has_more_keys(config):
    one = config("node.conn[0].tcp.congestion_control = bbr\n")
    record = one.defaults(NODE, "master")
    assert record["node.conn[0].tcp.congestion_control"] == "bbr"
    assert record["node.session.xmit_thread_priority"] == "0"
    assert (record.fmt, one.defaults(NODE)["node.session.xmit_thread_priority"]) == (
        "master",
        "-20",
    )


def test_every_iface_key_of_ipv4(config):
    """DB-090: iface.* of the file reaches node records."""
    keys = [k for k in IFACE.file_order("ipv4") if k != "iface.iscsi_ifacename"]
    record = config("".join(f"{key} = 7\n" for key in keys)).defaults(NODE)
    assert {record[key] for key in keys} == {"7"}


def test_warnings_come_once(config):
    """DB-091, DB-027: whatever the number of kinds that ask."""
    one = config(f"node.startup=automatic\nnode.startup = often\n{ALGORITHMS} = X\n")
    for _ in range(2):
        for kind in (NODE, SENDTARGETS, ISNS):
            one.defaults(kind)
    assert one.problems == [
        "Config file line 1 does not have '=' separator",
        "config file line 2 contains unknown value format 'often' for parameter name "
        "'node.startup'",
        f"Ignoring unknown value 'X' for '{ALGORITHMS}'",
    ]
    assert one.defaults(NODE)["node.startup"] == "manual"


def test_password_has_its_length(config):
    """DB-040"""
    record = config("node.session.auth.password = secret\n").defaults(NODE)
    assert record["node.session.auth.password_length"] == "6"


def test_defaults_are_independent(config):
    """DB-093: every record starts from the file as it was read."""
    one = config("node.startup = automatic\n")
    one.defaults(NODE).set("node.startup", "onboot")
    assert one.defaults(NODE)["node.startup"] == "automatic"


@pytest.mark.parametrize("data", [b"\xff\xfe\0", b"node.startup = \xff\n", b"x" * 5000])
def test_any_bytes(config, data):
    """DB-025"""
    assert config(data).defaults(NODE)["node.startup"] == "manual"


# The shipped file


def documented():
    """(active, key, value, the line about type and default) of every setting of the file."""
    lines = SHIPPED.read_text().split("\n")
    for number, line in enumerate(lines):
        match = re.fullmatch(r"(#?)([a-z]+\.[\w.\[\]]+) =(?: (.*))?", line)
        if match:
            yield not match[1], match[2], match[3] or "", lines[number - 1]


def settable():
    found = {}
    for kind in (NODE, SENDTARGETS, ISNS):
        for key, field in kind.fields.items():
            if field.in_config and not field.hidden and not key.startswith("iface."):
                found.setdefault(key, field)
    return found


SCALARS = {
    "iscsid.startup": "",
    "iscsid.safe_logout": "No",
    "iscsid.ipc_auth_uid": "No",
    "iscsid.retry_automatic_logins": "No",
}


def test_shipped_file_has_every_setting_once():
    keys = [key for _, key, _, _ in documented()]
    assert sorted(keys) == sorted([*settable(), *SCALARS])


def test_shipped_file_sets_what_debian_sets(tables):
    """DB-010: so that new records are the same."""
    active = {key: value for is_set, key, value, _ in documented() if is_set}
    assert active == tables["shipped_conf"]
    found, problems = tokenize(SHIPPED.read_bytes())
    assert {key: value for _, key, value in found} == active
    assert problems == []


def test_shipped_file_tells_the_built_in_defaults(tables):
    """Type, range and default stand above every setting; what is commented out has the default."""
    types = {"string": "text", "bool": "Yes or No", "enum": "word", "enum_list": "list of words"}
    ranges = {f["key"]: f["effective_range"] for f in tables["fields"] if f["record"] != "iface"}
    fields = settable()
    for is_set, key, value, about in documented():
        field = fields.get(key)
        default = SCALARS[key] if field is None else field.default_for("2.1.8")
        assert is_set or value == default, key
        assert about.startswith("# Type: "), key
        assert about.endswith(f"Default: {default or '(none)'}"), key
        if field is None:
            continue
        assert f"Type: {types.get(field.type, 'integer')};" in about, key
        if field.type == "string":
            assert f"Range: up to {field.max_len} bytes" in about, key
        elif ranges[key]:
            low, high = ranges[key]
            words = f"{low} or more" if high >= 2**31 - 1 else f"{low} to {high}"
            assert f"Range: {words}" in about, key
        for word in field.allowed or ():
            assert word in about, key


# Single settings


SCALAR_LINES = [
    ("InitiatorName=iqn.a:1", "iqn.a:1"),
    ("InitiatorName = iqn.a:2  ", "iqn.a:2"),
    ("  InitiatorName=iqn.a:3 # c", "iqn.a:3 # c"),
    ("XInitiatorNameFoo=iqn.a:6", "iqn.a:6"),
    ("foo InitiatorName=iqn.a:10", "iqn.a:10"),
    ('InitiatorName="iqn.a:7"', '"iqn.a:7"'),
    ("InitiatorName=iqn.a=9", "iqn.a=9"),
    ("initiatorname=iqn.a:8", None),
    ("x=y # InitiatorName=iqn.a", None),
    ("# InitiatorName=iqn.a", None),
    ("", None),
]


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize(("line", "value"), SCALAR_LINES)
def test_scalar(tmp_path, line, value, end):
    """DB-094, DB-095: the key anywhere in the line, no newline needed at the end."""
    path = tmp_path / "initiatorname.iscsi"
    path.write_text(f"## comment\n{line}{end}")
    assert read_scalar(str(path), "InitiatorName") == (value, [])


def test_first_usable_line_wins(tmp_path):
    """DB-094: with a word about each that was not."""
    path = tmp_path / "f"
    path.write_text("InitiatorName\nInitiatorName=\nInitiatorName=iqn.a\nInitiatorName=iqn.b\n")
    assert read_scalar(str(path), "InitiatorName") == (
        "iqn.a",
        [
            "Invalid config line for InitiatorName. Missing '='.",
            "Invalid config line for InitiatorName. Missing value",
        ],
    )


def test_scalar_of_a_missing_file(tmp_path):
    """DB-094, DB-095"""
    path = f"{tmp_path}/none"
    line = f"can't open InitiatorName configuration file {path}"
    assert read_scalar(path, "InitiatorName") == (None, [line])


def test_scalar_of_odd_bytes(tmp_path):
    """DB-094: an over-long line falls into pieces; NUL ends a line; other bytes are kept."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1023 + b"Key=tail\n")
    assert read_scalar(str(path), "Key") == ("tail", [])
    path.write_bytes(b"Key=a\0b\n")
    assert read_scalar(str(path), "Key") == ("a", [])
    path.write_bytes(b"Key=\xff\n")
    assert read_scalar(str(path), "Key") == ("\udcff", [])


def test_startup_command_of_the_shipped_file():
    """DB-092"""
    value, problems = read_scalar(str(SHIPPED), "iscsid.startup")
    assert (value, problems) == ("/bin/systemctl start iscsid.socket", [])


@pytest.mark.parametrize("key", ["iscsid.safe_logout", "iscsid.ipc_auth_uid"])
def test_commented_settings_are_unset(key):
    """DB-096 (record side)"""
    assert read_scalar(str(SHIPPED), key) == (None, [])
