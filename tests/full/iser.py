"""The guest's side of the iSER test: soft-RoCE over a dummy interface, target and initiator in one.

    python -m tests.full.iser

What must hold is asserted; what was answered is printed, for the comparison of two programs.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.kernel import lio, machine
from tests.kernel.machine import wait_until

IQN = "iqn.2026-11.test:iser"
ADDRESS = "192.168.77.1"
PORTAL = f"{ADDRESS}:3260"
CHAP = ("user", "secretsecret12")
MUTUAL = ("target", "secretsecret34")
SHOWN = (
    *("Iface Transport", "iSCSI Connection State", "iSCSI Session State", "HeaderDigest"),
    *("DataDigest", "MaxRecvDataSegmentLength", "InitialR2T", "ImmediateData", "MaxOutstandingR2T"),
)


def sh(command: str) -> str:
    """What a shell line prints; it must succeed."""
    done = machine.run(command)
    assert done.rc == 0, done
    return done.out


def fabric() -> None:
    """An RDMA device without hardware; rxe on `lo` knows no route."""
    sh("modprobe dummy && ip link add d0 type dummy && ip link set d0 up")
    sh(f"ip addr add {ADDRESS}/24 dev d0")
    sh("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev d0")
    sh("modprobe -a ib_isert ib_iser")


def target() -> None:
    lio.create_target(IQN, [PORTAL], chap=CHAP, mutual=MUTUAL)
    (lio.ISCSI / IQN / "tpgt_1/np" / PORTAL / "iser").write_text("1")


def record(**values: str) -> None:
    pairs = " ".join(f"-n {name} -v {value}" for name, value in values.items())
    sh(f"iscsiadm -m node -T {IQN} -p {ADDRESS} -I iser -o update {pairs}")


def log_in() -> int:
    """Discovery, CHAP both ways, login; the session's number."""
    print(sh(f"iscsiadm -m discovery -t st -p {ADDRESS} -I iser"), end="")
    refused = machine.run(f"iscsiadm -m node -T {IQN} -I iser -l")
    assert refused.rc == 24, refused
    assert machine.session_ids() == []
    auth = "node.session.auth."
    record(
        **{
            f"{auth}authmethod": "CHAP",
            f"{auth}username": CHAP[0],
            f"{auth}password": CHAP[1],
            f"{auth}username_in": MUTUAL[0],
            f"{auth}password_in": MUTUAL[1],
        }
    )
    print(sh(f"iscsiadm -m node -T {IQN} -I iser -l"), end="")
    (sid,) = machine.session_ids()
    return sid


def compare_data(sid: int) -> None:
    """What is written is what is read."""
    machine.settle()
    wait_until(lambda: machine.disks(sid), "the disk is there")
    disk = f"/dev/{machine.disks(sid)[0]}"
    Path("/tmp/data").write_bytes(os.urandom(2 << 20))
    sh(f"dd if=/tmp/data of={disk} bs=64k oflag=direct 2> /dev/null")
    sh(f"dd if={disk} of=/tmp/back bs=64k count=32 iflag=direct 2> /dev/null")
    assert Path("/tmp/data").read_bytes() == Path("/tmp/back").read_bytes()
    print("data: same")


def show(sid: int) -> None:
    for line in sh(f"iscsiadm -m session -r {sid} -P 2").splitlines():
        if line.strip().startswith(SHOWN):
            print(line.strip())


def recover(sid: int) -> None:
    """The target goes; when it comes back the same session goes on."""
    lio.set_enabled(IQN, False)
    wait_until(lambda: machine.session_value(sid, "state") == "FAILED", "the session has failed")
    lio.set_enabled(IQN, True)
    logged_in = lambda: machine.session_value(sid, "state") == "LOGGED_IN"  # noqa: E731
    wait_until(logged_in, "logged in again", 120)
    assert machine.session_ids() == [sid]
    print("recovered")


def main() -> None:
    fabric()
    target()
    machine.write_configuration(machine.configuration())
    daemon = machine.Daemon()
    daemon.start()
    try:
        sid = log_in()
        compare_data(sid)
        show(sid)
        recover(sid)
        compare_data(sid)
        print(sh(f"iscsiadm -m node -T {IQN} -I iser -u"), end="")
        assert machine.session_ids() == []
    except BaseException:
        print(daemon.text())
        raise
    finally:
        daemon.kill()


if __name__ == "__main__":
    main()
