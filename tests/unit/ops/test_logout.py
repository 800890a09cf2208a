"""Which sessions end, in which order, and what the command ends with."""

from __future__ import annotations

import pytest

from pyiscsi.errors import InvalidArgument, NoObjectsFound
from pyiscsi.ops import events
from pyiscsi.ops.context import Context
from pyiscsi.ops.logout import in_order, logout_all, of_startup, record_of
from pyiscsi.ops.sessions import all_sessions
from tests.unit.ops.conftest import node
from tests.unit.ops.daemon import FakeDaemon

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"
SIX = "iqn.2026-11.test:six"
CHAP = "iqn.2026-11.test:chap"
BUSY = 28


def story(reported: list[events.LogoutEvent]) -> list[str]:
    words = {
        events.LogoutRequested: "ask",
        events.LogoutSucceeded: "ok",
        events.LogoutFailed: "failed",
    }
    return [f"{words[type(event)]} {event.session.sid}" for event in reported]


class Place:
    def __init__(self, sid: int, target: str, address: str, port: int = 3260) -> None:
        self.sid = sid
        self.target = target
        self.persistent_address = address
        self.persistent_port = port


@pytest.mark.parametrize(
    ("portals", "order"),
    [
        ("ta ta ta", [1, 3, 2]),
        ("ta ub ta", [1, 3, 2]),
        ("ta tb ta", [1, 3, 2]),
        ("ta tb uc tb", [1, 2, 4, 3]),
        ("ta ub tc", [1, 3, 2]),
        ("ta tb uc td", [1, 2, 4, 3]),
        ("ta tb2 tc tb3", [1, 2, 4, 3]),
        ("ta ub vc", [1, 2, 3]),
    ],
)
def test_order(portals: str, order: list[int]) -> None:
    """CLI-223: sessions of one portal, address or target are put together."""
    found = [
        Place(sid, text[0], text[1], int(text[2:] or 1))
        for sid, text in enumerate(portals.split(), 1)
    ]
    assert [place.sid for place in in_order(found)] == order  # type: ignore[arg-type,type-var]


def test_all_are_asked_for_before_any_is_awaited(context: Context, daemon: FakeDaemon) -> None:
    """CLI-221, CLI-223, CLI-268."""
    daemon.together = 6
    reported: list[events.LogoutEvent] = []
    assert logout_all(context, all_sessions(context), reported.append) == 0
    order = ["1", "2", "3", "4", "5", "6"]
    assert story(reported) == [f"ask {n}" for n in order] + [f"ok {n}" for n in order]


def test_last_failure_decides(context: Context, daemon: FakeDaemon) -> None:
    """CLI-226."""
    daemon.logout_codes = {3: 9, 4: BUSY}
    reported: list[events.LogoutEvent] = []
    assert logout_all(context, all_sessions(context), reported.append) == BUSY
    assert story(reported)[6:] == ["ok 1", "ok 2", "failed 3", "failed 4", "ok 5", "ok 6"]
    assert [e.text for e in reported if isinstance(e, events.LogoutFailed)] == [
        "internal error", "device or resource in use"
    ]  # fmt: skip


def test_nothing_to_do(context: Context, daemon: FakeDaemon) -> None:
    """CLI-224."""
    with pytest.raises(NoObjectsFound, match="No matching sessions found"):
        logout_all(context, [], lambda _event: None)


def test_daemon_down(context: Context) -> None:
    """CLI-225: when no request could be sent it is as if nothing had matched."""
    reported: list[events.LogoutEvent] = []
    with pytest.raises(NoObjectsFound, match="No matching sessions found"):
        logout_all(context, all_sessions(context)[:2], reported.append)
    assert story(reported) == ["ask 1", "failed 1", "ask 2", "failed 2"]
    failures = [e for e in reported if isinstance(e, events.LogoutFailed)]
    assert {(e.code, e.lines) for e in failures} == {
        (20, ("can not connect to iSCSI daemon (111)!",))
    }


def records(context: Context) -> None:
    for record in (
        node(ONE, startup="automatic"),
        node(TWO, "127.0.0.2"),
        node(TWO, startup="onboot"),
        node(SIX, "::1", discovery_type="fw"),
    ):
        context.nodes.add(record)


@pytest.mark.parametrize(
    ("mode", "sids"), [("all", [1, 2, 3]), ("automatic", [1, 2]), ("manual", [1, 2, 3])]
)
def test_by_startup(context: Context, mode: str, sids: list[int]) -> None:
    """CLI-238, CLI-239, CLI-240: boot and firmware sessions stay, and those without a record.

    The connection of target one still starts manually, so it belongs to both modes.
    """
    records(context)
    assert [found.sid for found in of_startup(context, mode)] == sids


def test_by_startup_looks_at_the_transport(context: Context) -> None:
    context.nodes.add(node(ONE, iface__transport_name="iser"))
    assert of_startup(context, "all") == []


def test_by_startup_refuses_other_words(context: Context) -> None:
    """CLI-241."""
    with pytest.raises(InvalidArgument, match=r"Invalid logoutall option onboot\."):
        of_startup(context, "onboot")


def test_record_of_a_session(context: Context) -> None:
    records(context)
    one, *_, chap = all_sessions(context)
    record = record_of(context, one)
    assert record is not None
    assert record["node.name"] == ONE
    assert record_of(context, chap) is None


def test_record_in_the_old_flat_form(context: Context) -> None:
    """A record without portal group tag is one file; it counts for its own iface only."""
    record = node(CHAP)
    record.set("node.tpgt", "-1")
    context.nodes.add(record)
    chap = all_sessions(context)[-1]
    found = record_of(context, chap)
    assert found is not None
    assert found["node.name"] == CHAP
    record.set("iface.iscsi_ifacename", "if0")
    context.nodes.add(record)
    assert record_of(context, chap) is None
