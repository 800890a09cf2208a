"""iSNS discovery against a server on loopback that does as it is told."""

import asyncio
import socket
import struct

import pytest

from pyiscsi.discovery.isns import IsnsServer, isns_portals
from pyiscsi.errors import ExitCode, IsnsError
from pyiscsi.proto.isns import query_targets
from pyiscsi.proto.isns_pdu import Message, encode_attributes
from tests.unit.discovery.isns_server import (
    DEREGISTER,
    FOUND,
    GROUPS,
    QUERY,
    REGISTER,
    IsnsScript,
    answer,
    found,
)

ME = "iqn.2026-11.test:me"
UNKNOWN = answer(6)


def discover(script, timeout_s=10.0):
    """Portals as tuples or the error, and the lines reported."""
    lines = []

    async def main():
        async with script:
            server = IsnsServer("127.0.0.1", script.port, timeout_s, timeout_s)
            return await isns_portals(server, ME, lines.append)

    try:
        portals = asyncio.run(main())
    except IsnsError as error:
        return error, lines
    return [(one.target, one.address, one.port, one.tpgt) for one in portals], lines


def failure(script, timeout_s=10.0):
    """Status, exit status and text of the error, and the lines reported."""
    error, lines = discover(script, timeout_s)
    assert isinstance(error, IsnsError)
    return error.status, error.exit_code, str(error), lines


def test_a_known_initiator():
    """One question; nothing is registered."""
    script = IsnsScript(found)
    assert discover(script) == (FOUND, [])
    assert script.functions == [QUERY]
    assert script.sources() == {ME}


def test_an_unknown_initiator_is_registered_for_the_query():
    """D-083: query, registration, the query again, deregistration, each in the initiator's name."""
    script = IsnsScript(UNKNOWN, answer(), found, answer())
    assert discover(script) == (FOUND, [])
    assert script.functions == [QUERY, REGISTER, QUERY, DEREGISTER]
    assert script.sources() == {ME}


def test_a_registration_that_somebody_else_ends():
    """Another iface has our name and was done before us."""
    script = IsnsScript(UNKNOWN, answer(), UNKNOWN, UNKNOWN, answer(), found)
    assert discover(script) == (FOUND, [])
    assert script.functions == [QUERY, REGISTER, QUERY, QUERY, REGISTER, QUERY, DEREGISTER]


def test_a_server_that_never_knows_us():
    script = IsnsScript(*[UNKNOWN, answer(), UNKNOWN] * 2)
    line = "iSNS discovery failed: Source unknown"
    assert failure(script) == (6, ExitCode.ISNS_REGISTRATION, "Source unknown", [line])
    assert script.functions[-1] == DEREGISTER


def test_a_refused_registration():
    """Status 26; there is nothing to deregister."""
    script = IsnsScript(UNKNOWN, answer(8))
    line = f"Could not register {ME} with iSNS server: Source unauthorized."
    assert failure(script) == (8, ExitCode.ISNS_REGISTRATION, "Source unauthorized", [line])
    assert script.functions == [QUERY, REGISTER]


@pytest.mark.parametrize("farewell", [answer(22), lambda _: b"", lambda _: b"nonsense ! !"])
def test_a_failing_deregistration_changes_nothing(farewell):
    """We have the answer."""
    assert discover(IsnsScript(UNKNOWN, answer(), found, farewell)) == (FOUND, [])


def test_deregistered_after_a_failure_too():
    """The second query fails."""
    script = IsnsScript(UNKNOWN, answer(), answer(12))
    assert failure(script) == (12, ExitCode.ISNS_QUERY, "Busy", ["iSNS discovery failed: Busy"])
    assert script.functions == [QUERY, REGISTER, QUERY, DEREGISTER]


@pytest.mark.parametrize(
    ("status", "text"), [(5, "Invalid query"), (8, "Source unauthorized"), (9, "No such entry")]
)
def test_a_refused_query(status, text):
    lines = [f"iSNS discovery failed: {text}"]
    assert failure(IsnsScript(answer(status))) == (status, ExitCode.ISNS_QUERY, text, lines)


