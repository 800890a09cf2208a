"""Two paths to one disk under dm-multipath, one of them cut."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab
from tests.kernel.load import Load

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:one"
NEAR, FAR = "127.0.0.1:3260", "10.77.0.2:3260"
NOOP_S, REPLACEMENT_S = 2, 5
SETTINGS = (
    f"node.conn[0].timeo.noop_out_interval = {NOOP_S}",
    f"node.conn[0].timeo.noop_out_timeout = {NOOP_S}",
    f"node.session.timeo.replacement_timeout = {REPLACEMENT_S}",
)
CONFIGURATION = """defaults {
    find_multipaths no
    user_friendly_names yes
    polling_interval 1
    max_polling_interval 2
}
"""


@pytest.fixture
def disk(idle_lab: Lab) -> Iterator[str]:
    """A multipath disk (`mapper/mpatha`) over both portals."""
    idle_lab.network()
    lio.create_target(IQN, [NEAR])
    lio.add_portal(IQN, FAR, netns="far")
    idle_lab.start(*SETTINGS)
    for portal in (NEAR, FAR):
        idle_lab.adm(f"-m node -o new -T {IQN} -p {portal},1", 0)
    idle_lab.login(IQN)
    idle_lab.shell("modprobe -a dm_multipath dm_service_time")
    Path("/etc/multipath.conf").write_text(CONFIGURATION)
    multipathd = subprocess.Popen(["multipathd", "-d"])
    try:
        machine.wait_until(lambda: path_states() == ["active", "active"], "two paths are in use")
        yield "mapper/mpatha"
    finally:
        machine.run("multipathd shutdown")
        multipathd.wait()
        machine.run("dmsetup remove --retry mpatha")


def path_states() -> list[str]:
    """What device-mapper thinks of each path: `active` or `failed`."""
    return machine.run("multipathd show paths raw format %t").out.split()


def test_io_goes_on_over_the_other_path(idle_lab: Lab, disk: str) -> None:
    """No error while a path is cut, a stall no longer than noticing and replacement_timeout allow;
    repaired, the path comes back by itself."""
    load = Load([disk])
    try:
        idle_lab.netem("loss 100%")
        machine.wait_until(lambda: "failed" in path_states(), "the path is given up")
        failed = load.mark()
        other = load.during(2)
        assert other.idle == []
        idle_lab.netem("")
        started = time.monotonic()
        machine.wait_until(lambda: path_states() == ["active", "active"], "the path is back")
        back_s = time.monotonic() - started
        results = [failed, other, load.during(2)]
    finally:
        load.close()
    assert [each.errors for each in results] == [0, 0, 0]
    longest_s = max(each.longest_s for each in results)
    machine.figure(
        f"multipath, a path cut: I/O waited {longest_s:.1f} s (NOP {NOOP_S}+{NOOP_S} s, "
        f"replacement_timeout {REPLACEMENT_S} s); path back {back_s:.1f} s after the repair"
    )
    assert longest_s < 2 * NOOP_S + REPLACEMENT_S + 3
