"""Discovery of a real target: tgtd on loopback, with its own control socket."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import time

import pytest

from pyiscsi.discovery.connector import TcpConnector
from pyiscsi.discovery.sendtargets import SendTargetsRequest, send_targets
from pyiscsi.errors import ExitCode, LoginFailed
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.settings import ChapSettings

CONTROL = "77"
PORT = 13260
NAMES = [f"iqn.2026-11.test:tgt{number}" for number in range(1, 4)]

pytestmark = [
    pytest.mark.skipif(shutil.which("tgtd") is None, reason="tgtd (package tgt) is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="tgtd needs root for its control socket"),
]


def tgtadm(*arguments):
    command = ["tgtadm", "-C", CONTROL, "--lld", "iscsi", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def account(user, password, *extra):
    tgtadm("--mode", "account", "--op", "new", "--user", user, "--password", password)
    tgtadm("--mode", "account", "--op", "bind", "--user", user, *extra)


def wait_until_it_answers(daemon):
    deadline = time.monotonic() + 20
    while True:
        if daemon.poll() is not None:
            pytest.skip(f"tgtd does not run here: {daemon.stderr.read().decode()[-200:]}")
        with contextlib.suppress(subprocess.CalledProcessError):
            return tgtadm("--mode", "sys", "--op", "show")
        if time.monotonic() > deadline:
            pytest.fail("tgtd gives no answer")


@pytest.fixture(scope="module")
def tgtd():
    command = ["tgtd", "-f", "-C", CONTROL, "--iscsi", f"portal=127.0.0.1:{PORT}"]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until_it_answers(daemon)
        for number, name in enumerate(NAMES, 1):
            tid = str(number)
            tgtadm("--mode", "target", "--op", "new", "--tid", tid, "--targetname", name)
            tgtadm("--mode", "target", "--op", "bind", "--tid", tid, "--initiator-address", "ALL")
        yield daemon
    finally:
        daemon.kill()
        daemon.communicate()
        for suffix in ("", ".lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/var/run/tgtd/socket.{CONTROL}{suffix}")


def discover(auth=None):
    lines = []
    request = SendTargetsRequest(
        "127.0.0.1", PORT, "iqn.2026-11.test:initiator", auth=auth, reopen_max=0
    )

    async def run():
        async with asyncio.timeout(30):
            return await send_targets(
                request, connect=TcpConnector(), random_bytes=os.urandom, report=lines.append
            )

    found = asyncio.run(run())
    assert lines == []
    return {target.name: target.portals for target in found}


EXPECTED = {name: [Portal("127.0.0.1", PORT, 1)] for name in NAMES}


def test_targets_of_tgtd(tgtd):
    """D-080, CLI-105."""
    assert discover() == EXPECTED


def test_chap_with_tgtd(tgtd):
    """D-081: one-way, mutual, and refused."""
    account("user", "secret-secret")
    assert discover(ChapSettings("user", "secret-secret")) == EXPECTED
    with pytest.raises(LoginFailed) as refused:
        discover(ChapSettings("user", "wrong-secret!"))
    assert refused.value.exit_code == ExitCode.LOGIN_AUTH_FAILED
    with pytest.raises(LoginFailed) as missing:
        discover()
    assert missing.value.exit_code == ExitCode.LOGIN_AUTH_FAILED
    account("target", "other-secret!", "--outgoing")
    mutual = ChapSettings("user", "secret-secret", "target", "other-secret!")
    assert discover(mutual) == EXPECTED
    with pytest.raises(LoginFailed) as false:
        discover(ChapSettings("user", "secret-secret", "target", "another-one!!"))
    assert false.value.exit_code == ExitCode.FATAL_LOGIN
