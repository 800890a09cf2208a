"""iscsi_discovery with the real daemon and scripted targets, as far as it goes without a kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pyiscsi.env import Env
from pyiscsi.names import Pattern
from pyiscsi.records.nodes import NodeStore
from tests.integration.ipc.iscsid import WAIT_S, Machine
from tests.integration.ipc.test_discovery import refused_port, scripted
from tests.integration.target.script import Script

TARGET = "iqn.2026-11.test:one"


def run(machine: Machine, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.iscsi_discovery", *words],
        env=machine.environ, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def values(env: Env, address: str, port: int) -> list[tuple[str, str]]:
    """Transport and startup of each record of a portal."""
    found = NodeStore(env).records(Pattern(TARGET, address, port))
    return [(r["iface.transport_name"], r["node.conn[0].startup"]) for r in found]


def test_logins_that_fail(machine: Machine) -> None:
    """The records end with startup manual; a portal is tried once however often it is answered."""
    text = f"TargetName={TARGET}\0TargetAddress=127.0.0.1:3260,1\0TargetAddress=[::1]:3261,2\0"
    with machine.iscsid(), scripted(Script(text=text.encode())) as target:
        port = str(target.port)
        assert run(machine, "127.0.0.1", "-p", port) == (
            0,
            "Cannot login over tcp to portal 127.0.0.1:3260\n"
            "Cannot login over tcp to portal [::1]:3261\n"
            "discovered 2 targets at 127.0.0.1\n",
            "",
        )
        assert values(machine.env, "127.0.0.1", 3260) == [("tcp", "manual")]
        status, out, err = run(machine, "127.0.0.1", "-p", port, "-d", "-t", "iser")
        assert (status, err) == (0, "")
        assert out.splitlines()[:5] == [
            "starting discovery to 127.0.0.1",
            f"Testing iser-login to target {TARGET} portal 127.0.0.1:3260",
            "Cannot login over iser to portal 127.0.0.1:3260",
            f"starting to test tcp-login to target {TARGET} portal 127.0.0.1:3260",
            "Cannot login over tcp to portal 127.0.0.1:3260",
        ]
        assert values(machine.env, "127.0.0.1", 3260) == [("tcp", "manual")]
        assert run(machine, "127.0.0.1", "-p", port, "-ft", "iser")[1].count("Cannot login") == 2
        assert values(machine.env, "::1", 3261) == [("iser", "manual")]


def test_a_portal_without_targets(machine: Machine) -> None:
    """Status 2: the original says it discovered one, and goes on with empty words."""
    with machine.iscsid(), scripted(Script(text=b"")) as target:
        status, out, err = run(machine, "127.0.0.1", "-p", str(target.port))
    assert (status, out) == (2, "failed to discover targets at 127.0.0.1\n")
    assert err.startswith("iscsi_discovery: No portals found\n")


def test_a_portal_that_refuses(machine: Machine) -> None:
    """Status 2 and the reason."""
    Path(machine.env.config_file).write_text("discovery.sendtargets.reopen_max = 0\n")
    with machine.iscsid():
        status, out, err = run(machine, "127.0.0.1", "-p", str(refused_port()))
    assert (status, out) == (2, "failed to discover targets at 127.0.0.1\n")
    assert "cannot make connection to 127.0.0.1: Connection refused" in err
    assert "iscsi_discovery: Could not perform SendTargets discovery: " in err


def test_wrong_lines_with_a_daemon(machine: Machine) -> None:
    """CLI-396, CLI-397: the daemon runs, so the line is what is wrong."""
    with machine.iscsid():
        status, out, err = run(machine)
        assert (status, out.splitlines()[1], err) == (1, "Options:", "")
        assert run(machine, "foo") == (1, "foo is not a vaild IP address!\n", "")
    assert run(machine, "127.0.0.1") == (1, "iscsid is not running\nExiting...\n", "")
