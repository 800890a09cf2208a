"""Logins that can't succeed: what they answer, and that they hold up nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.target import Faults, Script, ScriptedTarget
from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:good"
BAD = "iqn.2026-11.test:bad"
PORTALS = ["127.0.0.1:3260"]


@pytest.fixture
def silent() -> Iterator[str]:
    """A portal that accepts connections (the kernel does) and never says a word."""
    with socket.create_server(("127.0.0.1", 3999), backlog=64):
        yield "127.0.0.1:3999"


def _record(lab: Lab, target: str, portal: str) -> None:
    lab.adm(f"-m node -o new -T {target} -p {portal}", 0)
    lab.short_window(target)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_refused_portal(lab: Lab) -> None:
    """D-039: nobody listens: 8 when the retry window is over, and no busy loop until then."""
    _record(lab, BAD, "127.0.0.1:3998,1")
    assert lab.daemon.process is not None
    cpu = _cpu_seconds(lab.daemon.process.pid)
    done = lab.login(BAD, 8)
    assert "8 - connection timed out" in done.err
    assert done.seconds >= 2, "gave up before the window of 2 x 2 s was over"
    assert _cpu_seconds(lab.daemon.process.pid) - cpu < 2
    assert machine.session_ids() == []


def test_silent_portal(lab: Lab, silent: str) -> None:
    """D-040: a portal that accepts and then says nothing is 11."""
    _record(lab, BAD, f"{silent},1")
    lab.short_window(BAD, seconds=4, attempts=1)
    done = lab.login(BAD, 11)
    assert "11 - iSCSI PDU timed out" in done.err
    assert machine.session_ids() == []


def test_unresolvable_portal(lab: Lab) -> None:
    """D-040: a name nobody knows is 4, without waiting for the window."""
    _record(lab, BAD, "nosuchhost.invalid:3260,1")
    done = lab.login(BAD, 4)
    assert "4 - encountered connection failure" in done.err
    assert machine.session_ids() == []


@pytest.mark.parametrize("kind", ["refused", "silent", "unresolvable", "black hole"])
def test_a_dead_portal_delays_nobody(lab: Lab, silent: str, kind: str) -> None:
    """D-039, D-040: while one login hangs, another command logs in to a good portal."""
    lab.network()
    portal = {
        "refused": "127.0.0.1:3998",
        "silent": silent,
        "unresolvable": "nosuchhost.invalid:3260",
        "black hole": "10.77.0.2:3260",
    }[kind]
    lab.netem("loss 100%")
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.adm(f"-m node -o new -T {BAD} -p {portal},1", 0)
    lab.short_window(BAD, seconds=20, attempts=2)
    stuck = subprocess.Popen(
        ["iscsiadm", "-m", "node", "-T", BAD, "-l"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        lab.login(IQN)
        assert [machine.session_value(s, "state") for s in machine.session_ids()].count(
            "LOGGED_IN"
        ) == 1
        if kind != "unresolvable":
            assert stuck.poll() is None, "the bad login was over before the good one"
    finally:
        stuck.kill()
        stuck.wait()
    lab.daemon.kill()
    lab.start()


def test_one_command_with_good_and_bad_portals(lab: Lab, silent: str) -> None:
    """D-039, D-040: `node -l` logs in to every good target and reports the bad ones."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    for number, portal in enumerate(("127.0.0.1:3998", silent, "nosuchhost.invalid:3260")):
        _record(lab, f"{BAD}{number}", f"{portal},1")
    done = lab.adm("-m node -l")
    assert done.rc in (4, 8, 11), done
    assert f"Login to [iface: default, target: {IQN}, portal: 127.0.0.1,3260] successful." in (
        done.out
    )
    for number in range(3):
        assert f"Could not login to [iface: default, target: {BAD}{number}," in done.err
    assert machine.session_value(lab.only_session(), "targetname") == IQN


