"""A conversation costs a command little more than its bytes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.env import Env
from pyiscsi.ipc import messages
from tests.unit.ipc.harness import greet, peer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_as_the_json_module(message: dict[str, object]) -> None:
    """The same bytes, and the same object from them."""
    line = messages.encode(message)
    assert line == json.dumps(message, separators=(",", ":")).encode() + b"\n"
    assert messages.decode(line) == messages.decode(line[:-1]) == json.loads(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b' {"a": 1} ',
        b'\t{"a" :\r[ 1 , 2 ]}\n',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e5,"a":2}',
        b'{"a":"\xc3\xa4"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1}{}',
        b'{"a":1}x',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":"\n"}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_odd_lines_as_the_json_module(line: bytes) -> None:
    """What it takes is taken, what it refuses is refused."""
    try:
        expected = json.loads(line)
    except ValueError:
        with pytest.raises(messages.Malformed):
            messages.decode(line)
    else:
        assert repr(messages.decode(line)) == repr(expected)


def test_what_has_no_place_in_a_message() -> None:
    """A mistake of ours is loud."""
    with pytest.raises(TypeError):
        messages.encode({"a": object()})


ASK = """
import os, sys
before = set(sys.modules)
from pyiscsi.env import Env
from pyiscsi.ipc.client import Client
with Client.connect(Env(socket_path=sys.argv[1])) as client:
    client.request("session_info", {"sids": [1]})
print(*sorted(set(sys.modules) - before))
"""
CHEAP = {"errno", "select", "time", "__future__", "_json", "_socket", "_struct"}


def test_what_a_conversation_imports(tmp_path: Path) -> None:
    """Neither json nor socket: each takes as long to load as the interpreter."""

    def behave(connection: socket.socket) -> None:
        greet(connection)
        request = messages.decode(connection.recv(1000))
        connection.sendall(messages.encode(messages.reply(request["id"], {"sessions": {}})))

    env = Env(socket_path=str(tmp_path / "socket"))
    with peer(env, behave):
        done = subprocess.run(
            [sys.executable, "-S", "-c", ASK, env.socket_path],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    new = set(done.stdout.split())
    assert {name for name in new if not name.startswith("pyiscsi")} <= CHEAP
