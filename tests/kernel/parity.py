"""Plays parity scenarios and writes what was answered, in the form of tests/parity/expected.

    python -m tests.kernel.parity [--programs ours|debian] [--out DIRECTORY] [SCENARIO...]

Runs in the guest as root. A scenario is a text file of directives (`@target ...`) and commands
(`$ iscsiadm ...`); docs/testing.md lists them. Each starts with an empty database, the
configuration of tests/parity/iscsid.conf and a fresh daemon.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.kernel import force, lio, machine

CORPUS = machine.PROJECT / "tests/parity"
TARGET_MB = 8
FIRST_SID = 100

Tree = dict[str, str]


def scenario_names() -> list[str]:
    """Every scenario of the corpus, sorted."""
    return sorted(path.stem for path in (CORPUS / "scenarios").glob("*.scn"))


def floors() -> dict[str, int]:
    """How many steps of each scenario must be equal (tests/parity/floor.txt)."""
    lines = (line.split() for line in (CORPUS / "floor.txt").read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if words and words[0] != "#"}


def snapshot() -> Tree:
    """The record database: path to `mode\\ncontent`, `-> link`, or an empty directory's mode."""
    tree: Tree = {}
    for top in machine.DATABASE:
        for folder, names, files in os.walk(machine.ETC / top):
            here = Path(folder)
            links = [name for name in names if (here / name).is_symlink()]
            for name in [*links, *files]:
                tree[str((here / name).relative_to(machine.ETC))] = _describe(here / name)
            if not names and not files:
                tree[f"{here.relative_to(machine.ETC)}/"] = _mode(here)
    return tree


def changes(before: Tree, after: Tree) -> dict[str, str | None]:
    """What is new or different, and None for what is gone (a directory that filled is not)."""
    found: dict[str, str | None] = {
        path: text for path, text in after.items() if before.get(path) != text
    }
    for path in before.keys() - after.keys():
        if not path.endswith("/"):
            found[path] = None
    return dict(sorted(found.items()))


def _mode(path: Path) -> str:
    return format(stat.S_IMODE(path.lstat().st_mode), "o")


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return f"{_mode(path)}\n{path.read_text(errors='surrogateescape')}"


