"""Discovery of targets that are gone, silent, moved or broken: attempts, lines, exit statuses."""

import asyncio
import socket

import pytest

from pyiscsi.discovery.connector import (
    ConnectFailed,
    ConnectTimedOut,
    ResolveFailed,
    TcpConnector,
)
from pyiscsi.errors import ExitCode, LoginFailed, PduTimeout, TransportError
from pyiscsi.proto.pdu import Opcode
from tests.integration.target import ChapPolicy, Faults, Script
from tests.unit.discovery.driving import (
    EXCEEDED,
    FOUND,
    USER,
    discover,
    failed,
)


def test_target_error_is_retried():
    """D-082, D-036: reopen_max + 1 attempts, back-off, 11, the cause kept."""
    outcome = discover(Script(faults=Faults(status={1: (3, 1)})))
    line = "discovery login to 127.0.0.1 rejected: target error (03/01)"
    failed(outcome, ExitCode.PDU_TIMEOUT, line, line, line, EXCEEDED)
    assert outcome.target.connections == 3
    assert outcome.delays == [1, 1]
    assert isinstance(outcome.error.__cause__, LoginFailed)
    assert "service unavailable" in str(outcome.error)


def test_unknown_status_class_is_retried():
    outcome = discover(Script(faults=Faults(status={1: (7, 3)})), reopen_max=0)
    failed(
        outcome,
        ExitCode.PDU_TIMEOUT,
        "discovery login to 127.0.0.1 failed, response with unknown status class 0x7, detail 0x3",
        "connection login retries (reopen_max) 0 exceeded",
    )


def test_closed_during_login():
    """D-082: noticed at once, retried, 11."""
    outcome = discover(Script(faults=Faults(drop_at=1)))
    lines = [
        "Connection to Discovery Address 127.0.0.1 closed",
        "Login I/O error, failed to receive a PDU",
        "retrying discovery login to 127.0.0.1",
    ]
    failed(outcome, ExitCode.PDU_TIMEOUT, *lines * 3, EXCEEDED)


def test_recovers_on_a_later_attempt():
    outcome = discover(Script(faults=Faults(fail_connections=2)))
    assert outcome.targets == FOUND
    assert outcome.delays == [1, 1]


def test_closed_during_text():
    outcome = discover(Script(faults=Faults(drop_at=2)))
    where = f"discovery session to 127.0.0.1:{outcome.target.port}"
    failed(outcome, ExitCode.PDU_TIMEOUT, *[f"{where} terminating after hangup"] * 3, EXCEEDED)
    assert isinstance(outcome.error.__cause__, TransportError)


def test_silence_during_login():
    outcome = discover(Script(faults=Faults(silent_from=1)), active_timeout_s=0.05)
    failed(
        outcome,
        ExitCode.FATAL_LOGIN,
        "Login response timeout. Waited 0.05 seconds and did not get response PDU.",
        "discovery login to 127.0.0.1 failed, giving up 2",
    )


class Mute:
    """A connection that fetches login answers while sending, and then hears nothing more.

    So the short wait of the test cannot end a slow login.
    """

    def __init__(self, connection):
        self._connection = connection
        self._answers = []
        self.peer_address = connection.peer_address

        self.adapt = connection.adapt
        self.log_in_itself = connection.log_in_itself
        self.enter_full_feature = connection.enter_full_feature

    async def send_pdu(self, header, data):
        await self._connection.send_pdu(header, data)
        if header[0] & 0x3F == Opcode.LOGIN_REQUEST:
            self._answers.append(await self._connection.receive())

    async def receive(self):
        if not self._answers:
            await asyncio.Event().wait()
        return self._answers.pop()

    async def close(self):
        await self._connection.close()


def test_silence_during_text():
    """D-082: each attempt is bounded by active_timeout."""

    async def connect(address, port, timeout_s):
        return Mute(await TcpConnector()(address, port, 10))

    outcome = discover(connect=connect, active_timeout_s=0.05)
    line = f"Discovery session to 127.0.0.1:{outcome.target.port} timed out."
    failed(outcome, ExitCode.PDU_TIMEOUT, line, line, line, EXCEEDED)


def test_logout_without_answer_costs_no_result():
    outcome = discover(Script(faults=Faults(drop_at=3)))
    assert outcome.targets == FOUND