def test_nothing_found():
    assert discover(IsnsScript(answer())) == ([], [])


def test_an_answer_of_several_pdus():
    def long(request):
        groups = GROUPS * 1000
        payload = bytes(4) + encode_attributes(groups)
        wire = Message(request.function | 0x8000, request.xid, payload, 0x4000).encode()
        assert len(wire) > 2 * 65536
        return wire

    assert discover(IsnsScript(long)) == (FOUND, [])


def test_truncation_at_every_length():
    """The connection ends within the answer: an error, at every byte; no part of it is used."""
    script = IsnsScript()
    whole = len(found(query_targets(ME, 1)))

    async def main():
        errors = []
        async with script:
            server = IsnsServer("127.0.0.1", script.port)
            for size in range(whole):
                script.say(lambda request, size=size: found(request)[:size], is_last=True)
                try:
                    await isns_portals(server, ME, lambda _: None)
                except IsnsError as error:
                    errors.append(str(error))
        return errors

    assert asyncio.run(main()) == ["the server closed the connection"] * whole


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda _: b"", "the server closed the connection"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "iSNS protocol version 18516 is not known"),
        (lambda r: found(r)[:4] + b"\0\3" + found(r)[6:],
         "an iSNS PDU has no length of whole words"),
        (lambda r: answer()(Message(r.function, r.xid ^ 1)),
         "the iSNS server answers what was not asked"),
        (lambda r: Message(r.function | 0x8000, r.xid).encode(), "an iSNS answer has no status"),
        (answer(0, [(48, b"iqn.x\0"), (49, bytes(4)), (50, bytes(4)), (51, bytes(4))]), None),
        (answer(0, [(48, b"iqn.x\0"), (49, bytes(4)), (50, b"\0\0\0\1"), (51, bytes(4))]),
         "an address in an iSNS message has the wrong size"),
    ],
)  # fmt: skip
def test_answers_that_make_no_sense(reply, reason):
    """Status 25 and the reason; a port that is none is only left out."""
    script = IsnsScript(reply)
    if reason is None:
        assert discover(script) == ([], [])
        return
    lines = [f"iSNS discovery failed: {reason}"]
    assert failure(script) == (0, ExitCode.ISNS_QUERY, reason, lines)


def test_a_cut_attribute():
    def reply(request):
        payload = bytes(4) + struct.pack("!2I", 48, 400) + b"iqn."
        return Message(request.function | 0x8000, request.xid, payload, 0x4000).encode()

    reason = "iSNS attribute 48 is longer than its message"
    lines = [f"iSNS discovery failed: {reason}"]
    assert failure(IsnsScript(reply)) == (0, ExitCode.ISNS_QUERY, reason, lines)


def test_a_bad_name_is_left_out_and_told_of():
    groups = [(48, b"../../etc/passwd\0"), *GROUPS[1:4], *GROUPS[4:]]
    portals, lines = discover(IsnsScript(answer(0, groups)))
    assert portals == FOUND[1:]
    assert lines == ["iSNS discovery Target Name invalid: ignoring it"]


def test_a_silent_server():
    reason = "no answer in 0.2 s"
    lines = [f"iSNS discovery failed: {reason}"]
    assert failure(IsnsScript(lambda _: None), 0.2) == (0, ExitCode.ISNS_QUERY, reason, lines)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "cannot make connection to 127.0.0.1: Connection refused"),
        ("x" * 300, "cannot resolve host name " + "x" * 300 + ": "),
    ],
)
def test_a_server_that_is_not_there(address, reason):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        lines = []
        with pytest.raises(IsnsError) as caught:
            asyncio.run(isns_portals(IsnsServer(address, port), ME, lines.append))
    assert caught.value.exit_code == ExitCode.ISNS_QUERY
    assert str(caught.value).startswith(reason)
    assert lines == [f"iSNS discovery failed: {caught.value}"]
