"""A target that goes and comes back; the states shown on the way."""

from __future__ import annotations

import time

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:one"
PORTALS = ["127.0.0.1:3260"]


@pytest.fixture
def session(lab: Lab) -> int:
    """The sid of a session with one disk."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.login(IQN)
    return lab.only_session()


def _await_state(sid: int, state: str) -> None:
    machine.wait_until(lambda: machine.session_value(sid, "state") == state, f"state {state}")


def test_target_drops_and_returns(lab: Lab, session: int) -> None:
    """D-022: the connection is stopped for recovery and bound again: same sid, host and disk."""
    before = (machine.host_numbers(), machine.disks(session))
    for _ in range(2):
        lio.set_enabled(IQN, False)
        _await_state(session, "FAILED")
        lio.set_enabled(IQN, True)
        _await_state(session, "LOGGED_IN")
    assert machine.session_ids() == [session]
    assert (machine.host_numbers(), machine.disks(session)) == before
    disk = f"/dev/{machine.disks(session)[0]}"
    assert machine.run(f"dd if={disk} of=/dev/null bs=1M count=4 iflag=direct").rc == 0


def test_an_address_that_returns_is_noticed(lab: Lab) -> None:
    """D-044: a session bound to a device without an address goes on as soon as it has one."""
    lab.network()
    lio.create_target(IQN, PORTALS)
    lio.add_portal(IQN, "10.77.0.2:3260", netns="far")
    lab.adm("-m iface -I near0 -o new", 0)
    lab.adm("-m iface -I near0 -o update -n iface.net_ifacename -v near", 0)
    lab.adm(f"-m node -o new -T {IQN} -p 10.77.0.2:3260,1 -I near0", 0)
    lab.login(IQN)
    sid = lab.only_session()
    lab.shell("ip addr del 10.77.0.1/24 dev near")
    lio.set_enabled(IQN, False)
    _await_state(sid, "FAILED")
    lio.set_enabled(IQN, True)
    missing = "network device near has no IPv4 address yet"
    machine.wait_until(lambda: missing in lab.daemon.text(), "the missing address is told")
    time.sleep(8)  # so long that the next attempt by the clock is far away
    lab.shell("ip addr add 10.77.0.1/24 dev near")
    _await_state(sid, "LOGGED_IN")
    assert lab.daemon.text().count(missing) <= 2


def test_states_shown(lab: Lab, session: int) -> None:
    """D-045: LOGGED IN / NO CHANGE in peace, TRANSPORT WAIT or IN LOGIN / REOPEN in recovery."""
    assert lab.state_words(session) == ("LOGGED IN", "NO CHANGE")
    lio.set_enabled(IQN, False)
    _await_state(session, "FAILED")
    machine.wait_until(lambda: lab.state_words(session)[1] == "REOPEN", "REOPEN is shown")
    assert lab.state_words(session)[0] in ("TRANSPORT WAIT", "IN LOGIN", "CLEANUP WAIT")
    lio.set_enabled(IQN, True)
    _await_state(session, "LOGGED_IN")
    machine.wait_until(
        lambda: lab.state_words(session) == ("LOGGED IN", "NO CHANGE"), "peace is shown again"
    )


def test_replacement_timeout_passes(lab: Lab) -> None:
    """D-051: the disks go transport-offline and the session FREE; a later recovery undoes both."""
    lio.create_target(IQN, PORTALS)
    lab.discover()
    lab.set(IQN, {"node.session.timeo.replacement_timeout": 2})
    lab.login(IQN)
    sid = lab.only_session()
    (device,) = machine.session_devices(sid)
    disk = machine.disks(sid)

    def await_device(state: str) -> None:
        path = device / "state"
        machine.wait_until(lambda: path.read_text() == f"{state}\n", f"the device is {state}")

    await_device("running")
    lio.set_enabled(IQN, False)
    _await_state(sid, "FAILED")
    await_device("transport-offline")
    _await_state(sid, "FREE")
    lio.set_enabled(IQN, True)
    _await_state(sid, "LOGGED_IN")
    await_device("running")
    assert (machine.session_ids(), machine.disks(sid)) == ([sid], disk)
    read = f"dd if=/dev/{disk[0]} of=/dev/null bs=1M count=4 iflag=direct"
    assert machine.run(read).rc == 0
