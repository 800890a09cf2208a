"""A whole login through an adapter, against stand-ins for netlink and for iscsiuio."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from pyiscsi.daemon.adapters import Adapter
from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.ipc import iscsiuio
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.modules import ModuleLoader
from pyiscsi.transport.netlink import Channel
from pyiscsi.transport.numbers import Cap, HostParam, UEvent
from tests.unit.ipc.test_iscsiuio import Iscsiuio
from tests.unit.transport.peer import Handler, Peer, make_sysfs

MAC = "02:fa:e0:00:00:01"
ENDPOINT = 0x77
CAPS = Cap.RECOVERY_L0 | Cap.MULTI_R2T | Cap.TEXT_NEGO | Cap.DATA_PATH_OFFLOAD


def answering(form: str, *values: int) -> Handler:
    return lambda peer, kind, body: peer.reply(kind, body, struct.pack(f"={form}", *values))


def answer_polls(peer: Peer, *retcodes: int) -> None:
    """Each poll gets the next of these."""
    left = [*retcodes]
    peer.on[UEvent.TRANSPORT_EP_POLL] = lambda peer, kind, body: peer.reply(
        kind, body, struct.pack("=i", left.pop(0))
    )


def test_conversation(tmp_path: Path) -> None:
    """D-094: capabilities from sysfs, iscsiuio asked until the device is up, the host of the iface
    found and given its address, an endpoint through it polled, bound and given back.
    """
    env = make_sysfs(tmp_path, "bnx2i", caps=int(CAPS))
    host = tmp_path / "class/iscsi_host/host6"
    host.mkdir(parents=True)
    (host / "hwaddress").write_text(f"{MAC}\n")
    (host / "netdev").write_text("nosuch0\n")
    iface = {
        "iface.transport_name": "bnx2i",
        "iface.hwaddress": MAC,
        "iface.ipaddress": "192.0.2.9",
    }
    daemon = Iscsiuio()
    daemon.answers += [struct.pack("=III", 1, state, 0) for state in (5, 4)]

    async def login(kernel: Kernel, peer: Peer) -> None:
        transport = await kernel.transport("bnx2i")
        assert transport.caps == CAPS
        adapter = Adapter(
            SysfsTree(str(tmp_path)),
            transport,
            Record(NODE, iface),
            lambda record: iscsiuio.bring_up(record, daemon.name),
        )
        await adapter.wait_until_ready(2)
        session = KernelSession(transport)
        session.hold(await adapter.connect([("192.0.2.1", 3260)], 3260, 30))
        await session.create(initial_cmdsn=0, cmds_max=64, queue_depth=16)
        await session.bind()
        assert (session.sid, session.host_no) == (3, 6)
        await session.destroy()

    async def main() -> Peer:
        peer = Peer()
        peer.on[UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST] = answering("Q", ENDPOINT)
        answer_polls(peer, 0, 0, 1)
        peer.on[UEvent.CREATE_BOUND_SESSION] = answering("II", 3, 6)
        channel = Channel(peer.sock)
        kernel = Kernel(env, open_channel=lambda: channel, loader=ModuleLoader(("false",)))
        await kernel.open()
        peer.start()
        try:
            async with asyncio.timeout(60):
                await login(kernel, peer)
        finally:
            await kernel.close()
            peer.close()
        return peer

    try:
        peer = asyncio.run(main())
    finally:
        daemon.close()
    assert len(daemon.asked) == 2
    assert [UEvent(kind).name for kind, _ in peer.requests] == [
        "SET_HOST_PARAM", "SET_HOST_PARAM", "TRANSPORT_EP_CONNECT_THROUGH_HOST",
        *["TRANSPORT_EP_POLL"] * 3, "CREATE_BOUND_SESSION", "CREATE_CONN", "BIND_CONN",
        "TRANSPORT_EP_DISCONNECT", "STOP_CONN", "DESTROY_CONN", "DESTROY_SESSION_ASYNC",
    ]  # fmt: skip
    [through] = peer.sent(UEvent.TRANSPORT_EP_CONNECT_THROUGH_HOST)
    assert through == {"host_no": 6, "non_blocking": 1}
    params = [(each["host_no"], each["param"]) for each in peer.sent(UEvent.SET_HOST_PARAM)]
    assert params == [(6, HostParam.IPADDRESS), (6, HostParam.HWADDRESS)]
    [bind] = peer.sent(UEvent.BIND_CONN)
    assert bind["endpoint"] == ENDPOINT
    assert peer.sent(UEvent.TRANSPORT_EP_DISCONNECT) == [{"endpoint": ENDPOINT}]
