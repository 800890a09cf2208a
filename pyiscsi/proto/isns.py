"""What an initiator says to an iSNS server, and what it hears from it (RFC 4171 §5.6, §5.7)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyiscsi.errors import ExitCode, IsnsError, RemoteProtocolError
from pyiscsi.names import is_discovered_name_valid
from pyiscsi.proto.isns_pdu import (
    FLAG_CLIENT,
    FLAG_REPLACE,
    RESPONSE_BIT,
    Attribute,
    Message,
    decode_attributes,
    encode_attributes,
)
from pyiscsi.proto.text import printable


class Function:
    """Requests and notices (§4.1.3)."""

    DEVICE_REGISTER = 0x0001
    DEVICE_QUERY = 0x0002
    DEVICE_DEREGISTER = 0x0004
    SCN_REGISTER = 0x0005
    STATE_CHANGE = 0x0008
    ENTITY_STATUS = 0x000D


class Tag:
    """Attributes we send or look at (§6.1)."""

    DELIMITER = 0
    ENTITY_IDENTIFIER = 1
    ENTITY_PROTOCOL = 2
    TIMESTAMP = 4
    REGISTRATION_PERIOD = 6
    PORTAL_ADDRESS = 16
    PORTAL_PORT = 17
    SCN_PORT = 23
    ISCSI_NAME = 32
    ISCSI_NODE_TYPE = 33
    SCN_BITMAP = 35
    GROUP_ISCSI_NAME = 48
    GROUP_ADDRESS = 49
    GROUP_PORT = 50
    GROUP_TAG = 51


class Status:
    """Answers that are not only shown (§5.4)."""

    SUCCESS = 0
    SOURCE_UNKNOWN = 6
    NO_SUCH_ENTRY = 9
    MESSAGE_NOT_SUPPORTED = 15
    SCN_EVENT_REJECTED = 16


STATUS_TEXTS = (
    "Success", "Unknown error", "Message format error", "Invalid registration", "",
    "Invalid query", "Source unknown", "Source absent", "Source unauthorized", "No such entry",
    "Version not supported", "Internal error", "Busy", "Option not understood", "Invalid update",
    "Message not supported", "SCN event rejected", "SCN registration rejected",
    "Attribute not implemented", "FC domain id not available", "FC domain id not allocated",
    "ESI not available", "Invalid deregistration", "Registration feature not supported",
)  # fmt: skip
"""By status code, in the words of open-isns, which open-iscsi shows."""

NODE_TARGET = 1
NODE_INITIATOR = 2
PROTOCOL_ISCSI = 2
PORT_IS_UDP = 1 << 16

SCN_TARGETS_ONLY = 1 << 6
SCN_EVENTS = {1 << 4: "removed", 1 << 3: "added", 1 << 2: "updated"}
"""Changes of an object (§6.4.4), by their bit."""
SCN_WANTED = SCN_TARGETS_ONLY | sum(SCN_EVENTS)

_WORD = struct.Struct("!I")
_ADDRESS_BYTES = 16
_QUERIED = (
    Tag.ISCSI_NAME, Tag.ISCSI_NODE_TYPE, Tag.PORTAL_ADDRESS, Tag.PORTAL_PORT,
    Tag.GROUP_ISCSI_NAME, Tag.GROUP_ADDRESS, Tag.GROUP_PORT, Tag.GROUP_TAG,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundPortal:
    """A target at one address; `address` is numeric, without brackets."""

    target: str
    address: str
    port: int
    tpgt: int


@dataclass(frozen=True, slots=True)
class PortalsFound:
    """The answer to a query. `problems` are lines about what was left out of it."""

    portals: list[FoundPortal]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Entity:
    """What we register to be told of changes: our nodes, and the TCP port to tell us at."""

    identifier: str
    address: str
    port: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state change notification for our node `destination`: names and event bits of others."""

    destination: str
    events: tuple[tuple[str, int], ...]


# Requests. `source` is the initiator name asking, `xid` the transaction id.


def query_targets(source: str, xid: int) -> Message:
    """Every target the source may see, with its portal groups."""
    keys = [(Tag.ISCSI_NODE_TYPE, _word(NODE_TARGET))]
    return _request(Function.DEVICE_QUERY, xid, source, keys, [(tag, b"") for tag in _QUERIED])


def query_entity(source: str, identifier: str, xid: int) -> Message:
    """Something small about our own entity, which keeps its registration alive (§6.2.6)."""
    keys = [(Tag.ENTITY_IDENTIFIER, _text(identifier))]
    return _request(Function.DEVICE_QUERY, xid, source, keys, [(Tag.ENTITY_PROTOCOL, b"")])


