"""Discovery at Debian's isnsd: by our daemon, and by our client alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyiscsi.errors import DaemonError, ExitCode
from pyiscsi.records.record import Record
from pyiscsi.records.schema import ISNS
from tests.integration.ipc.iscsid import NAME, WAIT_S, Machine
from tests.integration.isns.isnsd import Isnsd, free_port, isnsd, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "isnsd is here")

ONE, TWO = "iqn.2026-11.test:one", "iqn.2026-11.test:two"
LINES = f"10.0.0.1:3260,10 {ONE}\n[2001:db8::1]:3261,2 {TWO}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def args(port: int) -> dict[str, Any]:
    return {
        "type": "isns", "address": "127.0.0.1", "port": port, "record": Record(ISNS).to_map(),
        "new": True, "update": True, "delete": True, "persist": True,
    }  # fmt: skip


def register(server: Isnsd) -> None:
    server.register(ONE, "10.0.0.1:3260,10")
    server.register(TWO, "[2001:db8::1]:3261,2")


def iscsiadm(machine: Machine, line: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "iscsiadm"), *line.split()], env=machine.environ,
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def names(machine: Machine) -> set[str]:
    root = machine.path / "db"
    found = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(root)) for path in found}


def test_the_daemon_discovers(machine: Machine, tmp_path: Path) -> None:
    """What isnsd has is found; nothing of us stays there; an empty server is no error."""
    with isnsd(tmp_path / "isns") as server, machine.iscsid(), machine.connect() as client:
        assert client.request("discover", args(server.port))["found"] == []
        register(server)
        found = client.request("discover", args(server.port))["found"]
        assert [(one["target"], one["address"], one["port"], one["tpgt"]) for one in found] == [
            (ONE, "10.0.0.1", 3260, 10),
            (TWO, "2001:db8::1", 3261, 2),
        ]
        assert NAME not in server.nodes()
        with pytest.raises(DaemonError) as caught:
            client.request("discover", args(free_port()))
        assert caught.value.exit_code == ExitCode.ISNS_QUERY


def test_the_command_discovers(machine: Machine, tmp_path: Path) -> None:
    """What it prints and which records it leaves, through the daemon."""
    with isnsd(tmp_path / "isns") as server, machine.iscsid():
        portal = f"127.0.0.1:{server.port}"
        place = f"isns/127.0.0.1,{server.port}"
        assert iscsiadm(machine, f"-m discovery -t isns -p {portal}") == (
            21, "", "iscsiadm: No portals found\n",
        )  # fmt: skip
        register(server)
        assert iscsiadm(machine, f"-m discovery -t isns -p {portal} -o nonpersistent") == (
            0, LINES, "",
        )  # fmt: skip
        assert names(machine) == set()
        assert iscsiadm(machine, f"-m discovery -t isns -p {portal}") == (0, LINES, "")
        nodes = {
            f"nodes/{ONE}/10.0.0.1,3260,10/default", f"nodes/{TWO}/2001:db8::1,3261,2/default",
        }  # fmt: skip
        links = {f"{ONE},10.0.0.1,3260,10,default", f"{TWO},2001:db8::1,3261,2,default"}
        assert names(machine) == nodes | {f"isns/{name}" for name in links}
        assert iscsiadm(machine, f"-m discoverydb -t isns -p {portal} -D") == (0, LINES, "")
        record = f"{place}/isns_config"
        assert names(machine) == nodes | {f"{place}/{name}" for name in links} | {record}
        server.deregister(ONE)
        line = LINES.splitlines(keepends=True)[1]
        assert iscsiadm(machine, f"-m discoverydb -t isns -p {portal} -D -o delete") == (
            0,
            line,
            "",
        )
        assert {name for name in names(machine) if ONE in name} == set()
        answer = iscsiadm(machine, f"-m discoverydb -t isns -p {portal} -o delete")
        assert (answer, names(machine)) == ((0, "", ""), set())


def test_a_server_that_is_not_there(machine: Machine) -> None:
    """CLI-145: the reason, the closing line, status 25; a new record of discoverydb stays."""
    port = free_port()
    with machine.iscsid():
        for line in (f"-m discovery -t isns -p 127.0.0.1:{port}",
                     f"-m discoverydb -t isns -p 127.0.0.1:{port} -D"):  # fmt: skip
            assert iscsiadm(machine, line) == (
                25, "",
                "iscsiadm: iSNS discovery failed: cannot make connection to 127.0.0.1: "
                "Connection refused\n"
                "iscsiadm: Could not perform iSNS discovery: iSNS query failed\n",
            )  # fmt: skip
    assert names(machine) == {f"isns/127.0.0.1,{port}/isns_config"}
