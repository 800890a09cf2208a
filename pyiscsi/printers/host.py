"""iSCSI hosts, flat and as a tree (open-iscsi usr/host.c)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class HostView(Protocol):
        """Attributes of a host; None where the kernel has no value."""

        @property
        def number(self) -> int: ...
        @property
        def state(self) -> str | None: ...
        @property
        def transport(self) -> str | None: ...
        @property
        def initiatorname(self) -> str | None: ...
        @property
        def ipaddress(self) -> str | None: ...
        @property
        def hwaddress(self) -> str | None: ...
        @property
        def netdev(self) -> str | None: ...
        @property
        def port_state(self) -> str | None: ...
        @property
        def port_speed(self) -> str | None: ...

    class KernelIfaceView(Protocol):
        """A network interface inside an adapter."""

        @property
        def name(self) -> str: ...
        @property
        def is_ipv6(self) -> bool: ...
        def get(self, attribute: str) -> str | None: ...


EMPTY = "<empty>"
UNKNOWN = "Unknown"

_IPV4 = (
    ("IPaddress", "ipaddress"),
    ("Gateway", "gateway"),
    ("Subnet", "subnet"),
    ("BootProto", "bootproto"),
)
_IPV6 = (
    ("IPaddress", "ipaddress"),
    ("IPaddress Autocfg", "ipaddr_autocfg"),
    ("Link Local Address", "link_local_addr"),
    ("Link Local Autocfg", "link_local_autocfg"),
    ("Router Address", "router_addr"),
)
_PORT = (
    ("Port", "port"),
    ("MTU", "mtu"),
    ("VLAN ID", "vlan_id"),
    ("VLAN priority", "vlan_priority"),
)
_BRACKETED = frozenset({"ipaddress", "link_local_addr", "router_addr"})


def _shown_address(address: str | None) -> str:
    if not address:
        return EMPTY
    return address if "." in address else f"[{address}]"


def flat_lines(hosts: Iterable[HostView]) -> Iterator[str]:
    """`tcp: [0] ip,[hwaddress],netdev initiatorname`."""
    for host in hosts:
        yield (
            f"{host.transport or EMPTY}: [{host.number}] {_shown_address(host.ipaddress)},"
            f"[{host.hwaddress or EMPTY}],{host.netdev or EMPTY} {host.initiatorname or EMPTY}"
        )


def host_lines(host: HostView, ifaces: Iterable[KernelIfaceView]) -> Iterator[str]:
    """One host of the tree, with the network interfaces of an adapter."""
    yield f"Host Number: {host.number}"
    yield f"\tState: {host.state or UNKNOWN}"
    yield f"\tTransport: {host.transport or EMPTY}"
    yield f"\tInitiatorname: {host.initiatorname or EMPTY}"
    yield f"\tIPaddress: {_shown_address(host.ipaddress)}"
    yield f"\tHWaddress: {host.hwaddress or EMPTY}"
    yield f"\tNetdev: {host.netdev or EMPTY}"
    for iface in ifaces:
        yield from _iface_lines(host, iface)


def _iface_lines(host: HostView, iface: KernelIfaceView) -> Iterator[str]:
    yield "\t**********"
    yield "\tInterface:"
    yield "\t**********"
    yield f"\tKernel Name: {iface.name}"
    rows = _IPV6 if iface.is_ipv6 else _IPV4
    for label, name in rows:
        text = iface.get(name) or EMPTY
        if iface.is_ipv6 and name in _BRACKETED and text != EMPTY:
            text = f"[{text}]"
        yield f"\t{label}: {text}"
    yield f"\tPort State: {host.port_state or EMPTY}"
    yield f"\tPort Speed: {host.port_speed or EMPTY}"
    for label, name in _PORT:
        yield f"\t{label}: {iface.get(name) or EMPTY}"


def sessions_heading() -> Iterator[str]:
    yield "\t*********"
    yield "\tSessions:"
    yield "\t*********"
