"""How clients read records: listings, discoveries, dumps, ifaces. Patterns are quoted facts."""

from __future__ import annotations

import configparser
import re
from collections.abc import Sequence

from tests.clients.facts import Facts, Node, Row

# Lines of `-m node` and of a discovery: 127.0.0.1:3260,1 iqn.x:y

_PROXMOX = re.compile(r"^(\S+:\d+)\,\S+\s+(\S+)\s*$")
_TRIDENT = re.compile(r"^([^,]+),(-?\d+)\s+(.+)$")
_LIBVIRT = re.compile(r"^\s*(\S+)\s+(\S+)\s*$")
_OCI = re.compile(r"^.*:3260,[0-9]+ (.*)")
_VENDORS = (
    *("com.nimblestorage", "com.3pardata", "org.truenas.ctl", "org.freenas.ctl", "com.hpe"),
)
_HPE = re.compile(
    r"(?m)^(?P<address>.*):(?P<port>\d*),(?P<tag>\d*) "
    rf"(?P<target>iqn.*({'|'.join(_VENDORS)}):.*)$"
)
_AVOCADO = re.compile(r"(\d+\.\d+\.\d+\.\d+|\[.+\]):\d+,\d+\s+([\w\.\-:\d]+)")


def _groups(pattern: re.Pattern[str], text: str) -> list[tuple[str, ...]]:
    return [m.groups() for line in text.splitlines() if (m := pattern.match(line))]


def _trident(text: str, facts: Facts) -> object:
    """Only the portal that was asked for counts, as a string."""
    rows = _groups(_TRIDENT, text)
    return [(tag, target) for portal, tag, target in rows if portal == facts.record.portal]


def _hpe(text: str, _: Facts) -> object:
    return [(m["address"], m["port"], m["tag"], m["target"]) for m in _HPE.finditer(text)]


def _hpe_expected(nodes: Sequence[Node]) -> object:
    return [
        (node.address, str(node.port), str(node.shown_tag), node.target)
        for node in nodes
        if any(f"{vendor}:" in node.target for vendor in _VENDORS)
    ]


def _avocado_discovery(text: str, facts: Facts) -> object:
    """The answer counts only without `Invalid`; each target must end a line."""
    assert "Invalid" not in text
    return [bool(re.search(f"{node.target}$", text, re.MULTILINE)) for node in facts.discovered]


def _os_brick(text: str, _: Facts) -> object:
    rows = [line.split() for line in text.splitlines()]
    return [tuple(row) for row in rows if len(row) == 2 and row[1].startswith("iqn.")]


