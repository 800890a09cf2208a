"""The daemon's start and end, with a kernel and a registry that only take notes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest

from pyiscsi.daemon import app, loop, notify
from pyiscsi.daemon.app import Options
from pyiscsi.daemon.watch import Workers
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError, TransportError
from pyiscsi.ipc.client import Client
from tests.unit.daemon.world import World, ask_config, env_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(env_of(tmp_path), monkeypatch)


def _text(path: str) -> str:
    return Path(path).read_text()


def test_start_and_end_in_order(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """D-076: SIGTERM ends with 0; sessions are the registry's to leave alone."""
    caplog.set_level(logging.INFO, "iscsid")
    assert world.run() == 0
    started = ["kernel open", "hardened", "in memory", "precedence"]
    assert world.notes == [*started, "registry closed", "kernel closed"]
    assert caplog.messages[-1] == "iscsid shutting down."


def test_nothing_is_left_behind(world: World) -> None:
    """W-25: neither socket nor pid file; the lock file stays, unlocked."""
    world.options = Options(foreground=True, pid_file=world.env.pid_file)

    async def visit() -> None:
        assert _text(world.env.pid_file) == f"{os.getpid()}\n"
        status = os.stat(world.env.socket_path)
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600

    assert world.run(visit) == 0
    assert not os.path.lexists(world.env.socket_path)
    assert not os.path.lexists(world.env.pid_file)
    assert world.run() == 0


