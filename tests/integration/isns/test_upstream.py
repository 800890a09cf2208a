"""The same isnsd, asked by open-iscsi's iscsiadm and by ours, which both discover by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.machine import Answer, Side, why_not
from tests.integration.isns.isnsd import Isnsd, missing

pytestmark = [pytest.mark.upstream, pytest.mark.root]

ONE, TWO, THREE = (f"iqn.2026-11.test:{name}" for name in ("one", "two", "three"))
PORTAL = "127.0.0.1"
COMMANDS = [
    "-m discovery -t isns -p PORTAL",
    f"+{ONE} 10.0.0.1:3260,10 10.0.0.2:3261,1",
    "-m discovery -t isns -p PORTAL:3205 -P 1",
    "-m node",
    f"-m node -T {ONE} -o update -n node.session.timeo.replacement_timeout -v 7",
    "-m discovery -t isns -p PORTAL -o new",
    f"+{TWO} 10.0.0.3:3260,1",
    "-m discovery -t isns -p PORTAL -o nonpersistent",
    "-m discovery -t isns -p PORTAL -o new",
    f"-{ONE}",
    "-m discovery -t isns -p PORTAL -o update",
    "-m discovery -t isns -p PORTAL -o delete",
    f"+{THREE} 10.0.0.4:3260,1",
    "-m discoverydb -t isns -p PORTAL",
    "-m discoverydb -t isns -p PORTAL -D",
    "-m discovery",
    "-m discovery -P 1",
    "-m discoverydb -t isns -p PORTAL -D -P 2",
    f"-{TWO}",
    "-m discoverydb -t isns -p PORTAL -D",
    "-m iface -I if0 -o new -n iface.initiatorname -v iqn.2026-11.test:if0",
    "-m discoverydb -t isns -p PORTAL -D",
    "-m discovery -t isns -p PORTAL -I default -I if0 -P 1",
    "-m discoverydb -t isns -p PORTAL -o delete",
    "-m node",
]
"""Commands of iscsiadm, and `+TARGET PORTAL...` and `-TARGET`: registered, deregistered."""


@pytest.fixture(params=[("theirs", "fork")], ids="-".join)
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[tuple[Side, Isnsd]]]:
    """Machines that differ in their iscsiadm, each with a server of its own."""
    if reason := missing() or why_not():
        pytest.skip(reason)
    made: list[tuple[Side, Isnsd]] = []
    try:
        for which in request.param:
            base = tmp_path / which
            base.mkdir()
            side = Side(which, base)
            launcher = ["nsenter", "-t", str(side.pid), "-n"]
            server = Isnsd(base / "isns", port=3205, launcher=launcher)
            made.append((side, server))
            side.await_ready()
            server.start()
        yield made
    finally:
        for side, server in made:
            server.stop()
            side.close()


def play(side: Side, server: Isnsd, line: str) -> Answer | None:
    if line[0] == "+":
        name, *portals = line[1:].split()
        server.register(name, *portals)
    elif line[1] != "m":
        server.deregister(line[1:])
    else:
        side.send(line.replace("PORTAL", PORTAL).split())
        return side.receive()
    return None


def test_the_same_answers_and_records(sides: list[tuple[Side, Isnsd]]) -> None:
    """DB-068: status, output and every record file after each command."""
    (theirs, their_server), (ours, our_server) = sides
    for line in COMMANDS:
        expected = play(theirs, their_server, line)
        found = play(ours, our_server, line)
        assert _sorted(expected) == _sorted(found), line
        assert theirs.tree() == ours.tree(), line


def _sorted(answer: Answer | None) -> tuple[int, list[str], str] | None:
    """Listings of records are in the order of the directories there, sorted here."""
    return answer and (answer.status, sorted(answer.out.splitlines()), answer.err)
