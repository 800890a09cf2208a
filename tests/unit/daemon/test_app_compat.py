"""The daemon on a machine where an ordinary user has taken the name of open-iscsi's socket."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.daemon import compat
from pyiscsi.env import Env
from pyiscsi.ipc import compat_socket
from pyiscsi.ipc.compat_client import CompatClient
from pyiscsi.ipc.compat_exchange import NotListening
from tests.unit.daemon.world import World, ask_config, env_of

NAME = f"pyiscsi-test-app-{os.getpid()}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = env_of(tmp_path)
    names = ("config_root", "sysfs_root", "proc_root", "socket_path")
    settings = {name: getattr(made, name) for name in names}
    return World(Env(**settings, compat_socket=NAME), monkeypatch)


def ask_open_iscsis() -> dict[str, Any]:
    until = time.monotonic() + 10
    while True:
        try:
            with CompatClient.connect(NAME, 10) as client:
                return client.request("config", timeout=10)
        except NotListening:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_name_that_becomes_free(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Our clients are served at once, open-iscsi's as soon as the user lets go of the name."""
    monkeypatch.setattr(compat, "RETRY_S", 0.05)
    monkeypatch.setattr(compat, "_is_daemon", lambda owner, proc_root: False)
    squatter = compat_socket.bind(NAME)
    squatter.listen()

    async def visit() -> None:
        assert (await asyncio.to_thread(ask_config, world.env))["initiator_name"] == "iqn.a:me"
        squatter.close()
        assert (await asyncio.to_thread(ask_open_iscsis))["initiator_name"] == "iqn.a:me"

    assert world.run(visit) == 0
    assert f"@{NAME} is held by process {os.getpid()} of user {os.geteuid()}" in caplog.text
    compat_socket.bind(NAME).close()


def test_a_name_that_is_never_free(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not delay our end."""
    monkeypatch.setattr(compat, "_is_daemon", lambda owner, proc_root: False)
    with compat_socket.bind(NAME) as squatter:
        squatter.listen()
        assert world.run() == 0


def test_a_name_that_an_iscsid_has(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """D-002: the second instance ends with 1, though its native socket is another."""
    with compat_socket.bind(NAME) as first:
        first.listen()
        assert world.run() == 1
    assert caplog.messages == [f"Can not bind IPC socket @{NAME}: Address already in use"]
    assert world.notes == []
