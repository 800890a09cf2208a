"""make bench: how long commands take, ours beside Debian's open-iscsi, in one guest run.

Both programs work on the same record files with their own daemon running. Times are medians, in
milliseconds of wall clock; the last column says how many times faster we are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.kernel import lio, machine

PROGRAMS = ("ours", "debian")
NAME = "iqn.2026-11.bench:n{:05}"
LOGINS = 50
PORTAL = "127.0.0.1:3260"


def milliseconds(command: Sequence[str], repeats: int) -> float:
    """Median wall clock of a command whose output is thrown away."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def fill(count: int) -> None:
    """Exactly `count` node records, as iscsiadm itself would write them."""
    machine.clear_database()
    if not count:
        return
    first = NAME.format(0)
    subprocess.run(
        ["iscsiadm", "-m", "node", "-o", "new", "-T", first, "-p", f"{PORTAL},1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # open-iscsi's would like a daemon for this, and does without
        check=True,
    )
    folder = machine.ETC / "nodes"
    record = folder / first / "127.0.0.1,3260,1/default"
    text = record.read_text()
    for number in range(1, count):
        name = NAME.format(number)
        copy = folder / name / "127.0.0.1,3260,1/default"
        copy.parent.mkdir(parents=True, mode=0o700)
        copy.write_text(text.replace(first, name))
        copy.chmod(0o600)


class Bench:
    """The rows measured so far, for both programs."""

    def __init__(self, repeats: int, records: int) -> None:
        self.repeats = repeats
        self.records = records
        self.path = os.environ["PATH"]
        self.rows: list[tuple[str, dict[str, float]]] = []
        shutil.rmtree(machine.ETC)
        machine.ETC.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "etc", str(machine.ETC)], check=True)
        machine.write_configuration(machine.configuration())

    def both(self, title: str, measure: Callable[[], float], programs: Sequence[str]) -> None:
        """Measure with each program's PATH and daemon, and print the row."""
        row = {}
        for name in programs:
            os.environ["PATH"] = self.path
            os.environ["PATH"] = machine.environment_path(name)
            daemon = machine.Daemon()
            daemon.start()
            try:
                row[name] = measure()
            finally:
                daemon.kill()
                machine.drop_sessions()
        self.rows.append((title, row))
        print_row(title, row)

    def command(self, title: str, *arguments: str, repeats: int = 0) -> None:
        """One iscsiadm command."""
        times = repeats or self.repeats
        self.both(title, lambda: milliseconds(["iscsiadm", *arguments], times), PROGRAMS)

    def interpreter(self) -> None:
        """The yardstick: what any Python program costs here."""
        python = os.path.realpath(sys.executable)
        row = {"ours": milliseconds([python, "-c", "pass"], self.repeats)}
        self.rows.append(("python3 -c pass", row))
        print_row(*self.rows[-1])

    def record_commands(self) -> None:
        """Listing, showing and changing records at three sizes of the database."""
        many = self.records
        fill(0)
        self.command("-V", "-V")
        self.command("-m node, no records", "-m", "node")
        fill(many // 10)
        self.command(f"-m node, {many // 10:,} records", "-m", "node")
        fill(many)
        one = ("-m", "node", "-T", NAME.format(many // 2))
        self.command(f"-m node, {many:,} records", "-m", "node", repeats=3)
        self.command(f"-T X -o show, {many:,} records", *one, "-o", "show", repeats=3)
        change = ("-o", "update", "-n", "node.startup", "-v", "automatic")
        self.command(f"-T X -o update, {many:,} records", *one, *change, repeats=3)

    def logins(self) -> None:
        """Fifty targets behind one portal."""
        fill(0)
        for number in range(LOGINS):
            lio.create_target(NAME.format(number), [PORTAL], size_mb=1)
        discovery = ["-m", "discovery", "-t", "st", "-p", "127.0.0.1"]
        self.command(f"discovery, {LOGINS} targets", *discovery, repeats=3)
        self.both(f"-m node -l, {LOGINS} targets", lambda: self._login("-l"), PROGRAMS)
        self.both(f"-m node -u, {LOGINS} targets", lambda: self._login("-l", "-u"), PROGRAMS)
        lio.delete_all()

    def _login(self, *actions: str) -> float:
        taken = 0.0
        for action in actions:
            taken = milliseconds(["iscsiadm", "-m", "node", action], 1)
            machine.settle()
            expected = LOGINS if action == "-l" else 0
            assert len(machine.session_ids()) == expected, machine.session_ids()
        return taken


def print_row(title: str, row: dict[str, float]) -> None:
    """One line of the table."""
    ours = row.get("ours")
    theirs = row.get("debian")
    cells = ["" if value is None else f"{value:.1f}" for value in (ours, theirs)]
    ratio = f"{theirs / ours:.1f}x" if ours and theirs else ""
    print(f"{title:<34}{cells[0]:>12}{cells[1]:>14}{ratio:>10}", flush=True)


def main() -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--records", type=int, default=10_000)
    arguments = parser.parse_args()
    missing = [name for name in ("iscsiadm", "iscsid") if not Path(f"/usr/sbin/{name}").exists()]
    if missing:
        print(f"no comparison: Debian's open-iscsi is not installed ({', '.join(missing)} missing)")
        return 1
    print(f"{'milliseconds (median)':<34}{'ours':>12}{'open-iscsi':>14}{'faster':>10}")
    bench = Bench(arguments.repeats, arguments.records)
    bench.interpreter()
    bench.record_commands()
    bench.logins()
    return 0


if __name__ == "__main__":
    sys.exit(main())
