"""Every behaviour of a login and of a SendTargets exchange, met by a discovery on loopback.

All at the same time, once: silent targets cost their time-out, which is short here.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from pyiscsi.discovery.connector import TcpConnector
from pyiscsi.discovery.sendtargets import SendTargetsRequest, send_targets
from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.proto.settings import ChapSettings
from tests.target.behaviours import DISCOVERY, LOGIN
from tests.target.manners import CHAP
from tests.target.running import serving
from tests.target.server import Target

PLAYED = [*LOGIN, *DISCOVERY]
SILENCE_S = 3.0
PATIENCE_S = 30.0
"""For targets that answer, so that a busy machine does no harm."""

GIVEN_UP = (ExitCode.FATAL_LOGIN, "")
TRIED_AGAIN = (ExitCode.PDU_TIMEOUT, "(reopen_max) 0 exceeded")
CLOSED = (ExitCode.PDU_TIMEOUT, "Connection to Discovery Address 127.0.0.1")
SILENT = (ExitCode.FATAL_LOGIN, "did not get response PDU")

EXPECTED: dict[str, tuple[int, str] | None] = {
    # status and a part of what is told; None: the discovery succeeds
    **{f"drops-{step}": CLOSED for step in range(1, 5)},
    **{f"silent-{step}": SILENT for step in range(1, 5)},
    **{f"resets-{step}": CLOSED for step in range(1, 5)},
    "closes": CLOSED,
    "late": None,
    "byte-by-byte": None,
    "in-parts": None,
    "endless-parts": (ExitCode.FATAL_LOGIN, "no end after 32 responses"),
    "never-moves-on": (ExitCode.FATAL_LOGIN, "no end after 32 responses"),
    "half-a-pdu": SILENT,
    "http": (ExitCode.FATAL_LOGIN, "over the limit of 8192"),
    "other-pdu": (ExitCode.FATAL_LOGIN, "opcode 0x26"),
    "nop-in-login": (ExitCode.FATAL_LOGIN, "opcode 0x20"),
    "event-in-login": (ExitCode.FATAL_LOGIN, "opcode 0x32"),
    "oversized": (ExitCode.FATAL_LOGIN, "over the limit of 8192"),
    "wrong-tag": (ExitCode.FATAL_LOGIN, "answers another task"),
    "wrong-stage": (ExitCode.FATAL_LOGIN, "stage 1 in the response"),
    "wrong-next-stage": (ExitCode.FATAL_LOGIN, "next stage 1 was not asked for"),
    "wrong-version": (ExitCode.FATAL_LOGIN, "protocol version 3"),
    "same-key-twice": (ExitCode.FATAL_LOGIN, "Same key set more than once"),
    "security-key-late": (ExitCode.FATAL_LOGIN, "AuthMethod is not allowed"),
    "unknown-keys": None,
    "digest-not-offered": (ExitCode.FATAL_LOGIN, "HeaderDigest is answered"),
    "number-out-of-range": (ExitCode.FATAL_LOGIN, "outside 512 to 16777215"),
    "empty-challenge": (ExitCode.FATAL_LOGIN, "CHAP challenge bad"),
    "long-challenge": (ExitCode.FATAL_LOGIN, "CHAP_C is 4002 bytes long"),
    "refuses-credentials": (ExitCode.LOGIN_AUTH_FAILED, "failed to authenticate"),
    "not-found": (ExitCode.FATAL_LOGIN, "(02/03)"),
    "unavailable": (ExitCode.PDU_TIMEOUT, "(03/01)"),
    "unknown-status": (ExitCode.PDU_TIMEOUT, "unknown status class 0x9"),
    "redirect-loop": (ExitCode.FATAL_LOGIN, "redirected more than 5 times"),
    "redirect-nowhere": (ExitCode.FATAL_LOGIN, "no TargetAddress was sent"),
    "redirect-nonsense": (ExitCode.FATAL_LOGIN, "not allowed"),
    "redirect-refused": (ExitCode.PDU_TIMEOUT, "Connection refused"),
    "drops-behind-login": None,
    "drops-text": (ExitCode.PDU_TIMEOUT, "terminating after hangup"),
    "silent-text": (ExitCode.PDU_TIMEOUT, "timed out"),
    "wrong-tag-text": (ExitCode.PDU_TIMEOUT, "answers another task"),
    "oversized-text": (ExitCode.PDU_TIMEOUT, "over the limit of 32768"),
    "other-pdu-text": (ExitCode.PDU_TIMEOUT, "opcode 0x26"),
    "no-logout": None,
    "text-in-parts": None,
    "path-as-name": None,
}


class Outcome:
    """What one discovery came to."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.status = 0
        self.lines: list[str] = []


async def _discover(target: Target) -> Outcome:
    name = target.behaviour.name
    mute = name.startswith("silent") or name == "half-a-pdu"
    request = SendTargetsRequest(
        "127.0.0.1", target.port, "iqn.2026-11.test:initiator", "alias",
        auth=ChapSettings(CHAP.username, CHAP.password), reopen_max=0,
        active_timeout_s=SILENCE_S if mute else PATIENCE_S,
    )  # fmt: skip
    outcome = Outcome()
    try:
        found = await send_targets(
            request,
            connect=TcpConnector(),
            random_bytes=os.urandom,
            report=outcome.lines.append,
        )
    except PyIscsiError as error:
        outcome.status = error.exit_code
    else:
        outcome.names = {each.name for each in found}
    return outcome


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    async def play() -> dict[str, Outcome]:
        async with asyncio.timeout(120), serving(PLAYED) as targets:
            found = await asyncio.gather(*(_discover(target) for target in targets))
        return dict(zip(PLAYED, found, strict=True))

    return asyncio.run(play())


@pytest.mark.parametrize("name", PLAYED)
def test_discovery(name: str, outcomes: dict[str, Outcome]) -> None:
    """D-082: it ends with the status of its cause and says why, or finds all there is."""
    outcome, expected = outcomes[name], EXPECTED[name]
    text = "\n".join(outcome.lines)
    if expected is None:
        assert outcome.status == 0, text
        assert outcome.names == (
            {"iqn.2026-11.test:fine"}
            if name == "path-as-name"
            else {f"iqn.2026-11.test:{each}" for each in PLAYED}
        )
    else:
        assert (outcome.status, expected[1] in text) == (expected[0], True), text


def test_what_is_left_out_is_told(outcomes: dict[str, Outcome]) -> None:
    """D-080: a target that calls itself a path is named on the way out."""
    assert outcomes["path-as-name"].lines == ["Discovery TargetName invalid, ignoring"]
