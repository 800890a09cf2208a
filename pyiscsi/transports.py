"""The iSCSI transports there are, and what userspace must know of each: one row per driver.

Facts of open-iscsi usr/transport.c, usr/cxgbi.c, usr/be2iscsi.c and usr/iser.c. What a driver can
do besides, it says itself (`caps` in sysfs, transport.numbers.Cap).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_ADDRESS, ADDRESS_OPTIONAL, ADDRESS_REQUIRED = range(3)
"""Whether an iface must say which IP address its adapter is given."""


class Transport:
    """One row.

    `module`: the kernel module. `connects`: the driver makes the connection (an endpoint) instead
    of being given a socket. `binds`: an endpoint belongs to the adapter its iface names.
    `address`: see above. `uses_iscsiuio`: iscsiuio must have the network device up first, and
    sends the pings. `has_netdev`: the adapter's network device must be up. `limits`: what the
    driver can take at most, by field of daemon.parameters.Prepared, in bytes. `is_rdma`: no
    digests, RFC 7145 keys. `shares_vlan`: an adapter has one VLAN setting for its IPv4 and IPv6
    ifaces.
    """

    __slots__ = (
        "address", "binds", "connects", "has_netdev", "initial_r2t", "is_rdma", "limits", "module",
        "name", "shares_vlan", "uses_iscsiuio",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        module: str = "",
        connects: bool = True,
        binds: bool = True,
        address: int = NO_ADDRESS,
        uses_iscsiuio: bool = False,
        has_netdev: bool = True,
        limits: Mapping[str, int] | None = None,
        initial_r2t: bool = False,
        is_rdma: bool = False,
        shares_vlan: bool = False,
    ) -> None:
        self.name = name
        self.module = module or name
        self.connects = connects
        self.binds = binds
        self.address = address
        self.uses_iscsiuio = uses_iscsiuio
        self.has_netdev = has_netdev
        self.limits = limits or {}
        self.initial_r2t = initial_r2t
        self.is_rdma = is_rdma
        self.shares_vlan = shares_vlan

    @property
    def is_offload(self) -> bool:
        """Whether it is an adapter's driver; hosts of the others are made with each session."""
        return self.connects and self.binds


_CXGB_LIMITS = {"max_recv_data_segment_length": 8192}
_BE2_LIMITS = {
    "max_recv_data_segment_length": 65536,
    "max_xmit_data_segment_length": 65536,
    "first_burst_length": 8192,
    "max_burst_length": 262144,
}

TABLE: Mapping[str, Transport] = {
    row.name: row
    for row in (
        Transport("tcp", module="iscsi_tcp", connects=False, binds=False),
        Transport("iser", module="ib_iser", binds=False, is_rdma=True),
        Transport("cxgb3i", address=ADDRESS_OPTIONAL, limits=_CXGB_LIMITS),
        Transport("cxgb4i", limits=_CXGB_LIMITS),
        Transport("bnx2i", address=ADDRESS_REQUIRED, uses_iscsiuio=True),
        Transport("qla4xxx"),
        Transport("be2iscsi", limits=_BE2_LIMITS, initial_r2t=True, shares_vlan=True),
        Transport("ocs"),
        Transport("qedi", address=ADDRESS_REQUIRED, uses_iscsiuio=True, has_netdev=False),
    )
}

NET_DRIVERS = {"cxgb3": "cxgb3i", "cxgb4": "cxgb4i", "bnx2": "bnx2i", "bnx2x": "bnx2i"}
"""Network drivers of adapters whose iSCSI part is a module of its own, to that transport."""


def traits(name: str) -> Transport:
    """A transport's row; one that is not known is treated as an adapter with no peculiarities."""
    return TABLE.get(name) or Transport(name)
