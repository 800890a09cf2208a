"""Reading single attributes, whatever state they are in."""

import os
from pathlib import Path

import pytest

from pyiscsi.errors import SysfsError
from pyiscsi.sysfs.tree import SysfsTree, leading_int, numbered


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"running\n", "running"),
        (b"running", "running"),
        (b"two\nlines\n\n", "two\nlines"),
        (b"\n", ""),
        (b"", ""),
        (b"<NULL>\n", None),
        (b"(null)\n", None),
        (b"(null) and more\n", None),
        (b"na\xefme\n", "na\udcefme"),
    ],
)
def test_read(tmp_path: Path, content: bytes, expected: str | None) -> None:
    (tmp_path / "attribute").write_bytes(content)
    assert SysfsTree(str(tmp_path)).read("attribute") == expected


@pytest.mark.parametrize("name", ["missing", "directory", "attribute/below", "loop", "nul\0"])
def test_unreadable_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "attribute").write_text("1")
    (tmp_path / "loop").symlink_to("loop")
    tree = SysfsTree(str(tmp_path))
    assert tree.read(name) is None
    assert tree.read_int(name) is None
    assert tree.read_int(name, 7) == 7
    assert tree.names(name.replace("\0", "")) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [("120", 120), ("-1", -1), ("off", -1), ("12x", 12), ("x", 0), ("", 0), (" 5", 5), ("+3", 3)],
)
def test_read_int(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "attribute").write_text(content + "\n")
    assert SysfsTree(str(tmp_path)).read_int("attribute") == expected
    assert leading_int(content) == (0 if content == "off" else expected)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("session1", 1),
        ("session10", 10),
        ("session", None),
        ("session1x", None),
        ("host1", None),
        ("session²", None),
    ],
)
def test_numbered(name: str, number: int | None) -> None:
    assert numbered(name, "session") == number


def test_names_are_in_string_order(tmp_path: Path) -> None:
    for name in ("session2", "session10", "session1"):
        (tmp_path / name).mkdir()
    assert SysfsTree(str(tmp_path)).names("") == ["session1", "session10", "session2"]


def test_write_reaches_the_file_and_failures_say_where(tmp_path: Path) -> None:
    tree = SysfsTree(f"{tmp_path}/")
    (tmp_path / "scan").write_text("")
    tree.write("scan", "- - -")
    assert (tmp_path / "scan").read_text() == "- - -"
    with pytest.raises(SysfsError, match=r"scan2: No such file or directory") as caught:
        tree.write("scan2", "- - -")
    assert caught.value.exit_code == 22


def test_link_gives_the_target_unresolved(tmp_path: Path) -> None:
    os.symlink("../../devices/host0", tmp_path / "link")
    tree = SysfsTree(str(tmp_path))
    assert tree.link("link") == "../../devices/host0"
    assert tree.link("nothing") is None
