"""How clients read the files themselves."""

from __future__ import annotations

import re

from tests.clients.facts import Facts, Row

_TRIDENT_NAME = re.compile(r"^\s*InitiatorName\s*=\s*(?P<iqn>\S+)(|\s+.*)$")
_HPE_USER = re.compile(r"(?m)^\s*node.session.auth.username\s*=\s*(?P<username>.*)\s*$")
_HPE_NETDEV = re.compile(r"(?m)^iface.net_ifacename\s*=\s*(?P<network>.*)")


def _name_ansible(text: str, _: Facts) -> object:
    """The first line that starts so, what follows the sign."""
    for line in text.splitlines():
        if line.startswith(("#", ";")) or not line.strip():
            continue
        if line.startswith("InitiatorName="):
            return line.split("=", 1)[1]
    return None


def _name_trident(text: str, _: Facts) -> object:
    return [m["iqn"] for line in text.splitlines() if (m := _TRIDENT_NAME.match(line))]


def _name_goiscsi(text: str, _: Facts) -> object:
    rows = ["".join(line.split()) for line in text.splitlines()]
    return [row.removeprefix("InitiatorName=") for row in rows if row.startswith("InitiatorName=")]


def _name_huawei(text: str, _: Facts) -> object:
    """awk 'BEGIN{FS="=";ORS=""}/^InitiatorName=/{print $2}'"""
    return "".join(x.split("=")[1] for x in text.splitlines() if re.match("^InitiatorName=", x))


def _name_debian(text: str, _: Facts) -> object:
    """grep -q "^InitiatorName=[^ \\t\\n]" """
    return any(re.match("^InitiatorName=[^ \t\n]", line) for line in text.splitlines())


def _startup(text: str, _: Facts) -> object:
    """grep '^iscsid.startup'"""
    return sum(bool(re.match("^iscsid.startup", line)) for line in text.splitlines())


def _curtin(text: str, _: Facts) -> object:
    """Portal directories of nodes/*/*: three parts each."""
    found = []
    for line in text.splitlines():
        host, port, tag = line.split(",")
        found.append((host, port, tag))
    return found


def _spdk(text: str, _: Facts) -> object:
    """sed 's/^node.session.auth.username =.*/node.session.auth.username = .../'"""
    return len(re.findall(r"(?m)^node.session.auth.username =.*", text))


ROWS = (
    Row("Ansible facts", "initiatorname", _name_ansible, lambda f: f.initiator),
    Row("Trident", "initiatorname", _name_trident, lambda f: [f.initiator]),
    Row("goiscsi", "initiatorname", _name_goiscsi, lambda f: [f.initiator]),
    Row("Huawei", "initiatorname", _name_huawei, lambda f: f.initiator),
    Row("Debian", "initiatorname", _name_debian, lambda f: True),
    Row("heartbeat", "iscsid.conf", _startup, lambda f: 1),
    Row("SPDK", "record file", _spdk, lambda f: 1),
    Row(
        "HPE", "record file", lambda text, _: [m["username"] for m in _HPE_USER.finditer(text)],
        lambda f: [f.chap[0]],
    ),
    Row(
        "HPE", "iface file", lambda text, _: [m["network"] for m in _HPE_NETDEV.finditer(text)],
        lambda f: [f.netdev],
    ),
    Row(
        "curtin", "portal directories", _curtin,
        lambda f: sorted(
            (n.address.strip("[]"), str(n.port), str(n.tag)) for n in f.nodes if n.tag != -1
        ),
    ),
)  # fmt: skip
