"""Differences about commands that are refused, and what they leave."""

from __future__ import annotations

import re

from pyiscsi.cli.options import OP_DELETE, OP_NEW
from pyiscsi.records.values import printable
from tests.differential.answers import subject
from tests.differential.machine import Answer
from tests.differential.step import Step
from tests.differential.tree import DIRECTORY, Entry, Tree


def refused_update(step: Step) -> bool:
    """An iface that could not be updated."""
    refused = step.expected.err.endswith(
        f"Could not update iface {iface_of(step)}: invalid parameter\n"
    )
    if step.options.mode != "iface" or step.expected.status or not refused:
        return False
    step.expect(status=7)
    return True


def iface_of(step: Step) -> str:
    return step.options.ifaces[0] if step.options.ifaces else ""


_NOTHING_TO_ADD = "iscsiadm: Error while adding record: \n"
_REASON = re.compile(
    "iscsiadm: Error while adding record: "
    "there (is|are) no records?( of target .*| with portal .*)?; name (a|its) (portal|target) .*\n"
)


def nothing_to_add(step: Step) -> bool:
    if step.expected.status or not step.expected.err.endswith(_NOTHING_TO_ADD):
        return False
    reason = _REASON.search(step.ours.err)
    reason = reason[0] if reason else "a reason"
    step.expect(status=7, err=step.expected.err.replace(_NOTHING_TO_ADD, reason))
    return True


def special_iface_deleted(step: Step) -> bool:
    """Refused at once: the node records are still there, and none is in the way."""
    name = iface_of(step)
    ends = f"iscsiadm: Could not delete iface {name}: "
    is_special = name in ("default", "iser") and step.options.op == OP_DELETE
    if not is_special or step.options.mode != "iface" or ends not in step.theirs.err:
        return False
    refused = f"iscsiadm: iface {name} is a special interface and cannot be deleted.\n"
    said = "".join(line for line in step.expected.err.splitlines(True) if subject(line))
    remark = "".join(x for x in step.expected.err.splitlines(True) if "Using the first" in x)
    step.expect(status=7, out="", err=f"{remark}{said}{refused}{ends}invalid parameter\n")
    kept = {"ifaces": Entry(DIRECTORY, 0o700, b"")} | step.before
    step.expected_tree = dict(sorted(kept.items()))
    return True


def hidden_iface(step: Step) -> bool:
    """A name that listings do not show cannot be made."""
    name, options = iface_of(step), step.options
    hidden = name[:1] == "." or name[-1:] == "~" or name == "iface.example"
    if not (options.mode == "iface" and options.op == OP_NEW and hidden):
        return False
    if not step.theirs.out.endswith(f"New interface {name} added\n"):
        return False
    step.expect(
        status=7,
        out="",
        err=f"iscsiadm: Invalid iface name {name}: files with such names are not read as ifaces.\n"
        f"iscsiadm: Could not create new interface {name}.\n",
    )
    step.expected_tree = {k: v for k, v in step.expected_tree.items() if k != f"ifaces/{name}"}
    return True


def name_with_slash(step: Step) -> bool:
    """The reason before the closing line."""
    name = iface_of(step)
    closing = f"iscsiadm: Could not create new interface {name}.\n"
    if "/" not in name or step.expected.err != closing:
        return False
    reason = f"iscsiadm: Could not open '/etc/iscsi/ifaces/{name}': Invalid argument\n"
    step.expect(err=reason + closing)
    return True


def example_iface(step: Step) -> bool:
    """A reason where there is none."""
    remark = "iscsiadm: iface mode only accepts one interface. Using the first one iface.example.\n"
    silent = (Answer(6, "", ""), Answer(6, "", remark))
    if iface_of(step) != "iface.example" or step.expected not in silent:
        return False
    name = "/etc/iscsi/ifaces/iface.example"
    reason = f"iscsiadm: Failed to open {name} using read mode: 2 No such file or directory\n"
    step.expect(err=step.expected.err + reason)
    return True


def discovery_address(step: Step) -> bool:
    """Refused before anything is looked for."""
    options = step.options
    address = options.portal_address
    if options.mode not in ("discovery", "discoverydb") or address is None:
        return False
    added = step.theirs.out.startswith(f"New discovery record for [{address},")
    sought = f"iscsiadm: Discovery record [{address}," in step.theirs.err
    failed = f"/{address}," in step.theirs.err and "Could not make dir " in step.theirs.err
    if (address[:1] not in ("", ".") and "/" not in address) or not (added or sought or failed):
        return False
    said = "".join(line for line in step.expected.err.splitlines(True) if subject(line))
    step.expect(status=7, out="", err=f"{said}iscsiadm: Invalid address {address!r}.\n")
    step.expected_tree = step.before
    return True


_LOOKUP = "It is used to look up the record and cannot be changed."


def empty_name(step: Step) -> bool:
    text = f"Cannot modify . {_LOOKUP}\n"
    if all(key for key, _ in step.options.params) or text not in step.theirs.err:
        return False
    step.expect(err=step.expected.err.replace(text, "Cannot modify . Invalid param name.\n"))
    return True


