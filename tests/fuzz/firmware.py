"""Fuzz targets for boot firmware: what anybody may have put into a table or a device tree."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import strategies as st

from pyiscsi.firmware import find, node
from pyiscsi.firmware.entry import BootEntry
from pyiscsi.printers.firmware import entry_pairs
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.sysfs.sessions import is_numeric_address
from tests.fuzz.mutations import damaged
from tests.unit.firmware.trees import BOOT, BOOTPATH, Place

FILES = [(name, file, text) for name, files in BOOT.items() for file, text in files.items()] + [
    ("ethernet0", "subnet-mask", "255.255.255.0"),
    ("ethernet0", "prefix-len", "24"),
    ("ethernet0", "vlan", "7"),
    ("ethernet0", "dhcp", "192.0.2.3"),
    ("target0", "port", "3260"),
    ("target0", "lun", "01000000"),
    ("target0", "chap-name", "me"),
    ("target0", "chap-secret", "a-secret"),
]
CHANGED = st.lists(
    st.sampled_from(FILES).flatmap(
        lambda file: st.tuples(st.just(file[:2]), damaged([file[2].encode()], limit=3))
    ),
    max_size=4,
)


def _check(place: Place, entry: BootEntry) -> None:
    assert is_numeric_address(entry.address)
    assert 0 < entry.port < 65536
    assert 0 <= entry.vlan_id < 4095
    assert "a-secret" not in repr(entry)
    for _, text in entry_pairs(entry, "tcp"):
        assert all(char >= " " and char != "\x7f" for char in text)
    record = node.login_record(Record(NODE), entry, place.tree, [])
    assert record["node.name"] == entry.target_name


def _check_all(place: Place) -> None:
    problems: list[str] = []
    for entry in find.entries(place.env, place.tree, problems):
        _check(place, entry)
    find.boot_initiator(place.env, place.tree)
    assert all(line.isprintable() for line in problems)


def table(changes: list[tuple[tuple[str, str], bytes]]) -> None:
    """Files of a table with other content: each target is whole and clean, or is none."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for name, file, text in FILES:
            place.write(f"sys/firmware/ibft/{name}/{file}", text)
        for (name, file), data in changes:
            place.write(f"sys/firmware/ibft/{name}/{file}", data)
        _check_all(place)


def bootpath(data: bytes) -> None:
    """Any bytes where Open Firmware says what was booted from."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.open_firmware()
        place.write("proc/device-tree/chosen/bootpath", data)
        _check_all(place)


TARGETS = {
    "firmware-table": (CHANGED, table),
    "bootpath": (damaged([BOOTPATH.encode()]), bootpath),
}
