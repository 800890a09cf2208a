"""Sessions of a captured sysfs: attributes, selection, identity."""

import _socket
import shutil
import socket
from pathlib import Path

import pytest

from pyiscsi.errors import InvalidArgument, SysfsError
from pyiscsi.names import NodeKey, Pattern
from pyiscsi.sysfs import sessions as room
from pyiscsi.sysfs.sessions import (
    Session,
    is_in_use,
    is_same_address,
    matches,
    session,
    session_ids,
    sessions,
    sid_from_path,
    uses,
)
from pyiscsi.sysfs.tree import SysfsTree

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"
SIX = "iqn.2026-11.test:six"
LONG_LOOPBACK = "0000:0000:0000:0000:0000:0000:0000:0001"


@pytest.fixture
def no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the resolver was asked")

    monkeypatch.setattr(_socket, "getaddrinfo", refuse)


def test_attributes(up: SysfsTree) -> None:
    found = session(up, 5)
    assert (found.target, found.tpgt) == (SIX, 1)
    assert (found.address, found.port) == (LONG_LOOPBACK, 3260)
    assert (found.persistent_address, found.persistent_port) == ("::1", 3260)
    assert (found.ifacename, found.transport, found.host_no) == ("default", "tcp", 4)
    assert found.initiatorname == "iqn.2026-11.test:initiator"
    assert (found.ipaddress, found.hwaddress, found.netdev) == (LONG_LOOPBACK, None, None)
    assert (found.state, found.connection_state, found.target_state) == (
        "LOGGED_IN",
        "up",
        "SCANNED",
    )
    assert (found.recovery_tmo, found.abort_tmo, found.lu_reset_tmo, found.tgt_reset_tmo) == (
        120,
        15,
        30,
        30,
    )
    assert (found.header_digest, found.data_digest) == (0, 0)
    assert (found.max_recv_dlength, found.max_xmit_dlength) == (262144, 262144)
    assert (found.first_burst_len, found.max_burst_len) == (65536, 262144)
    assert (found.immediate_data, found.initial_r2t, found.max_outstanding_r2t) == (1, 1, 1)
    assert not found.is_flash
    assert found.username is None


def test_secrets_are_readable_but_not_in_repr(up: SysfsTree) -> None:
    found = session(up, 6)
    assert (found.username, found.password) == ("user", "usersecret12")
    assert "secret" not in repr(found)


def test_addresses_stand_in_for_each_other(shared_down: Path, own: SysfsTree) -> None:
    """A failed session answers ENOTCONN for where it is connected to."""
    found = session(SysfsTree(str(shared_down / "sys")), 3)
    assert found.raw_address is None
    assert (found.address, found.port) == ("127.0.0.2", 3260)
    assert (found.state, found.connection_state, found.ipaddress) == ("FAILED", "failed", None)
    base = Path(own.real("class/iscsi_connection/connection1:0"))
    (base / "persistent_address").unlink()
    (base / "persistent_port").unlink()
    other = session(own, 1)
    assert (other.persistent_address, other.persistent_port) == ("127.0.0.1", 3260)


def test_a_value_is_read_once_and_only_when_asked_for(own: SysfsTree) -> None:
    found = Session(own, 1)
    state = Path(own.real("class/iscsi_session/session1")) / "state"
    state.write_text("FAILED\n")
    assert found.state == "FAILED"
    state.write_text("LOGGED_IN\n")
    assert found.state == "FAILED"
    assert Session(own, 1).state == "LOGGED_IN"


def test_creator_of_a_drivers_own_session(own: SysfsTree) -> None:
    """D-025, CLI-251: only creator -1 is a flash session."""
    creator = Path(own.real("class/iscsi_session/session1")) / "creator"
    creator.write_text("-1\n")
    assert session(own, 1).is_flash
    creator.unlink()
    assert not session(own, 1).is_flash


