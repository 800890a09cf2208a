"""One discovery against the scripted target, and what came of it."""

import asyncio
import os

from pyiscsi.discovery.connector import TcpConnector
from pyiscsi.discovery.sendtargets import SendTargetsRequest, send_targets
from pyiscsi.errors import PyIscsiError
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.sendtargets import FoundTarget
from pyiscsi.proto.settings import ChapSettings
from tests.integration.target import ScriptedTarget

ONE = "iqn.2026-11.test:one"
USER = ChapSettings("user", "secret-secret")
EXCEEDED = "connection login retries (reopen_max) 2 exceeded"


class Outcome:
    """What one discovery gave: targets or error, lines, delays slept, and the target."""

    def __init__(self):
        self.targets = None
        self.error = None
        self.lines = []
        self.delays = []
        self.target = None

    async def sleep(self, delay_s):
        self.delays.append(delay_s)


def discover(script=None, *, connect=None, address="127.0.0.1", **settings):
    """One discovery with two retries at the most, unless `settings` say otherwise."""
    outcome = Outcome()
    settings = {"reopen_max": 2} | settings

    async def run():
        async with asyncio.timeout(30), ScriptedTarget(script) as target:
            outcome.target = target
            request = SendTargetsRequest(address, target.port, "iqn.me", "alias", **settings)
            try:
                outcome.targets = await send_targets(
                    request,
                    connect=connect or TcpConnector(),
                    random_bytes=os.urandom,
                    report=outcome.lines.append,
                    sleep=outcome.sleep,
                )
            except PyIscsiError as error:
                outcome.error = error
            await target.wait_for_ends(target.connections)

    asyncio.run(run())
    return outcome


def failed(outcome, code, *lines):
    assert outcome.targets is None
    assert outcome.lines == list(lines)
    assert outcome.error.exit_code == code


FOUND = [FoundTarget(ONE, [Portal("127.0.0.1", 3260, 1)])]
