"""What only adapters can do, asked of the real kernel for the host of a software session."""

from __future__ import annotations

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

TARGET = "iqn.2026-11.test:hosts"
NO_SUCH_OPERATION = "errno=38"


@pytest.fixture
def host(lab: Lab) -> str:
    """`-m host -H N` of a session that runs."""
    lio.create_target(TARGET, ["127.0.0.1:3260"], size_mb=8)
    lab.discover()
    lab.adm(f"-m node -T {TARGET} -l", 0)
    (number,) = machine.host_numbers()
    return f"-m host -H {number}"


def check(lab: Lab, words: str, status: int, out: str, *err: str) -> None:
    done = lab.adm(words, status)
    assert (done.out, done.err) == (out, "".join(f"iscsiadm: {line}\n" for line in err))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("-C chap -o new", "Chap username/password not provided."),
        ("-C chap -o update", "Chap username/password not provided."),
        ("-C chap -o delete", "Invalid chap table index."),
        ("-C chap -o delete -x 2049", "Invalid chap table index."),
        ("-C chap -o delete -x 65536", "Invalid chap table index."),
        ("-C ping", "Invalid Sub Mode"),
    ],
)
def test_refusals_that_open_iscsi_calls_success(lab: Lab, host: str, words: str, line: str) -> None:
    """CLI-341, CLI-345, CLI-348: the same words, and a status that says so."""
    check(lab, f"{host} {words}", 7, "", line)


def test_the_driver_refuses(lab: Lab, host: str) -> None:
    """CLI-344, CLI-347, CLI-349, CLI-354, CLI-356, CLI-357, CLI-358, CLI-360, also while no daemon
    runs; and the daemon, which sees these conversations, goes on with its session.
    """
    number = host.rpartition(" ")[2]
    pair = "-n host.auth.username -v a -n host.auth.password -v secretsecret1"
    for step in ("with the daemon", "without"):
        if step == "without":
            assert "NO CHANGE" in lab.adm("-m session -P 1", 0).out
            assert "kernel event" not in lab.daemon.text()
            lab.daemon.kill()
        check(
            lab, f"{host} -C chap -o show", 1, "",
            "Received iferror -22: Invalid argument.", "get_chap_info failed. errno=0",
        )  # fmt: skip
        check(lab, f"{host} -C chap -o new {pair}", 1, "", "CHAP setting failed")
        out, line = "Deleting CHAP index: 5\n", "CHAP Delete failed."
        check(lab, f"{host} -C chap -o delete -x 5", 1, out, line)
        out, line = f"Create new flashnode for host {number}.\n", "Creation of flashnode for host"
        check(lab, f"{host} -C flashnode -o new -A ipv4", 1, out, f"{line} {number} failed.")
        for op, status, out, line in (
            ("delete", 1, "Delete flashnode", "Deletion of"),
            ("login", 5, "Login to flashnode", "Login to"),
            ("logout", 10, "Logout flashnode", "Logout of"),
        ):
            line = f"{line} flashnode 0 of host {number} failed."
            check(lab, f"{host} -C flashnode -o {op} -x 0", status, f"{out} 0.\n", line)
        check(lab, f"{host} -C stats", 1, "", "get_host_stats failed. errno=0")


def test_network_settings_of_a_software_iface(lab: Lab, host: str) -> None:
    """CLI-321, CLI-324 with something to configure: the driver can not, and the status says so.

    The host is found by its address, number 0 included, where open-iscsi calls that no host.
    """
    number = host.rpartition(" ")[2]
    lab.adm("-m iface -I if0 -o new -n iface.ipaddress -v 127.0.0.1", 0)
    for words in ("-I if0 -o apply", f"-H {number} -o applyall"):
        check(
            lab, f"-m iface {words}", 1, "",
            f"Set net_config failed. {NO_SUCH_OPERATION}",
            "Could not apply net configuration: unknown error",
        )  # fmt: skip
    check(
        lab, "-m iface -I if0 -C ping -a 127.0.0.1", 27,
        "Ping 1 failed: operation not supported\n",
    )  # fmt: skip


def test_another_network_namespace(lab: Lab, host: str) -> None:
    """The kernel's iSCSI is in the initial one only: a reason instead of a death."""
    line = "can not send to the kernel: Connection refused"
    done = machine.run(f"unshare -n iscsiadm {host} -C chap -o delete -x 5")
    assert (done.rc, done.out, done.err) == (
        4,
        "Deleting CHAP index: 5\n",
        f"iscsiadm: {line}\n",
    )


def test_host_of_another_driver(lab: Lab) -> None:
    """A SCSI host that is not iSCSI's, and one that is not there."""
    lab.shell("modprobe scsi_debug", "rmmod scsi_debug")
    found = lab.shell("grep -l scsi_debug /sys/class/scsi_host/*/proc_name").out
    number = found.split("/")[4].removeprefix("host")
    line = f"Could not match hostno {number} to transport."
    check(lab, f"-m host -H {number} -C stats", 12, "", line)
    missing = "Could not read proc_name for host9999 rc 5."
    line = "Could not match hostno 9999 to transport."
    check(lab, "-m host -H 9999 -C stats", 12, "", missing, line)
