"""What we ask iSNS servers, and how their answers and notices are read."""

import ipaddress
import struct

import pytest

from pyiscsi.errors import ExitCode, IsnsError, RemoteProtocolError
from pyiscsi.proto import isns
from pyiscsi.proto.isns import Entity, FoundPortal, Function, StateChange, Tag
from pyiscsi.proto.isns_pdu import (
    FLAG_CLIENT,
    FLAG_REPLACE,
    FLAG_SERVER,
    Message,
    decode_attributes,
    encode_attributes,
)
from tests.unit.proto import isns_answers
from tests.unit.proto.isns_answers import TWO, message, payload

ME = "iqn.2026-11.test:me"
ONE = "iqn.2026-11.test:one"
NAME = (Tag.ISCSI_NAME, b"iqn.2026-11.test:me\0")
END = (Tag.DELIMITER, b"")
INITIATOR = (Tag.ISCSI_NODE_TYPE, b"\0\0\0\2")
IDENTIFIER = (Tag.ENTITY_IDENTIFIER, b"host\0\0\0\0")
MAPPED = bytes(10) + b"\xff\xff\x0a\0\0\1"
ENTITY = Entity("host", "10.0.0.1", 999, (ME, ONE))


@pytest.mark.parametrize(
    ("request_", "function", "attributes"),
    [
        (
            isns.query_targets(ME, 7), 2,
            [NAME, (33, b"\0\0\0\1"), END, *((n, b"") for n in (32, 33, 16, 17, 48, 49, 50, 51))],
        ),
        (isns.query_entity(ME, "host", 7), 2, [NAME, IDENTIFIER, END, (Tag.ENTITY_PROTOCOL, b"")]),
        (isns.register_node(ME, 7), 1, [NAME, END, NAME, INITIATOR]),
        (
            isns.register_entity(ME, ENTITY, 7), 1,
            [
                NAME, IDENTIFIER, END, IDENTIFIER, (2, b"\0\0\0\2"), (16, MAPPED),
                (17, b"\0\0\3\xe7"), (23, b"\0\0\3\xe7"), NAME, INITIATOR,
                (32, b"iqn.2026-11.test:one\0\0\0\0"), INITIATOR,
            ],
        ),
        (isns.deregister_node(ME, 7), 4, [NAME, END, NAME]),
        (isns.deregister_entity(ME, "host", 7), 4, [NAME, END, IDENTIFIER]),
        (isns.register_for_changes(ME, 7), 5, [NAME, NAME, END, (35, b"\0\0\0\x5c")]),
    ],
)  # fmt: skip
def test_requests(request_, function, attributes):
    """Source, keys, delimiter, values, in the order of RFC 4171 §5.6."""
    assert (request_.function, request_.xid) == (function, 7)
    assert [tuple(one) for one in decode_attributes(request_.payload)] == attributes
    replaces = Tag.SCN_PORT in [tag for tag, _ in attributes]
    assert request_.flags == (FLAG_CLIENT | FLAG_REPLACE if replaces else FLAG_CLIENT)


def test_an_ipv6_address_is_registered_as_it_is():
    entity = Entity("host", "2001:db8::1", 999, (ME,))
    request = isns.register_entity(ME, entity, 7)
    packed = ipaddress.ip_address("2001:db8::1").packed
    assert (16, packed) in [tuple(one) for one in decode_attributes(request.payload)]


def test_what_isnsd_answers():
    found = isns.read_portals(payload(isns_answers.QUERY_ANSWER))
    assert found.portals == [FoundPortal(TWO, "2001:db8::1", 3261, 2)]
    assert found.problems == []
    assert isns.read_registration_period(payload(isns_answers.REGISTRATION_ANSWER)) == 6
    assert isns.has_entity(payload(isns_answers.ENTITY_ANSWER))
    assert isns.read_registration_period(payload(isns_answers.ENTITY_ANSWER)) == 0
    assert not isns.has_entity(encode_attributes([IDENTIFIER, END]))
    request = isns.query_targets(ME, 7)
    answer = message(isns_answers.QUERY_ANSWER)
    assert isns.read_response(request, answer) == payload(isns_answers.QUERY_ANSWER)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (isns.query_targets(ME, 7), ExitCode.ISNS_QUERY),
        (isns.register_node(ME, 7), ExitCode.ISNS_REGISTRATION),
        (isns.deregister_node(ME, 7), ExitCode.ISNS_REGISTRATION),
        (isns.register_for_changes(ME, 7), ExitCode.ISNS_REGISTRATION),
    ],
)
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (1, "Unknown error"), (4, "Unknown iSNS status code 4"), (6, "Source unknown"),
        (9, "No such entry"), (23, "Registration feature not supported"),
        (24, "Unknown iSNS status code 24"), (0xFFFFFFFF, "Unknown iSNS status code 4294967295"),
    ],
)  # fmt: skip
def test_refusals(request_, code, status, text):
    answer = Message(request_.function | 0x8000, 7, struct.pack("!I", status))
    with pytest.raises(IsnsError) as caught:
        isns.read_response(request_, answer)
    assert (caught.value.exit_code, caught.value.status) == (code, status)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "answer",
    [
        Message(0x8002, 8, bytes(4)),
        Message(0x8001, 7, bytes(4)),
        Message(0x0002, 7, bytes(4)),
        Message(0x8002, 7, b""),
        Message(0x8002, 7, bytes(3)),
    ],
)
def test_no_answer_to_this(answer):
    with pytest.raises(RemoteProtocolError):
        isns.read_response(isns.query_targets(ME, 7), answer)