def test_order_is_that_of_the_names(tmp_path: Path) -> None:
    """CLI-253: 1, 10, 11, 12, 2."""
    for sid in range(1, 13):
        (tmp_path / f"class/iscsi_session/session{sid}").mkdir(parents=True)
    (tmp_path / "class/iscsi_session/sessionX").mkdir()
    assert session_ids(SysfsTree(str(tmp_path))) == [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_session_going_away_is_left_out(own: SysfsTree) -> None:
    real = Path(own.real("class/iscsi_session/session2"))
    (real / "targetname").unlink()
    assert [found.sid for found in sessions(own)] == [1, 3, 4, 5, 6]
    with pytest.raises(SysfsError):
        session(own, 2)
    shutil.rmtree(real)
    assert [found.sid for found in sessions(own)] == [1, 3, 4, 5, 6]


def test_no_sysfs_means_no_sessions(tmp_path: Path) -> None:
    assert sessions(SysfsTree(str(tmp_path / "nothing"))) == []


def test_unknown_sid(up: SysfsTree) -> None:
    """CLI-273."""
    with pytest.raises(SysfsError) as caught:
        session(up, 99)
    assert caught.value.exit_code == 22
    assert str(caught.value) == (
        "could not read session targetname: 5\nCould not get session info for sid 99"
    )


@pytest.mark.parametrize(
    ("pattern", "sids"),
    [
        (Pattern(), [1, 2, 3, 4, 5, 6]),
        (Pattern(target=ONE), [1, 2]),
        (Pattern(target=ONE.upper()), []),
        (Pattern(target="iqn.2026-11.test:o*"), []),
        (Pattern(address="127.0.0.1"), [1, 2, 4, 6]),
        (Pattern(address="127.0.0.1", port=3260), [1, 2, 4, 6]),
        (Pattern(address="127.0.0.1", port=3261), []),
        (Pattern(target=TWO, address="127.0.0.2"), [3]),
        (Pattern(address="::1"), [5]),
        (Pattern(address=LONG_LOOPBACK), [5]),
        (Pattern(iface="default"), [1, 2, 3, 4, 5, 6]),
        (Pattern(iface="if0"), []),
    ],
)
def test_matches_numeric_without_resolver(
    up: SysfsTree, no_resolver: None, pattern: Pattern, sids: list[int]
) -> None:
    """CLI-222, CLI-246: every given part must agree; numbers are never looked up."""
    assert [found.sid for found in sessions(up) if matches(found, pattern)] == sids


def test_matches_a_name_by_what_it_resolves_to(
    up: SysfsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI-205."""

    def resolve(name: bytes, *_args: object, **_kwargs: object) -> list[object]:
        if name != b"store":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0))]

    monkeypatch.setattr(_socket, "getaddrinfo", resolve)
    found = sessions(up)
    assert [s.sid for s in found if matches(s, Pattern(address="store"))] == [3]
    assert [s.sid for s in found if matches(s, Pattern(address="other"))] == []
    assert [s.sid for s in found if matches(s, Pattern(address="store"), resolve=False)] == []


@pytest.mark.parametrize(
    ("mine", "wanted", "same"),
    [
        ("host", "host", True),
        ("host", "", True),
        ("fe80::1", "fe80:0::1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", False),
    ],
)
def test_same_address(no_resolver: None, mine: str, wanted: str, same: bool) -> None:
    assert is_same_address(mine, wanted) is same


def test_in_use(up: SysfsTree) -> None:
    """CLI-200, DB delete: the record's target, portal and iface must be those of a session."""
    assert is_in_use(up, NodeKey(TWO, "127.0.0.2", 3260, 1, "default"))
    assert is_in_use(up, NodeKey(TWO, "127.0.0.2", 3260, -1, "default"))
    assert not is_in_use(up, NodeKey(TWO, "127.0.0.3", 3260, 1, "default"))
    assert not is_in_use(up, NodeKey(TWO, "127.0.0.2", 3261, 1, "default"))
    assert not is_in_use(up, NodeKey(TWO, "127.0.0.2", 3260, 1, "if0"))


def test_transport_counts_for_named_ifaces_only(own: SysfsTree) -> None:
    Path(own.real("class/iscsi_session/session1/ifacename")).write_text("if0\n")
    named = session(own, 1)
    key = NodeKey(ONE, "127.0.0.1", 3260, 1, "if0")
    assert uses(named, key, "tcp")
    assert uses(named, key)
    assert not uses(named, key, "iser")
    assert uses(session(own, 2), NodeKey(ONE, "127.0.0.1", 3260), "iser")


def test_grouping_keeps_order(up: SysfsTree) -> None:
    groups = room.by_target(sessions(up))
    assert [[s.sid for s in groups[name]] for name in (ONE, TWO)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("path", "sid"),
    [
        ("/sys/class/iscsi_session/session1", 1),
        ("/sys/class/iscsi_connection/connection3:0", 3),
        ("/sys/class/block/sdd", 3),
        ("/sys/devices/platform/host0/session1/target0:0:0", 1),
        ("/sys/devices/platform/host0/session1/target0:0:0/0:0:0:0", 1),
        ("/sys/devices/platform/host4/session5", 5),
    ],
)
def test_sid_from_path(up: SysfsTree, path: str, sid: int) -> None:
    """CLI-274, CLI-275, CLI-276."""
    assert sid_from_path(up, path) == sid
    assert sid_from_path(up, up.root + path.removeprefix("/sys")) == sid


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/sys/bus", "Could not get dev for /bus. Possible sysfs incompatibility."),
        ("/etc", "Could not get dev for /etc. Possible sysfs incompatibility."),
        ("/sys/kernel", "Could not get dev for /kernel. Possible sysfs incompatibility."),
        ("/sys/devices/pci", "Unable to find sid in path /sys/devices/pci"),
        ("/sys/class/net", "Unable to find sid in path /sys/class/net"),
    ],
)
def test_paths_without_session(own: SysfsTree, path: str, line: str) -> None:
    """CLI-277."""
    with pytest.raises(InvalidArgument) as caught:
        sid_from_path(own, path)
    assert str(caught.value) == line
