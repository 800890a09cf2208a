"""The fast way of reading records says what the parser that knows every line says."""

import random

import pytest

from pyiscsi.records.plain import KNOWN_MAX, PlainLines
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS
from tests.unit.records.samples import node, sendtargets

PASSWORD = "node.session.auth.password"


def readings(kind, data, plain):
    """What both ways make of a file: values, unknown keys, lines."""
    for lines in (None, plain):
        record, problems = Record.parse(kind, data, plain=lines)
        yield record.values, record.unknown, [(p.line, p.fatal) for p in problems]


ODD = [
    b"",
    b"\n\n",
    b"k=v",
    b"node.startup=automatic",
    b"node.startup= manual",
    b"node.startup == x",
    b"= x",
    b"== x",
    b"node.startup",
    b"node.startup =",
    b"node.startup = sometimes",
    b"node.startup = automatic",
    b"  node.startup\t= onboot  ",
    b"node.startup = automatic\r",
    b"node.session.cmds_max = 12abc",
    b"node.session.cmds_max = 99999999999",
    b"node.session.cmds_max = 0000000012",
    b"node.session.cmds_max = \xd9\xa1\xd9\xa2",
    b"iface.vlan_priority = 300",
    b"node.session.auth.chap_algs = SHA1,X SHA1,,MD5",
    b"node.session.auth.chap_algs = SHA1,MD5",
    b"node.session.auth.password = secret",
    b"node.session.auth.password = \xff\xfe\xc3\xa4",
    b"node.session.auth.password_length = 3",
    b"node.session.auth.username = two  words # no comment",
    b"node.future = kept",
    b"node.transport_name = iser",
    b"node.cnx[0].port = 3261",
    b"node.session.username = \0",
    b"node.session.auth.username = " + b"u" * 300,
    b"node.session.auth.username_in = " + b"u" * 2100,
    b"k" * 128 + b" = v",
    b"#" * 2046,
    b"#" * 2047,
    b" # indented",
]


@pytest.mark.parametrize("line", ODD)
def test_odd_lines(line):
    """DB-020, DB-021, DB-024, DB-025, DB-027: alone, twice, and after the same key."""
    plain = PlainLines(NODE)
    whole = node().render()
    for data in (line, line + b"\n", whole + line, whole + line + b"\n" + line + b"\n"):
        for _ in range(2):
            slow, fast = readings(NODE, data, plain)
            assert slow == fast


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (NODE, node(**{PASSWORD: "geheim", "node.session.auth.username": "u"}).render()),
        (SENDTARGETS, sendtargets().render()),
        (ISNS, Record(ISNS).render()),
        (IFACE, Record(IFACE, {"iface.iscsi_ifacename": "eth"}).render()),
        (IFACE, b"iface.iscsi_ifacename = eth\n"),
    ],
)
def test_whole_records(kind, data):
    """DB-023, DB-028, DB-040: every kind, a secret's length included."""
    slow, fast = readings(kind, data, PlainLines(kind))
    assert slow == fast


def test_damaged_files():
    """DB-023, DB-025: a thousand files that share most lines with each other."""
    source = random.Random(11)
    whole = node(**{PASSWORD: "geheim"}).render()
    plain = PlainLines(NODE)
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(source.choice([0, 1, 1, 3])):
            data[source.randrange(len(data))] = source.choice(b"\n\t =#\r\0\xffaA0,")
        slow, fast = readings(NODE, bytes(data), plain)
        assert slow == fast


def test_what_is_remembered():
    """No secret, and not the names of ten thousand records."""
    plain = PlainLines(NODE)
    for number in range(KNOWN_MAX + 100):
        record = node(target=f"iqn.x:{number}", **{PASSWORD: f"s{number}"})
        values = plain.read(record.render())
        assert (values["node.name"], values[PASSWORD]) == (f"iqn.x:{number}", f"s{number}")
    assert len(plain) == KNOWN_MAX
    assert "s1" not in repr(plain)
