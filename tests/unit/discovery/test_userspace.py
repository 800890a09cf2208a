"""PDUs over a real socket pair."""

import asyncio
import socket

import pytest

from pyiscsi.errors import RemoteProtocolError, TransportError
from pyiscsi.proto.effects import LoginResult
from pyiscsi.proto.framer import Framer
from pyiscsi.proto.pdu import NopIn, NopOut
from pyiscsi.transport.userspace import ConnectionClosed, UserspaceConnection

PING = NopIn(stat_sn=1, data=b"hello").encode()


def on_pair(scenario):
    """Run `scenario(connection, peer socket)`; both are closed afterwards."""

    async def run():
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        connection = await UserspaceConnection.open(ours)
        try:
            async with asyncio.timeout(10):
                return await scenario(connection, theirs)
        finally:
            theirs.close()
            await connection.close()

    return asyncio.run(run())


def wire(pdu, framer=None):
    return (framer or Framer()).encode(*pdu)


async def send(sock, data):
    await asyncio.get_running_loop().sock_sendall(sock, data)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_receiving_in_pieces(size):
    async def scenario(connection, peer):
        stream = wire(PING) * 3
        for start in range(0, len(stream), size):
            await send(peer, stream[start : start + size])
        return [await connection.receive() for _ in range(3)]

    assert on_pair(scenario) == [PING] * 3


def test_sending_a_segment_larger_than_the_socket_buffer():
    async def scenario(connection, peer):
        request = NopOut(data=b"x" * 2_000_001).encode()
        framer = Framer(3_000_000)
        sending = asyncio.ensure_future(connection.send_pdu(*request))
        while (pdu := framer.next_pdu()) is None:
            framer.feed(await asyncio.get_running_loop().sock_recv(peer, 65536))
        await sending
        return pdu.data == request[1]

    assert on_pair(scenario)


def agreed(**negotiated):
    negotiated["MaxRecvDataSegmentLength"] = 65536
    return LoginResult(negotiated, None, "", 0, 0, 8192)


def test_digests_after_login():
    async def scenario(connection, peer):
        await connection.enter_full_feature(agreed(HeaderDigest="CRC32C", DataDigest="CRC32C"))
        digested = Framer()
        digested.use_digests(header=True, data=True)
        await send(peer, wire(PING, digested))
        assert await connection.receive() == PING
        broken = bytearray(wire(PING, digested))
        broken[-1] ^= 1
        await send(peer, bytes(broken))
        with pytest.raises(RemoteProtocolError):
            await connection.receive()

    on_pair(scenario)


@pytest.mark.parametrize("length", [0, 1, 47, 50])
def test_end_of_stream(length):
    async def scenario(connection, peer):
        await send(peer, wire(PING)[:length])
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed):
            await connection.receive()

    on_pair(scenario)


def test_sending_to_a_closed_peer():
    async def scenario(connection, peer):
        peer.close()
        with pytest.raises(TransportError, match="Broken pipe"):
            await connection.send_pdu(*PING)

    on_pair(scenario)


def test_cancelled_receive_loses_nothing():
    async def scenario(connection, peer):
        stream = wire(PING)
        await send(peer, stream[:20])
        receiving = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await send(peer, stream[20:])
        return await connection.receive()

    assert on_pair(scenario) == PING


def test_too_long_segment():
    async def scenario(connection, peer):
        await send(peer, wire(NopIn(data=b"x" * 8193).encode()))
        with pytest.raises(RemoteProtocolError):
            await connection.receive()

    on_pair(scenario)
