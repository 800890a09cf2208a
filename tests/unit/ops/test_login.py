"""Which logins are asked for, in which order answers are taken, and what the command ends with."""

from __future__ import annotations

import pytest

from pyiscsi.errors import InvalidArgument, NoObjectsFound
from pyiscsi.ops import events
from pyiscsi.ops.context import Context
from pyiscsi.ops.login import login_again, login_all, login_by_startup
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE
from tests.unit.ops.conftest import node
from tests.unit.ops.daemon import FakeDaemon

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"
AUTH, TIMEOUT, EXISTS = 24, 8, 15


class Story:
    """Events as short text, in the order they were reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: events.LoginEvent) -> None:
        match event:
            case events.LoginRequested():
                self.lines.append(f"ask {event.key.target}" + " (multiple)" * event.multiple)
            case events.LoginSucceeded():
                self.lines.append(f"ok {event.key.target}")
            case events.LoginFailed():
                self.lines.append(f"failed {event.key.target} {event.code}")
            case events.LoginPresent():
                self.lines.append(f"{event.iface} {event.requested} {event.present}")
            case events.LeadingIfaceFailed():
                self.lines.append(f"next after {event.iface}")
            case _:
                self.lines.append(type(event).__name__)


@pytest.fixture
def story() -> Story:
    return Story()


def test_all_are_asked_for_before_any_is_awaited(
    context: Context, daemon: FakeDaemon, story: Story
) -> None:
    """CLI-206, CLI-207: results come in the order of the requests."""
    records = [node(f"iqn.x:{name}") for name in "abc"]
    daemon.together = 3
    assert login_all(context, records, wait=True, report=story) == 0
    assert story.lines == [
        "ask iqn.x:a", "ask iqn.x:b", "ask iqn.x:c", "ok iqn.x:a", "ok iqn.x:b", "ok iqn.x:c"
    ]  # fmt: skip


def test_the_record_is_sent_whole(context: Context, daemon: FakeDaemon, story: Story) -> None:
    record = node("iqn.x:a", session__auth__password="secretsecret1")
    login_all(context, [record], wait=True, report=story)
    (args,) = daemon.of("login")
    assert args == {"record": record.to_map(), "multiple": False}
    assert args["record"]["node.session.auth.password"] == "secretsecret1"


def test_mixed_results(context: Context, daemon: FakeDaemon, story: Story) -> None:
    """CLI-210, CLI-211, CLI-213: the first failure the daemon answered decides."""
    daemon.login_codes = {"iqn.x:b": AUTH, "iqn.x:c": TIMEOUT}
    records = [node(f"iqn.x:{name}") for name in "abc"]
    assert login_all(context, records, wait=True, report=story) == AUTH
    assert story.lines[3:] == ["ok iqn.x:a", "failed iqn.x:b 24", "failed iqn.x:c 8"]


def test_a_session_that_is_there_wins_over_later_failures(
    context: Context, daemon: FakeDaemon, story: Story
) -> None:
    """CLI-208, CLI-213: 15 from before the requests, although the daemon answers 24."""
    daemon.login_codes = {"iqn.x:a": AUTH}
    records = [node("iqn.x:a"), node(TWO)]
    assert login_all(context, records, wait=True, report=story) == EXISTS
    assert story.lines == ["ask iqn.x:a", "default 1 1", "failed iqn.x:a 24"]


@pytest.mark.parametrize(
    ("wanted", "asked", "present"),
    [("0", 0, "default 0 2"), ("1", 0, "default 1 2"), ("2", 0, "default 2 2"), ("4", 2, "")],
)
def test_only_missing_sessions_are_made(
    context: Context, daemon: FakeDaemon, story: Story, wanted: str, asked: int, present: str
) -> None:
    """CLI-216, CLI-217, CLI-218, D-041: target one has two sessions."""
    record = node(ONE, session__nr_sessions=wanted)
    status = login_all(context, [record], wait=True, report=story)
    assert len(daemon.of("login")) == asked
    assert all(args["multiple"] for args in daemon.of("login"))
    assert story.lines == ([present] if present else
        [f"ask {ONE} (multiple)"] * 2 + [f"ok {ONE}"] * 2)  # fmt: skip
    assert status == (EXISTS if present else 0)


@pytest.mark.parametrize(
    ("address", "iface", "asked"),
    [
        ("127.0.0.2", "default", 0),
        ("127.0.0.3", "default", 1),
        ("127.0.0.2", "if0", 1),
    ],
)
def test_sessions_count_by_portal_and_iface(
    context: Context, daemon: FakeDaemon, story: Story, address: str, iface: str, asked: int
) -> None:
    record = node(TWO, address, iface__iscsi_ifacename=iface)
    login_all(context, [record], wait=True, report=story)
    assert len(daemon.of("login")) == asked


def test_without_waiting(context: Context, daemon: FakeDaemon, story: Story) -> None:
    """CLI-214, CLI-215: requests only; what is known at once still counts."""
    daemon.together = 1000
    assert login_all(context, [node("iqn.x:a")], wait=False, report=story) == 0
    assert login_all(context, [node("iqn.x:a"), node(TWO)], wait=False, report=story) == EXISTS
    assert story.lines == ["ask iqn.x:a", "ask iqn.x:a", "default 1 1"]


def test_daemon_down(context: Context, story: Story) -> None:
    """CLI-212."""
    reported: list[events.LoginEvent] = []
    records = [node("iqn.x:a"), node("iqn.x:b")]
    assert login_all(context, records, wait=True, report=reported.append) == 20
    failures = [event for event in reported if isinstance(event, events.LoginFailed)]
    assert [(f.key.target, f.code, f.text, f.lines) for f in failures] == [
        (f"iqn.x:{name}", 20, "could not connect to iscsid",
         ("can not connect to iSCSI daemon (111)!",))
        for name in "ab"
    ]  # fmt: skip


def test_one_more_session(context: Context, daemon: FakeDaemon, story: Story) -> None:
    """CLI-286."""
    assert login_again(context, node(TWO), story) == 0
    assert story.lines == [f"ask {TWO} (multiple)", f"ok {TWO}"]
    assert daemon.of("login")[0]["multiple"]


@pytest.mark.parametrize(
    ("mode", "targets"),
    [
        ("all", ["auto", "boot", "conn", "man"]),
        ("automatic", ["auto", "conn"]),
        ("manual", ["boot", "conn", "man", "auto"]),
        ("onboot", ["boot"]),
    ],
)
def test_by_startup(
    context: Context, daemon: FakeDaemon, story: Story, mode: str, targets: list[str]
) -> None:
    """CLI-227 to CLI-230: the startup of the session or of its connection."""
    for record in (
        node("iqn.x:auto", startup="automatic"),
        node("iqn.x:boot", startup="onboot"),
        node("iqn.x:conn", **{"startup": "manual", "conn[0]__startup": "automatic"}),
        node("iqn.x:man"),
    ):
        context.nodes.add(record)
    assert login_by_startup(context, mode, True, story) == 0
    asked = [line.removeprefix("ask iqn.x:") for line in story.lines if line.startswith("ask")]
    assert sorted(asked) == sorted(targets)


def test_by_startup_without_any(context: Context, story: Story) -> None:
    """CLI-231, CLI-233."""
    with pytest.raises(NoObjectsFound, match="No records found"):
        login_by_startup(context, "automatic", True, story)
    with pytest.raises(InvalidArgument, match=r"Invalid loginall option bogus\."):
        login_by_startup(context, "bogus", True, story)
    assert story.lines == []


def test_by_startup_closes_with_a_line(context: Context, daemon: FakeDaemon, story: Story) -> None:
    """CLI-232."""
    context.nodes.add(node(TWO))
    assert login_by_startup(context, "all", True, story) == EXISTS
    assert story.lines == ["default 1 1", "PortalsMissed"]


def iface(context: Context, name: str) -> None:
    context.ifaces.write(
        Record(IFACE, {"iface.iscsi_ifacename": name, "iface.transport_name": "tcp"})
    )


def test_leading_login_needs_an_iface_file(
    context: Context, daemon: FakeDaemon, story: Story
) -> None:
    """CLI-237."""
    context.nodes.add(node("iqn.x:a", leading_login="Yes"))
    assert login_by_startup(context, "all", True, story) == 19
    assert story.lines == ["LeadingLoginsMissing"]


def test_leading_login_tries_one_iface_after_the_other(
    context: Context, daemon: FakeDaemon, story: Story
) -> None:
    """CLI-236: portals that have a session, through whatever iface, are not asked for; -W does
    not hold here."""
    for name in ("if0", "if1"):
        iface(context, name)
        context.nodes.add(node(TWO, "127.0.0.2", leading_login="Yes", iface__iscsi_ifacename=name))
        context.nodes.add(node("iqn.x:a", leading_login="Yes", iface__iscsi_ifacename=name))
    daemon.login_codes = {"iqn.x:a": TIMEOUT}
    assert login_by_startup(context, "all", False, story) == 19
    assert story.lines == [
        "ask iqn.x:a", "failed iqn.x:a 8", "next after if0",
        "ask iqn.x:a", "failed iqn.x:a 8", "next after if1",
        "LeadingLoginsMissing",
    ]  # fmt: skip


def test_leading_login_with_everything_served(
    context: Context, daemon: FakeDaemon, story: Story
) -> None:
    context.nodes.add(node(TWO, "127.0.0.2", leading_login="Yes"))
    assert login_by_startup(context, "all", True, story) == 0
    assert story.lines == []
