"""What clients look for in the messages of commands: stdout of those that work, stderr of others.

Outputs whose name ends in `fails` are stderr.
"""

from __future__ import annotations

import re

from tests.clients.facts import Facts, Row, Session


def _one(facts: Facts) -> Session:
    """The session of the record that the commands were about."""
    return next(one for one in facts.sessions if one.target == facts.record.target)


def _place(facts: Facts) -> str:
    """Target and portal as messages name them."""
    node = facts.record
    return f"target: {node.target}, portal: {node.address.strip('[]')},{node.port}]"


def _lines(text: str, _: Facts) -> object:
    return text.splitlines()


def _found(client: str, reads: str, pattern: str, flags: int = 0) -> Row:
    """A client that looks for a pattern anywhere in an output."""
    return Row(client, reads, lambda text, _: bool(re.search(pattern, text, flags)), lambda _: True)


def _absent(client: str, reads: str, word: str) -> Row:
    """A client that takes a word for a failure."""
    return Row(client, reads, lambda text, _: word in text, lambda _: False)


def _libsan_ifaces(text: str, _: Facts) -> object:
    """Lines with `iSCSI ERROR` are left out; ours never has one, so nothing may be lost."""
    return [line for line in text.splitlines() if "iSCSI ERROR" in line]


WORKING = (
    Row(
        "avocado-vt", "login", _lines,
        lambda f: [
            f"Logging in to [iface: default, {_place(f)}",
            f"Login to [iface: default, {_place(f)} successful.",
        ],
    ),
    Row(
        "avocado-vt", "logout", _lines,
        lambda f: [
            f"Logging out of session [sid: {_one(f).sid}, {_place(f)}",
            f"Logout of [sid: {_one(f).sid}, {_place(f)} successful.",
        ],
    ),
    Row(
        "vdsm, Proxmox", "rescan", _lines,
        lambda f: [f"Rescanning session [sid: {_one(f).sid}, {_place(f)}"],
    ),
    Row(
        "CloudStack, juju", "new", _lines,
        lambda f: [
            "New iSCSI node [tcp:[hw=,ip=,net_if=,iscsi_if=default] "
            f"{f.record.address},{f.record.port},-1 {f.record.target}] added"
        ],
    ),
    Row(
        "HPE, kubelet", "iface new", _lines,
        lambda f: [f"{f.iface} updated.", f"New interface {f.iface} added"],
    ),
    Row("HPE, kubelet", "iface update", _lines, lambda f: [f"{f.iface} updated."]),
    Row("kubelet, vdsm", "iface delete", _lines, lambda f: [f"{f.iface} unbound and deleted."]),
    Row("everybody", "update", _lines, lambda f: []),
    Row("everybody", "delete", _lines, lambda f: []),
    _absent("Longhorn", "discovery", "Could not"),
    _absent("Longhorn", "login", "Could not"),
    _absent("avocado-vt", "discovery", "Invalid"),
    Row("libsan", "ifaces", _libsan_ifaces, lambda f: []),
    Row(
        "heartbeat", "version", lambda text, _: text.split()[2] > "2.0-871", lambda _: True,
    ),
    Row("Longhorn, Trident, tns-csi", "version", _lines, lambda _: ["iscsiadm version 2.1.8"]),
)  # fmt: skip

FAILING = (
    _found("Proxmox", "session fails", r": No active sessions.$", re.IGNORECASE | re.MULTILINE),
    _found("avocado-vt", "session fails", r"No active sessions\."),
    _found("tns-csi", "session fails", r"no active sessions", re.IGNORECASE),
    _found("Ansible, avocado-vt", "node fails", r"o records found"),
    _found("avocado-vt, tns-csi", "logout fails", r"No matching sessions"),
    _found("goiscsi, os-brick", "login fails", r"already present"),
    _found(
        "democratic-csi", "database fails",
        r"Could not execute operation on all records: encountered iSCSI database failure",
    ),
    _found("everybody", "database fails", r"\Aiscsiadm: "),
)  # fmt: skip

ROWS = (*WORKING, *FAILING)
