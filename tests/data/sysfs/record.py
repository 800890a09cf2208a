"""Makes the captures of this directory again: open-iscsi's own programs in the guest.

    tests/lab/guest -m 512M -o tests/data/sysfs python -m tests.data.sysfs.record

Four targets (two sessions on one portal; two portals with two LUNs each; IPv6; CHAP both ways), a
file system on a partition and on a device mapper disk, swap; then one target is taken away, then
the daemon. Writes `up.tree`, `down.tree` and what iscsiadm printed beside them. Review by eye:
numbers and disk names may differ from run to run.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.kernel import lio, machine

TEST = "iqn.2026-11.test"
TARGETS = {
    "one": (["127.0.0.1:3260"], 1),
    "two": (["127.0.0.1:3260", "127.0.0.2:3260"], 2),
    "six": (["[::1]:3260"], 1),
    "chap": (["127.0.0.1:3260"], 1),
}
CHAP = {
    "authmethod": "CHAP",
    "username": "user",
    "password": "usersecret12",
    "username_in": "tgt",
    "password_in": "tgtsecret1234",
}

WANTED = {
    # a file is kept if it has one of these names and this in its path
    "/iscsi_session/": "abort_tmo creator data_pdu_in_order data_seq_in_order erl first_burst_len "
    "ifacename immediate_data initial_r2t initiatorname lu_reset_tmo max_burst_len "
    "max_outstanding_r2t password password_in recovery_tmo state target_id target_state "
    "targetname tgt_reset_tmo tpgt username username_in",
    "/iscsi_connection/": "address port persistent_address persistent_port data_digest "
    "header_digest max_recv_dlength max_xmit_dlength exp_statsn ping_tmo state",
    "/iscsi_host/": "hwaddress initiatorname ipaddress netdev",
    "/scsi_host/": "proc_name state scan",
    "/iscsi_transport/": "handle caps",
    "/scsi_transport_iscsi/": "version",
    "/block/": "dev uevent partition",
    "/dm/": "name",
}
UNIT = re.compile(r"/\d+:\d+:\d+:\d+/(state|queue_depth|rescan)\Z")
SKIPPED = frozenset(
    [
        "power",
        "trace",
        "bsg",
        "scsi_generic",
        "scsi_device",
        "bdi",
        "mq",
        "queue",
        "integrity",
        "slaves",
        "scsi_disk",
        "subsystem",
        "driver",
        "generic",
    ]
)
ROOTS = (
    "class/iscsi_session",
    "class/iscsi_connection",
    "class/iscsi_host",
    "class/iscsi_transport",
    "class/scsi_host",
    "bus/scsi/devices",
    "module/scsi_transport_iscsi/version",
    "devices/virtual/iscsi_transport",
    "class/block/sd*",
    "class/block/dm-*",
    "devices/platform/host*",
    "devices/virtual/block/dm-*",
)
WRITE_ONLY = (1, 13)


def is_wanted(path: Path) -> bool:
    text = str(path)
    return bool(UNIT.search(text)) or any(
        part in text and path.name in names.split() for part, names in WANTED.items()
    )


def tree_lines(path: Path) -> Iterator[str]:
    if path.is_symlink():
        yield f"L {path} {os.readlink(path)}"
    elif path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if entry.name not in SKIPPED)
        below = [line for name in names for line in tree_lines(path / name)]
        yield from below or [f"D {path}"]
    elif is_wanted(path):
        try:
            value = path.read_text().rstrip("\n").replace("\n", "\\n")
        except OSError as error:
            kind = "F" if error.errno in WRITE_ONLY else "E"
            yield f"{kind} {path} {'' if kind == 'F' else error.errno}"
        else:
            yield f"F {path} {value}"


def proc_lines() -> Iterator[str]:
    for name in ("mounts", "swaps", "self/mountinfo"):
        for line in (Path("/proc") / name).read_text().splitlines():
            if name == "swaps" or "/dev/" in line:
                yield f"A /proc/{name} {line}"


def save_tree(out: Path, name: str, remark: str) -> None:
    places = [path for root in ROOTS for path in sorted(Path("/sys").glob(root))]
    lines = [f"# {remark}", *(line for path in places for line in tree_lines(path))]
    text = "\n".join([*lines, *proc_lines()]) + "\n"
    (out / f"{name}.tree").write_text(text)


def save(out: Path, name: str, words: str) -> None:
    done = machine.run(f"iscsiadm {words}")
    (out / f"{name}.out").write_text(done.out)
    print(done.command, done.rc, flush=True)


def log_in() -> None:
    for name, (portals, luns) in TARGETS.items():
        is_chap = name == "chap"
        lio.create_target(
            f"{TEST}:{name}",
            portals,
            luns=luns,
            chap=(CHAP["username"], CHAP["password"]) if is_chap else None,
            mutual=(CHAP["username_in"], CHAP["password_in"]) if is_chap else None,
        )
    for portal in ("127.0.0.1", "[::1]"):
        machine.run(f"iscsiadm -m discovery -t st -p {portal} -o new")
    pairs = " ".join(f"-n node.session.auth.{key} -v {value}" for key, value in CHAP.items())
    machine.run(f"iscsiadm -m node -T {TEST}:chap -o update {pairs}")
    machine.run(f"iscsiadm -m node -T {TEST}:one -o update -n node.session.nr_sessions -v 2")
    for name in TARGETS:
        print(machine.run(f"iscsiadm -m node -T {TEST}:{name} -l"), flush=True)
    machine.settle()


def partition(disk: str) -> None:
    """An MBR with one partition of 8 MiB; the guest need not have a partitioning program."""
    entry = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 2048, 16384)
    with open(f"/dev/{disk}", "r+b") as device:
        device.seek(446)
        device.write(entry)
        device.seek(510)
        device.write(b"\x55\xaa")
    machine.run(f"blockdev --rereadpt /dev/{disk}")
    machine.settle()


def use_disks() -> None:
    first, second, third = (machine.disks(sid)[0] for sid in machine.session_ids()[:3])
    partition(first)
    partition(second)
    for command in (
        "modprobe -a ext4 dm-mod",
        f"mkfs.ext4 -q /dev/{first}1; mkdir '/tmp/m one'; mount /dev/{first}1 '/tmp/m one'",
        f"dmsetup create lab-lin --table '0 16384 linear /dev/{second}1 0'; udevadm settle",
        "mkfs.ext4 -q /dev/mapper/lab-lin; mkdir /tmp/m2; mount /dev/mapper/lab-lin /tmp/m2",
        f"mkswap /dev/{third}; swapon /dev/{third}",
    ):
        print(machine.run(command), flush=True)


def free_disks() -> None:
    machine.run("umount '/tmp/m one' /tmp/m2; swapoff -a; dmsetup remove lab-lin")


def record(out: Path) -> None:
    log_in()
    for level in range(4):
        save(out, f"session-P{level}", f"-m session -P {level}")
    for level in (2, 3):
        save(out, f"session-P{level}-S", f"-m session -P {level} -S")
    for level in range(5):
        save(out, f"host-P{level}", f"-m host -P {level}")
    sid = machine.session_ids()[0]
    save(out, "session-r1-P3", f"-m session -r {sid} -P 3")
    save(out, "stats", f"-m session -r {sid} -s")
    use_disks()
    save_tree(out, "up", "what pyiscsi reads of /sys and /proc: Linux 6.1, LIO, open-iscsi 2.1.8")
    free_disks()
    lio.set_enabled(f"{TEST}:two", False)
    machine.wait_until(
        lambda: machine.run("iscsiadm -m session -P 1").out.count("REOPEN") == 2, "recovery"
    )
    save(out, "down-session-P3", "-m session -P 3")
    save(out, "down-host-P4", "-m host -P 4")
    save_tree(out, "down", "as up.tree, after target two was taken away")


def main() -> None:
    os.environ["PATH"] = machine.environment_path("debian")
    out = Path(os.environ["LAB_OUT"])
    machine.run("modprobe ipv6")
    machine.write_configuration(machine.configuration())
    daemon = machine.Daemon()
    daemon.start()
    try:
        record(out)
    finally:
        daemon.kill()
    machine.write_configuration(machine.configuration("iscsid.startup = /bin/false"))
    save(out, "nodaemon-session-P1", "-m session -P 1")


if __name__ == "__main__":
    main()
