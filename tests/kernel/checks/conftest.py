"""What every kernel test gets: an empty database, a daemon, targets, and a clean end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.kernel import machine
from tests.kernel.machine import Done


@pytest.fixture(scope="session", autouse=True)
def programs() -> str:
    """The programs under test: `ours`, or `debian` to try a test itself against open-iscsi."""
    name = os.environ.get("LAB_PROGRAMS", "ours")
    os.environ["PATH"] = machine.environment_path(name)
    for program in ("iscsiadm", "iscsid"):
        found = shutil.which(program) or "nothing"
        own = str(machine.PROJECT / ".venv/bin" / program)
        assert (found == own) == (name == "ours"), f"{program} on PATH is {found}"
    return name


class Lab:
    """One test's initiator."""

    def __init__(self) -> None:
        self.daemon = machine.Daemon()
        self.undo: list[str] = []

    def start(self, *configuration: str) -> None:
        """(Re)start the daemon with these lines added to iscsid.conf."""
        if self.daemon.is_running:
            self.daemon.stop()
        machine.write_configuration(machine.configuration(*configuration))
        self.daemon.start()

    def adm(self, arguments: str, status: int | None = None) -> Done:
        """Run iscsiadm and let udev settle; with `status` anything else fails the test."""
        done = machine.run(f"iscsiadm {arguments}")
        machine.settle()
        assert done.is_silent or os.environ.get("LAB_PROGRAMS") == "debian", done
        if status is not None:
            assert done.rc == status, f"{done}\n--- daemon\n{self.daemon.text()[-4000:]}"
        return done

    def discover(self, portal: str = "127.0.0.1") -> None:
        """Make the node records of everything behind a portal."""
        self.adm(f"-m discovery -t st -p {portal}", 0)

    def set(self, target: str, values: dict[str, str | int]) -> None:
        """Change a target's records, by full setting names."""
        pairs = " ".join(f"-n '{name}' -v '{value}'" for name, value in values.items())
        self.adm(f"-m node -T {target} -o update {pairs}", 0)

    def chap(self, target: str, user: str, password: str, *mutual: str) -> None:
        """Set CHAP in a target's records; `mutual` is the target's own name and secret."""
        auth = "node.session.auth."
        values: dict[str, str | int] = {
            f"{auth}authmethod": "CHAP",
            f"{auth}username": user,
            f"{auth}password": password,
        }
        if mutual:
            values |= {f"{auth}username_in": mutual[0], f"{auth}password_in": mutual[1]}
        self.set(target, values)

    def short_window(self, target: str, seconds: int = 2, attempts: int = 2) -> None:
        """Let initial logins be given up after `seconds * attempts`."""
        self.set(
            target,
            {
                "node.conn[0].timeo.login_timeout": seconds,
                "node.session.initial_login_retry_max": attempts,
            },
        )

    def login(self, target: str, status: int = 0) -> Done:
        """Log in to every portal of a target."""
        return self.adm(f"-m node -T {target} -l", status)

    def only_session(self) -> int:
        """The sid of the one session there is."""
        sids = machine.session_ids()
        assert len(sids) == 1, sids
        return sids[0]

    def state_words(self, sid: int) -> tuple[str, str]:
        """What `session -P 1` shows: connection state, internal daemon state."""
        lines = machine.run(f"iscsiadm -m session -r {sid} -P 1").out.splitlines()
        found = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
        return found["iSCSI Connection State"], found["Internal iscsid Session State"]

    def watch(self, kind: str, name: str, portal: str, interval: int) -> None:
        """A discovery record (`st` or `isns`, `name` as in its settings) for discoveryd."""
        record, setting = f"-m discoverydb -t {kind} -p {portal}", f"discovery.{name}."
        self.adm(f"{record} -o new", 0)
        self.adm(
            f"{record} -o update -n {setting}use_discoveryd -v Yes "
            f"-n {setting}discoveryd_poll_inval -v {interval}", 0,
        )  # fmt: skip

    def shell(self, command: str, undo: str = "") -> Done:
        """Prepare the guest; `undo` runs at the end of the test."""
        done = machine.run(command)
        assert done.rc == 0, done
        if undo:
            self.undo.append(undo)
        return done

    def network(self) -> None:
        """A namespace `far` with 10.77.0.2 behind the device `near` (10.77.0.1)."""
        self.shell(
            "modprobe -a veth sch_netem; ip netns add far", "ip link del near; ip netns del far"
        )
        self.shell("ip link add near type veth peer name eth0 netns far")
        self.shell("ip addr add 10.77.0.1/24 dev near && ip link set near up")
        self.shell("ip -n far addr add 10.77.0.2/24 dev eth0 && ip -n far link set eth0 up")
        self.shell("ip -n far link set lo up")

    def netem(self, text: str) -> None:
        """Make the link to `far` bad (`loss 100%`, `delay 5ms`) or good again (nothing)."""
        if text:
            self.shell(f"tc qdisc replace dev near root netem {text}")
        else:
            self.shell("tc qdisc del dev near root")

    def close(self) -> None:
        """Everything back as it was, whatever the test left."""
        machine.clean_up(self.daemon)
        for command in reversed(self.undo):
            machine.run(command)
        self.daemon.log.unlink(missing_ok=True)


@pytest.fixture
def idle_lab() -> Iterator[Lab]:
    """A lab whose daemon the test starts."""
    machine.write_configuration(machine.configuration())
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(idle_lab: Lab) -> Lab:
    """A lab with a daemon running."""
    idle_lab.start()
    return idle_lab