def _is_refused_name(name: str) -> bool:
    return name in (".", "..") or "/" in name or any(c < " " or c == "\x7f" for c in name)


def node_name(step: Step) -> bool:
    """A target or address that would leave the tree or break a line."""
    options = step.options
    both = options.targetname and options.portal_address
    if (options.mode, options.op) != ("node", OP_NEW) or not both:
        return False
    names = (("target name", options.targetname), ("address", options.portal_address))
    for what, name in names:
        hidden = what == "address" and (name or "").startswith(".")
        if name and (_is_refused_name(name) or hidden):
            reason = f"iscsiadm: Error while adding record: Invalid {what} {name!r}.\n"
            step.expect(status=7, out="", err=kept_remark(step) + reason)
            step.expected_tree = untouched(step, "ifaces")
            return True
    return False


ONE_IFACE = (
    "iscsiadm: NODE mode only accepts one interface. Using the first one "
    "driver  hwaddress  ipaddress .\n"
)


def kept_remark(step: Step) -> str:
    return ONE_IFACE if step.theirs.err.startswith(ONE_IFACE) else ""


def tag(step: Step) -> bool:
    """A tag below -1."""
    options = step.options
    if (options.mode, options.op) != ("node", OP_NEW) or options.tpgt >= -1:
        return False
    if step.theirs.status or " added\n" not in step.theirs.out:
        return False
    reason = f"iscsiadm: Error while adding record: invalid portal group tag {options.tpgt}\n"
    step.expect(status=7, out="", err=kept_remark(step) + reason)
    step.expected_tree = untouched(step, "ifaces")
    return True


_TOO_LONG = ": File name too long\n"


def long_name(step: Step) -> bool:
    """Nothing stays of a record whose name is too long."""
    ours = step.ours.err
    if step.expected.status != 6 or _TOO_LONG not in step.expected.err or _TOO_LONG not in ours:
        return False
    ending = "Error while adding record: encountered iSCSI database failure\n"
    if not (ours.endswith(ending) and step.expected.err.endswith(ending)):
        return False
    step.expect(err=ours)
    step.expected_tree = untouched(step, "ifaces", "static")
    return True


def untouched(step: Step, *directories: str) -> Tree:
    """The database as it was; these directories may have been made."""
    made = {name: entry for name, entry in step.our_tree.items() if name in directories}
    return dict(sorted((step.before | made).items()))


_REFUSED_VALUE = re.compile(
    r"(iscsiadm: unknown value format '.*\\x0[ad].*' for parameter name '(.*)'\n"
    r"(iscsiadm: Unknown parameter \2\.\n)?)+"
    r"(iscsiadm: Could not (execute operation on all records|update iface .*): invalid "
    r"parameter\n)?"
)


def line_break(step: Step) -> bool:
    """A value that would become two lines; nothing is changed, a new iface has its defaults."""
    broken = [key for key, value in step.options.params if {"\n", "\r"} & set(value)]
    refused = _REFUSED_VALUE.search(step.ours.err)
    if step.theirs.status or not refused or refused[2] not in broken:
        return False
    updated = f"{iface_of(step)} updated.\n"
    step.expect(
        status=7,
        out=step.expected.out.replace(updated, ""),
        err="".join(x for x in step.theirs.err.splitlines(True) if not subject(x)) + refused[0],
    )
    tree = {"ifaces": Entry(DIRECTORY, 0o700, b"")} if step.options.mode == "iface" else {}
    tree |= step.before
    name = f"ifaces/{iface_of(step)}"
    if step.options.op == OP_NEW and name in step.our_tree and name in step.their_tree:
        theirs, ours = (t[name].content.split(b"\n") for t in (step.their_tree, step.our_tree))
        if set(ours) <= set(theirs):
            tree[name] = step.our_tree[name]
    step.expected_tree = dict(sorted(tree.items()))
    return True


_HALF = (
    "iscsiadm: CHAP configuration has incoming authentication credentials but has no outgoing "
    "credentials configured.\n"
    "iscsiadm: Could not perform SendTargets discovery: sysfs lookup failure\n"
)
_HALF_HERE = re.compile(
    r"iscsiadm: Login authentication failed with target , Local password not set\n"
    r"iscsiadm: discovery login to \S+ failed, giving up 5\n"
    r"iscsiadm: Could not perform SendTargets discovery: iSCSI login failed due to authorization "
    r"failure\n"
)


def control_shown(step: Step) -> bool:
    """A value that is refused stays one line."""
    text = step.expected.err
    for _, value in step.options.params:
        text = text.replace(f"'{value}'", f"'{printable(value)}'")
    if text == step.expected.err:
        return False
    step.expect(err=text)
    return True


def half_chap(step: Step) -> bool:
    """Credentials of one direction only, in discovery."""
    refused = _HALF_HERE.search(step.ours.err)
    if not step.expected.err.endswith(_HALF) or not refused:
        return False
    step.expect(status=24, err=step.expected.err.removesuffix(_HALF) + refused[0])
    return True
