"""How clients read `-m session`, flat and as a tree. Patterns are quoted, parsers are our own."""

from __future__ import annotations

import re

from tests.clients.facts import Facts, Row, Session

# `-m session`: tcp: [1] 127.0.0.1:3260,1 iqn.x:y (non-flash)

_PROXMOX = re.compile(r"^tcp:\s+\[(\S+)\]\s+(\S+:\d+)\,\S+\s+(\S+)\s+\S+?\s*$")
_LIBVIRT = re.compile(r"^tcp:\s+\[(\S+)\]\s+\S+\s+(\S+).*$")


def _proxmox(text: str, _: Facts) -> object:
    found = (_PROXMOX.match(line) for line in text.splitlines())
    return [match.groups() for match in found if match]


def _libvirt(text: str, _: Facts) -> object:
    found = (_LIBVIRT.match(line) for line in text.splitlines())
    return [match.groups() for match in found if match]


def _xapi_sids(text: str, facts: Facts) -> object:
    """Portal and target go into the pattern as they are, so only IPv4 can be found."""
    found = []
    for one in _ipv4(facts):
        pattern = rf"^[^\[]*\[(\d+)\] {one.portal},\d+ {one.target}"
        found += [m[1] for line in text.splitlines() if (m := re.match(pattern, line))]
    return found


def _xapi_any(text: str, _: Facts) -> object:
    return any(re.match("^tcp:", line) for line in text.splitlines())


