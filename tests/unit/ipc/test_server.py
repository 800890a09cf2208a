from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from pyiscsi import __version__
from pyiscsi.errors import DaemonError, ExitCode, LoginFailed
from pyiscsi.ipc import messages
from pyiscsi.ipc.server import Limits, Operation
from tests.unit.ipc.harness import echo, raising, running

OPERATIONS = {"echo": Operation(echo)}
SHORT = Limits(hello_s=0.05)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def test_requests_are_answered_by_id(path: str) -> None:
    with running(path, OPERATIONS) as at, at.connect().greet() as peer:
        peer.say(messages.request(5, "echo", {"a": 1}, None))
        assert peer.hear() == {"id": 5, "ok": {"a": 1}}


def test_a_request_may_come_with_the_hello_and_byte_by_byte(path: str) -> None:
    data = messages.encode(messages.hello("t", "0"))
    data += messages.encode(messages.request(1, "echo", {"k": "v"}, None))
    with running(path, OPERATIONS) as at:
        for step in (len(data), 1):
            with at.connect() as peer:
                for start in range(0, len(data), step):
                    peer.send(data[start : start + step])
                greeting = peer.hear()
                assert greeting is not None
                assert "hello" in greeting
                assert peer.hear() == {"id": 1, "ok": {"k": "v"}}


def test_another_uid_gets_access_denied(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """D-003: the answer is error 13 and the end, before anything is read."""
    with running(path, OPERATIONS, allowed_uids=frozenset()) as at, at.connect() as peer:
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["code"] == ExitCode.ACCESS
        assert peer.hear() is None
    assert "Unauthorized user with UID=" in caplog.text


def test_a_hello_of_another_protocol_is_answered_with_both_versions(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """W-28: to the client and in the log."""
    with running(path, OPERATIONS) as at, at.connect() as peer:
        peer.say({"hello": {"protocol": 99, "program": "iscsiadm", "version": "7.7"}})
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["code"] == ExitCode.INVALID_REQUEST
        assert "iscsiadm 7.7" in answer["error"]["text"]
        assert f"iscsid {__version__}" in answer["error"]["text"]
        assert peer.hear() is None
    assert caplog.messages == [answer["error"]["text"]]


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"id":"1","op":"echo"}\n',
        b'{"id":true,"op":"echo"}\n',
        b'{"id":1,"op":3}\n',
        b'{"id":1,"op":"echo","args":[1]}\n',
        b'{"id":1,"op":"echo","timeout":-1}\n',
        b'{"id":1,"op":"echo","timeout":NaN}\n',
        b'{"id":1,"op":"echo","timeout":"5"}\n',
    ],
)
def test_a_bad_line_gets_an_error_and_ends_the_connection(path: str, line: bytes) -> None:
    with running(path, OPERATIONS) as at, at.connect().greet() as peer:
        peer.send(line)
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["code"] in (ExitCode.INVALID_REQUEST, ExitCode.INVALID)
        assert answer["id"] is None
        assert peer.hear() is None


def test_a_line_longer_than_the_limit_ends_the_connection(path: str) -> None:
    limits = Limits(line_bytes=1000)
    with running(path, OPERATIONS, limits=limits) as at, at.connect().greet() as peer:
        peer.send(b"x" * 2000)
        answer = peer.hear()
        assert answer is not None
        assert "longer than 1000 bytes" in answer["error"]["text"]
        assert peer.hear() is None


def test_no_hello_in_time(path: str) -> None:
    with running(path, OPERATIONS, limits=SHORT) as at, at.connect() as peer:
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["text"] == "no hello in time"
        assert peer.hear() is None


def test_half_a_line_ends_its_connection_and_no_other(path: str) -> None:
    """D-007, W-01."""
    limits = Limits(line_s=0.2)
    with (
        running(path, OPERATIONS, limits=limits) as at,
        at.connect().greet() as half,
        at.connect().greet() as whole,
    ):
        half.send(b'{"id": 1, "op"')
        for number in range(20):
            whole.say(messages.request(number, "echo", {"n": number}, None))
            assert whole.hear() == {"id": number, "ok": {"n": number}}
        answer = half.hear()
        assert answer is not None
        assert answer["error"]["text"] == "message was not completed in time"
        assert half.hear() is None


def test_an_idle_client_is_let_go(path: str) -> None:
    limits = Limits(idle_s=0.05)
    with running(path, OPERATIONS, limits=limits) as at, at.connect().greet() as peer:
        assert peer.hear() is None


