"""Debian's isnsd (open-isns-server) on a port of its own, its database in memory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 30
SETTINGS = """
HostName = localhost
PIDFile = {path}/isnsd.pid
ControlSocket = {path}/isnsd.ctl
Security = 0
SLPRegister = 0
DefaultDiscoveryDomain = 1
RegistrationPeriod = {period}s
"""


def missing() -> str:
    """Why there can be no server here, "" when there can."""
    for program, package in (("isnsd", "open-isns-server"), ("isnsadm", "open-isns-utils")):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin") is None:
            return f"{program} (package {package}) is not installed"
    return ""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Isnsd:
    """One server; `launcher` starts its programs elsewhere, say in a network namespace."""

    def __init__(
        self,
        path: Path,
        *,
        port: int = 0,
        period_s: int = 600,
        launcher: Sequence[str] = (),
        settings: str = "",
    ) -> None:
        self.port = port or free_port()
        self._launcher = [*launcher]
        self._process: subprocess.Popen[bytes] | None = None
        path.mkdir(exist_ok=True)
        self._log = path / "isnsd.log"
        common = SETTINGS.format(path=path, period=period_s)
        self._server, self._client = path / "isnsd.conf", path / "isnsadm.conf"
        self._server.write_text(
            f"SourceName = iqn.2026-11.test:isns\nBindAddress = 127.0.0.1:{self.port}\n"
            + common + settings
        )  # fmt: skip
        self._client.write_text(
            f"SourceName = iqn.2026-11.test:admin\nServerAddress = 127.0.0.1:{self.port}\n{common}"
        )

    def start(self) -> None:
        """Returns when it answers."""
        command = [*self._launcher, "/usr/sbin/isnsd", "-f", "-c", str(self._server)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + WAIT_S
        while self._admin("--list", "nodes").returncode != 0:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "isnsd gives no answer"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            self._process = None

    def _admin(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self._launcher, "/usr/sbin/isnsadm", "-c", str(self._client), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    def admin(self, *words: str) -> str:
        """What isnsadm prints."""
        done = self._admin(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def register(self, name: str, *portals: str, entity: str = "") -> None:
        """A target at `ADDRESS:PORT,TAG` portals, in an entity of its own name unless told."""
        objects = [f"entity={entity or name}", f"target={name}"]
        for portal in portals:
            address, _, tag = portal.rpartition(",")
            objects += [f"portal={address}/tcp", f"pg,pgt={tag}"]
        self.admin("--register", *objects)

    def deregister(self, entity: str) -> None:
        self.admin("--deregister", f"eid={entity}")

    def nodes(self) -> set[str]:
        """Names of all nodes that are registered."""
        return {line.split('"')[1] for line in self.admin("--list", "nodes").splitlines()
                if "iSCSI name" in line}  # fmt: skip


@contextmanager
def isnsd(path: Path, *, period_s: int = 600, settings: str = "") -> Iterator[Isnsd]:
    server = Isnsd(path, period_s=period_s, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
