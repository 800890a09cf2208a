"""Adapters and boot firmware that exist only in the guest's memory (tests/kernel/modules).

Runs in the guest as root. Every context manager takes its module out again, after whatever still
holds it (udev looks at a disk for a moment after a logout) has let go.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BUILT = PROJECT / ".lab/modules"
NEEDED = (
    "scsi_transport_iscsi", "libiscsi", "libiscsi_tcp", "sd_mod", "iscsi_boot_sysfs",
)  # fmt: skip
"""linux.uml brings no symbol table to build against, so the modules name none they depend on."""
PARAMETERS = Path("/sys/module/fakehba/parameters")
TRANSPORTS = ("cxgb3i", "cxgb4i", "bnx2i", "be2iscsi", "qla4xxx", "qedi", "ocs")
UNLOAD_S = 30.0


def why_not() -> str:
    """Why there are no modules to load, "" when there are."""
    if all((BUILT / f"{name}.ko").exists() for name in ("fakehba", "fakeibft")):
        return ""
    reason = BUILT / "reason"
    words = reason.read_text().strip() if reason.exists() else "tests/lab/modules has not been run"
    return f"no adapter and firmware modules: {words}"


def load(name: str, parameters: Mapping[str, object] | None = None) -> None:
    """Insert .lab/modules/NAME.ko and what it needs. Raises CalledProcessError."""
    subprocess.run(["modprobe", "-a", *NEEDED], check=True)
    subprocess.run(["modprobe", "-qa", "libcrc32c", "crc32c_generic"], check=False)
    words = [f"{key}={value}" for key, value in (parameters or {}).items()]
    subprocess.run(["insmod", str(BUILT / f"{name}.ko"), *words], check=True)
    subprocess.run(["udevadm", "settle"], check=False, timeout=300)


def unload(name: str, timeout_s: float = UNLOAD_S) -> None:
    """Remove a module as soon as nobody holds it any more. Raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    while True:
        done = subprocess.run(["rmmod", name], capture_output=True, text=True, check=False)
        if done.returncode == 0 or not Path(f"/sys/module/{name}").exists():
            return
        assert time.monotonic() < deadline, f"rmmod {name}: {done.stderr}"
        time.sleep(0.1)


class Adapter:
    """The module fakehba while it is loaded, with `hosts` adapters."""

    def __init__(self, transport: str) -> None:
        self.transport = transport

    def mac(self, index: int) -> str:
        """Hardware address of adapter `index` (from 0; not its SCSI host number)."""
        return f"02:fa:e0:00:00:{index:02x}"

    def iface(self, index: int, kind: str = "ipv4.0") -> str:
        """Name of the iface record of one of the adapter's interfaces (`ipv4.0`, `ipv6.1`)."""
        return f"{self.transport}.{self.mac(index)}.{kind}"

    def host(self, index: int) -> int:
        """SCSI host number of an adapter."""
        for address in Path("/sys/class/iscsi_host").glob("host*/hwaddress"):
            if address.read_text().strip() == self.mac(index):
                return int(address.parent.name.removeprefix("host"))
        raise AssertionError(f"no host with {self.mac(index)}")

    def set(self, parameter: str, value: object) -> None:
        """Write one of the module's parameters (`login_fail`, `ping_status`, `targets` ...)."""
        (PARAMETERS / parameter).write_text(str(value))

    def ctl(self, command: str) -> None:
        """`link INDEX up|down`, `connerr SID [CODE]` or `async INDEX`."""
        self.set("ctl", command)


@contextlib.contextmanager
def fakehba(
    transport: str = "qla4xxx", *, hosts: int = 2, **parameters: object
) -> Iterator[Adapter]:
    """`hosts` adapters that go by the name of a real offload driver.

    Sessions must be gone at the end. Host numbers go on from those used before.
    """
    load("fakehba", {"transport": transport, "hosts": hosts, **parameters})
    try:
        yield Adapter(transport)
    finally:
        unload("fakehba")


@contextlib.contextmanager
def fakeibft(directory: str = "ibft", **objects: Mapping[str, object] | int) -> Iterator[None]:
    """A firmware's boot table: `initiator`, `ethernet0`, `target0` ... are its files by name.

    `directory` is `ibft`, or a SCSI host number for /sys/firmware/iscsi_bootN. `netdevs=0` leaves
    the network devices fbN out.
    """
    words: dict[str, object] = {"dir": directory}
    for name, files in objects.items():
        if isinstance(files, Mapping):
            words[name] = ",".join(f"{key}={value}" for key, value in files.items())
        else:
            words[name] = files
    load("fakeibft", words)
    try:
        yield
    finally:
        unload("fakeibft")


@contextlib.contextmanager
def iscsiuio(status: int | None = None) -> Iterator[Path]:
    """iscsiuio's stand-in, listening; yields the file its requests are logged in."""
    log = Path("/tmp/uipstub.log")
    words = [] if status is None else [str(status)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.modules.uipstub", *words],
            cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=file, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + UNLOAD_S
        while "listening" not in log.read_text():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield log
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