@pytest.fixture
def answering() -> Iterator[Callable[[Script], int]]:
    """Starts a scripted target that answers as told; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    targets: list[ScriptedTarget] = []

    def start(script: Script) -> int:
        target = ScriptedTarget(script)
        asyncio.run_coroutine_threadsafe(target.__aenter__(), loop).result(60)
        targets.append(target)
        return target.port

    yield start
    for target in targets:
        asyncio.run_coroutine_threadsafe(target.__aexit__(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize(
    ("login_status", "expected"),
    [
        ((2, 0), 19),
        ((2, 1), 24),
        ((2, 2), 24),
        ((2, 3), 19),
        ((2, 5), 19),
        ((3, 0), 8),
        ((9, 9), 19),
    ],
)
def test_login_status(
    lab: Lab,
    answering: Callable[[Script], int],
    login_status: tuple[int, int],
    expected: int,
) -> None:
    """D-036, D-037: each class of login status ends with its own exit status."""
    port = answering(Script(faults=Faults(status={1: login_status})))
    _record(lab, BAD, f"127.0.0.1:{port},1")
    lab.login(BAD, expected)
    assert machine.session_ids() == []


@pytest.mark.parametrize("detail", [1, 2], ids=["temporary", "permanent"])
def test_redirect(lab: Lab, answering: Callable[[Script], int], detail: int) -> None:
    """D-038: a redirect is followed; the session keeps the portal of its record."""
    lio.create_target(IQN, PORTALS)
    redirect = (detail, "127.0.0.1:3260")
    port = answering(Script(faults=Faults(redirects=(redirect,))))
    _record(lab, IQN, f"127.0.0.1:{port},1")
    lab.login(IQN)
    sid = lab.only_session()
    assert machine.connection_value(sid, "port") == "3260"
    assert machine.connection_value(sid, "persistent_port") == str(port)


def test_redirect_loop(lab: Lab, answering: Callable[[Script], int]) -> None:
    """D-038: a target that redirects to itself for ever ends with an error, not a busy loop."""
    port = answering(Script(faults=Faults(redirect_for_ever=(1, "127.0.0.1:{port}"))))
    _record(lab, BAD, f"127.0.0.1:{port},1")
    done = lab.adm(f"-m node -T {BAD} -l")
    assert done.rc != 0, done
    assert machine.session_ids() == []


def test_disabled_target(lab: Lab) -> None:
    """D-036: service unavailable (03xx) is tried to the end of the window, then 8."""
    lio.create_target(IQN, PORTALS)
    lio.create_target(BAD, PORTALS)
    lab.discover()
    lab.short_window(BAD)
    lio.set_enabled(BAD, False)
    done = lab.login(BAD, 8)
    assert done.seconds >= 2, "gave up before the window of 2 x 2 s was over"
    assert machine.session_ids() == []


def test_target_that_comes_back_in_the_window(lab: Lab) -> None:
    """D-036: a target enabled while the login is still being tried is logged in to."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.short_window(IQN, seconds=30, attempts=4)
    lio.set_enabled(IQN, False)
    command = ["iscsiadm", "-m", "node", "-T", IQN, "-l"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as login:
        machine.wait_until(machine.session_ids, "the login has begun")
        lio.set_enabled(IQN, True)
        assert login.wait(120) == 0
    assert machine.session_value(lab.only_session(), "state") == "LOGGED_IN"


def test_slow_link(lab: Lab) -> None:
    """D-042: a login over a link of 5 ms is no slower than its few round trips.

    The best of three each; a connect that is polled once a second would cost a second more.
    """
    lab.network()
    lio.create_target(IQN, PORTALS)
    lio.add_portal(IQN, "10.77.0.2:3260", netns="far")
    lab.adm(f"-m node -o new -T {IQN} -p 127.0.0.1:3260,1", 0)
    lab.adm(f"-m node -o new -T {IQN} -p 10.77.0.2:3260,1", 0)
    lab.set(IQN, {"node.session.scan": "manual"})
    lab.netem("delay 5ms")

    def login_s(portal: str) -> float:
        times = []
        for _ in range(3):
            started = time.monotonic()
            done = machine.run(f"iscsiadm -m node -T {IQN} -p {portal} -l")
            times.append(time.monotonic() - started)
            assert done.rc == 0, done
            lab.adm(f"-m node -T {IQN} -p {portal} -u", 0)
        return min(times)

    assert login_s("10.77.0.2") - login_s("127.0.0.1") < 0.3


def test_no_daemon(idle_lab: Lab) -> None:
    """Without a daemon a login is 20 and says so; record commands work."""
    machine.write_configuration(machine.configuration("iscsid.startup = /bin/false"))
    idle_lab.adm(f"-m node -o new -T {IQN} -p 127.0.0.1:3260,1", 0)
    done = idle_lab.adm(f"-m node -T {IQN} -l", 20)
    assert "can not connect to iSCSI daemon (111)!" in done.err
    assert idle_lab.adm("-m node", 0).out == f"127.0.0.1:3260,1 {IQN}\n"
