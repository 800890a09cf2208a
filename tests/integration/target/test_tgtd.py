"""Discovery of a real target: tgtd on loopback, with its own control socket."""

import asyncio
import os

import pytest

from pyiscsi.discovery.connector import TcpConnector
from pyiscsi.discovery.sendtargets import SendTargetsRequest, send_targets
from pyiscsi.errors import ExitCode, LoginFailed
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.settings import ChapSettings
from tests.integration import tgtd

NAMES = [f"iqn.2026-11.test:tgt{number}" for number in range(1, 4)]

pytestmark = tgtd.NEEDED


@pytest.fixture(scope="module")
def target():
    with tgtd.running(*NAMES) as running:
        yield running


def expected(target):
    return {name: [Portal("127.0.0.1", target.port, 1)] for name in NAMES}


def account(target, user, password, *extra):
    words = ("--mode", "account", "--op")
    target.adm(*words, "new", "--user", user, "--password", password)
    target.adm(*words, "bind", "--user", user, *extra)


def discover(target, auth=None):
    lines = []
    request = SendTargetsRequest(
        "127.0.0.1", target.port, "iqn.2026-11.test:initiator", auth=auth, reopen_max=0
    )

    async def run():
        async with asyncio.timeout(30):
            return await send_targets(
                request, connect=TcpConnector(), random_bytes=os.urandom, report=lines.append
            )

    found = asyncio.run(run())
    assert lines == []
    return {target.name: target.portals for target in found}


def test_targets_of_tgtd(target):
    """D-080, CLI-105."""
    assert discover(target) == expected(target)


def test_chap_with_tgtd(target):
    """D-081: one-way, mutual, and refused."""
    account(target, "user", "secret-secret")
    assert discover(target, ChapSettings("user", "secret-secret")) == expected(target)
    with pytest.raises(LoginFailed) as refused:
        discover(target, ChapSettings("user", "wrong-secret!"))
    assert refused.value.exit_code == ExitCode.LOGIN_AUTH_FAILED
    with pytest.raises(LoginFailed) as missing:
        discover(target)
    assert missing.value.exit_code == ExitCode.LOGIN_AUTH_FAILED
    account(target, "target", "other-secret!", "--outgoing")
    mutual = ChapSettings("user", "secret-secret", "target", "other-secret!")
    assert discover(target, mutual) == expected(target)
    with pytest.raises(LoginFailed) as false:
        discover(target, ChapSettings("user", "secret-secret", "target", "another-one!!"))
    assert false.value.exit_code == ExitCode.FATAL_LOGIN
