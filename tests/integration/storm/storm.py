"""Everybody changes the record database at once, and everybody is killed at any moment."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from tests.integration.ipc.iscsid import Machine, command

TARGETS = [f"iqn.2026-11.test:storm{number}" for number in range(1, 4)]
ISCSIADM = str(Path(sys.executable).with_name("iscsiadm"))
CLIENTS = 4
LIMIT_S = 120.0
"""Longest run of a command that is not killed."""
KILLED = 0.4
"""Share of the clients that do not live to their end."""
CLIENT_LIFE_S = 0.6
DAEMON_LIFE_S = (0.5, 4.0)

RECORDS = [f"-T iqn.x:fixed{number} -p 10.0.0.{number}:3260,1" for number in range(1, 6)]
PASSING = [f"-T iqn.x:passing{number} -p 10.0.1.{number}:3260,1" for number in range(1, 4)]
IFACES = ["storm0", "storm1"]
SETTINGS = {
    "node.session.auth.username": ["one", "another-name-of-some-length"],
    "node.startup": ["automatic", "manual"],
    "node.session.queue_depth": ["16", "32", "64"],
    "node.session.timeo.replacement_timeout": ["5", "120"],
}

MISSING, BUSY, NO_DAEMON, GONE = 21, 6, 20, 18
"""Statuses that a command may end with here: no such record, changed or locked meanwhile, the
daemon has just been killed (before it was asked, or while it was)."""
PERMITTED = {0, MISSING, BUSY, NO_DAEMON, GONE}
LISTINGS = [
    *("-m node -S -o show", "-m node -S -o show", "-m node", "-m node -P 1"),
    *("-m iface", "-m iface -P 1", "-m discoverydb", "-m discoverydb -P 1"),
]
IFACE = {7, 15}
"""An iface that is not there, or for `-o new` is."""


class Storm:
    """`run` blows for some seconds; `counts` is what happened, `faults` what must not have."""

    def __init__(self, machine: Machine, portal: str, seed: int) -> None:
        self.machine = machine
        self.portal = portal
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._counting = threading.Lock()
        driver = machine.path / "sys/class/iscsi_transport/tcp"
        driver.mkdir(parents=True)
        for name in ("handle", "caps"):
            (driver / name).write_text("1\n")
        for record in RECORDS:
            assert self.adm(f"-m node -o new {record}")[0] == 0

    def run(self, seconds: float) -> None:
        """Clients, a daemon that dies again and again, and a reader, for so long."""
        threads = [threading.Thread(target=self._guard, args=(self._daemons,))]
        threads += [
            threading.Thread(target=self._guard, args=(self._changes,)) for _ in range(CLIENTS)
        ]
        threads.append(threading.Thread(target=self._guard, args=(self._reads,)))
        for thread in threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in threads:
            thread.join()

    def _guard(self, work: object) -> None:
        try:
            while not self._over.is_set():
                work()  # type: ignore[operator]
        except Exception as error:  # a thread's end must not go unseen
            self.faults.append(f"{type(error).__name__}: {error}")
            self._over.set()

    def adm(self, line: str, life_s: float | None = None) -> tuple[int, str, str]:
        """Run iscsiadm; with `life_s` it is killed after so long."""
        process = subprocess.Popen(
            [ISCSIADM, *line.split()],
            env=self.machine.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=LIMIT_S if life_s is None else life_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            if life_s is None:
                raise
            return -9, "", ""
        return process.returncode, out, err

    # The daemon.

    def _daemons(self) -> None:
        with subprocess.Popen(
            command(["-f"]),
            env=self.machine.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while not self._is_served() and process.poll() is None:
                time.sleep(0.02)
            self._over.wait(self._random.uniform(*DAEMON_LIFE_S))
            process.kill()
        self._count("daemon killed")

    def _is_served(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(self.machine.env.socket_path) == 0

    def _count(self, what: str) -> None:
        with self._counting:
            self.counts[what] += 1

    # Clients that change something.

    def _changes(self) -> None:
        kind, line = self._random.choice(
            [
                self._update,
                self._update_all,
                self._node,
                self._iface,
                self._discovery,
                self._discoverydb,
            ]
        )()
        is_killed = self._random.random() < KILLED
        life_s = self._random.uniform(0.02, CLIENT_LIFE_S) if is_killed else None
        status, _, err = self.adm(line, life_s)
        if status == -9:
            self._count("client killed")
            return
        self._count(f"{kind}: status {status}")
        permitted = PERMITTED | (IFACE if "-m iface" in line else set())
        if status not in permitted or (status == 0 and err):
            self.faults.append(f"{line}: status {status}: {err}")

    def _pair(self) -> str:
        name = self._random.choice([*SETTINGS])
        return f"-n {name} -v {self._random.choice(SETTINGS[name])}"

    def _update(self) -> tuple[str, str]:
        return "update", f"-m node {self._random.choice(RECORDS)} -o update {self._pair()}"

    def _update_all(self) -> tuple[str, str]:
        return "update of all", f"-m node -o update {self._pair()}"

    def _node(self) -> tuple[str, str]:
        op = self._random.choice(["new", "delete"])
        return f"node {op}", f"-m node {self._random.choice(PASSING)} -o {op}"

    def _iface(self) -> tuple[str, str]:
        op = self._random.choice(["new", "delete", "update -n iface.initiatorname -v iqn.x:me"])
        return f"iface {op.split()[0]}", f"-m iface -I {self._random.choice(IFACES)} -o {op}"

    def _discovery(self) -> tuple[str, str]:
        return "discovery", f"-m discovery -t st -p {self.portal}"

    def _discoverydb(self) -> tuple[str, str]:
        what = self._random.choice(
            ["-o delete", "-o new", "-o update -n discovery.sendtargets.reopen_max -v 3", "-D"]
        )
        return "discoverydb", f"-m discoverydb -t st -p {self.portal} {what}"

    # A client that reads.

    def _reads(self) -> None:
        line = self._random.choice(LISTINGS)
        status, out, err = self.adm(line)
        self._count("listings")
        if status not in (0, MISSING) or err:
            self.faults.append(f"{line}: status {status}: {err}")
        if "# BEGIN RECORD" in out:
            self.faults += [f"{line} shows {text}" for text in damaged(out)]

    # Afterwards.

    def leftovers(self) -> list[str]:
        """What the storm left that should not be there, once somebody has written again."""
        root, found = Path(self.machine.env.db_root), []
        for path in root.glob(".pyiscsi.*"):
            os.utime(path, (0, 0))  # old enough that no writer can still have it
        assert self.adm("-m iface -I after -o new")[0] == 0
        assert self.adm("-m iface -I after -o delete")[0] == 0
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink() and not path.exists():
                found.append(f"{name} leads nowhere")
            elif name.split("/")[0].startswith(".pyiscsi"):
                found.append(f"{name} is left over")
            elif path.is_file() and not path.is_symlink():
                found += [f"{name}: {text}" for text in damaged(path.read_text(), is_file=True)]
        locks = os.listdir(self.machine.env.lock_dir)
        return found + [f"lock {name} is left" for name in locks if name != "lock.pyiscsi"]

    def known(self) -> set[str]:
        """Targets that have a record."""
        _, out, _ = self.adm("-m node")
        return {line.split()[-1] for line in out.splitlines()}

    def discover(self) -> tuple[int, str, list[str]]:
        """With a daemon that lives: status, stderr, and targets of which no record was made."""
        with self.machine.iscsid():
            status, _, err = self.adm(f"-m discovery -t st -p {self.portal}")
        return status, err, sorted({*TARGETS} - self.known())


def damaged(text: str, *, is_file: bool = False) -> list[str]:
    """What is wrong with the records of a listing, or of a file, which holds one."""
    begun, ended = text.count("# BEGIN RECORD"), text.count("# END RECORD")
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    found = [f"the line {line!r}" for line in lines if " = " not in line]
    if begun != ended or (is_file and begun != 1):
        found.append(f"{begun} beginnings and {ended} ends of records")
    if is_file and not lines:
        found.append("no setting")
    return found