def register_node(source: str, xid: int) -> Message:
    """The source as an initiator, in an entity of the server's making."""
    values = [(Tag.ISCSI_NAME, _text(source)), (Tag.ISCSI_NODE_TYPE, _word(NODE_INITIATOR))]
    return _request(Function.DEVICE_REGISTER, xid, source, (), values)


def register_entity(source: str, entity: Entity, xid: int) -> Message:
    """An entity with one portal and our nodes, in place of an older one of its name."""
    identifier = (Tag.ENTITY_IDENTIFIER, _text(entity.identifier))
    values = [
        identifier,
        (Tag.ENTITY_PROTOCOL, _word(PROTOCOL_ISCSI)),
        (Tag.PORTAL_ADDRESS, _packed(entity.address)),
        (Tag.PORTAL_PORT, _word(entity.port)),
        (Tag.SCN_PORT, _word(entity.port)),
    ]
    for name in entity.nodes:
        values += [(Tag.ISCSI_NAME, _text(name)), (Tag.ISCSI_NODE_TYPE, _word(NODE_INITIATOR))]
    flags = FLAG_CLIENT | FLAG_REPLACE
    return _request(Function.DEVICE_REGISTER, xid, source, [identifier], values, flags)


def register_for_changes(name: str, xid: int) -> Message:
    """Notices about targets for one of our nodes, which is its own source."""
    keys = [(Tag.ISCSI_NAME, _text(name))]
    return _request(Function.SCN_REGISTER, xid, name, keys, [(Tag.SCN_BITMAP, _word(SCN_WANTED))])


def deregister_node(source: str, xid: int) -> Message:
    values = [(Tag.ISCSI_NAME, _text(source))]
    return _request(Function.DEVICE_DEREGISTER, xid, source, (), values)


def deregister_entity(source: str, identifier: str, xid: int) -> Message:
    values = [(Tag.ENTITY_IDENTIFIER, _text(identifier))]
    return _request(Function.DEVICE_DEREGISTER, xid, source, (), values)


def _request(
    function: int,
    xid: int,
    source: str,
    keys: Iterable[tuple[int, bytes]],
    values: Iterable[tuple[int, bytes]],
    flags: int = FLAG_CLIENT,
) -> Message:
    attributes = [(Tag.ISCSI_NAME, _text(source)), *keys, (Tag.DELIMITER, b""), *values]
    return Message(function, xid, encode_attributes(attributes), flags)


def _word(number: int) -> bytes:
    return _WORD.pack(number)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _packed(address: str) -> bytes:
    """An address as IPv6 has it, IPv4 mapped into it (§6.3.1)."""
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


# Answers


def read_response(request: Message, answer: Message) -> bytes:
    """The attributes of a successful answer.

    Raises RemoteProtocolError when it is no answer to the request, IsnsError with the server's
    status otherwise.
    """
    if (answer.function, answer.xid) != (request.function | RESPONSE_BIT, request.xid):
        raise RemoteProtocolError("the iSNS server answers what was not asked")
    if len(answer.payload) < _WORD.size:
        raise RemoteProtocolError("an iSNS answer has no status")
    status = _WORD.unpack_from(answer.payload)[0]
    if status != Status.SUCCESS:
        raise IsnsError(status_text(status), _FAILURES[request.function], status)
    return answer.payload[_WORD.size :]


_FAILURES = {
    Function.DEVICE_QUERY: ExitCode.ISNS_QUERY,
    Function.DEVICE_REGISTER: ExitCode.ISNS_REGISTRATION,
    Function.DEVICE_DEREGISTER: ExitCode.ISNS_REGISTRATION,
    Function.SCN_REGISTER: ExitCode.ISNS_REGISTRATION,
}


def status_text(status: int) -> str:
    known = STATUS_TEXTS[status] if 0 <= status < len(STATUS_TEXTS) else ""
    return known or f"Unknown iSNS status code {status}"


