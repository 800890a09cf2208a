"""Operational negotiation of one login (RFC 7143 §6.2, §13): offers out, answers in."""

from __future__ import annotations

from collections.abc import Sequence

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.effects import Negotiated
from pyiscsi.proto.keys import (
    BY_NAME,
    DEFAULT_SEGMENT_LENGTH,
    INITIATOR_DECLARED,
    IRRELEVANT,
    NOT_UNDERSTOOD,
    RESERVED_ANSWERS,
    SECURITY_KEYS,
    TARGET_DECLARED,
    Key,
    Merge,
    Value,
    agree,
    format_value,
    offered_keys,
    unanswered,
)
from pyiscsi.proto.settings import LoginSettings
from pyiscsi.proto.text import Pair, parse_number, printable

_TPGT_MAX = 65535


class TargetFacts:
    """What the target tells about itself in either stage."""

    def __init__(self) -> None:
        self.portal_group_tag: int | None = None
        self.alias = ""

    def receive(self, name: str, value: str) -> None:
        """Take one of TARGET_DECLARED; TargetAddress outside a redirect changes nothing."""
        if name == "TargetPortalGroupTag":
            self.portal_group_tag = parse_number(name, value, 0, _TPGT_MAX)
        elif name == "TargetAlias":
            self.alias = printable(value)


def refuse_duplicates(pairs: Sequence[Pair]) -> None:
    """RFC 7143 §6.2: a key stands at most once in a message."""
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise RemoteProtocolError(f"{name} stands twice in one answer")
        seen.add(name)


def answer_to_unknown(name: str, value: str) -> list[Pair]:
    """The reply to a key nobody here knows; none to an answer, or two peers would never stop."""
    return [] if value in RESERVED_ANSWERS else [(name, NOT_UNDERSTOOD)]


class OperationalNegotiation:
    """Offers, what came back, and the values that follow.

    `replies` collects what the next request must answer; whoever sends it empties it.
    """

    def __init__(self, settings: LoginSettings, facts: TargetFacts) -> None:
        self._settings = settings
        self._facts = facts
        self._offered: dict[Key, Value] = {k: k.offer(settings) for k in offered_keys(settings)}
        self._agreed: dict[Key, Value] = {}
        self._warnings: list[str] = []
        self.replies: list[Pair] = []

    def offers(self) -> list[Pair]:
        return [(key.name, format_value(value)) for key, value in self._offered.items()]

    def receive(self, pairs: Sequence[Pair]) -> None:
        """Take one whole answer. Raises RemoteProtocolError."""
        refuse_duplicates(pairs)
        for name, value in pairs:
            if name in TARGET_DECLARED:
                self._facts.receive(name, value)
            elif name in SECURITY_KEYS or name in INITIATOR_DECLARED:
                raise RemoteProtocolError(f"{name} is not allowed in this stage")
            elif (key := BY_NAME.get(name)) in self._offered:
                self._agree(key, value)
            elif key:
                self.replies += [] if value in RESERVED_ANSWERS else [(name, IRRELEVANT)]
            else:
                self.replies += answer_to_unknown(name, value)

    def _agree(self, key: Key, text: str) -> None:
        if key in self._agreed:
            raise RemoteProtocolError(f"{key.name} was negotiated twice")
        self._agreed[key] = agree(key, self._offered[key], text)
        if key.merge in (Merge.MINIMUM, Merge.MAXIMUM, Merge.AND, Merge.OR):
            shown = format_value(self._agreed[key])
            if text != shown and text not in RESERVED_ANSWERS:
                self._warnings.append(
                    f"target answered {key.name}={printable(text)}, using {shown}"
                )

    def take_replies(self) -> list[Pair]:
        replies, self.replies = self.replies, []
        return replies

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    def result(self) -> Negotiated:
        """All values in force, by key name. RemoteProtocolError if a silent target's defaults
        contradict what we insist on.
        """
        values = {
            key.name: self._agreed[key] if key in self._agreed else unanswered(key, offer)
            for key, offer in self._offered.items()
            if key.merge is not Merge.DECLARED
        }
        if "MaxBurstLength" in values:
            values["FirstBurstLength"] = min(
                int(values["FirstBurstLength"]), int(values["MaxBurstLength"])
            )
        values.setdefault("HeaderDigest", "None")
        values.setdefault("DataDigest", "None")
        values["MaxRecvDataSegmentLength"] = values.get(
            "InitiatorRecvDataSegmentLength", self._settings.max_recv_data_segment_length
        )
        return values

    def max_xmit_data_segment_length(self) -> int:
        """Bytes we may put into one data segment."""
        limit = self._settings.max_xmit_data_segment_length
        for key, value in self._agreed.items():
            if key.name in ("MaxRecvDataSegmentLength", "TargetRecvDataSegmentLength"):
                declared = int(value)
                return min(declared, limit) if limit else declared
        return min(DEFAULT_SEGMENT_LENGTH, limit) if limit else DEFAULT_SEGMENT_LENGTH
