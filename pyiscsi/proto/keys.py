"""The text keys of login: one row each, and the functions that agree on a value.

The rows stand in the order in which they are offered (open-iscsi usr/login.c,
fill_op_params_text); columns are those of RFC 7143 §13 and RFC 7145 §6. Everything that needs to
know something about a key looks it up here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.settings import LoginSettings
from pyiscsi.proto.text import parse_number

Value = str | int | bool
IRRELEVANT = "Irrelevant"
NOT_UNDERSTOOD = "NotUnderstood"
REJECT = "Reject"
RESERVED_ANSWERS = frozenset({IRRELEVANT, NOT_UNDERSTOOD, REJECT})
"""Values that answer any key (RFC 7143 §6.2)."""

LENGTH_MIN = 512
LENGTH_MAX = 2**24 - 1
DEFAULT_SEGMENT_LENGTH = 8192


class Kind(enum.Enum):
    BOOLEAN = "boolean"
    NUMBER = "number"
    LIST = "list"
    TEXT = "text"


class Merge(enum.Enum):
    """How the value in force follows from the offer and the answer (RFC 7143 §6.2)."""

    MINIMUM = "min"
    MAXIMUM = "max"
    AND = "and"
    OR = "or"
    CHOICE = "answer must be in the offered list"
    EXACT = "answer must equal the offer"
    DECLARED = "each side declares its own"
    IGNORED = "obsolete, whatever is answered"


class Use(enum.Flag):
    """Sessions in which a key is offered."""

    DISCOVERY = enum.auto()
    NORMAL_TCP = enum.auto()
    NORMAL_RDMA = enum.auto()


class Scope(enum.Enum):
    """RFC 7143 §13: initialize-only, leading-only, session-wide, connection."""

    IO = "IO"
    LO = "LO"
    SW = "SW"
    CO = "CO"


@dataclass(frozen=True, slots=True)
class Key:
    """A negotiated key. `offer` says what we send; `default` holds when nobody mentions the key."""

    name: str
    kind: Kind
    merge: Merge
    scope: Scope
    use: Use
    default: Value
    offer: Callable[[LoginSettings], Value]
    low: int = 0
    high: int = 0


_NORMAL = Use.NORMAL_TCP | Use.NORMAL_RDMA
_ALL = _NORMAL | Use.DISCOVERY
_TCP = Use.NORMAL_TCP | Use.DISCOVERY


def _constant(value: Value) -> Callable[[LoginSettings], Value]:
    return lambda _settings: value


# fmt: off
KEYS = (
    Key("HeaderDigest", Kind.LIST, Merge.CHOICE, Scope.IO, _TCP, "None",
        lambda s: s.header_digest),
    Key("DataDigest", Kind.LIST, Merge.CHOICE, Scope.IO, _TCP, "None",
        lambda s: s.data_digest),
    Key("DefaultTime2Wait", Kind.NUMBER, Merge.MAXIMUM, Scope.LO, _ALL, 2,
        lambda s: s.default_time2wait, 0, 3600),
    Key("DefaultTime2Retain", Kind.NUMBER, Merge.MINIMUM, Scope.LO, _ALL, 20,
        lambda s: s.default_time2retain, 0, 3600),
    Key("IFMarker", Kind.BOOLEAN, Merge.IGNORED, Scope.CO, _ALL, False, _constant(False)),
    Key("OFMarker", Kind.BOOLEAN, Merge.IGNORED, Scope.CO, _ALL, False, _constant(False)),
    Key("ErrorRecoveryLevel", Kind.NUMBER, Merge.EXACT, Scope.LO, _ALL, 0, _constant(0), 0, 2),
    Key("InitialR2T", Kind.BOOLEAN, Merge.OR, Scope.LO, _NORMAL, True,
        lambda s: s.initial_r2t),
    Key("ImmediateData", Kind.BOOLEAN, Merge.AND, Scope.LO, _NORMAL, True,
        lambda s: s.immediate_data),
    Key("MaxBurstLength", Kind.NUMBER, Merge.MINIMUM, Scope.LO, _NORMAL, 262144,
        lambda s: s.max_burst_length, LENGTH_MIN, LENGTH_MAX),
    Key("FirstBurstLength", Kind.NUMBER, Merge.MINIMUM, Scope.LO, _NORMAL, 65536,
        lambda s: s.first_burst_length, LENGTH_MIN, LENGTH_MAX),
    Key("MaxOutstandingR2T", Kind.NUMBER, Merge.MINIMUM, Scope.LO, _NORMAL, 1,
        lambda s: s.max_outstanding_r2t, 1, 65535),
    Key("MaxConnections", Kind.NUMBER, Merge.EXACT, Scope.LO, _NORMAL, 1, _constant(1), 1, 65535),
    Key("DataPDUInOrder", Kind.BOOLEAN, Merge.OR, Scope.LO, _NORMAL, True, _constant(True)),
    Key("DataSequenceInOrder", Kind.BOOLEAN, Merge.OR, Scope.LO, _NORMAL, True, _constant(True)),
    Key("MaxRecvDataSegmentLength", Kind.NUMBER, Merge.DECLARED, Scope.CO, _TCP,
        DEFAULT_SEGMENT_LENGTH, lambda s: s.max_recv_data_segment_length, LENGTH_MIN, LENGTH_MAX),
    Key("InitiatorRecvDataSegmentLength", Kind.NUMBER, Merge.MINIMUM, Scope.IO, Use.NORMAL_RDMA,
        DEFAULT_SEGMENT_LENGTH, lambda s: s.max_recv_data_segment_length, LENGTH_MIN, LENGTH_MAX),
    Key("TargetRecvDataSegmentLength", Kind.NUMBER, Merge.MINIMUM, Scope.IO, Use.NORMAL_RDMA,
        DEFAULT_SEGMENT_LENGTH,
        lambda s: s.max_xmit_data_segment_length or DEFAULT_SEGMENT_LENGTH,
        LENGTH_MIN, LENGTH_MAX),
    Key("RDMAExtensions", Kind.BOOLEAN, Merge.EXACT, Scope.LO, Use.NORMAL_RDMA, False,
        _constant(True)),
)
# fmt: on

BY_NAME = {key.name: key for key in KEYS}

SECURITY_KEYS = frozenset({"AuthMethod", "CHAP_A", "CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"})
"""Keys allowed only in the security stage (RFC 7143 §12)."""

TARGET_DECLARED = frozenset({"TargetAlias", "TargetAddress", "TargetPortalGroupTag"})
"""What a target may tell at any time during login (RFC 7143 §13)."""

INITIATOR_DECLARED = frozenset({"InitiatorName", "InitiatorAlias", "TargetName", "SessionType"})
"""What only the initiator says in a login; a target that sends one is broken."""


def offered_keys(settings: LoginSettings) -> list[Key]:
    """The keys this login offers, in order."""
    if settings.discovery:
        use = Use.DISCOVERY
    else:
        use = Use.NORMAL_RDMA if settings.rdma else Use.NORMAL_TCP
    return [key for key in KEYS if use & key.use]


def format_value(value: Value) -> str:
    """A value as it stands in a PDU."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(value)