def read_portals(payload: bytes) -> PortalsFound:
    """The portal groups of a query's answer, in their order, each once.

    One that lacks an attribute, has no tag (the target is not to be reached there, §6.5.4) or is
    for UDP is left out. Raises RemoteProtocolError for attributes that cannot be read.
    """
    found: dict[FoundPortal, None] = {}
    problems = []
    for group in _groups(payload):
        name = _string(group[Tag.GROUP_ISCSI_NAME])
        port = _number(group[Tag.GROUP_PORT])
        if not is_discovered_name_valid(name):
            problems.append("iSNS discovery Target Name invalid: ignoring it")
        elif 0 < port < PORT_IS_UDP:
            tag = _number(group[Tag.GROUP_TAG]) & 0xFFFF
            found[FoundPortal(name, _address(group[Tag.GROUP_ADDRESS]), port, tag)] = None
    return PortalsFound([*found], problems)


_GROUP_TAGS = frozenset((Tag.GROUP_ISCSI_NAME, Tag.GROUP_ADDRESS, Tag.GROUP_PORT, Tag.GROUP_TAG))


def _groups(payload: bytes) -> Iterator[dict[int, bytes]]:
    """Values of each complete portal group by tag; one begins with the name of its target."""
    group: dict[int, bytes] = {}
    for tag, value in decode_attributes(payload):
        if tag == Tag.GROUP_ISCSI_NAME:
            group = {}
        if tag not in _GROUP_TAGS or not value or tag in group:
            continue
        group[tag] = value
        if group.keys() == _GROUP_TAGS:
            yield group


def read_registration_period(payload: bytes) -> int:
    """Seconds for which the server keeps us when it hears nothing; 0 when it does not say."""
    for tag, value in decode_attributes(payload):
        if tag == Tag.REGISTRATION_PERIOD and value:
            return _number(value)
    return 0


def has_entity(payload: bytes) -> bool:
    """Whether the answer to query_entity() is about an entity: some servers answer with nothing."""
    return any(tag == Tag.ENTITY_PROTOCOL and value for tag, value in decode_attributes(payload))


def _string(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(value: bytes) -> int:
    if len(value) != _WORD.size:
        raise RemoteProtocolError("a number in an iSNS message has the wrong size")
    return int(_WORD.unpack(value)[0])


def _address(value: bytes) -> str:
    """IPv4 addresses come mapped, from some servers as IPv4-compatible ones."""
    if len(value) != _ADDRESS_BYTES:
        raise RemoteProtocolError("an address in an iSNS message has the wrong size")
    is_compatible = not any(value[:12]) and int.from_bytes(value[12:]) > 1
    if is_compatible or value[:12] == bytes(10) + b"\xff\xff":
        return str(ipaddress.IPv4Address(value[12:]))
    return str(ipaddress.IPv6Address(value))


# Notices


def read_state_change(notice: Message) -> StateChange:
    """Destination, time, then bitmap and name of each change, with domains that do not concern us.

    Raises RemoteProtocolError for any other order.
    """
    attributes = list(decode_attributes(notice.payload))
    if [each.tag for each in attributes[:2]] != [Tag.ISCSI_NAME, Tag.TIMESTAMP]:
        raise RemoteProtocolError("an iSNS state change does not say for whom it is")
    events: list[tuple[str, int]] = []
    bitmap: int | None = None
    for tag, value in attributes[2:]:
        if tag == Tag.SCN_BITMAP:
            bitmap = _number(value)
        elif tag == Tag.ISCSI_NAME and bitmap is not None:
            events.append((printable(_string(value)), bitmap))
            bitmap = None
        elif tag == Tag.ISCSI_NAME or not events:
            raise RemoteProtocolError("an iSNS state change is out of order")
    if bitmap is not None or not events:
        raise RemoteProtocolError("an iSNS state change is not complete")
    return StateChange(printable(_string(attributes[0].value)), tuple(events))


def event_names(bitmap: int) -> str:
    """`removed`, `added, updated`, ... for the bits of an event."""
    return ", ".join(name for bit, name in SCN_EVENTS.items() if bitmap & bit) or "changed"


def answer_notice(notice: Message) -> Message:
    """The response a server waits for (§5.7.5.8, §5.7.5.13); it says so when we cannot use it."""
    status, attributes = Status.MESSAGE_NOT_SUPPORTED, b""
    if notice.function == Function.ENTITY_STATUS:
        status, attributes = Status.SUCCESS, notice.payload
    elif notice.function == Function.STATE_CHANGE:
        try:
            read_state_change(notice)
            destination: Attribute = next(decode_attributes(notice.payload))
            status, attributes = Status.SUCCESS, encode_attributes([destination])
        except RemoteProtocolError:
            status = Status.SCN_EVENT_REJECTED
    payload = _word(status) + attributes
    return Message(notice.function | RESPONSE_BIT, notice.xid, payload, FLAG_CLIENT)