BROKEN_LOGIN = {
    "wrong tag": Faults(overrides={1: {"initiator_task_tag": 99}}),
    "wrong stage": Faults(overrides={1: {"csg": 0}}),
    "wrong next stage": Faults(overrides={1: {"nsg": 0}}),
    "version": Faults(overrides={1: {"version_active": 3}}),
    "not iSCSI": Faults(raw={1: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4}),
    "binary": Faults(raw={1: bytes(range(256))}),
    "other PDU": Faults(raw={1: bytes.fromhex("2680") + bytes(46)}),
    "twice the same key": Faults(extra_pairs={1: (("TargetAlias", "a"),)}),
    "security key": Faults(extra_pairs={1: (("AuthMethod", "CHAP"),)}),
    "digest not offered": Faults(extra_pairs={1: (("X-ok", "1"), ("CHAP_A", "5"))}),
}


@pytest.mark.parametrize("faults", BROKEN_LOGIN.values(), ids=BROKEN_LOGIN.keys())
def test_broken_login_answers(faults):
    """D-082: a target that breaks the protocol is not asked again; 19."""
    outcome = discover(Script(faults=faults))
    assert outcome.error.exit_code == ExitCode.FATAL_LOGIN
    first, second = outcome.lines
    assert first.startswith("Login negotiation failed, ")
    assert second == "discovery login to 127.0.0.1 failed, giving up 4"
    assert outcome.target.connections == 1


def test_unknown_keys_do_no_harm():
    """open-iscsi fails at these."""
    extra = (("X-com.example.a", "1"), ("X-com.example.b", "NotUnderstood"))
    assert discover(Script(faults=Faults(extra_pairs={1: extra}))).targets == FOUND


BROKEN_TEXT = {
    "wrong tag": Faults(overrides={2: {"initiator_task_tag": 99}}),
    "final and unfinished": Faults(overrides={2: {"cont": True}}),
    "other PDU": Faults(raw={2: bytes.fromhex("2680") + bytes(46)}),
    "oversize segment": Faults(raw={2: bytes.fromhex("24800000 00ffffff") + bytes(40)}),
}


@pytest.mark.parametrize("faults", BROKEN_TEXT.values(), ids=BROKEN_TEXT.keys())
def test_broken_text_answers(faults):
    """D-082: the connection is given up and the discovery tried again."""
    outcome = discover(Script(faults=faults))
    where = f"discovery session to 127.0.0.1:{outcome.target.port} failed, "
    assert outcome.error.exit_code == ExitCode.PDU_TIMEOUT
    assert len(outcome.lines) == 4
    assert all(line.startswith(where) for line in outcome.lines[:3])


def test_endless_text_is_cut_off(monkeypatch):
    monkeypatch.setattr("pyiscsi.proto.sendtargets.SENDTARGETS_TEXT_MAX", 5000)
    outcome = discover(Script(faults=Faults(endless_text=True)), reopen_max=0)
    assert outcome.error.exit_code == ExitCode.PDU_TIMEOUT
    assert "over 5000 bytes" in outcome.lines[0]


@pytest.mark.parametrize(("detail", "how"), [(1, "temporarily"), (2, "permanently")])
def test_redirect(detail, how):
    """D-081, D-038: followed, told, not counted as an attempt."""
    faults = Faults(redirects=((detail, "127.0.0.1:{port},1"),))
    outcome = discover(Script(faults=faults), reopen_max=0)
    assert outcome.targets == FOUND
    port = outcome.target.port
    assert outcome.lines == [f"discovery login {how} redirected to 127.0.0.1 port {port}"]
    assert outcome.target.connections == 2


class Recorder:
    """A connector that notes where it is sent, and always ends at one port."""

    def __init__(self, failures=()):
        self.asked = []
        self.failures = list(failures)
        self.port = 0

    async def __call__(self, address, port, timeout_s):
        self.asked.append((address, port))
        self.port = self.port or port
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return await TcpConnector()("127.0.0.1", self.port, timeout_s)


@pytest.mark.parametrize(("detail", "third"), [(1, "127.0.0.1"), (2, "10.0.0.9")])
def test_only_a_permanent_redirect_is_remembered(detail, third):
    """D-038: after a failure the saved address is asked; permanence changes it."""
    recorder = Recorder([None, ConnectFailed("10.0.0.9", "No route to host")])
    faults = Faults(redirects=((detail, "10.0.0.9:3261,1"),))
    outcome = discover(Script(faults=faults), connect=recorder)
    assert outcome.targets == FOUND
    assert recorder.asked[1] == ("10.0.0.9", 3261)
    assert recorder.asked[2][0] == third
    assert outcome.lines[1] == "cannot make connection to 10.0.0.9: No route to host"


