"""Databases that sequences begin with, made by open-iscsi's own commands."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.differential.machine import Pair
from tests.differential.tree import Tree

_A, _B = "iqn.2026-11.test:a", "iqn.2026-11.test:b"
ANSWER = f"""TargetName={_A}
TargetAddress=10.0.0.1:3260,1
TargetAddress=10.0.0.2:3260,1
TargetAddress=[fe80::1]:3260,2
TargetName={_B}
TargetAddress=10.0.0.1:3260,1
"""
OTHER_ANSWER = f"""TargetName={_B}
TargetAddress=10.0.0.1:3260,1
TargetName=iqn.c
TargetAddress=10.0.0.2:3261,1
"""

ANSWERS = st.sampled_from(
    [
        b"",
        ANSWER.encode(),
        OTHER_ANSWER.encode(),
        f"TargetName={_A}\n".encode(),  # without a portal: the one that was asked
        f"TargetName=iqn.bad_name\nTargetAddress=10.0.0.1,1\nTargetName={_B}\n".encode(),
        f"TargetName={_B}\nTargetAddress=portal.test:3260,1\nTargetAddress=[FE80:0::1]:1,65535\n".encode(),
        f"TargetName={_A}\nTargetAddress=10.0.0.1\nTargetAddress=10.0.0.1:3261\n".encode(),
        f"TargetName={_A}\nTargetAddress=10.0.0.1,1\nTargetName={_A}\nTargetAddress=10.0.0.1,2\n".encode(),
        b"TargetName=" + b"y" * 223 + b"\nTargetAddress=10.0.0.1:3260,1\n",
    ]
)
"""What a target may answer to SendTargets."""

_NODES = (
    f"-m node -o new -T {_A} -p 10.0.0.1,1",
    f"-m node -o new -T {_A} -p 10.0.0.2:3261,2",
    f"-m node -o new -T {_A} -p fe80::1,1",
    f"-m node -o new -T {_B} -p 10.0.0.1,1",
    "-m node -o new -T iqn.c -p portal.test",
    "-m node -o new -T iqn.c -p 10.0.0.1,1",
)
_IFACES = (
    "-m iface -o new -I eth0",
    "-m iface -o new -I my-ipv6",
    f"-m node -o new -T {_A} -p 10.0.0.1,1 -I eth0",
    f"-m node -o new -T {_B} -p fe80::1,2 -I my-ipv6",
    "-m node -o new -T iqn.c -p 10.0.0.2 -I eth0",
)
_SOURCES = (
    "-m discovery -t st -p 127.0.0.1",
    "-m discoverydb -t st -p 127.0.0.2 -o new",
    "-m discoverydb -t st -p 10.0.0.1 -o new",
    "-m discoverydb -t isns -p 10.0.0.1 -o new",
)
_TWO_SOURCES = (*_SOURCES, "-m discovery -t st -p ::1 -o new -o update")
COMMANDS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "nodes": _NODES,
    "ifaces": _NODES + _IFACES,
    "discovered": _SOURCES,
    "two sources": _TWO_SOURCES,
    "everything": _TWO_SOURCES + _NODES + _IFACES,
}


_MANY = 20
"""More node records than are handled one by one (records/node_bulk.py)."""


def _many(tree: Tree) -> Tree:
    """Copies of a static node record, under other target names."""
    made = dict(tree)
    old = _B.encode()
    for name, entry in tree.items():
        if _B in name and name.startswith(("nodes/", "static/")):
            for number in range(_MANY):
                target = f"iqn.many{number:02}"
                content = entry.content.replace(old, target.encode())
                made[name.replace(_B, target)] = entry._replace(content=content)
    return dict(sorted(made.items()))


def make(pair: Pair) -> dict[str, Tree]:
    """The databases by name."""
    side, made = pair.theirs, {}
    empty = side.tree()
    for name, commands in COMMANDS.items():
        side.restore(empty)
        for command in commands:
            side.offer((OTHER_ANSWER if "::1 " in command else ANSWER).encode())
            side.send(command.split())
            answer = side.receive()
            assert not answer.status, (command, answer)
            assert not answer.err, (command, answer)
        made[name] = side.tree()
    made["many"] = _many(made["nodes"])
    return made