def group(name=ONE, address=MAPPED, port=3260, tag=1):
    """One portal group; None leaves an attribute out, an empty value is NULL."""
    values = [
        (48, None if name is None else name.encode() + b"\0"),
        (49, address),
        (50, port if port is None else struct.pack("!I", port)),
        (51, tag if tag in (None, b"") else struct.pack("!I", tag)),
    ]
    return [(number, value) for number, value in values if value is not None]


def portals(*groups):
    return isns.read_portals(encode_attributes([one for each in groups for one in each]))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (MAPPED, "10.0.0.1"),
        (bytes(12) + b"\x0a\0\0\1", "10.0.0.1"),
        (bytes(15) + b"\1", "::1"),
        (bytes(16), "::"),
        (ipaddress.ip_address("fe80::1").packed, "fe80::1"),
    ],
)
def test_addresses(address, text):
    assert portals(group(address=address)).portals == [FoundPortal(ONE, text, 3260, 1)]


@pytest.mark.parametrize(
    "bad",
    [
        group(name=None), group(address=None), group(port=None), group(tag=None), group(tag=b""),
        group(port=0), group(port=3260 | 1 << 16), group(name=ONE, address=b""),
    ],
)  # fmt: skip
def test_groups_that_lead_nowhere(bad):
    """Left out; the ones around it stay."""
    found = portals(group(tag=1), bad, group(name=TWO, tag=2))
    assert [(one.target, one.tpgt) for one in found.portals] == [(ONE, 1), (TWO, 2)]
    assert found.problems == []


def test_order_and_repetition():
    """As they came, each once; what is not of a portal group is passed over."""
    other = [(32, b"x\0\0\0"), (33, b"\0\0\0\1"), (4711, b"")]
    found = portals(other, group(name=TWO), other, group(), group(name=TWO), group(port=3261))
    keys = [(one.target, one.port) for one in found.portals]
    assert keys == [(TWO, 3260), (ONE, 3260), (ONE, 3261)]


def test_a_tag_has_sixteen_bits():
    assert portals(group(tag=0x12340007)).portals[0].tpgt == 7


@pytest.mark.parametrize("name", ["", "../../etc", "iqn.a b", "iqn.\n", "iqn.ä", "x" * 224])
def test_names_that_are_no_path(name):
    """As open-iscsi does since CVE-2026-44943: that target is left out and told of."""
    found = portals(group(name=name), group())
    assert [one.target for one in found.portals] == [ONE]
    assert found.problems == ["iSNS discovery Target Name invalid: ignoring it"]


@pytest.mark.parametrize(
    "attributes",
    [group(address=bytes(4)), [(50, b"abcdabcd") if n == 50 else (n, v) for n, v in group()]],
)
def test_values_of_the_wrong_size(attributes):
    with pytest.raises(RemoteProtocolError):
        portals(attributes)


def notice(*attributes, function=Function.STATE_CHANGE):
    return Message(function, 3, encode_attributes(attributes), FLAG_SERVER)


TIME = (Tag.TIMESTAMP, bytes(8))
ADDED = (Tag.SCN_BITMAP, struct.pack("!I", 1 << 3))
REMOVED = (Tag.SCN_BITMAP, struct.pack("!I", 1 << 4))
WHO = (Tag.ISCSI_NAME, b"iqn.2026-11.test:one")
DOMAIN = (2065, b"\0\0\0\1")


def test_state_changes():
    """Bitmap and name of each; the domains a management notice names are passed over."""
    change = isns.read_state_change(notice(NAME, TIME, ADDED, WHO, DOMAIN, DOMAIN, REMOVED, WHO))
    assert change == StateChange(ME, ((ONE, 1 << 3), (ONE, 1 << 4)))
    assert [isns.event_names(bits) for _, bits in change.events] == ["added", "removed"]
    assert isns.event_names(1 << 2 | 1 << 3) == "added, updated"
    assert isns.event_names(1) == "changed"


@pytest.mark.parametrize(
    "attributes",
    [
        (), (NAME,), (NAME, TIME), (TIME, NAME, ADDED, WHO), (NAME, TIME, ADDED),
        (NAME, TIME, WHO, ADDED), (NAME, TIME, DOMAIN, ADDED, WHO), (NAME, TIME, ADDED, WHO, WHO),
        (NAME, TIME, ADDED, WHO, REMOVED), (NAME, TIME, (Tag.SCN_BITMAP, b"long long "), WHO),
    ],
)  # fmt: skip
def test_state_changes_that_make_no_sense(attributes):
    with pytest.raises(RemoteProtocolError):
        isns.read_state_change(notice(*attributes))
    answer = isns.answer_notice(notice(*attributes))
    assert (answer.function, answer.xid, answer.payload) == (0x8008, 3, struct.pack("!I", 16))


def test_answers_to_notices():
    """A state change with whom it was for, a status inquiry with all it said (§5.7.5)."""
    answer = isns.answer_notice(notice(NAME, TIME, ADDED, WHO))
    assert (answer.function, answer.xid, answer.flags) == (0x8008, 3, FLAG_CLIENT)
    assert answer.payload == bytes(4) + encode_attributes([NAME])
    inquiry = notice(TIME, IDENTIFIER, (16, MAPPED), (17, bytes(4)), function=0x000D)
    answer = isns.answer_notice(inquiry)
    assert (answer.function, answer.xid) == (0x800D, 3)
    assert answer.payload == bytes(4) + inquiry.payload
    answer = isns.answer_notice(notice(function=0x000E))
    assert (answer.function, answer.payload) == (0x800E, struct.pack("!I", 15))