def _vdsm(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        rest, iqn = line.split()
        rest, tag = rest.split(",")
        host, port = rest.rsplit(":", 1)
        found.append((host.strip("[]"), int(port), int(tag), iqn))
    return found


def _xapi(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        record, iqn = line.split()
        portal, tag = record.split(",")
        found.append((portal, tag, iqn))
    return found


def _goiscsi(text: str, _: Facts) -> object:
    rows = [line.split(" ") for line in text.splitlines()]
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def _ansible(text: str, _: Facts) -> object:
    """The portal is what comes before the first colon, so IPv6 never matches one."""
    found = []
    for line in text.splitlines():
        words = line.split()
        assert len(words) <= 2
        found.append((words[0].split(":")[0], words[1]))
    return found


def _resource_agent(text: str, _: Facts) -> object:
    """awk: the last word is the target, the portal the first, or of three the second."""
    found = []
    for line in text.splitlines():
        words = line.split()
        found.append((re.sub(",.*", "", words[1 if len(words) == 3 else 0]), words[-1]))
    return found


def _dracut(text: str, _: Facts) -> object:
    return [line.split(" ")[1] for line in text.splitlines()]


def _plain(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    return [(node.portal, node.target) for node in nodes]


def _tagged(node: Node) -> str:
    return f"{node.portal},{node.shown_tag}"


def _lines(reads: str, nodes: str) -> tuple[Row, ...]:
    """The rows of one listing; `nodes` names the facts it shows."""

    def of(facts: Facts) -> Sequence[Node]:
        found: Sequence[Node] = getattr(facts, nodes)
        return found

    return (
        Row("Proxmox", reads, lambda text, _: _groups(_PROXMOX, text), lambda f: _plain(of(f))),
        Row(
            "Trident", reads, _trident,
            lambda f: [(str(n.shown_tag), n.target) for n in of(f) if n.portal == f.record.portal],
        ),
        Row(
            "libvirt", reads, lambda text, _: _groups(_LIBVIRT, text),
            lambda f: [(_tagged(n), n.target) for n in of(f)],
        ),
        Row(
            "oci-utils", reads, lambda text, _: _groups(_OCI, text),
            lambda f: [(n.target,) for n in of(f) if n.port == 3260],
        ),
        Row("HPE", reads, _hpe, lambda f: _hpe_expected(of(f))),
        Row(
            "os-brick", reads, _os_brick,
            lambda f: [(_tagged(n), n.target) for n in of(f) if n.target.startswith("iqn.")],
        ),
        Row(
            "vdsm", reads, _vdsm,
            lambda f: [(n.address.strip("[]"), n.port, n.shown_tag, n.target) for n in of(f)],
        ),
        Row(
            "xapi", reads, _xapi,
            lambda f: [(n.portal, str(n.shown_tag), n.target) for n in of(f)],
        ),
        Row("goiscsi", reads, _goiscsi, lambda f: [(_tagged(n), n.target) for n in of(f)]),
        Row(
            "Ansible", reads, _ansible,
            lambda f: [(n.address.split(":")[0], n.target) for n in of(f)],
        ),
        Row("heartbeat", reads, _resource_agent, lambda f: _plain(of(f))),
        Row("dracut", reads, _dracut, lambda f: [n.target for n in of(f)]),
    )  # fmt: skip


LINES = (
    *_lines("node", "nodes"),
    *_lines("discovery", "discovered"),
    Row(
        "avocado-vt", "node", lambda text, _: _AVOCADO.findall(text),
        lambda f: [(n.address, n.target) for n in f.nodes],
    ),
    Row(
        "avocado-vt", "discovery", _avocado_discovery, lambda f: [True] * len(f.discovered),
    ),
)  # fmt: skip

# Record dumps


def _blocks(text: str) -> list[list[str]]:
    """What is between `# BEGIN RECORD` and `# END RECORD`, as goiscsi cuts it."""
    found: list[list[str]] = []
    block: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("# BEGIN RECORD"):
            block = []
        elif line.startswith("# END RECORD"):
            assert block is not None
            found.append(block)
            block = None
        elif block is not None:
            block.append(line)
    return found


def _goiscsi_records(text: str, _: Facts) -> object:
    """Name, address and port, which must come in this order."""
    wanted = ("node.name =", "node.conn[0].address =", "node.conn[0].port =")
    found = []
    for block in _blocks(text):
        lines = [line for line in block if line.startswith(wanted)]
        assert [next(w for w in wanted if line.startswith(w)) for line in lines] == list(wanted)
        found.append(tuple(line.split("=")[1].strip() for line in lines))
    return found


def _os_brick_startup(text: str, _: Facts) -> object:
    """node.name and the node.startup that follows it."""
    found = []
    name = ""
    for line in text.splitlines():
        key, _sign, value = line.partition(" = ")
        if key == "node.name":
            name = value
        elif key == "node.startup":
            found.append((name, value))
    return found


def _ansible_automatic(text: str, _: Facts) -> object:
    line = next(line for line in text.splitlines() if "node.startup" in line)
    return "automatic" in line


def _xapi_record(text: str, facts: Facts) -> object:
    """A section header in front, the rest for the standard library's parser."""
    parser = configparser.RawConfigParser()
    parser.read_string("[node]\n" + text)
    values = dict(parser["node"])
    chap = [values[f"node.session.auth.{n}".lower()] for n in ("username", "password")]
    return values["node.name"], values["node.startup"], *chap


def _longhorn_manual(text: str, _: Facts) -> object:
    return "node.session.scan = manual" in text


def _sos(text: str, facts: Facts) -> object:
    """What is left of the secrets after the report tool has gone over a dump."""
    clean = re.sub(r"(node\.session\.auth\.password(_in)?\s+=\s+)(\S+)", r"\1******", text)
    return [secret for secret in facts.secrets if secret in clean]


def _brick_transport(text: str, _: Facts) -> object:
    rows = [line.split() for line in text.splitlines()]
    return [row[2] for row in rows if row and row[0] == "iface.transport_name"]


RECORDS = (
    Row(
        "goiscsi", "records", _goiscsi_records,
        lambda f: [(n.target, n.address.strip("[]"), str(n.port)) for n in f.nodes],
    ),
    Row(
        "os-brick startup", "records", _os_brick_startup,
        lambda f: [(n.target, n.startup) for n in f.nodes],
    ),
    Row(
        "Ansible automatic", "record", _ansible_automatic,
        lambda f: f.record.startup == "automatic",
    ),
    Row("Longhorn scan", "record", _longhorn_manual, lambda f: True),
    Row(
        "xapi -S", "record S", _xapi_record,
        lambda f: (f.record.target, f.record.startup, *f.chap[:2]),
    ),
    Row("sos scrub", "record S", _sos, lambda f: []),
    Row("os-brick transport", "record", _brick_transport, lambda f: ["tcp"]),
    Row(
        "YaST", "node P1",
        lambda text, f: [
            m[1] for line in text.splitlines() if (m := re.match(r"\s*Target:\s*(\S+)", line))
        ],
        lambda f: list(dict.fromkeys(n.target for n in f.nodes)),
    ),
)  # fmt: skip

# Ifaces


def _cloned(text: str, _: Facts) -> object:
    """kubelet, Infinidat: every parameter that is set, to be set again in the clone."""
    found = []
    for line in text.splitlines():
        if not line.startswith("iface.") or "<empty>" in line:
            continue
        words = line.split()
        assert len(words) == 3, line
        found.append((words[0], words[2]))
    return dict(found)


def _kubelet_transport(text: str, _: Facts) -> object:
    return re.findall(r"iface.transport_name = (.*)\n", text)


def _vdsm_iface(text: str, _: Facts) -> object:
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            key, value = line.split("=", 1)
            values[key.strip()] = value.strip()
    return values["iface.iscsi_ifacename"], values["iface.net_ifacename"]


def _vdsm_list(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        name, transport, mac, _ip, netdev, _iqn = re.split(r"[\s,]", line)
        found.append((name, transport, mac, netdev))
    return found


def _goiscsi_list(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        name, rest = line.split()
        fields = rest.split(",")
        assert len(fields) == 5
        found.append((name, fields[0]))
    return found


def _xapi_list(text: str, _: Facts) -> object:
    rows = [line.split(" ") for line in text.splitlines()]
    assert all(len(row) == 2 for row in rows)
    return [row[0] for row in rows if row[0].startswith("c_")]


def _libvirt_list(text: str, _: Facts) -> object:
    return {line.split(" ")[0]: line[line.rindex(",") + 1 :] for line in text.splitlines()}


def _dracut_list(text: str, _: Facts) -> object:
    """cut -f2 -d' ', then the first two of the comma-separated fields."""
    return [tuple(line.split(" ")[1].split(",")[:2]) for line in text.splitlines()]


_NUMBERS = (
    *("prefix_len", "vlan_id", "vlan_priority", "iface_num", "mtu", "port", "tos", "ttl"),
    *("tcp_wsf", "tcp_timer_scale", "def_task_mgmt_timeout", "erl", "max_receive_data_len"),
    *("first_burst_len", "max_outstanding_r2t", "max_burst_len"),
)
_BUILT_IN = ("default", "tcp"), ("iser", "iser")

IFACES = (
    Row(
        "kubelet, Infinidat clone", "iface", _cloned,
        lambda f: {
            "iface.iscsi_ifacename": f.iface, "iface.net_ifacename": f.netdev,
            "iface.transport_name": "tcp",
            **{f"iface.{name}": "0" for name in _NUMBERS},
        },
    ),
    Row("kubelet, csi-lib-iscsi transport", "iface", _kubelet_transport, lambda f: ["tcp"]),
    Row("os-brick transport", "iface", _brick_transport, lambda f: ["tcp"]),
    Row("vdsm", "iface", _vdsm_iface, lambda f: (f.iface, f.netdev)),
    Row(
        "vdsm", "ifaces", _vdsm_list,
        lambda f: [
            (f.iface, "tcp", "<empty>", f.netdev),
            *((name, transport, "<empty>", "<empty>") for name, transport in _BUILT_IN),
        ],
    ),
    Row("goiscsi", "ifaces", _goiscsi_list, lambda f: [(f.iface, "tcp"), *_BUILT_IN]),
    Row(
        "xapi", "ifaces", _xapi_list,
        lambda f: [f.iface] if f.iface.startswith("c_") else [],
    ),
    Row(
        "libvirt", "ifaces", _libvirt_list,
        lambda f: dict.fromkeys(("default", "iser", f.iface), "<empty>"),
    ),
    Row(
        "dracut", "ifaces", _dracut_list,
        lambda f: [("tcp", "<empty>"), ("tcp", "<empty>"), ("iser", "<empty>")],
    ),
)  # fmt: skip

# `-m discoverydb -o show -P 1`, `-m discovery -P 1`


def _os_brick_tree(text: str, facts: Facts) -> object:
    """The part of one discovery address, cut out by one pattern over the whole text."""
    address, port = facts.more["discovery"]
    pattern = (
        rf"^SENDTARGETS:\n.*?^DiscoveryAddress: {re.escape(address)},{port}.*?\n(.*?)"
        r"^(?:DiscoveryAddress|iSNS):.*"
    )
    match = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    assert match
    found = []
    target = portal = ""
    for line in map(str.strip, match[1].splitlines()):
        if line.startswith("Target:"):
            target = line.removeprefix("Target:").strip()
        elif line.startswith("Portal:"):
            portal = line.removeprefix("Portal:").strip()
        elif line == "Iface Name: default":
            found.append((portal, target))
    return sorted(found)


def _headings(text: str, _: Facts) -> object:
    return [line for line in text.splitlines() if line.endswith(":") and line[0] not in " \t"]


TREES = tuple(
    row
    for reads in ("discoverydb P1", "discovery P1")
    for row in (
        Row(
            "os-brick, libsan", reads, _os_brick_tree,
            lambda f: sorted((f"{n.portal},{n.tag}", n.target) for n in f.discovered),
        ),
        Row(
            "headings", reads, _headings,
            lambda f: ["SENDTARGETS:", "iSNS:", "STATIC:", "FIRMWARE:"],
        ),
    )
)  # fmt: skip

ROWS = (*LINES, *RECORDS, *IFACES, *TREES)
