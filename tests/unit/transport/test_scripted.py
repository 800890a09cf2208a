"""The Transport double keeps the kernel's rules that session logic depends on."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable

import pytest

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport.base import (
    ConnectionFailed,
    EventsLost,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    StopFlag,
    Transport,
)
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.operations import KernelTransport
from pyiscsi.transport.scripted import Call, ScriptedKernel, ScriptedTransport
from pyiscsi.transport.uevent import Refused


def _as_transport(transport: Transport) -> Transport:
    """mypy checks here that both are what base.py promises."""
    return transport


async def errno_of(operation: Awaitable[object]) -> int:
    with pytest.raises(Refused) as refused:
        await operation
    return refused.value.errno


def answer(transport: ScriptedTransport, call: Call) -> None:
    transport.reply_pdu(1, b"answer to " + bytes(call.arguments["header"]))  # type: ignore[call-overload]


def test_one_session() -> None:
    async def main() -> None:
        transport = ScriptedTransport(peer=answer)
        _as_transport(transport)
        with socket.socket() as sock:
            created = await transport.create_session(initial_cmdsn=0, cmds_max=1, queue_depth=1)
            assert created == (1, 0)
            await transport.create_conn(1, 0)
            await transport.bind_conn(1, 0, sock, leading=True)
            await transport.set_params(1, 0, [(15, "target")])
            await transport.set_host_params(0, [(2, "lo")])
            await transport.send_pdu(1, 0, b"login", b"")
            await transport.start_conn(1, 0)
            queue = transport.subscribe(1)
            assert await queue.get() == PduReceived(1, 0, b"answer to login", b"")
            assert await transport.get_stats(1, 0) == transport.statistics
            await transport.unbind_session(1)
            assert await queue.get() == SessionUnbound(1)
            await transport.stop_conn(1, 0, StopFlag.TERMINATE)
            await transport.destroy_conn(1, 0)
            await transport.destroy_session(1)
            assert await queue.get() == SessionDestroyed(1)
        assert transport.params == {(1, 0): {15: "target"}}
        assert transport.host_params == {0: {2: "lo"}}
        assert transport.operations(sid=1)[:2] == ["create_conn", "bind_conn"]
        assert transport.calls[0] == Call(
            "create_session", {"initial_cmdsn": 0, "cmds_max": 1, "queue_depth": 1}
        )

    asyncio.run(main())


async def bound(transport: ScriptedTransport, sock: socket.socket) -> None:
    await transport.create_session(initial_cmdsn=0, cmds_max=1, queue_depth=1)
    await transport.create_conn(1, 0)
    await transport.bind_conn(1, 0, sock, leading=True)


def test_kernel_rules() -> None:
    """D-022: after an error nothing but STOP_CONN helps."""

    async def main() -> None:
        transport = ScriptedTransport()
        with socket.socket() as sock:
            assert await errno_of(transport.bind_conn(1, 0, sock, leading=True)) == errno.EINVAL
            await bound(transport, sock)
            assert await errno_of(transport.create_conn(1, 0)) == errno.EEXIST
            assert await errno_of(transport.destroy_session(1)) == errno.EBUSY
            transport.emit(ConnectionFailed(1, 0, 1011))
            for operation in (
                transport.bind_conn(1, 0, sock, leading=True),
                transport.set_params(1, 0, [(15, "x")]),
                transport.start_conn(1, 0),
                transport.send_pdu(1, 0, b"", b""),
            ):
                assert await errno_of(operation) == errno.ENOTCONN
            await transport.stop_conn(1, 0, StopFlag.RECOVER)
            await transport.bind_conn(1, 0, sock, leading=True)
            assert await transport.subscribe(1).get() == ConnectionFailed(1, 0, 1011)

    asyncio.run(main())


def test_rules_of_a_test() -> None:
    async def main() -> None:
        transport = ScriptedTransport()
        gate = asyncio.Event()
        transport.when("set_param", match={"param": 30}, error=Refused("x", errno.ENOSYS))
        transport.when("start_conn", gate=gate, events=(ConnectionFailed(1, 0, 1020),))
        with socket.socket() as sock:
            await bound(transport, sock)
            assert await transport.set_params(1, 0, [(31, "5"), (30, "5")]) == [30]
            assert await transport.set_params(1, 0, [(30, "5")]) == []
            start = asyncio.ensure_future(transport.start_conn(1, 0))
            queue = transport.subscribe(1)
            await asyncio.sleep(0)
            assert queue.empty()
            gate.set()
            assert await errno_of(start) == errno.ENOTCONN
            assert queue.get_nowait() == ConnectionFailed(1, 0, 1020)
            transport.lose_events()
            assert queue.get_nowait() == EventsLost(1)
            transport.unsubscribe(1)
            transport.emit(SessionUnbound(1))
            assert queue.empty()

    asyncio.run(main())


def test_scripted_kernel() -> None:
    async def main() -> None:
        transport = ScriptedTransport()
        kernel = ScriptedKernel(transport)
        await kernel.open()
        assert kernel.is_open
        assert await kernel.transport("tcp") is transport
        with pytest.raises(TransportError) as missing:
            await kernel.transport("iser")
        assert missing.value.exit_code == ExitCode.TRANSPORT_NOT_FOUND
        await kernel.close()
        assert not kernel.is_open

    asyncio.run(main())


def test_same_operations_as_the_kernel_transport() -> None:
    public = {name for name in vars(KernelTransport) if not name.startswith("_")}
    assert public <= set(dir(ScriptedTransport))
    assert {"open", "close", "transport"} <= {*vars(Kernel)} & {*vars(ScriptedKernel)}