def test_the_kernel_cannot_be_opened(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Exit 1 and one line with the likely reasons."""
    world.open_error = TransportError("Protocol not supported", 12)
    assert world.run() == 1
    (line,) = caplog.messages
    assert line.startswith("Cannot open NETLINK_ISCSI (Protocol not supported): ")
    for reason in ("scsi_transport_iscsi", "network namespace", "CAP_NET_ADMIN"):
        assert reason in line
    assert not os.path.lexists(world.env.socket_path)


def test_a_stale_socket_is_replaced(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(world.env.socket_path)
    assert world.run() == 0


def test_a_file_in_the_way_is_not_removed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    Path(world.env.socket_path).write_text("precious")
    assert world.run() == 1
    expected = f"Can not bind IPC socket {world.env.socket_path}: Address already in use"
    assert caplog.messages == [expected]
    assert Path(world.env.socket_path).read_text() == "precious"


def test_a_directory_that_is_missing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.env = Env(socket_path="/proc/nonexistent/socket", sysfs_root=world.env.sysfs_root)
    assert world.run() == 1
    (line,) = caplog.messages
    assert (
        line
        == "Unable to create lock file /proc/nonexistent/socket.lock: No such file or directory"
    )


def test_a_pid_file_that_cannot_be_made_ends_the_start(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.options = Options(pid_file="/proc/nonexistent/pid", foreground=True)
    assert world.run() == 1
    assert "Unable to create pid file /proc/nonexistent/pid" in caplog.text
    assert world.notes == []


def test_a_bug_in_the_start_is_logged_and_ends_with_1(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.open_error = ZeroDivisionError()
    assert world.run() == 1
    assert "iscsid failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_socket_of_the_service_manager_is_used_and_kept(world: World) -> None:
    """D-002: accepted, never unlinked."""
    given = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    given.bind(world.env.socket_path)
    given.listen()
    inode = os.stat(world.env.socket_path).st_ino
    world.passed = [("", given)]

    async def visit() -> None:
        await asyncio.to_thread(ask_config, world.env)

    assert world.run(visit) == 0
    assert os.stat(world.env.socket_path).st_ino == inode


def test_readiness_is_told_when_both_ends_are_open(world: World, tmp_path: Path) -> None:
    """D-074: READY=1 after netlink and socket; RELOADING=1 before, when sessions exist."""
    world.sessions_exist()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        world.environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}

        async def visit() -> None:
            assert await asyncio.to_thread(manager.recv, 1000) == notify.SYNCING.encode()
            assert await asyncio.to_thread(manager.recv, 1000) == notify.READY.encode()
            assert "kernel open" in world.notes
            assert "adopted" in world.notes

        assert world.run(visit) == 0
        assert manager.recv(1000) == b"STOPPING=1"


def test_without_sessions_nothing_is_adopted(world: World) -> None:
    assert world.run() == 0
    assert "adopting" not in world.notes


def test_an_adoption_that_takes_long_goes_on_while_we_serve(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unreachable targets do not delay the daemon, nor its end."""
    monkeypatch.setattr(app, "ADOPT_WAIT_S", 0.01)
    world.sessions_exist()

    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    world.adoption = for_ever

    async def visit() -> None:
        await asyncio.to_thread(ask_config, world.env)

    assert world.run(visit) == 0
    assert "adopting" in world.notes
    assert "adopted" not in world.notes


def test_an_adoption_that_fails_is_logged_and_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """D-070: no session is left alone because sysfs could not be read once."""
    world.sessions_exist()
    failures = [PyIscsiError("broken sysfs"), ZeroDivisionError("bug")]

    async def fail_twice() -> None:
        if failures:
            raise failures.pop()

    world.adoption = fail_twice
    assert world.run() == 0
    assert world.notes.count("adopting") == 3
    assert world.notes.count("adopted") == 1
    assert "taking over the sessions ended, starting it again in 0.1 s" in caplog.messages
    assert "broken sysfs" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_stop_is_answered_when_all_is_released(world: World) -> None:
    """D-076: `iscsiadm -k 0`; a daemon started after the answer finds everything free."""
    world.options = Options(foreground=True, pid_file=world.env.pid_file)
    seen: list[tuple[bool, bool]] = []

    def stop() -> None:
        with Client.connect(world.env, timeout=10) as client:
            assert client.request("stop", timeout=10) == {}
            seen.append((os.path.exists(world.env.socket_path), os.path.exists(world.env.pid_file)))

    async def visit() -> None:
        await asyncio.to_thread(stop)

    assert world.run(visit) == 0
    assert seen == [(False, False)]


def test_sighup_reads_the_settings_again(world: World, tmp_path: Path) -> None:
    """W-27: SIGHUP does not end the daemon."""

    async def visit() -> None:
        assert (await asyncio.to_thread(ask_config, world.env))["initiator_name"] == "iqn.a:me"
        (tmp_path / "initiatorname.iscsi").write_text("InitiatorName=iqn.a:renamed\n")
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            name = ""
            while name != "iqn.a:renamed":
                name = (await asyncio.to_thread(ask_config, world.env))["initiator_name"]

    assert world.run(visit) == 0


def test_sigint_ends_a_foreground_daemon_only(world: World) -> None:
    async def visit() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert world.run(visit) == 0
    world.options = Options(foreground=False)
    before = signal.getsignal(signal.SIGINT)
    try:

        async def ignored() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.to_thread(ask_config, world.env)

        assert world.run(ignored) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_everything_needed_later_is_imported() -> None:
    """D-057: recovery imports nothing."""
    import subprocess
    import sys

    code = "import sys; from pyiscsi.daemon.app import warm_up; warm_up();print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    root = Path(app.__file__).parents[1]
    for room in ("daemon", "discovery", "ipc", "proto", "records", "sysfs", "transport"):
        for module in (root / room).glob("[a-z]*.py"):
            assert f"pyiscsi.{room}.{module.stem}" in loaded
    assert "encodings.idna" in loaded
    assert done.stderr == ""


def test_a_stuck_thread_is_not_waited_for() -> None:
    release = threading.Event()

    async def main() -> int:
        asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
        return 7

    assert loop.run_loop(main(), Workers(2)) == 7
    stuck = loop.stuck_threads(0.01)
    assert len(stuck) == 1
    release.set()
    stuck[0].join(10)
    assert loop.stuck_threads() == []


def test_leftover_tasks_end_with_the_loop() -> None:
    ended: list[bool] = []

    async def for_ever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def main() -> int:
        main.task = asyncio.create_task(for_ever())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return 0

    assert loop.run_loop(main(), Workers(2)) == 0
    assert ended == [True]
