"""Offload adapters: what iscsiadm can do with them, ours beside open-iscsi's programs; and what
becomes of their sessions when connections, daemons or iscsiuio fail.

The adapters are fakehba's (tests/kernel/modules), under the names of real drivers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import adapter, lio, machine, side_by_side
from tests.kernel.adapter import Adapter
from tests.kernel.checks.conftest import Lab

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(bool(adapter.why_not()), reason=adapter.why_not()),
]

TARGET = "iqn.2026-11.test:adapter"
FIRMWARE_PORTAL = "192.0.2.60"
CAP_SENDTARGETS_OFFLOAD = 0x400
INITIALIZING = 5
"""iscsiuio's word for a network device that is not up yet."""
PATTERN = Path("/tmp/pattern")

HOST = """\
iscsiadm -m host
iscsiadm -m host -P 4
iscsiadm -m host -H {M} -C chap -o show
{CHAP} -o new -n host.auth.username -v alice -n host.auth.password -v secretsecret1
{CHAP} -o new -n host.auth.username_in -v bob -n host.auth.password_in -v secretsecret2
{CHAP} -o show
{CHAP} -x 1 -o delete
iscsiadm -m host -H {H} -C stats
{FLASH} -o new -A ipv4
{FLASH} -x 0 -o update -n flashnode.session.targetname -v iqn.2026-11.test:f0
{FLASH} -x 0 -o update -n 'flashnode.conn[0].ipaddress' -v 192.0.2.50
{FLASH} -x 0 -o update -n flashnode.session.chap_auth_en -v 1
{FLASH} -o show
{FLASH} -x 0 -o show
{CHAP} -x 0 -o delete
{FLASH} -x 0 -o login
iscsiadm -m session -P 3
{FLASH} -x 0 -o logout
{FLASH} -x 0 -o delete
{FLASH} -o show
"""
NETWORK = """\
iscsiadm -m iface
head -n 99 /etc/iscsi/ifaces/*{M}*
iscsiadm -m iface -I {IF} -C ping -a 192.0.2.1 -c 2
iscsiadm -m iface -I {IF} -o update -n iface.mtu -v 9000
iscsiadm -m iface -I {IF} -o update -n iface.vlan_id -v 5 -n iface.vlan_state -v enable
grep vlan /etc/iscsi/ifaces/*{M}*
iscsiadm -m iface -I {IF} -o apply
cat /sys/class/iscsi_iface/ipv4-iface-{H}-0/mtu
iscsiadm -m iface -H {H} -o applyall
"""
LOGIN = """\
iscsiadm -m discovery -t st -p {PORTAL} -I {IF}
iscsiadm -m node -o update -n node.session.iscsi.MaxOutstandingR2T -v 4
iscsiadm -m node -o update -n 'node.conn[0].iscsi.HeaderDigest' -v CRC32C
iscsiadm -m node -l
iscsiadm -m node -l
iscsiadm -m session
iscsiadm -m session -P 3
iscsiadm -m node -u
iscsiadm -m session
"""
# Not beside open-iscsi: a login that the firmware refuses. Its iscsid then leaves an endpoint
# behind that points at freed memory, and the kernel dies when somebody gives it back.
FIRMWARE = """\
echo 'async 0' > {P}/ctl; iscsiadm -m session
iscsiadm -m session -P 2
iscsiadm -m session -u
"""
_LEAKS = ("-C chap -o show", "-C chap -x 1 -o delete", "-C stats")
"""Where open-iscsi 2.1.8 ends with the length of a message, whatever happened."""


@pytest.fixture(autouse=True)
def no_target_left() -> Iterator[None]:
    """Side by side no lab is there to clean up."""
    yield
    lio.delete_all()


def commands(transport: str) -> list[str]:
    text = HOST + NETWORK + LOGIN
    if transport == "qla4xxx":
        text += FIRMWARE
    portal = FIRMWARE_PORTAL if transport == "qla4xxx" else "127.0.0.1"
    return text.replace("{PORTAL}", portal).splitlines()


@pytest.mark.parametrize("transport", adapter.TRANSPORTS)
def test_side_by_side(transport: str) -> None:
    """D-094: the same text, line by line, and the same status where open-iscsi's means something,
    from hosts, CHAP tables, flashnodes, pings and settings to logins, under every driver's name.
    """
    if transport != "qla4xxx":
        lio.create_target(TARGET, ["127.0.0.1:3260"], size_mb=8)
    compare(transport, commands(transport))


