"""Transcripts of Debian's iscsiadm 2.1.8, replayed in this process without kernel or daemon.

Of each scenario the steps that need no target are run; the daemon is a stand-in that tells the
configuration file and, for the discovery scenario, finds what the transcript's target had.
tests/parity runs all of them, whole, in a guest.
"""

import json
import os
import pathlib
import shlex
import subprocess

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import DaemonError
from pyiscsi.ops.context import Context
from pyiscsi.records.config import Config
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.links import Source
from pyiscsi.records.merge import Found, apply_discovery
from pyiscsi.records.schema import NODE
from tests.unit.cli.commands import FakeClient, Machine

DATA = pathlib.Path(__file__).parents[2] / "parity"
ONE, TWO, THREE = (f"iqn.2026-11.test:{name}" for name in ("one", "two", "three"))
BEFORE = [(ONE, "127.0.0.1"), (TWO, "127.0.0.1"), (TWO, "127.0.0.2")]
AFTER = [(ONE, "127.0.0.1"), (THREE, "127.0.0.1")]
CHANGED_AT = 17
"""The step of discovery.scn before which one target is taken away and another added."""


def steps(name):
    return json.loads((DATA / "expected" / f"{name}.json").read_text())["steps"]


def snapshot(root):
    """The database as transcripts write it: mode and text, link target, empty directories."""
    found = {}
    for directory, subdirectories, files in os.walk(root):
        for name in subdirectories + files:
            path = pathlib.Path(directory, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = "-> " + os.readlink(path).replace(str(root), "/etc/iscsi")
            elif path.is_dir():
                if not any(path.iterdir()):
                    found[f"{key}/"] = f"{path.stat().st_mode & 0o777:o}"
            else:
                found[key] = f"{path.stat().st_mode & 0o777:o}\n{path.read_text()}"
    return found


def execute(machine, command):
    """One step; what follows a pipe is run by the shell."""
    words, _, tail = command.partition(" | ")
    program, *rest = shlex.split(words.replace("$SID", "1"))
    assert program == "iscsiadm"
    answer = machine.run(*rest)
    if tail:
        piped = subprocess.run(
            ["sh", "-c", tail], input=answer.out, capture_output=True, text=True, check=False
        )
        answer.status, answer.out = piped.returncode, piped.stdout
    return answer


def same_lines(first, second):
    return sorted(first.splitlines()) == sorted(second.splitlines())


def replay(machine, step):
    root = machine.path / "db"
    before = snapshot(root)
    answer = execute(machine, step["cmd"])
    after = snapshot(root)
    names = set(before) | set(after)
    changed = {key: after.get(key) for key in names if before.get(key) != after.get(key)}
    assert answer.status in (step["rc"], step.get("alt_rc", step["rc"])), (step["cmd"], answer)
    assert same_lines(answer.out, step["out"]), step["cmd"]
    if not answer.status:
        assert answer.err == "", step["cmd"]
    elif "iSCSI ERROR: " in step["err"]:  # a source line there; any clear line will do
        assert answer.err.startswith("iscsiadm: "), step["cmd"]
    else:
        assert same_lines(answer.err, step["err"]), step["cmd"]
    assert changed == step["db"], step["cmd"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    made.conf((DATA / "iscsid.conf").read_text())
    return made


def daemon(machine, monkeypatch, discover=None):
    config = str(machine.path / "etc" / "iscsid.conf")
    client = FakeClient({"config": {"config_file": config}, "discover": discover})
    monkeypatch.setattr(Context, "client", lambda self, **_: client)
    return client


@pytest.mark.parametrize("name", ["options", "empty"])
def test_without_daemon(machine, name):
    """CLI-001, CLI-004, CLI-005, CLI-010, CLI-011, CLI-022, CLI-023, CLI-025, CLI-027, CLI-044,
    CLI-063, CLI-064, CLI-147: usage, and every listing of nothing."""
    for step in steps(name):
        replay(machine, step)


@pytest.mark.parametrize("name", ["node-records", "node-ipv6"])
def test_records(machine, monkeypatch, name):
    """CLI-148, CLI-149, CLI-154, CLI-160, CLI-167, CLI-168, CLI-169, CLI-177, CLI-181, CLI-184,
    CLI-185, CLI-187, CLI-192, CLI-195, CLI-196, CLI-197, CLI-198; DB-001, DB-002, DB-003, DB-012,
    DB-013."""
    daemon(machine, monkeypatch)
    for step in steps(name):
        replay(machine, step)


def test_daemon_down(machine):
    """CLI-054, CLI-143, CLI-176: what works without a daemon, and what it says."""
    text = (DATA / "iscsid.conf").read_text()
    machine.conf(text.replace("iscsid.startup = /bin/true", "iscsid.startup = /bin/false"))
    for step in steps("daemon-down"):
        replay(machine, step)


def found_by(portals):
    """A stand-in for the daemon's discovery: finds `portals()`, writes records as it would."""

    def discover(args):
        if args["address"] == "nosuchhost.invalid":
            raise DaemonError("", 4, tuple(
                line.removeprefix("iscsiadm: ")
                for step in steps("discovery")
                if "nosuchhost" in step["cmd"]
                for line in step["err"].splitlines()[:-1]
            ))  # fmt: skip
        env = Env.from_environ()
        seen = [Found(target, address, 3260, 1) for target, address in portals()]
        if args["persist"]:
            apply_discovery(
                env,
                Source("send_targets", args["address"], args["port"]),
                seen,
                new=args["new"],
                update=args["update"],
                delete=args["delete"],
                defaults=Config(env.config_file).defaults(NODE),
                iface_records={"default": IfaceStore(env).read("default")},
                in_use=lambda key: False,
            )
        entries = [
            {"target": f.target, "address": f.address, "port": 3260, "tpgt": 1, "iface": f.iface}
            for f in seen
        ]
        return {"found": entries, "messages": []}

    return discover


def test_discovery(machine, monkeypatch):
    """CLI-063, CLI-065, CLI-066, CLI-070, CLI-071, CLI-076, CLI-078, CLI-083, CLI-087, CLI-093,
    CLI-097, CLI-103, CLI-105 to CLI-107, CLI-114 to CLI-121, CLI-128, CLI-129, CLI-139."""
    at = 0
    daemon(machine, monkeypatch, found_by(lambda: BEFORE if at < CHANGED_AT - 1 else AFTER))
    for at, step in enumerate(steps("discovery")):  # noqa: B007 - `at` is what the daemon reads
        replay(machine, step)