def test_a_client_that_waits_for_an_answer_is_not_idle(path: str) -> None:
    async def slow(args: dict[str, Any], report: object) -> dict[str, Any]:
        await asyncio.sleep(0.5)
        return {}

    limits = Limits(idle_s=0.2)
    with (
        running(path, {"slow": Operation(slow)}, limits=limits) as at,
        at.connect().greet() as peer,
    ):
        peer.say(messages.request(1, "slow", {}, None))
        assert peer.hear() == {"id": 1, "ok": {}}


def test_requests_of_one_connection_run_concurrently(path: str) -> None:
    arrived = asyncio.Event()

    async def first(args: dict[str, Any], report: object) -> dict[str, Any]:
        await arrived.wait()
        return {"was": "first"}

    async def second(args: dict[str, Any], report: object) -> dict[str, Any]:
        arrived.set()
        return {"was": "second"}

    table = {"first": Operation(first), "second": Operation(second)}
    with running(path, table) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "first", {}, None))
        peer.say(messages.request(2, "second", {}, None))
        answers = [peer.hear(), peer.hear()]
    assert answers == [
        {"id": 2, "ok": {"was": "second"}},
        {"id": 1, "ok": {"was": "first"}},
    ]


def test_more_requests_than_the_limit_wait_their_turn(path: str) -> None:
    running_now = 0
    most = 0

    async def work(args: dict[str, Any], report: object) -> dict[str, Any]:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0)
        running_now -= 1
        return {}

    with (
        running(path, {"work": Operation(work)}, limits=Limits(in_flight=3)) as at,
        at.connect().greet() as peer,
    ):
        for number in range(50):
            peer.say(messages.request(number, "work", {}, None))
        heard = [peer.hear() for _ in range(50)]
    assert {answer["id"] for answer in heard if answer} == set(range(50))
    assert most <= 3


def test_an_id_in_use_ends_the_connection(path: str) -> None:
    async def for_ever(args: dict[str, Any], report: object) -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    with running(path, {"wait": Operation(for_ever)}) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "wait", {}, None))
        peer.say(messages.request(1, "wait", {}, None))
        answer = peer.hear()
        assert answer is not None
        assert "still in progress" in answer["error"]["text"]
        assert peer.hear() is None


def test_progress_comes_before_the_answer(path: str) -> None:
    async def work(args: dict[str, Any], report: Any) -> dict[str, Any]:
        report({"step": 1})
        report({"step": 2})
        return {}

    with running(path, {"work": Operation(work)}) as at, at.connect().greet() as peer:
        peer.say(messages.request(3, "work", {}, None))
        assert peer.hear() == {"id": 3, "event": {"step": 1}}
        assert peer.hear() == {"id": 3, "event": {"step": 2}}
        assert peer.hear() == {"id": 3, "ok": {}}


@pytest.mark.parametrize(
    ("error", "code", "text", "lines"),
    [
        (LoginFailed("refused", 24), 24, "refused", []),
        (DaemonError("x", 4, ("a", "b")), 4, "x", ["a", "b"]),
        (RuntimeError("secret detail"), 9, "internal error", []),
        (TimeoutError("of some socket"), 9, "internal error", []),
    ],
)
def test_errors_become_replies(
    path: str, error: Exception, code: int, text: str, lines: list[str]
) -> None:
    with running(path, {"fail": raising(error)}) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "fail", {}, 30))
        expected = {"code": code, "text": text, "messages": lines}
        assert peer.hear() == {"id": 1, "error": expected}
        peer.say(messages.request(2, "fail", {}, None))
        answer = peer.hear()
        assert answer is not None
        assert answer["id"] == 2


def test_an_unknown_op_is_refused_and_the_connection_goes_on(path: str) -> None:
    with running(path, OPERATIONS) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "no\nsuch", {}, None))
        answer = peer.hear()
        assert answer is not None
        assert answer["error"]["code"] == ExitCode.INVALID_REQUEST
        assert answer["error"]["text"] == (
            f"iscsid {__version__} does not know the request 'no\\nsuch' of test 0"
        )
        peer.say(messages.request(2, "echo", {}, None))
        assert peer.hear() == {"id": 2, "ok": {}}


def test_the_log_of_an_unknown_op_is_one_line(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with running(path, OPERATIONS) as at, at.connect().greet() as peer:
        peer.say(messages.request(1, "a\nb", {}, None))
        peer.hear()
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert lines == ["unknown request: 'a\\nb'"]
