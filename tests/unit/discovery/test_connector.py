"""How connecting fails, and what is said about it."""

import asyncio
import socket

import pytest

from pyiscsi.discovery.connector import (
    ConnectFailed,
    ConnectTimedOut,
    ResolveFailed,
    TcpConnector,
)
from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport import tcp


def connect(address, port, connector=None):
    async def run():
        connection = await (connector or TcpConnector())(address, port, 10)
        peer = connection.peer_address
        await connection.close()
        return peer

    return asyncio.run(run())


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_connected(address, listening):
    assert connect(address, listening) == "127.0.0.1"


def test_refused(refused):
    with pytest.raises(ConnectFailed, match="Connection refused") as caught:
        connect("127.0.0.1", refused)
    assert caught.value.address == "127.0.0.1"
    assert caught.value.exit_code == ExitCode.TRANSPORT


def failing_resolver(text):
    async def resolve(host, port, timeout_s):
        raise TransportError(text)

    return resolve


def test_unresolvable(monkeypatch):
    monkeypatch.setattr(tcp, "resolve", failing_resolver("Name or service not known"))
    with pytest.raises(ResolveFailed, match="Name or service not known") as caught:
        connect("nosuch.invalid", 3260)
    assert caught.value.host == "nosuch.invalid"
    assert caught.value.exit_code == ExitCode.TRANSPORT


def test_timed_out(monkeypatch):
    async def never(addresses, port, **options):
        raise TransportError("Connection timed out", ExitCode.TRANSPORT_TIMEOUT)

    monkeypatch.setattr(tcp, "connect", never)
    with pytest.raises(ConnectTimedOut) as caught:
        connect("192.0.2.1", 3260)
    assert caught.value.address == "192.0.2.1"
    assert caught.value.exit_code == ExitCode.TRANSPORT_TIMEOUT
