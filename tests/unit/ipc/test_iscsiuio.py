"""What iscsiuio is asked and what its answers mean, against a stand-in that listens."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.ipc import iscsiuio
from pyiscsi.ipc.iscsiuio import NoAnswer, NotReady

IFACE = {
    "iface.iscsi_ifacename": "card", "iface.net_ifacename": "eth7", "iface.ipaddress": "192.0.2.9",
    "iface.hwaddress": "02:00:00:00:00:01", "iface.transport_name": "bnx2i", "iface.mtu": "9000",
    "iface.vlan_id": "5", "node.name": "iqn.x:y",
}  # fmt: skip
TARGET = struct.pack("=HH4s8x", 2, 0, bytes([192, 0, 2, 1]))


class Iscsiuio:
    """Answers each connection with the next of `answers`; None closes without one."""

    def __init__(self) -> None:
        self.name = f"\0pyiscsi-test-{os.getpid()}"
        self.answers: list[bytes | None] = []
        self.asked: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.name)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = connection.recv(8, socket.MSG_WAITALL)
                if len(head) < 8:
                    return
                (length,) = struct.unpack_from("=I", head, 4)
                self.asked.append(head + connection.recv(length, socket.MSG_WAITALL))
                answer = self.answers.pop(0)
                if answer is not None:
                    connection.sendall(answer)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.name)
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def peer() -> Iterator[Iscsiuio]:
    made = Iscsiuio()
    yield made
    made.close()


def answer(command: int, result: int, status: int = 0) -> bytes:
    return struct.pack("=III", command, result, status)


def text(data: bytes, offset: int) -> bytes:
    return data[8 + offset :].split(b"\0", 1)[0]


def test_device_up(peer: Iscsiuio) -> None:
    """The whole iface record goes along, where iscsiuio looks for its parts."""
    peer.answers.append(answer(1, 4))
    iscsiuio.bring_up(IFACE, peer.name)
    [data] = peer.asked
    assert len(data) == 11728
    assert struct.unpack_from("=II", data) == (1, 11720)
    found = [text(data, offset) for offset in (16, 88, 104, 11172, 11190)]
    wanted = [b"card", b"eth7", b"192.0.2.9", b"02:00:00:00:00:01", b"bnx2i"]
    assert found == wanted
    assert struct.unpack_from("=HxxH", data, 8 + 8386)[0] == 5
    assert struct.unpack_from("=H", data, 8 + 8550) == (9000,)


@pytest.mark.parametrize("result", [0, 1, 2, 3, 5, 99])
def test_device_not_up(peer: Iscsiuio, result: int) -> None:
    peer.answers.append(answer(1, result))
    with pytest.raises(NotReady) as caught:
        iscsiuio.bring_up(IFACE, peer.name)
    assert caught.value.exit_code == ExitCode.AGAIN


def test_ping(peer: Iscsiuio) -> None:
    """Address and size follow the record; the status is the answer's third number."""
    peer.answers += [answer(2, 0), answer(2, 1, 4), answer(2, 5)]
    assert iscsiuio.ping(IFACE, TARGET, 64, peer.name) == 0
    data = peer.asked[0]
    assert struct.unpack_from("=II", data) == (2, 11720 + 128 + 4)
    assert data[8 + 11720 : 8 + 11720 + 16] == TARGET
    assert struct.unpack_from("=i", data, 8 + 11848) == (64,)
    assert iscsiuio.ping(IFACE, TARGET, 64, peer.name) == 4
    with pytest.raises(NotReady):
        iscsiuio.ping(IFACE, TARGET, 64, peer.name)


@pytest.mark.parametrize("data", [None, b"", b"\1\0\0\0", answer(2, 4)])
def test_nonsense(peer: Iscsiuio, data: bytes | None) -> None:
    peer.answers.append(data)
    with pytest.raises(PyIscsiError) as caught:
        iscsiuio.bring_up(IFACE, peer.name)
    assert caught.value.exit_code == ExitCode.GENERIC


def test_silence(peer: Iscsiuio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, and said with open-iscsi's words."""
    monkeypatch.setattr(iscsiuio, "ANSWER_S", 0.05)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{peer.name}-mute")
    listener.listen()
    with listener, pytest.raises(NoAnswer, match="Could not broadcast to uIP after"):
        iscsiuio.bring_up(IFACE, f"{peer.name}-mute")


def test_no_room_for_another_question(peer: Iscsiuio, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and has not taken up those of others yet."""
    monkeypatch.setattr(iscsiuio, "ANSWER_S", 0.05)
    listener, other = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(f"{peer.name}-busy")
    listener.listen(0)
    with listener, other:
        other.connect(f"{peer.name}-busy")
        with pytest.raises(NoAnswer, match="Could not broadcast to uIP after"):
            iscsiuio.bring_up(IFACE, f"{peer.name}-busy")


def test_nobody() -> None:
    with pytest.raises(PyIscsiError, match="uIP daemon is not up") as caught:
        iscsiuio.bring_up(IFACE, "\0pyiscsi-nobody-listens-here")
    assert caught.value.exit_code == ExitCode.DAEMON_NOT_CONNECTED
