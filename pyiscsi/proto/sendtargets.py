"""SendTargets: the text exchange and its answer (RFC 7143 §11.10, appendix C)."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.names import ISCSI_PORT, is_discovered_name_valid
from pyiscsi.proto.effects import SendPdu
from pyiscsi.proto.limits import (
    LOGIN_SEGMENT_MAX,
    SENDTARGETS_RESPONSES_MAX,
    SENDTARGETS_TEXT_MAX,
)
from pyiscsi.proto.pdu import RESERVED_TAG, TextRequest, TextResponse, decode, next_serial
from pyiscsi.proto.portals import Portal, parse_target_address
from pyiscsi.proto.text import encode_text, printable

_NAME = "TargetName="
_ADDRESS = "TargetAddress="


@dataclass(slots=True)
class FoundTarget:
    """A target and its portals in the order in which they came."""

    name: str
    portals: list[Portal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TargetsFound:
    """The whole answer. `problems` are lines about what was left out of it."""

    targets: list[FoundTarget]
    problems: list[str]


class _Parser:
    def __init__(self) -> None:
        self._targets: dict[str, FoundTarget] = {}
        self._addressed: set[str] = set()
        self._seen: set[tuple[str, Portal]] = set()
        self._current: FoundTarget | None = None
        self._skipping = False
        self.problems: list[str] = []

    def take(self, text: str) -> None:
        if text.startswith(_NAME):
            self._take_name(text[len(_NAME) :])
        elif text.startswith(_ADDRESS) and self._current:
            self._take_address(text[len(_ADDRESS) :], self._current)
        elif not (text.startswith(_ADDRESS) and self._skipping):
            self.problems.append(f"unexpected SendTargets data: {printable(text)}")

    def _take_name(self, name: str) -> None:
        self._skipping = not is_discovered_name_valid(name)
        if self._skipping:
            self._current = None
            self.problems.append("Discovery TargetName invalid, ignoring")
        else:
            self._current = self._targets.setdefault(name, FoundTarget(name))

    def _take_address(self, text: str, target: FoundTarget) -> None:
        self._addressed.add(target.name)
        try:
            portal = parse_target_address(text)
        except RemoteProtocolError:
            self.problems.append(f"Discovery TargetAddress {printable(text)} invalid, ignoring")
            return
        if (target.name, portal) not in self._seen:
            self._seen.add((target.name, portal))
            target.portals.append(portal)

    def found(self) -> list[FoundTarget]:
        for name, target in self._targets.items():
            if name not in self._addressed:
                target.portals.append(Portal(None, ISCSI_PORT))
        return [target for target in self._targets.values() if target.portals]


def parse_sendtargets(data: bytes) -> TargetsFound:
    """Read a whole SendTargets answer. Never raises: what cannot be used is told in `problems`.

    A target with no TargetAddress at all gets `Portal(None, 3260, -1)`, to be read as the portal
    that was asked; one whose addresses were all refused is left out.
    """
    parser = _Parser()
    for item in data.split(b"\0"):
        if item:
            parser.take(item.decode("utf-8", "surrogateescape"))
    return TargetsFound(parser.found(), parser.problems)


class SendTargetsMachine:
    """Asks for all targets; give it each PDU received until TargetsFound comes out.

    `cmd_sn` and `exp_stat_sn` are the next to use; afterwards they are the next ones again, for a
    Logout. With a tag of None the kernel gives tasks tags of its own. `segment_max` is the
    MaxRecvDataSegmentLength we declared. Raises RemoteProtocolError
    when the peer breaks the protocol or a limit.
    """

    def __init__(
        self,
        *,
        cmd_sn: int = 1,
        exp_stat_sn: int = 0,
        initiator_task_tag: int | None = 1,
        segment_max: int = LOGIN_SEGMENT_MAX,
    ) -> None:
        self.cmd_sn = cmd_sn
        self.exp_stat_sn = exp_stat_sn
        self._tag = initiator_task_tag
        self._segment_max = segment_max
        self._parts: list[bytes] = []
        self._size = 0

    def start(self) -> list[SendPdu | TargetsFound]:
        return [self._request(encode_text([("SendTargets", "All")]), RESERVED_TAG)]

    def handle_pdu(self, header: bytes, data: bytes) -> list[SendPdu | TargetsFound]:
        """Take one answer: the next request, or the result when it was the last."""
        pdu = self._read(header, data)
        self.exp_stat_sn = next_serial(pdu.stat_sn)
        self._parts.append(pdu.data)
        self._size += len(pdu.data)
        if self._size > SENDTARGETS_TEXT_MAX:
            raise RemoteProtocolError(f"a discovery answer is over {SENDTARGETS_TEXT_MAX} bytes")
        if len(self._parts) > SENDTARGETS_RESPONSES_MAX:
            raise RemoteProtocolError("a discovery answer has too many parts")
        # A last response without the F bit is known from targets in the field; its tag shows it.
        last = pdu.final or pdu.target_transfer_tag == RESERVED_TAG
        if last and pdu.cont:
            raise RemoteProtocolError("a discovery answer ends and goes on at once")
        if not last:
            return [self._request(b"", pdu.target_transfer_tag)]
        return [parse_sendtargets(b"".join(self._parts))]

    def _read(self, header: bytes, data: bytes) -> TextResponse:
        pdu = decode(header, data)
        if not isinstance(pdu, TextResponse):
            raise RemoteProtocolError(f"opcode 0x{header[0]:02x} where a text response must come")
        if self._tag is not None and pdu.initiator_task_tag != self._tag:
            raise RemoteProtocolError("the text response answers another task")
        if len(data) > self._segment_max:
            raise RemoteProtocolError(f"a text response has more than {self._segment_max} bytes")
        return pdu

    def _request(self, data: bytes, target_transfer_tag: int) -> SendPdu:
        request = TextRequest(
            final=True,
            initiator_task_tag=self._tag or 0,
            target_transfer_tag=target_transfer_tag,
            cmd_sn=self.cmd_sn,
            exp_stat_sn=self.exp_stat_sn,
            data=data,
        )
        self.cmd_sn = next_serial(self.cmd_sn)
        return SendPdu(*request.encode())
