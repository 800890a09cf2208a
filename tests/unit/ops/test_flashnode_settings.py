"""A flashnode's settings: what sysfs shows, and the forms a driver takes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pyiscsi import INTERFACE_VERSION
from pyiscsi.ops import flashnode_settings as settings
from pyiscsi.printers import flashnode as printer
from pyiscsi.printers.record import record_lines
from pyiscsi.records import edit
from pyiscsi.records.record import Record
from pyiscsi.records.schema import FLASHNODE
from pyiscsi.sysfs.flashnodes import Flashnode, flashnodes
from pyiscsi.sysfs.tree import SysfsTree
from tests.unit.sysfs.capture import golden, unpack


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SysfsTree:
    return unpack("adapter", tmp_path_factory.mktemp("adapter"))


def test_those_of_a_host(tree: SysfsTree) -> None:
    found = flashnodes(tree, 1)
    assert [node.index for node in found] == [0, 1, 2]
    assert flashnodes(tree, 0) == flashnodes(tree, 11) == []
    assert not Flashnode(tree, 1, 3).exists()


@pytest.mark.parametrize("index", [0, 1])
def test_shown_as_by_open_iscsi(tree: SysfsTree, index: int) -> None:
    """Secrets are shown; a number the adapter does not have is the largest of its size."""
    record = settings.read(Flashnode(tree, 1, index))
    lines = [*record_lines(INTERFACE_VERSION, record.shown(secrets=True))]
    assert lines == golden(f"adapter-flashnode-{index}")


def test_listed_as_by_open_iscsi(tree: SysfsTree) -> None:
    found = [(node.index, settings.read(node)) for node in flashnodes(tree, 1)]
    assert [*printer.flat_lines("qla4xxx", found)] == golden("adapter-flashnodes")


def test_what_is_not_set_in_a_list() -> None:
    assert [*printer.flat_lines("qedi", [(7, Record(FLASHNODE))])] == [
        "qedi: [7] <empty>:<empty>,0 <empty>"
    ]


def test_control_characters_stay_on_their_line(tmp_path: Path) -> None:
    base = tmp_path / "bus/iscsi_flashnode/devices"
    for part in ("sess-1:0", "conn-1:0:0"):
        (base / f"flashnode_{part}").mkdir(parents=True)
    (base / "flashnode_sess-1:0/targetalias").write_text("a\nb\x1b[31m\n")
    record = settings.read(Flashnode(SysfsTree(str(tmp_path)), 1, 0))
    assert record["flashnode.session.targetalias"] == r"a\x0ab\x1b[31m"


def encoded(portal_type: str, key: str, text: str) -> tuple[int, bytes]:
    """Number and value of one setting as it is told."""
    record = Record(FLASHNODE, {"flashnode.session.portal_type": portal_type})
    edit.apply(record, [(key, text)])
    attribute = settings.encode(record, [key])
    length, kind, size, number = struct.unpack_from("=HHIH", attribute)
    assert (length, kind, len(attribute)) == (10 + size, number, length + -length % 4)
    return number, attribute[10 : 10 + size]


@pytest.mark.parametrize(
    ("portal_type", "key", "text", "number", "value"),
    [
        ("ipv4", "flashnode.session.erl", "1", 16, "01"),
        ("ipv4", "flashnode.session.tpgt", "7", 44, "0700"),
        ("ipv4", "flashnode.session.chap_out_idx", "2", 51, "02000000"),
        ("ipv4", "flashnode.session.max_burst_len", "8192", 33, "00200000"),
        ("ipv4", "flashnode.session.isid", "4000deadbeef", 30, "4000deadbeef"),
        ("ipv6", "flashnode.session.portal_type", "ipv4", 1, "6970763400"),
        ("ipv4", "flashnode.conn[0].port", "0", 32, "bc0c"),
        ("ipv4", "flashnode.conn[0].port", "3261", 32, "bd0c"),
        ("ipv4", "flashnode.conn[0].ipaddress", "192.0.2.9", 35, "c0000209"),
        ("ipv6", "flashnode.conn[0].ipaddress", "fd00::1", 35, "fd" + "00" * 14 + "01"),
        ("ipv6", "flashnode.conn[0].redirect_ipaddr", "::", 37, "00" * 16),
        ("ipv4", "flashnode.conn[0].link_local_ipv6", "fe80::9", 45, "fe80" + "00" * 13 + "09"),
        ("ipv4", "flashnode.session.targetname", "iqn.x:t", 43,
         b"iqn.x:t".ljust(255, b"\0").hex()),
    ],
)  # fmt: skip
def test_forms(portal_type: str, key: str, text: str, number: int, value: str) -> None:
    """As open-iscsi 2.1.8 sent them."""
    assert encoded(portal_type, key, text) == (number, bytes.fromhex(value))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("flashnode.session.username", "u"),
        ("flashnode.session.password_in", "p"),
        ("flashnode.session.is_boot_target", "1"),
        ("flashnode.session.isid", "4000"),
        ("flashnode.session.isid", "what"),
        ("flashnode.conn[0].ipaddress", "fd00::1"),
        ("flashnode.conn[0].ipaddress", "name"),
        ("flashnode.conn[0].link_local_ipv6", "192.0.2.1"),
    ],
)
def test_what_can_not_be_told(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        encoded("ipv4", key, text)


def test_every_setting_has_a_number_of_its_own() -> None:
    """All but those that only the adapter sets."""
    rows = settings._SETTABLE
    assert len({number for number, _ in rows.values()}) == len(rows)
    left = FLASHNODE.fields.keys() - rows.keys()
    assert {key.removeprefix("flashnode.session.") for key in left} == {
        "chap_in_idx", "username", "username_in", "password", "password_in", "is_boot_target",
    }  # fmt: skip
    assert rows.keys() <= FLASHNODE.fields.keys()