def test_without_iscsiuio() -> None:
    """A discovery and a ping that need it end in time, and say so in the same words."""
    lio.create_target(TARGET, ["127.0.0.1:3260"], size_mb=8)
    words = ("-m discovery -t st -p 127.0.0.1 -I {IF}", "-m iface -I {IF} -C ping -a 192.0.2.1")
    compare("bnx2i", [f"iscsiadm {each}" for each in words], has_iscsiuio=False)


def test_discovery_that_is_the_adapters_own() -> None:
    """What it finds it logs in to by itself; the command has nothing to tell."""
    words = ("discovery -t st -p 192.0.2.60 -I {IF}", "session", "session -u", "session")
    lines = [f"iscsiadm -m {each}" for each in words]
    compare("qla4xxx", lines, extra_caps=CAP_SENDTARGETS_OFFLOAD)


def compare(transport: str, lines: list[str], **options: Any) -> None:
    theirs, ours = (
        side_by_side.play(programs, transport, lines, **options) for programs in ("debian", "ours")
    )
    differing = []
    for their, our in zip(theirs, ours, strict=True):
        is_leak = their.command.endswith(_LEAKS)
        assert not is_leak or (our.status == 0 and their.status != 0), f"{their}\n{our}"
        same_status = is_leak or their.status == our.status
        if texts(their) != texts(our) or not same_status:
            differing.append(f"{their}\n--- ours\n{our}")
    assert not differing, "\n\n".join(differing)


def texts(answer: side_by_side.Answer) -> tuple[list[str], str]:
    """open-iscsi names several changed ifaces in the order of the directory."""
    lines = answer.out.splitlines()
    return (sorted(lines) if " -o update " in answer.command else lines), answer.err


# What goes wrong.