def _lesser(offered: Value, answered: Value) -> Value:
    return min(int(offered), int(answered))


def _greater(offered: Value, answered: Value) -> Value:
    return max(int(offered), int(answered))


def _both(offered: Value, answered: Value) -> Value:
    return bool(offered) and bool(answered)


def _either(offered: Value, answered: Value) -> Value:
    return bool(offered) or bool(answered)


_RESULTS: dict[Merge, Callable[[Value, Value], Value]] = {
    Merge.MINIMUM: _lesser,
    Merge.MAXIMUM: _greater,
    Merge.AND: _both,
    Merge.OR: _either,
    Merge.DECLARED: lambda _offered, answered: answered,
    Merge.IGNORED: lambda offered, _answered: offered,
}


def _read(key: Key, text: str) -> Value:
    if key.kind is Kind.NUMBER:
        return parse_number(key.name, text, key.low, key.high)
    if key.kind is Kind.BOOLEAN:
        if text not in ("Yes", "No"):
            raise RemoteProtocolError(f"{key.name} is neither Yes nor No")
        return text == "Yes"
    return text


def result(key: Key, offered: Value, answered: Value) -> Value:
    """The value in force. RemoteProtocolError when the answer is none of what was offered."""
    if key.merge is Merge.CHOICE:
        if answered not in str(offered).split(","):
            raise RemoteProtocolError(f"{key.name} is answered with a value that was not offered")
        return answered
    if key.merge is Merge.EXACT:
        if answered != offered:
            raise RemoteProtocolError(f"{key.name} must be {format_value(offered)}")
        return offered
    return _RESULTS[key.merge](offered, answered)


def agree(key: Key, offered: Value, text: str) -> Value:
    """The value in force after the target answered `text` to our offer.

    Irrelevant leaves the offer; NotUnderstood means the target uses the default; Reject ends the
    login. An answer beyond the offer is brought back by the result function, since a side that
    can do more can do less. Raises RemoteProtocolError.
    """
    if key.merge is Merge.IGNORED:
        return offered
    if text == REJECT:
        raise RemoteProtocolError(f"{key.name} was rejected")
    if text == IRRELEVANT and key.merge not in (Merge.CHOICE, Merge.EXACT):
        return offered
    if text in (NOT_UNDERSTOOD, IRRELEVANT):
        return unanswered(key, offered)
    return result(key, offered, _read(key, text))


def unanswered(key: Key, offered: Value) -> Value:
    """The value in force when the target says nothing about an offered key: it uses the default."""
    return result(key, offered, key.default)
