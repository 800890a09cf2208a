"""iSCSI hosts, flat and as a tree (open-iscsi usr/host.c)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
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
        def get(self, attribute: str) -> str | None: ...


EMPTY = "<empty>"
UNKNOWN = "Unknown"

_IPV4 = (
    ("Gateway", "gateway"),
    ("Subnet", "subnet"),
    ("BootProto", "bootproto"),
)
_IPV6 = (
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
_BRACKETED = frozenset({"link_local_addr", "router_addr"})
_UNSET = {"port": "0", "mtu": "0"}
"""Values that mean none."""


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
    address = iface.get("ipaddress")
    yield f"\tIPaddress: {_shown_address(address)}"
    for label, name in _family_rows(address):
        text = iface.get(name) or EMPTY
        if name in _BRACKETED and text != EMPTY:
            text = f"[{text}]"
        yield f"\t{label}: {text}"
    yield f"\tPort State: {host.port_state or EMPTY}"
    yield f"\tPort Speed: {host.port_speed or EMPTY}"
    for label, name in _PORT:
        text = iface.get(name) or EMPTY
        yield f"\t{label}: {EMPTY if text == _UNSET.get(name) else text}"


def _family_rows(address: str | None) -> tuple[tuple[str, str], ...]:
    """The lines that follow an address; none where there is no address."""
    if not address:
        return ()
    return _IPV4 if "." in address else _IPV6


def sessions_heading() -> Iterator[str]:
    yield "\t*********"
    yield "\tSessions:"
    yield "\t*********"


def statistics_lines(counters: Mapping[str, int]) -> Iterator[str]:
    """The counters of an adapter, in their own order."""
    yield "Host Statistics:"
    for name, value in counters.items():
        yield f"\t{name}: {value}"
