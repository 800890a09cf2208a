"""One discovery through one iface, put together from its records."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyiscsi.daemon.adapters import Adapter
from pyiscsi.daemon.discover import Drivers, Job, Portal
from pyiscsi.daemon.kernel_discovery import KernelConnector
from pyiscsi.daemon.parameters import chap_settings
from pyiscsi.discovery.connector import TcpConnector
from pyiscsi.discovery.isns import IsnsServer, isns_portals
from pyiscsi.discovery.sendtargets import (
    LOGIN_TIMEOUT_S,
    Connect,
    SendTargetsRequest,
    send_targets,
)
from pyiscsi.errors import InvalidArgument, NoObjectsFound, TransportError
from pyiscsi.records.record import Record
from pyiscsi.records.schema import ISNS
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.numbers import Cap
from pyiscsi.transports import traits

_PREFIX = "discovery.sendtargets."


async def explore(
    kernel: Drivers,
    tree: SysfsTree,
    job: Job,
    iface: Record,
    initiator_name: str,
    alias: str,
    report: Callable[[str], None],
) -> list[Portal]:
    """All portals a discovery address answers with.

    Raises what send_targets() and isns_portals() raise. An iSNS server is asked by whatever way
    leads to it: what an iface is bound to holds for its sessions.
    """
    if job.record.kind is ISNS:
        portals = await isns_portals(IsnsServer(job.address, job.port), initiator_name, report)
        return [Portal(each.target, each.address, each.port, each.tpgt) for each in portals]
    request = _request(job, initiator_name, alias)
    connect: Connect = _tcp(iface)
    if traits(iface["iface.transport_name"]).connects:
        transport = await kernel.transport(iface["iface.transport_name"])
        if await _is_left_to(Adapter(tree, transport, iface), request, report):
            raise NoObjectsFound
        if transport.caps & Cap.TEXT_NEGO:
            connect = KernelConnector(tree, transport, iface, initiator_name)
    found = await send_targets(
        request,
        connect=connect,
        random_bytes=os.urandom,
        report=report,
    )
    return [
        Portal(target.name, portal.address or job.address, portal.port, portal.tpgt)
        for target in found
        for portal in target.portals
    ]


async def _is_left_to(
    adapter: Adapter, request: SendTargetsRequest, report: Callable[[str], None]
) -> bool:
    """Whether the adapter discovers; what comes of it shows as sessions, not as an answer."""
    timeout_s = request.login_timeout_s or LOGIN_TIMEOUT_S
    try:
        return await adapter.discovers_itself(request.address, request.port, timeout_s)
    except TransportError as error:
        report(f"Could not offload sendtargets to {request.address}.")
        report(str(error))
        return True


def _tcp(iface: Record) -> TcpConnector:
    return TcpConnector(
        netdev=iface["iface.net_ifacename"],
        hwaddress=iface["iface.hwaddress"],
        ipaddress=iface["iface.ipaddress"],
    )


def _request(job: Job, initiator_name: str, alias: str) -> SendTargetsRequest:
    return SendTargetsRequest(
        address=job.address,
        port=job.port,
        initiator_name=initiator_name,
        initiator_alias=alias,
        auth=chap_settings(job.record, _PREFIX),
        login_timeout_s=_number(job.record, "timeo.login_timeout"),
        auth_timeout_s=_number(job.record, "timeo.auth_timeout"),
        active_timeout_s=_number(job.record, "timeo.active_timeout"),
        reopen_max=_number(job.record, "reopen_max"),
        max_recv_data_segment_length=_number(job.record, "iscsi.MaxRecvDataSegmentLength"),
    )


def _number(record: Record, name: str) -> int:
    """A number that makes sense as time, count or length: none is negative."""
    try:
        return max(0, record.get_int(_PREFIX + name))
    except ValueError as error:
        raise InvalidArgument(f"{_PREFIX}{name} is not a number") from error