def _os_brick(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        words = line.split()
        assert words[0] in ("tcp:", "iser:")
        portal, tag = words[2].split(",")
        found.append((words[1][1:-1], portal, tag, words[3]))
    return found


def _csi_lib(text: str, _: Facts) -> object:
    """csi-lib-iscsi and Synology; the first takes what follows the first colon of the name."""
    found = []
    for line in text.splitlines():
        words = line.split()
        assert len(words) >= 4
        name = words[3].split(":")[1]
        transport = words[0].partition(":")[0]
        found.append((transport, int(words[1].strip("[]")), words[2].split(",")[0], words[3], name))
    return found


def _trident(text: str, _: Facts) -> object:
    found = []
    for line in text.splitlines():
        words = line.split()
        assert len(words) > 3
        portal = words[2].split(",")[0]
        ip = portal.split("]")[0] + "]" if portal[0] == "[" else portal.split(":")[0]
        found.append((words[1][1:-1], ip, words[3]))
    return found


def _ibm(text: str, _: Facts) -> object:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        assert len(words) >= 4
        found.setdefault(words[3], []).append(words[2][: words[2].rindex(":")])
    return found


def _longhorn_is_there(text: str, facts: Facts) -> object:
    def matches(line: str, one: Session) -> bool:
        named = line.endswith(f" {one.target}") or f" {one.target} " in line
        return f"{one.address}:" in line and named

    return [any(matches(line, one) for line in text.splitlines()) for one in facts.sessions]


def _democratic_csi(text: str, _: Facts) -> object:
    rows = [line.split(" ") for line in text.splitlines()]
    return [(row[0], row[1], row[2].split(",")[0], row[3]) for row in rows]


def _resource_agent(text: str, facts: Facts) -> object:
    """grep -E "$target($|[[:space:]])" | grep -E "] $portal" | awk '{print $2}'"""
    found = []
    for one in _ipv4(facts):
        lines = [x for x in text.splitlines() if re.search(rf"{one.target}($|\s)", x)]
        lines = [line for line in lines if re.search(rf"] {one.portal}", line)]
        found += [line.split()[1].strip("[]") for line in lines]
    return found


def _ansible(text: str, facts: Facts) -> object:
    return [
        bool(re.search(f"{re.escape(one.address)}:{one.port}.*{re.escape(one.target)}", text))
        for one in facts.sessions
    ]


def _curtin(text: str, facts: Facts) -> object:
    return [one.target in text for one in facts.sessions]


def _insights(text: str, _: Facts) -> object:
    keys = ("IFACE_TRANSPORT", "SID", "TARGET_IP", "TARGET_IQN")
    found = []
    for line in text.splitlines():
        words = line.split()
        values = (words[0].rstrip(":"), words[1].strip("[]"), words[2], words[3])
        found.append(dict(zip(keys, values, strict=True)))
    return found


def _iscsi_discovery(text: str, facts: Facts) -> object:
    return [
        sum(bool(re.search(one.portal, line)) for line in text.splitlines()) for one in _ipv4(facts)
    ]


def _ipv4(facts: Facts) -> list[Session]:
    return [one for one in facts.sessions if one.is_ipv4]


def _ips(facts: Facts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in facts.sessions:
        found.setdefault(one.target, []).append(one.address)
    return found


LINES = (
    Row(
        "Proxmox", "session", _proxmox,
        lambda facts: [(str(s.sid), s.portal, s.target) for s in facts.sessions],
    ),
    Row(
        "libvirt", "session", _libvirt,
        lambda facts: [(str(s.sid), s.target) for s in facts.sessions],
    ),
    Row("xapi rescan", "session", _xapi_sids, lambda facts: [str(s.sid) for s in _ipv4(facts)]),
    Row("xapi match_session", "session", _xapi_any, lambda facts: True),
    Row(
        "os-brick", "session", _os_brick,
        lambda facts: [(str(s.sid), s.portal, str(s.tpgt), s.target) for s in facts.sessions],
    ),
    Row(
        "csi-lib-iscsi, Synology", "session", _csi_lib,
        lambda facts: [
            ("tcp", s.sid, s.portal, s.target, s.target.split(":")[1]) for s in facts.sessions
        ],
    ),
    Row(
        "Trident", "session", _trident,
        lambda facts: [(str(s.sid), s.address, s.target) for s in facts.sessions],
    ),
    Row("IBM", "session", _ibm, _ips),
    Row("Longhorn", "session", _longhorn_is_there, lambda facts: [True] * len(facts.sessions)),
    Row(
        "democratic-csi", "session", _democratic_csi,
        lambda facts: [("tcp:", f"[{s.sid}]", s.portal, s.target) for s in facts.sessions],
    ),
    Row("heartbeat", "session", _resource_agent, lambda facts: [str(s.sid) for s in _ipv4(facts)]),
    Row("Ansible", "session", _ansible, lambda facts: [True] * len(facts.sessions)),
    Row("curtin", "session show", _curtin, lambda facts: [True] * len(facts.sessions)),
    Row(
        "insights-core", "session", _insights,
        lambda facts: [
            {
                "IFACE_TRANSPORT": "tcp", "SID": str(s.sid), "TARGET_IP": f"{s.portal},{s.tpgt}",
                "TARGET_IQN": s.target,
            }
            for s in facts.sessions
        ],
    ),
    Row(
        "iscsi_discovery", "session", _iscsi_discovery,
        lambda facts: [
            sum(o.portal == s.portal for o in facts.sessions) for s in _ipv4(facts)
        ],
    ),
)  # fmt: skip

# `-m session -P 1..3`


def _longhorn_disk(text: str, facts: Facts) -> object:
    return [
        _longhorn_find(text.splitlines(), one, disk.lun)
        for one in facts.sessions
        for disk in one.disks
    ]


def _longhorn_find(lines: list[str], one: Session, lun: int) -> str:
    """The first line after `Lun: N` of the session must show the disk."""
    wanted = iter(
        (
            lambda line: f"Target: {one.target} " in line or line.endswith(f"Target: {one.target}"),
            lambda line: f" {one.address}:" in line,
            lambda line: f"Lun: {lun}" in line,
        )
    )
    step = next(wanted, None)
    for line in lines:
        if step is None:
            assert "Attached scsi disk" in line, line
            name = line[line.index("Attached scsi disk") + len("Attached scsi disk") :]
            return name.split("State:")[0].strip()
        if step(line):
            step = next(wanted, None)
    raise AssertionError(f"no LUN {lun} of session {one.sid}")


def _democratic_csi_tree(text: str, _: Facts) -> object:
    """Two lines are dropped whatever they are; then targets and their devices."""
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    lines = text.splitlines()[2:]
    target = ""
    for number, line in enumerate(lines):
        if line.startswith("Target:"):
            target = line.split(" ")[1]
            found.setdefault(target, [])
        elif re.match(r"scsi\d+ Channel", line.strip()):
            words = line.split(" ")
            disk = lines[number + 1].split(" ")[3].split("\t")[0]
            found[target].append((words[2], words[4], words[6], disk))
    return found


_LIBSAN = {
    "disk": re.compile(r".*Attached scsi disk (\S+).*State: (\S+)"),
    "host": re.compile(r".*Host Number: (\S+).*State: (\S+)"),
    "lun": re.compile(r"^[ \t]+scsi([0-9]+) Channel ([0-9]+) Id ([0-9])+ Lun: ([0-9]+)$"),
    "sid": re.compile(r".*SID: (\S+)"),
    "portal": re.compile(r".*Current Portal: (\S+):[0-9]+,"),
}


def _libsan(text: str, _: Facts) -> object:
    return {
        name: [m.groups() for line in text.splitlines() if (m := pattern.match(line))]
        for name, pattern in _LIBSAN.items()
    }


def _libsan_expected(facts: Facts) -> object:
    disks = [(one, disk) for one in facts.sessions for disk in one.disks]
    return {
        "disk": [(disk.name, "running") for _, disk in disks],
        "host": [(str(one.host), "running") for one in facts.sessions],
        "lun": [(str(one.host), "00", "0", str(disk.lun)) for one, disk in disks],
        "sid": [(str(one.sid),) for one in facts.sessions],
        "portal": [(one.current,) for one in facts.sessions],
    }


def _avocado_disk(text: str, facts: Facts) -> object:
    found = []
    for target in facts.targets():
        assert f"{target} " in text
        first = re.search(rf"{target}.*?disk\s(\w+)\s+\S+\srunning", text, re.DOTALL)
        found.append(first[1] if first else None)
    return found


def _avocado_luns(text: str, _: Facts) -> object:
    return re.findall(r"Lun:\s*(\d+).*?disk\s+(\w+).*?running", text, re.DOTALL)


_OCI = {
    "target": re.compile(r"^Target: (\S+)"),
    "portal": re.compile(r"(Current|Persistent) Portal: ([0-9.]+):([0-9]+),"),
    "disk": re.compile(r"Attached scsi disk (\S+)\s+State: (\S+)"),
    "state": re.compile(r"iSCSI Session State: (\S+)"),
}


def _oci(text: str, _: Facts) -> object:
    return {
        name: [m.groups() for line in text.splitlines() if (m := pattern.search(line))]
        for name, pattern in _OCI.items()
    }


def _oci_expected(facts: Facts) -> object:
    portals = [
        (kind, one.address, str(one.port))
        for one in _ipv4(facts)
        for kind in ("Current", "Persistent")
    ]
    return {
        "target": [(target,) for target in facts.targets()],
        "portal": portals,
        "disk": [(disk.name, "running") for one in facts.sessions for disk in one.disks],
        "state": [("LOGGED_IN",)] * len(facts.sessions),
    }


_GOISCSI = (
    "Target:", "Current Portal:", "Iface Transport:", "Iface Initiatorname:", "Iface IPaddress:",
    "SID:", "iSCSI Connection State:", "iSCSI Session State:", "username:", "password:",
    "username_in:", "password_in:",
)  # fmt: skip


def _goiscsi(text: str, _: Facts) -> object:
    """One entry for a target: of several sessions the last one stays."""
    found: dict[str, dict[str, str]] = {}
    target = ""
    for line in map(str.strip, text.splitlines()):
        key = next((prefix for prefix in _GOISCSI if line.startswith(prefix)), "")
        value = line.removeprefix(key).strip()
        if key == "Target:":
            target = value.split(" ")[0]
            found[target] = {}
        elif key:
            found[target][key] = value
    return found


def _goiscsi_expected(facts: Facts) -> object:
    found = {}
    for one in facts.sessions:
        is_secured = one.target == facts.record.target and any(facts.chap)
        user, _, user_in, secret_in = facts.chap if is_secured else ("<empty>",) * 4
        found[one.target] = {
            "Current Portal:": f"{one.current}:{one.port},{one.tpgt}",
            "Iface Transport:": "tcp",
            "Iface Initiatorname:": facts.initiator,
            "Iface IPaddress:": one.source,
            "SID:": str(one.sid),
            "iSCSI Connection State:": "LOGGED IN",
            "iSCSI Session State:": "LOGGED_IN",
            "username:": user,
            "password:": secret_in,  # with -S the fourth label is `password:` once more
            "username_in:": user_in,
        }
    return found


def _connection_state(text: str, _: Facts) -> object:
    """sed -n '/Connection State/s/.*: //p'"""
    return [
        re.sub(r".*: ", "", line, count=1)
        for line in text.splitlines()
        if re.search("Connection State", line)
    ]


def _infinidat(text: str, _: Facts) -> object:
    """awk '{ if (NF > 3 && $1 == "Host" && $2 == "Number:") print $3 }'"""
    rows = [line.split() for line in text.splitlines()]
    return [row[2] for row in rows if len(row) > 3 and row[:2] == ["Host", "Number:"]]


def _spdk(text: str, _: Facts) -> object:
    return re.findall("Attached scsi disk (sd[a-z]+)", text)


def _spdk_awk(text: str, _: Facts) -> object:
    """grep "Attached scsi disk" | awk '{print $4}'"""
    return [line.split()[3] for line in text.splitlines() if "Attached scsi disk" in line]


def _yast(text: str, _: Facts) -> object:
    """Portal, target and iface of each block; a block ends with its iface."""
    found = []
    target = portal = ""
    for line in map(str.strip, text.splitlines()):
        if "Target:" in line:
            target = line.split()[1]
        elif match := re.search(r"^((Current|Persistent) )?Portal:\s*(\S+)", line):
            portal = match[3] if match[2] != "Persistent" else portal
        elif match := re.search(r"Iface Name:\s*(\S+)", line):
            found.append((portal, target, match[1]))
    return found


def _finalrd(text: str, _: Facts) -> object:
    return any(re.search("iSCSI Connection State: LOGGED IN", line) for line in text.splitlines())


def _devices(facts: Facts) -> object:
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    for one in facts.sessions:
        disks = [("00", "0", str(disk.lun), disk.name) for disk in one.disks]
        found.setdefault(one.target, []).extend(disks)
    return found


def _disk_names(facts: Facts) -> list[str]:
    return [disk.name for one in facts.sessions for disk in one.disks]


def _first_disks(facts: Facts) -> object:
    return [
        next(one.disks[0].name for one in facts.sessions if one.target == target)
        for target in facts.targets()
    ]


TREES = (
    Row("Longhorn", "session P3", _longhorn_disk, _disk_names),
    Row("democratic-csi", "session P3", _democratic_csi_tree, _devices),
    Row("libsan, sts-libs", "session P3", _libsan, _libsan_expected),
    Row("avocado-vt", "session P3", _avocado_disk, _first_disks),
    Row(
        "avocado-vt LUNs", "session P3", _avocado_luns,
        lambda facts: [(str(d.lun), d.name) for one in facts.sessions for d in one.disks],
    ),
    Row("oci-utils", "session P3", _oci, _oci_expected),
    Row("goiscsi", "session P2 S", _goiscsi, _goiscsi_expected),
    Row("heartbeat", "one session P1", _connection_state, lambda facts: ["LOGGED IN"]),
    Row(
        "Infinidat", "session P3", _infinidat,
        lambda facts: [str(one.host) for one in facts.sessions],
    ),
    Row("SPDK", "session P3", _spdk, _disk_names),
    Row("SPDK awk", "session P3", _spdk_awk, _disk_names),
    Row(
        "YaST", "session P1", _yast,
        lambda facts: [
            (f"{s.current}:{s.port},{s.tpgt}", s.target, "default") for s in facts.sessions
        ],
    ),
    Row("finalrd", "session P1", _finalrd, lambda facts: True),
)  # fmt: skip

ROWS = (*LINES, *TREES)