class Player:
    """One scenario being played."""

    def __init__(self) -> None:
        self.daemon = machine.Daemon()
        self.wants_daemon = True
        self.initiator = machine.INITIATOR
        self.configuration: list[str] = []
        self.steps: list[dict[str, object]] = []
        self.directives: dict[str, Callable[[str], None]] = {
            "target": self._target,
            "untarget": lio.delete_target,
            "discovery_chap": self._discovery_chap,
            "conf": self._conf,
            "file": self._file,
            "iname": self._iname,
            "nodaemon": self._nodaemon,
            "restart": self._restart,
            "kill": lambda _: self.daemon.kill(),
            "start": lambda _: self.daemon.start(),
            "sleep": lambda seconds: time.sleep(float(seconds)),
        }

    def play(self, path: Path) -> None:
        """Run every line, filling `steps`; the machine is clean again afterwards."""
        self._configure()
        force.skip_session_ids(FIRST_SID)
        try:
            for line in _lines(path):
                self._step(line)
        finally:
            machine.clean_up(self.daemon)

    def _step(self, line: str) -> None:
        if line.startswith("$ "):
            self._command(line[2:])
            return
        name, _, rest = line.removeprefix("@").partition(" ")
        self.directives[name](rest.strip())

    def _command(self, command: str) -> None:
        if self.wants_daemon and self.daemon.process is None:
            self.daemon.start()
            self.wants_daemon = False
        before = snapshot()
        done = machine.run(_with_variables(command))
        machine.settle()
        self.steps.append(
            {
                "cmd": command,
                "rc": done.rc,
                "out": done.out,
                "err": done.err,
                "db": changes(before, snapshot()),
                "secs": round(done.seconds, 3),
            }
        )

    def _configure(self) -> None:
        added = "".join(f"{line}\n" for line in self.configuration)
        machine.write_configuration(machine.CONFIGURATION.read_text() + added, self.initiator)

    def _target(self, text: str) -> None:
        iqn, portals, *options = text.split()
        settings = dict(option.split("=", 1) for option in options)
        secrets = _secrets(settings.pop("chap", ""))
        lio.create_target(
            iqn,
            portals.split(","),
            luns=int(settings.pop("luns", "1")),
            size_mb=int(settings.pop("size", str(TARGET_MB))),
            tpgt=int(settings.pop("tpgt", "1")),
            chap=secrets[0],
            mutual=secrets[1],
        )
        if settings:
            raise ValueError(f"unknown target options {settings}")

    def _discovery_chap(self, text: str) -> None:
        lio.set_discovery_chap(*_secrets(text))

    def _conf(self, line: str) -> None:
        self.configuration.append(line)
        self._configure()

    def _iname(self, name: str) -> None:
        self.initiator = name
        self._configure()

    def _file(self, text: str) -> None:
        name, _, content = text.partition(" ")
        path = machine.ETC / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(content.encode().decode("unicode_escape"))
        path.chmod(0o600)

    def _nodaemon(self, _: str) -> None:
        self.wants_daemon = False

    def _restart(self, _: str) -> None:
        self.daemon.stop()
        self.daemon.start()


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _secrets(text: str) -> tuple[lio.Secret | None, lio.Secret | None]:
    parts = text.split(":") if text else []
    chap = (parts[0], parts[1]) if len(parts) >= 2 else None
    mutual = (parts[2], parts[3]) if len(parts) >= 4 else None
    return chap, mutual


def _with_variables(command: str) -> str:
    sids = machine.session_ids()
    hosts = machine.host_numbers()
    values = {"SID": sids[:1], "SID2": sids[1:2], "HOST": hosts[:1]}
    setting = "".join(f"{name}={value[0]};" for name, value in values.items() if value)
    return setting + command


def play_scenario(name: str, out: Path) -> None:
    """Play one scenario of the corpus and write its transcript (as far as it came) below `out`."""
    player = Player()
    out.mkdir(parents=True, exist_ok=True)
    try:
        player.play(CORPUS / "scenarios" / f"{name}.scn")
    finally:
        text = json.dumps({"name": name, "steps": player.steps}, indent=1)
        (out / f"{name}.json").write_text(text + "\n")


def compare(out: Path, *names: str, verbose: bool = True) -> str:
    """What compare.py says about the named scenarios (default all); last the figure.

    The transcripts may be in directories below `out`.
    """
    with tempfile.TemporaryDirectory() as folder:
        expected, got = Path(folder, "expected"), Path(folder, "got")
        expected.mkdir()
        got.mkdir()
        for name in names or scenario_names():
            file = f"{name}.json"
            (expected / file).symlink_to(CORPUS / "expected" / file)
            for transcript in out.absolute().rglob(file):
                (got / file).symlink_to(transcript)
        command = [sys.executable, str(CORPUS / "compare.py"), str(expected), str(got)]
        done = subprocess.run(
            command + ["-v"] * verbose, stdout=subprocess.PIPE, text=True, check=False
        )
    return done.stdout


def main() -> int:
    """Command line: play, compare, print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", choices=("ours", "debian"), default="ours")
    parser.add_argument("--out", type=Path, default=Path("/tmp/parity"))
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("scenario", nargs="*")
    arguments = parser.parse_args()
    os.environ["PATH"] = machine.environment_path(arguments.programs)
    names = arguments.scenario or scenario_names()
    for name in names:
        started = time.monotonic()
        try:
            play_scenario(name, arguments.out)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: stopped: {error}", flush=True)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    print(compare(arguments.out, *names, verbose=arguments.verbose), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
