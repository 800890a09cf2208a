"""The guest's side of the firmware test: an iBFT in a real ACPI table, read by Debian's kernel.

    python -m tests.full.firmware

Prints every command with what it answered.
"""

from __future__ import annotations

import re

from tests.kernel import machine

PREPARE = "modprobe -a e1000 iscsi_ibft"
WITHOUT_DAEMON = (
    "iscsiadm -m fw",
    "iscsistart -f",
    "iscsistart -N",
    "ip -4 -o addr show scope global | sed 's/valid_lft.*//'",
    "iscsistart -b",
    "iscsiadm -m session",
)
WITH_DAEMON = (
    "iscsiadm -m session",
    "iscsiadm -m fw -l",
    "iscsiadm -m node -u",
    "iscsiadm -m discovery -t fw",
    "iscsiadm -m fw -l",
    "iscsiadm -m session",
    "iscsiadm -m session -u",
    "iscsiadm -m session",
)


def show(command: str) -> None:
    """A command and its answer, without what differs from run to run."""
    done = machine.run(command)
    print(f"$ {command}\nstatus {done.rc}")
    # with status 0 open-iscsi's iscsiadm may still print something there, ours does not
    is_silent = done.rc == 0 and command.startswith("iscsiadm")
    for text in (done.out, "" if is_silent else done.err):
        for line in text.splitlines():
            print(re.sub(r"\[(sid: )?\d+(?=[,\]])", r"[\1N", line.rstrip()))


def main() -> None:
    done = machine.run(PREPARE)
    assert done.rc == 0, done
    machine.settle()
    machine.write_configuration(machine.configuration())
    for command in WITHOUT_DAEMON:
        show(command)
    daemon = machine.Daemon()
    daemon.start()
    try:
        # open-iscsi's daemon logs in again to sessions it did not make
        for sid in machine.session_ids():
            machine.wait_until(
                lambda sid=sid: (
                    "Session State: NO CHANGE"
                    in machine.run(f"iscsiadm -m session -r {sid} -P 1").out
                ),
                "the daemon has the session of the boot",
            )
        for command in WITH_DAEMON:
            show(command)
    finally:
        daemon.kill()


if __name__ == "__main__":
    main()