@pytest.fixture
def card(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Two adapters of the parameter's kind, and iscsiuio. They are unplugged last."""
    with adapter.fakehba(request.param) as found, adapter.iscsiuio():
        yield found


@pytest.fixture
def offload(card: Adapter, idle_lab: Lab) -> Lab:
    """A lab with a daemon whose node record is bound to the second adapter."""
    portal = FIRMWARE_PORTAL
    if card.transport != "qla4xxx":
        lio.create_target(TARGET, ["127.0.0.1:3260"], size_mb=8)
        portal = "127.0.0.1"
    idle_lab.start()
    idle_lab.adm(f"-m discovery -t st -p {portal} -I {card.iface(1)}", 0)
    return idle_lab


ONE_OF_EACH = ("qla4xxx", "be2iscsi")
"""One whose firmware logs in, one that leaves it to us."""
both = pytest.mark.parametrize("card", ONE_OF_EACH, indirect=True)
firmware = pytest.mark.parametrize("card", ["qla4xxx"], indirect=True)
by_us = pytest.mark.parametrize("card", ["be2iscsi"], indirect=True)


def endpoints() -> int:
    """How many connections the drivers have."""
    place = Path("/sys/class/iscsi_endpoint")
    return len([*place.iterdir()]) if place.is_dir() else 0


def until_well(lab: Lab, sid: int) -> None:
    machine.wait_until(
        lambda: lab.state_words(sid) == ("LOGGED IN", "NO CHANGE"), "the session is well",
        pause_s=0.2,
    )  # fmt: skip


def write_pattern(sid: int) -> str:
    """Fill the beginning of the session's disk; a command that reads and compares it."""
    PATTERN.write_bytes(bytes(range(256)) * 4096)
    [disk] = machine.disks(sid)
    done = machine.run(f"dd if={PATTERN} of=/dev/{disk} bs=64k oflag=direct")
    assert done.rc == 0, done
    return f"dd if=/dev/{disk} bs=64k count=16 iflag=direct | cmp - {PATTERN}"


@both
def test_recovery(offload: Lab, card: Adapter) -> None:
    """A lost connection: a new endpoint, the same session and disk, nothing left behind."""
    offload.adm("-m node -l", 0)
    sid = offload.only_session()
    compare_disk = write_pattern(sid)
    for _ in range(2):
        card.ctl(f"connerr {sid}")
        until_well(offload, sid)
        assert machine.run(compare_disk).rc == 0
    assert (offload.only_session(), endpoints()) == (sid, 1)
    offload.adm("-m node -u", 0)
    assert (machine.session_ids(), endpoints()) == ([], 0)


@both
def test_a_new_daemon(offload: Lab, card: Adapter) -> None:
    """It takes the session over as it is, recovers it when it must, and gives the endpoint back."""
    offload.adm("-m node -l", 0)
    sid = offload.only_session()
    compare_disk = write_pattern(sid)
    offload.daemon.kill()
    offload.daemon.start()
    assert offload.state_words(sid) == ("LOGGED IN", "NO CHANGE")
    assert (machine.run(compare_disk).rc, endpoints()) == (0, 1)
    offload.daemon.kill()
    card.ctl(f"connerr {sid}")
    offload.daemon.start()
    until_well(offload, sid)
    assert machine.run(compare_disk).rc == 0
    offload.daemon.stop(signal.SIGTERM)
    offload.daemon.start()
    offload.adm("-m node -u", 0)
    assert (machine.session_ids(), endpoints()) == ([], 0)


@firmware
def test_refused_by_the_firmware(offload: Lab, card: Adapter) -> None:
    """Status 5 and nothing left behind; the next login works."""
    card.set("login_fail", 1)
    done = offload.adm("-m node -l", 5)
    assert "initiator reported error (5 - encountered iSCSI login failure)" in done.err
    assert (machine.session_ids(), endpoints()) == ([], 0)
    offload.adm("-m node -l", 0)


@firmware
def test_credentials_reach_the_firmware(offload: Lab, card: Adapter) -> None:
    """CHAP is the adapter's business; the record's name and secret are what it uses."""
    card.set("chap_user", "alice")
    card.set("chap_pass", "secretsecret1")
    target = f"iqn.2026-11.test:{card.transport}.disk0"
    offload.login(target, 5)
    offload.chap(target, "alice", "secretsecret1")
    offload.login(target)


@by_us
def test_an_endpoint_that_is_refused(offload: Lab, card: Adapter) -> None:
    """It is tried again until the login's time is up."""
    card.set("ep_fail", 2)
    offload.adm("-m node -l", 0)
    offload.adm("-m node -u", 0)
    card.set("ep_fail", 1000)
    offload.short_window(TARGET)
    offload.adm("-m node -l", 8)
    card.set("ep_fail", 0)
    assert (machine.session_ids(), endpoints()) == ([], 0)


@by_us
def test_an_adapter_that_is_not_there(offload: Lab, card: Adapter) -> None:
    """An iface that names another adapter: status 23 when the login's time is up."""
    name, mac = card.iface(1), "02:fa:e0:00:00:99"
    offload.adm(f"-m iface -I {name} -o update -n iface.hwaddress -v {mac}", 0)
    offload.short_window(TARGET)
    offload.adm("-m node -l", 23)


@by_us
def test_data_with_digests(offload: Lab, card: Adapter) -> None:
    """Two sessions on one adapter, each its own disk."""
    digests = {f"node.conn[0].iscsi.{name}Digest": "CRC32C" for name in ("Header", "Data")}
    offload.set(TARGET, digests)
    offload.adm("-m node -l", 0)
    first = offload.only_session()
    assert machine.connection_value(first, "header_digest") == "1"
    compare_disk = write_pattern(first)
    offload.adm(f"-m session -r {first} -o new", 0)
    assert (len(machine.session_ids()), endpoints()) == (2, 2)
    assert machine.run(compare_disk).rc == 0
    offload.adm("-m node -u", 0)


@firmware
def test_sessions_of_the_firmware_itself(offload: Lab, card: Adapter) -> None:
    """iscsid leaves them alone, also when it starts; iscsiadm ends them through the adapter."""
    card.ctl("async 0")
    sid = offload.only_session()
    offload.start()
    assert f"session{sid}" not in offload.daemon.text()
    assert "192.0.2.99:3260,1 iqn.2026-11.test:async (flash)" in offload.adm("-m session", 0).out
    offload.adm("-m session -u", 0)
    assert machine.session_ids() == []


def test_iscsiuio_must_have_the_device_up(idle_lab: Lab) -> None:
    """A login asks it, waits for it and ends with 23; without any iscsiuio it ends with 5."""
    lio.create_target(TARGET, ["127.0.0.1:3260"], size_mb=8)
    with adapter.fakehba("qedi") as card:
        idle_lab.start()
        with adapter.iscsiuio() as log:
            idle_lab.adm(f"-m discovery -t st -p 127.0.0.1 -I {card.iface(1)}", 0)
            idle_lab.short_window(TARGET)
            idle_lab.adm("-m node -l", 0)
            idle_lab.adm("-m node -u", 0)
            assert log.read_text().count("command 1 payload 11720 got 11720") == 2
        with adapter.iscsiuio(INITIALIZING):
            idle_lab.adm("-m node -l", 23)
        idle_lab.adm("-m node -l", 5)
        assert "uIP daemon is not up" in idle_lab.daemon.text()