def test_redirect_loop_ends():
    """D-038: bounded."""
    outcome = discover(Script(faults=Faults(redirect_for_ever=(1, "127.0.0.1:{port},1"))))
    assert outcome.error.exit_code == ExitCode.FATAL_LOGIN
    assert outcome.target.connections == 6
    assert outcome.lines[-1] == "discovery login redirected more than 5 times, giving up"


@pytest.mark.parametrize("address", [None, "a/b", "[::1"])
def test_redirect_without_usable_address(address):
    """D-038."""
    outcome = discover(Script(faults=Faults(redirects=((7, address),))))
    assert outcome.error.exit_code == ExitCode.FATAL_LOGIN
    assert outcome.lines[0].startswith("Login redirection failed, ")
    assert outcome.lines[1] == "discovery login to 127.0.0.1 failed, giving up 6"


def test_refused_connection():
    """D-082, CLI-140: a line for each attempt, then the exhausted one, 11."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        recorder = Recorder()
        recorder.port = unused.getsockname()[1]
        outcome = discover(connect=recorder, reopen_max=5)
    failed(
        outcome,
        ExitCode.PDU_TIMEOUT,
        *["cannot make connection to 127.0.0.1: Connection refused"] * 6,
        "connection login retries (reopen_max) 5 exceeded",
    )
    assert outcome.delays == [1] * 5
    assert isinstance(outcome.error, PduTimeout)
    assert str(outcome.error) == "Connection refused"


def test_connect_timeout():
    recorder = Recorder([ConnectTimedOut("10.0.0.1")])
    outcome = discover(connect=recorder, reopen_max=0)
    failed(
        outcome,
        ExitCode.PDU_TIMEOUT,
        "connect to 10.0.0.1 timed out",
        "connection login retries (reopen_max) 0 exceeded",
    )


def test_unresolvable_portal():
    """D-040, CLI-139: 4 at once, with the resolver's lines."""
    recorder = Recorder([ResolveFailed("nosuch.invalid", "Name or service not known")])
    outcome = discover(connect=recorder, address="nosuch.invalid")
    failed(
        outcome,
        ExitCode.TRANSPORT,
        "Cannot resolve host nosuch.invalid. getaddrinfo error: [Name or service not known]",
        "cannot resolve host name nosuch.invalid",
        "cannot resolve host name nosuch.invalid",
    )
    assert outcome.delays == []


def test_unresolvable_redirect_is_retried():
    recorder = Recorder([None, ResolveFailed("nosuch.invalid", "Name or service not known")])
    faults = Faults(redirects=((1, "nosuch.invalid:3260,1"),))
    outcome = discover(Script(faults=faults), connect=recorder)
    assert outcome.targets == FOUND
    assert "cannot resolve host name nosuch.invalid" in outcome.lines


class Stuck:
    """A connection whose peer takes nothing: the n-th send fails or never ends."""

    peer_address = "10.0.0.1"

    def __init__(self, connection, failing_send, error):
        self._connection = connection
        self.adapt = connection.adapt
        self.log_in_itself = connection.log_in_itself
        self._sends_left = failing_send
        self._error = error

    async def send_pdu(self, header, data):
        self._sends_left -= 1
        if self._sends_left:
            await self._connection.send_pdu(header, data)
        elif self._error:
            raise self._error
        else:
            await asyncio.Event().wait()

    async def receive(self):
        return await self._connection.receive()

    async def close(self):
        await self._connection.close()


@pytest.mark.parametrize("error", [TransportError("Broken pipe"), None])
@pytest.mark.parametrize("failing_send", [1, 2])
def test_target_that_takes_no_more(failing_send, error):
    """D-082: sending is bounded too, by login_timeout first and auth_timeout later."""

    async def connect(address, port, timeout_s):
        return Stuck(await TcpConnector()(address, port, 10), failing_send, error)

    outcome = discover(
        Script(chap=ChapPolicy("user", "secret-secret")),
        connect=connect,
        auth=USER,
        reopen_max=0,
        login_timeout_s=10 if error or failing_send == 2 else 0.05,
        auth_timeout_s=10 if error else 0.05,
    )
    failed(
        outcome,
        ExitCode.PDU_TIMEOUT,
        "Login I/O error, failed to send a PDU",
        "retrying discovery login to 10.0.0.1",
        "connection login retries (reopen_max) 0 exceeded",
    )
