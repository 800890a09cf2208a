"""A command's own conversation with the kernel, over a socket pair."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport.control import Control
from pyiscsi.transport.numbers import KEvent, UEvent
from pyiscsi.transport.uevent import Refused, reply_fields
from tests.unit.transport.driver import (
    HANDLE,
    Driver,
    datagram,
    happening,
    multicast,
    refusal,
    reply,
    succeed,
)

DELETE = {"host_no": 3, "idx": 5}
CHAP = {"host_no": 3, "num_entries": 7, "idx": 7}


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver() as made:
        yield made


def ask(driver: Driver, event: UEvent = UEvent.DELETE_CHAP, **fields: int) -> bytes:
    with driver.control() as control:
        return control.request(event, HANDLE, fields or DELETE).payload


def test_request_and_answer(driver: Driver) -> None:
    driver.on[UEvent.NEW_FLASHNODE] = lambda request: [reply(request, struct.pack("=I", 9))]
    with driver.control() as control:
        answer = control.request(
            UEvent.NEW_FLASHNODE, HANDLE, {"host_no": 3, "length": 5}, b"ipv6\0"
        )
        control.request(UEvent.DELETE_CHAP, HANDLE, DELETE)
    assert reply_fields(UEvent.NEW_FLASHNODE, answer) == {"idx": 9}
    assert [(r.event, r.fields, r.payload) for r in driver.requests] == [
        (UEvent.NEW_FLASHNODE, {"host_no": 3, "length": 5}, b"ipv6\0"),
        (UEvent.DELETE_CHAP, DELETE, b""),
    ]


def test_refusal_carries_the_errno(driver: Driver) -> None:
    driver.refuse(UEvent.DELETE_CHAP, errno.EBUSY)
    with pytest.raises(Refused) as raised:
        ask(driver)
    assert raised.value.errno == errno.EBUSY


def test_what_is_not_the_answer_is_passed_over(driver: Driver) -> None:
    """Other processes' answers and events, late answers, and what is no message at all."""
    late: list[bytes] = []

    def noise(request):  # type: ignore[no-untyped-def]
        late.append(reply(request))
        other = bytes([request.body[8] ^ 1])
        return [
            late[0] if len(late) > 1 else happening(KEvent.CONN_ERROR, bytes(12)),
            happening(KEvent.CREATE_SESSION, bytes(8)),
            datagram(request.event, request.body[:8] + other + request.body[9:56]),
            b"\0" * 4,
            datagram(0, b"short"),
            struct.pack("=IHHII", 4, 0, 0, 0, 0),
            refusal(request, errno.ENOENT),
        ]

    driver.on[UEvent.DELETE_CHAP] = noise
    with driver.control() as control:
        for _ in range(2):
            with pytest.raises(Refused) as raised:
                control.request(UEvent.DELETE_CHAP, HANDLE, DELETE)
            assert raised.value.errno == errno.ENOENT


def test_data_arrives_by_multicast(driver: Driver) -> None:
    """The data of another host or another index, asked for by somebody else, is not ours."""
    driver.on[UEvent.GET_CHAP] = lambda request: [
        multicast(request, b"other host", host_no=4),
        multicast(request, b"other index", idx=0),
        multicast(request, b"ours", num_entries=2),
    ]
    assert ask(driver, UEvent.GET_CHAP, **CHAP) == b"ours"


def test_data_can_be_refused(driver: Driver) -> None:
    driver.refuse(UEvent.GET_HOST_STATS, errno.ENOSYS)
    with pytest.raises(Refused):
        ask(driver, UEvent.GET_HOST_STATS, host_no=3)


@pytest.mark.parametrize("answers", [[], [datagram(0, b"x" * 60)]])
def test_no_answer(driver: Driver, answers: list[bytes]) -> None:
    driver.on[UEvent.DELETE_CHAP] = lambda _request: answers
    with driver.control(deadline_s=0.05) as control, pytest.raises(TransportError) as raised:
        control.request(UEvent.DELETE_CHAP, HANDLE, DELETE)
    assert raised.value.exit_code == ExitCode.TRANSPORT_TIMEOUT
    assert str(raised.value) == "kernel did not answer delete_chap in time"


def ended(host_no: int, number: int, status: int) -> bytes:
    return happening(KEvent.PING_COMP, struct.pack("=IIII", host_no, status, number, 0))


def test_waiting_for_an_event(driver: Driver) -> None:
    """That of this host and this ping, not another's."""
    driver.on[UEvent.DELETE_CHAP] = lambda request: [
        *succeed(request),
        ended(4, 77, 1),
        ended(3, 76, 2),
        happening(KEvent.CONN_ERROR, bytes(12)),
        ended(3, 77, 6),
    ]
    with driver.control() as control:
        control.request(UEvent.DELETE_CHAP, HANDLE, DELETE)
        found = control.wait_for(KEvent.PING_COMP, {"host_no": 3, "id": 77}, 30)
    assert found["status"] == 6


def test_an_event_that_does_not_come(driver: Driver) -> None:
    with driver.control() as control, pytest.raises(TransportError) as raised:
        control.wait_for(KEvent.PING_COMP, {"host_no": 3, "id": 77}, 0.05)
    assert raised.value.exit_code == ExitCode.TRANSPORT_TIMEOUT


def test_kernel_that_went_away() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with Control(ours) as control, pytest.raises(TransportError) as raised:
        control.request(UEvent.DELETE_CHAP, HANDLE, DELETE)
    assert str(raised.value) == "can not send to the kernel: Broken pipe"


def test_open_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """No iSCSI in this machine's kernel, as for all unit tests, or not in this namespace."""

    def refused(*_: object) -> None:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr("socket.socket", refused)
    with pytest.raises(TransportError) as raised:
        Control.open()
    assert raised.value.exit_code == ExitCode.INTERNAL
    assert str(raised.value) == (
        "can not create NETLINK_ISCSI socket [Protocol not supported]\nNetlink open failed."
    )
