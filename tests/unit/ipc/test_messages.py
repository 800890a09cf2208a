from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import AccessDenied, DaemonError, ExitCode, IpcError, PyIscsiError
from pyiscsi.ipc import messages

TEXTS = st.text(st.characters(exclude_categories=()))


@given(st.dictionaries(TEXTS, TEXTS))
def test_any_text_survives_the_wire(args: dict[str, str]) -> None:
    line = messages.encode(messages.request(1, "login", args, None))
    assert line.count(b"\n") == 1
    assert messages.decode(line)["args"] == args


def test_bytes_that_are_not_utf8_survive() -> None:
    name = b"iqn.\xff\x80".decode("utf-8", "surrogateescape")
    line = messages.encode({"name": name})
    assert messages.decode(line)["name"].encode("utf-8", "surrogateescape") == b"iqn.\xff\x80"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{",
        b"\xff\xfe\n",
        b"[]\n",
        b"1\n",
        b'"hello"\n',
        b"null\n",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
    ],
)
def test_what_is_not_a_message_is_refused(line: bytes) -> None:
    with pytest.raises(messages.Malformed):
        messages.decode(line)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_malformed(line: bytes) -> None:
    with contextlib.suppress(messages.Malformed):
        assert isinstance(messages.decode(line), dict)


def test_hello_of_our_protocol_is_accepted() -> None:
    messages.check_hello(messages.hello("iscsiadm", "9.9"), "iscsid", "0.1")


def test_hello_of_another_protocol_names_both_programs_and_versions() -> None:
    """W-28: mixed releases get an answer instead of hanging."""
    other = {"hello": {"protocol": 2, "program": "iscsiadm", "version": "9.9"}}
    with pytest.raises(IpcError) as caught:
        messages.check_hello(other, "iscsid", "0.1.0")
    assert caught.value.exit_code == ExitCode.INVALID_REQUEST
    for part in ("iscsid 0.1.0", "protocol 1", "iscsiadm 9.9", "protocol 2"):
        assert part in str(caught.value)


def test_an_unprintable_version_does_not_reach_the_terminal() -> None:
    other = {"hello": {"protocol": 2, "program": "\x1b[2J", "version": "x" * 1000}}
    with pytest.raises(IpcError) as caught:
        messages.check_hello(other, "iscsid", "0.1.0")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "message", [{}, {"hello": 1}, {"hello": {}}, {"hello": {"protocol": "1"}}, {"id": 1}]
)
def test_a_first_message_that_is_no_hello(message: dict[str, object]) -> None:
    with pytest.raises(messages.Malformed):
        messages.check_hello(message, "iscsid", "0")


def test_an_error_instead_of_a_hello_is_raised() -> None:
    with pytest.raises(DaemonError) as caught:
        messages.check_hello(messages.error_reply(None, AccessDenied()), "iscsiadm", "0")
    assert caught.value.exit_code == ExitCode.ACCESS
    assert str(caught.value) == "daemon access denied"


@pytest.mark.parametrize(
    "error",
    [
        PyIscsiError("one line", ExitCode.BUSY),
        AccessDenied(),
        DaemonError("refused", 24, ("first", "second")),
        DaemonError("", 21, ()),
    ],
)
def test_errors_arrive_as_they_were_raised(error: PyIscsiError) -> None:
    arrived = messages.error_of(messages.decode(messages.encode(messages.error_reply(7, error))))
    assert (arrived.exit_code, str(arrived)) == (error.exit_code, str(error))
    assert arrived.messages == getattr(error, "messages", ())


@pytest.mark.parametrize(
    "error", [None, 1, [], {}, {"code": 0}, {"code": "x", "messages": 3}, {"code": -1}]
)
def test_a_distorted_error_is_a_communication_error(error: object) -> None:
    assert messages.error_of({"id": 1, "error": error}).exit_code == ExitCode.DAEMON_COMMUNICATION
