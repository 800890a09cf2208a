"""Everything the target can do wrong, by name. LOGIN goes wrong before the session is there,
DISCOVERY in its text exchange, SESSION when it is in use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pyiscsi.proto.pdu import (
    AsyncEvent,
    AsyncMessage,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    Reject,
    TextResponse,
)
from tests.integration.target.script import ChapPolicy, Faults, Script
from tests.target import pdus
from tests.target.disk import READS, REPORT_LUNS, SYNCHRONIZE_CACHE, WRITES, sense_data
from tests.target.manners import CHAP, GOOD, LOGIN_STEPS, NO_BURST, Behaviour, Manners
from tests.target.server import DiskConnection

Act = Callable[[DiskConnection], Awaitable[None]]

TAG = 0x70FF
"""A tag that answers no task of the initiator."""
TIME2WAIT_S = 3
ALWAYS = range(1, 1000)
_TEXT_STEP = LOGIN_STEPS + 1
_LUNS_CHANGED = sense_data(6, 0x3F, 0x0E)
_SELF = "127.0.0.1:{port}"


def _with(**faults: Any) -> Manners:
    return Manners(Script(chap=CHAP, answers=NO_BURST, faults=Faults(**faults)))


def _answering(**answers: str) -> Manners:
    return Manners(Script(chap=CHAP, answers={**NO_BURST, **answers}))


def _chap(**policy: Any) -> Manners:
    chap = ChapPolicy(CHAP.username, CHAP.password, **policy)
    return Manners(Script(chap=chap, answers=NO_BURST))


def _bytes(pdu: Any) -> bytes:
    header, data = pdu.encode()
    return bytes(header) + data + bytes(-len(data) % 4)


# Acts: what is done once in full feature phase.


def _send(make: Callable[..., Any], **fields: Any) -> Act:
    async def act(connection: DiskConnection) -> None:
        await connection.send(make, **fields)

    return act


def _send_bytes(data: bytes) -> Act:
    async def act(connection: DiskConnection) -> None:
        await connection.send_bytes(data)

    return act


def _event(event: int, *, then: Act | None = None, **fields: int | bytes) -> Act:
    async def act(connection: DiskConnection) -> None:
        await connection.send(AsyncMessage, event=event, lun=bytes(8), **fields)
        if then is not None:
            await then(connection)

    return act


async def _close(connection: DiskConnection) -> None:
    connection.close()


async def _reset(connection: DiskConnection) -> None:
    connection.reset()


# What is never answered.


def everything(request: Any) -> bool:
    return True


def logout(request: Any) -> bool:
    return isinstance(request, LogoutRequest)


def of_commands(*codes: int) -> Callable[[Any], bool]:
    """SCSI commands whose first byte is one of these, and whatever would abort them."""

    def ignores(request: Any) -> bool:
        if isinstance(request, pdus.ScsiCommand):
            return request.cdb[0] in codes
        return isinstance(request, pdus.TaskRequest)

    return ignores


DATA = of_commands(*READS, *WRITES, SYNCHRONIZE_CACHE)
SCAN = of_commands(REPORT_LUNS)


def _named(table: dict[str, tuple[str, tuple[Manners, ...]]]) -> dict[str, Behaviour]:
    return {name: Behaviour(name, about, plan) for name, (about, plan) in table.items()}


def _steps(
    verb: str, about: str, make: Callable[[int], Manners]
) -> dict[str, tuple[str, tuple[Manners, ...]]]:
    return {
        f"{verb}-{step}": (f"{about} request {step}", (make(step),))
        for step in range(1, LOGIN_STEPS + 1)
    }


_AT_LAST = LOGIN_STEPS
LOGIN = _named(
    {
        **_steps("drops", "closes in place of answering", lambda n: _with(drop_at=n)),
        **_steps("silent", "says nothing any more from", lambda n: _with(silent_from=n)),
        **_steps("resets", "RST in place of answering", lambda n: Manners(reset_at=n)),
        "closes": ("closes what it accepts", (_with(fail_connections=len(ALWAYS)),)),
        "late": ("answers every request half a second late", (Manners(late_s=0.5),)),
        "byte-by-byte": ("sends each byte on its own", (_with(byte_by_byte=True),)),
        "in-parts": (
            "login answers in parts of 30 bytes, joined by the C bit",
            (_with(login_part=30),),
        ),
        "endless-parts": (
            "every login answer has the C bit",
            (_with(overrides={n: {"cont": True, "transit": False} for n in ALWAYS}),),
        ),
        "never-moves-on": (
            "no login answer has the T bit",
            (_with(overrides={n: {"transit": False, "nsg": 0} for n in ALWAYS}),),
        ),
        "half-a-pdu": ("half a login answer, then nothing", (_with(raw={1: bytes(20)}),)),
        "http": (
            "speaks another protocol",
            (_with(raw={1: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4}),),
        ),
        "other-pdu": (
            "a Logout Response answers the login",
            (_with(raw={1: _bytes(LogoutResponse())}),),
        ),
        "nop-in-login": (
            "a NOP-In goes before the login answer",
            (Manners(prefix={1: _bytes(NopIn())}),),
        ),
        "event-in-login": (
            "an asynchronous message goes before the login answer",
            (Manners(prefix={1: _bytes(AsyncMessage(AsyncEvent.LOGOUT_REQUEST))}),),
        ),
        "oversized": (
            "a login answer announces 16 MiB",
            (_with(raw={1: bytes.fromhex("23800000 00ffffff") + bytes(40)}),),
        ),
        "wrong-tag": (
            "a login answer for another task",
            (_with(overrides={1: {"initiator_task_tag": TAG}}),),
        ),
        "wrong-stage": ("a login answer of another stage", (_with(overrides={1: {"csg": 1}}),)),
        "wrong-next-stage": (
            "moves on to where nobody asked to go",
            (_with(overrides={_AT_LAST: {"nsg": 1}}),),
        ),
        "wrong-version": (
            "another protocol version",
            (_with(overrides={_AT_LAST: {"version_active": 3}}),),
        ),
        "same-key-twice": (
            "TargetAlias twice",
            (_with(extra_pairs={1: (("TargetAlias", "a"), ("TargetAlias", "b"))}),),
        ),
        "security-key-late": (
            "AuthMethod among the operational keys",
            (_with(extra_pairs={_AT_LAST: (("AuthMethod", "CHAP"),)}),),
        ),
        "unknown-keys": (
            "keys nobody knows",
            (_with(extra_pairs={_AT_LAST: (("X-com.example", "1"),)}),),
        ),
        "digest-not-offered": (
            "HeaderDigest=SHA3",
            (_answering(HeaderDigest="SHA3"),),
        ),
        "number-out-of-range": (
            "MaxRecvDataSegmentLength=12",
            (_answering(MaxRecvDataSegmentLength="12"),),
        ),
        "empty-challenge": ("CHAP_C without a byte", (_chap(challenge=b""),)),
        "long-challenge": ("CHAP_C of 2000 bytes", (_chap(challenge=bytes(2000)),)),
        "refuses-credentials": ("status 02/01 for the proof", (_with(status={3: (2, 1)}),)),
        "not-found": ("status 02/03", (_with(status={1: (2, 3)}),)),
        "unavailable": ("status 03/01", (_with(status={1: (3, 1)}),)),
        "unknown-status": ("status 09/09", (_with(status={1: (9, 9)}),)),
        "redirect-loop": (
            "sends every login back to itself",
            (_with(redirect_for_ever=(1, _SELF)),),
        ),
        "redirect-nowhere": (
            "a redirection without an address",
            (_with(redirect_for_ever=(1, "")),),
        ),
        "redirect-nonsense": (
            "a redirection to something that is no address",
            (_with(redirect_for_ever=(2, "a/b:c")),),
        ),
        "redirect-refused": (
            "a redirection to where nobody listens",
            (_with(redirect_for_ever=(1, "127.0.0.1:1")),),
        ),
        "drops-behind-login": (
            "the first connection is closed right behind its login",
            (Manners(closes_behind_login=True), GOOD),
        ),
    }
)

DISCOVERY = _named(
    {
        "drops-text": ("closes in place of the list", (_with(drop_at=_TEXT_STEP),)),
        "silent-text": ("never sends the list", (_with(silent_from=_TEXT_STEP),)),
        "wrong-tag-text": (
            "the list answers another task",
            (_with(overrides={_TEXT_STEP: {"initiator_task_tag": TAG}}),),
        ),
        "oversized-text": (
            "a list that announces 16 MiB in one PDU",
            (_with(raw={_TEXT_STEP: bytes.fromhex("24800000 00ffffff") + bytes(40)}),),
        ),
        "other-pdu-text": (
            "a Logout Response in place of the list",
            (_with(raw={_TEXT_STEP: _bytes(LogoutResponse())}),),
        ),
        "no-logout": ("never answers the Logout", (_with(silent_from=_TEXT_STEP + 1),)),
        "text-in-parts": (
            "the list in parts of 20 bytes",
            (Manners(Script(chap=CHAP, text_part=20)),),
        ),
        "path-as-name": (
            "a target whose name is a path, beside a good one",
            (
                Manners(
                    Script(
                        chap=CHAP,
                        text=b"TargetName=../../etc/passwd\0TargetAddress=127.0.0.1:3260,1\0"
                        b"TargetName=iqn.2026-11.test:fine\0TargetAddress=127.0.0.1:3260,1\0",
                    )
                ),
            ),
        ),
    }
)

SESSION = _named(
    {
        "good": ("does everything right", (GOOD,)),
        "event-scsi": (
            "asynchronous event 0: other LUNs",
            (
                Manners(
                    act=_event(
                        AsyncEvent.SCSI_EVENT,
                        data=len(_LUNS_CHANGED).to_bytes(2, "big") + _LUNS_CHANGED,
                    )
                ),
            ),
        ),
        "event-logout": (
            "asynchronous event 1: log out within 7 s",
            (Manners(act=_event(AsyncEvent.LOGOUT_REQUEST, parameter3=7)), GOOD),
        ),
        "event-drop": (
            "asynchronous event 2, then the connection is closed",
            (
                Manners(
                    act=_event(AsyncEvent.DROP_CONNECTION, parameter2=TIME2WAIT_S, then=_close)
                ),
                GOOD,
            ),
        ),
        "event-drop-all": (
            "asynchronous event 3, then the connection is closed",
            (
                Manners(
                    act=_event(AsyncEvent.DROP_ALL_CONNECTIONS, parameter2=TIME2WAIT_S, then=_close)
                ),
                GOOD,
            ),
        ),
        "event-renegotiate": (
            "asynchronous event 4",
            (Manners(act=_event(AsyncEvent.RENEGOTIATE, parameter3=5)), GOOD),
        ),
        "event-vendor": ("asynchronous event 255", (Manners(act=_event(AsyncEvent.VENDOR)),)),
        "event-unknown": ("asynchronous event 77", (Manners(act=_event(77)),)),
        "nop-in": (
            "a NOP-In that wants an answer",
            (Manners(act=_send(NopIn, target_transfer_tag=TAG)),),
        ),
        "nop-in-untagged": ("a NOP-In that wants none", (Manners(act=_send(NopIn)),)),
        "nop-in-stray": (
            "a NOP-In that answers no NOP-Out",
            (Manners(act=_send(NopIn, initiator_task_tag=TAG)), GOOD),
        ),
        "logout-stray": (
            "a Logout Response that nobody asked for",
            (Manners(act=_send(LogoutResponse, initiator_task_tag=TAG)), GOOD),
        ),
        "text-stray": (
            "a Text Response that nobody asked for",
            (Manners(act=_send(TextResponse, final=True, initiator_task_tag=TAG)), GOOD),
        ),
        "reject-stray": (
            "a Reject of a PDU that was never sent",
            (Manners(act=_send(Reject, reason=4, data=bytes(48))),),
        ),
        "unknown-opcode": (
            "a PDU of an opcode that does not exist",
            (Manners(act=_send_bytes(b"\x3c" + bytes(47))), GOOD),
        ),
        "oversized-pdu": (
            "a data segment longer than we declared to take",
            (Manners(act=_send_bytes(bytes.fromhex("25800000 00ffffff") + bytes(40))), GOOD),
        ),
        "half-a-header": (
            "half a header, then nothing",
            (Manners(act=_send_bytes(b"\x20" + bytes(19)), ignores=everything), GOOD),
        ),
        "bad-header-digest": (
            "a header whose CRC32C is wrong",
            (
                Manners(
                    Script(chap=CHAP, answers=NO_BURST, digests=("CRC32C", "None")),
                    act=_send_bytes(_bytes(NopIn()) + b"abcd"),
                ),
                GOOD,
            ),
        ),
        "closed": ("closes the connection", (Manners(act=_close), GOOD)),
        "reset": ("resets the connection", (Manners(act=_reset), GOOD)),
        "silent": ("answers nothing any more", (Manners(ignores=everything), GOOD)),
        "wrong-tag-io": (
            "SCSI responses of another task",
            (Manners(damage={"initiator_task_tag": TAG}), GOOD),
        ),
        "back-refused": (
            "closes, then refuses the first new login",
            (Manners(act=_close), _with(status={1: (2, 1)}), GOOD),
        ),
        "back-looping": (
            "closes, then redirects to itself for a while",
            (Manners(act=_close), *[_with(redirect_for_ever=(1, _SELF))] * 6, GOOD),
        ),
        "back-silent": (
            "closes, then says nothing in the first new login",
            (Manners(act=_close), _with(silent_from=2), GOOD),
        ),
        "no-logout-answer": ("takes the Logout and says nothing", (Manners(ignores=logout),)),
        "event-logout-silent": (
            "asynchronous event 1, and no answer to the Logout",
            (Manners(act=_event(AsyncEvent.LOGOUT_REQUEST, parameter3=7), ignores=logout),),
        ),
        "no-data": ("never answers a read or write", (Manners(ignores=DATA),)),
        "no-luns": ("never answers REPORT LUNS", (Manners(ignores=SCAN),)),
    }
)

BEHAVIOURS = {**LOGIN, **DISCOVERY, **SESSION}
