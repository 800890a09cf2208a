"""Differences about files and directories that are no records, or not whole ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pyiscsi.cli.options import OP_APPLY, OP_NEW
from tests.differential.answers import subject
from tests.differential.contents import BACK_LINK, PORTAL, pair_of, uses_library
from tests.differential.machine import Answer
from tests.differential.refusals import ONE_IFACE, iface_of, kept_remark
from tests.differential.step import Step
from tests.differential.tree import DIRECTORY, FILE, LINK, Tree


def _without(step: Step, is_stray: Callable[[str], bool]) -> bool:
    """The original is not given these entries."""
    kept = {k: e for k, e in step.their_before.items() if not is_stray(k)}
    found = len(kept) < len(step.their_before)
    step.their_before = kept
    return found


def backup(step: Step) -> bool:
    def is_stray(name: str) -> bool:
        parts = name.split("/")
        # A target is a directory, whatever its name.
        first = 2 if parts[0] == "nodes" and len(parts) + (name not in files) > 2 else 1
        hidden = any(part.startswith(".") or part.endswith("~") for part in parts[first:])
        return parts[0] in ("nodes", "ifaces") and hidden

    files = {k for k, e in step.their_before.items() if e.kind == FILE}

    return _without(step, is_stray)


def built_in_file(step: Step) -> bool:
    """For listings the original has no files of the ifaces that exist without one."""
    if step.options.mode != "iface" or not uses_library(step):
        return False
    return _without(step, lambda name: name in ("ifaces/default", "ifaces/iser"))


def stray_in_nodes(step: Step) -> bool:
    """A file where target directories are."""
    files = {k for k, e in step.their_before.items() if e.kind == FILE}
    return _without(
        step, lambda name: name in files and re.fullmatch("nodes/[^/]+", name) is not None
    )


def stray_said(step: Step) -> bool:
    """The others are listed; the status says that something is wrong."""
    strays = [
        k for k, e in step.before.items() if e.kind == FILE and re.fullmatch("nodes/[^/]+", k)
    ]
    said = {f"iscsiadm: Got ENOTDIR error when scandir /etc/iscsi/{k}\n": 1 for k in strays}
    tags = {k for k, e in step.before.items() if e.kind == DIRECTORY and _BAD_TAG.fullmatch(k)}
    said |= {f"iscsiadm: iface iter could not read dir /etc/iscsi/{k}.\n": 6 for k in tags}
    lines = [line for line in step.ours.err.splitlines(True) if line in said]
    if not lines:
        return False
    if step.expected.status in (0, 21) and uses_library(step):
        step.expect(status=said[lines[0]], err=kept_remark(step))
    remark = kept_remark(step)
    step.expect(err=remark + "".join(lines) + step.expected.err.removeprefix(remark))
    return True


_BAD_TAG = re.compile(r"nodes/[^/]+/[^,/]+,-?\d+,(?!-?\d+\Z).*")


def both_forms(step: Step) -> bool:
    """A flat record beside the directory of its portal, when all are made anew."""
    options = step.options
    if (options.mode, options.op) != ("node", OP_NEW) or (
        options.targetname and options.portal_address
    ):
        return False
    flat = {k for k, e in step.before.items() if e.kind == FILE and _FLAT.fullmatch(k)}
    both = [name for name in flat if any(k.startswith(f"{name},") for k in step.before)]
    portals = tuple(f"{name.split('/', 1)[1]}".replace("/", ",") for name in both)
    links = {k for k in step.before if portals and k.rpartition("/")[2].startswith(portals)}
    if not both:
        return False
    ours = {k: e for k, e in step.our_tree.items() if k in both or k in links}
    rest = {k: e for k, e in step.expected_tree.items() if k not in both and k not in links}
    step.expected_tree = dict(sorted((rest | ours).items()))
    return True


_FLAT = re.compile(r"nodes/[^/]+/[^/,]+,\d+")


def empty_portal(step: Step) -> bool:
    """A portal directory without a record is none."""
    used = {k.rpartition("/")[0] for k in step.their_before}
    found = {k for k in step.their_before if k.count("/") == 2 and k.startswith("nodes/")} - used
    directories = {k for k in found if step.their_before[k].kind == DIRECTORY}
    return _without(step, directories.__contains__)


def stray_portal(step: Step) -> bool:
    """What is not called as a portal."""
    return _without(
        step, lambda name: re.fullmatch(rf"nodes/[^/]+/(?!{PORTAL}(/|\Z)).*", name) is not None
    )


def inside_portal(step: Step) -> bool:
    directories = {k for k, e in step.their_before.items() if e.kind == DIRECTORY}
    inside = tuple(f"{k}/" for k in directories if k.startswith("nodes/") and k.count("/") == 3)
    return _without(step, lambda name: f"{name}/" in inside or name.startswith(inside))


def dangling_links(step: Step) -> bool:
    """They are removed, and so is a directory that has nothing else, where records are deleted."""
    if step.options.mode not in ("discovery", "discoverydb"):
        return False
    gone = set()
    for name in step.expected_tree.keys() & step.before.keys() - step.our_tree.keys():
        match = BACK_LINK.fullmatch(name)
        if match and step.before[name].kind == LINK:
            _, target, address, port, tag, iface = match.groups()
            portal = f"nodes/{target}/{address},{port}"
            if not {portal, f"{portal},{tag}/{iface}"} & step.before.keys():
                gone.add(name)
    left = step.expected_tree.keys() - gone
    used = {name.rpartition("/")[0] for name in left}
    gone |= {name.rpartition("/")[0] for name in gone} - used - step.our_tree.keys()
    step.expected_tree = {k: e for k, e in step.expected_tree.items() if k not in gone}
    return bool(gone)


def unlinked(step: Step) -> bool:
    """Records that no discovery record has a link to are not those a discovery deletes."""
    if step.options.mode not in ("discovery", "discoverydb"):
        return False
    linked = {
        (target, f"{address},{port}", tag, iface)
        for match in map(BACK_LINK.fullmatch, step.before)
        if match
        for _, target, address, port, tag, iface in [match.groups()]
    }
    kept = {}
    for name in step.our_tree.keys() & step.before.keys() - step.expected_tree.keys():
        parts = name.split("/")
        if parts[0] != "nodes" or step.before[name].kind != FILE or len(parts) != 4:
            continue
        portal, _, tag = parts[2].rpartition(",")
        if (parts[1], portal, tag, parts[3]) not in linked:
            kept[name] = step.before[name]
            above = [str(parent) for parent in list(Path(name).parents)[:-1]]
            kept |= {directory: step.our_tree[directory] for directory in above}
    step.expected_tree = dict(sorted((step.expected_tree | kept).items()))
    return bool(kept)


_NO_DRIVER = re.compile(
    r"libkmod: ERROR .*: could not find module by name=''\n"
    r"iscsiadm: Could not insert module \. Kmod error -2\n"
    r"iscsiadm: Cound not locate transport for iface .*\n"
)


_NO_IFACE = re.compile(r"iscsiadm: '.*' is not a valid iSCSI interface configuration file\n")


def no_transport(step: Step) -> bool:
    """A file without a transport is no iface."""
    skipped = [line for line in step.ours.err.splitlines(True) if _NO_IFACE.fullmatch(line)]
    if step.options.mode in ("discovery", "discoverydb") and step.expected.status and skipped:
        step.expect(err="".join(skipped) + step.expected.err)
        return True
    name = f"ifaces/{iface_of(step)}"
    pairs = (
        [pair_of(x) for x in step.before[name].content.split(b"\n")] if name in step.before else []
    )
    unread = f"iscsiadm: Could not read iface info for {iface_of(step)}.\n"
    silent = name in step.before and not any(p and p[0] == "iface.transport_name" for p in pairs)
    if silent and step.options.op == OP_APPLY and step.options.mode == "iface":
        step.expect(status=6, out="", err=f"iscsiadm: Could not read iface {iface_of(step)} (6).\n")
        return True
    if step.options.mode == "node" and silent and step.ours.err.endswith(unread):
        step.expect(status=3, out="", err=kept_remark(step) + unread)
        step.expected_tree = step.before
        return True
    path = f"/etc/iscsi/ifaces/{iface_of(step)}"
    reason = f"iscsiadm: '{path}' is not a valid iSCSI interface configuration file\n"
    if not _NO_DRIVER.search(step.expected.err) or reason not in step.ours.err:
        return False
    step.expect(status=6, err=_NO_DRIVER.sub(reason.replace("\\", "\\\\"), step.expected.err))
    return True


_ASIDE = re.compile(
    r"iscsiadm: Record \S+ is empty, cut off or binary, moved to \S+/.pyiscsi-quarantine/\S+\n"
)
_QUARANTINE = ".pyiscsi-quarantine"


_CLOSING = re.compile(r"iscsiadm: Could not execute operation on all records: .*\n")


def _damaged(step: Step) -> set[str]:
    """The records that ours has moved away."""
    moved = {
        entry.content
        for name, entry in step.our_tree.items()
        if name.startswith(f"{_QUARANTINE}/") and name not in step.before
    }
    return {
        name
        for name, entry in step.before.items()
        if entry.kind == FILE and entry.content in moved and step.our_tree.get(name) != entry
    }


def without_damaged(step: Step) -> Tree | None:
    """The database without the records that ours has moved away; None when it moved none."""
    gone = _damaged(step)
    kept = set()
    if (step.options.mode, step.options.op) == ("node", OP_NEW):
        # Made anew, whatever it was; a flat file's iface is not known, so that was not.
        kept = {name for name in gone if name.startswith("nodes/") and name in step.our_tree}
    return {k: e for k, e in step.before.items() if k not in gone - kept} if gone else None


def _without_emptied(tree: Tree, damaged: set[str], removed: set[str]) -> Tree:
    """A directory stays that a record was moved away from, also when the others are deleted."""
    kept = dict(tree)
    above = {str(parent) for name in damaged for parent in Path(name).parents}
    for directory in sorted(above, reverse=True):
        is_used = any(name.startswith(f"{directory}/") for name in kept)
        if not is_used and directory in removed:
            kept.pop(directory, None)
    return kept


_ASIDE_ALONE = re.compile(
    _ASIDE.pattern + r"(iscsiadm: Could not delete iface .*: encountered iSCSI database failure\n)?"
)


def is_refused(step: Step) -> bool:
    """Whether it was the one record the command is about that was moved away."""
    alone = _ASIDE_ALONE.fullmatch(step.ours.err) and not step.ours.out and step.ours.status == 6
    return bool(alone) and step.options.mode != "node"


def as_if_undamaged(
    step: Step, given: Tree, theirs: Answer, their_tree: Tree
) -> tuple[Answer, Tree]:
    """Our answer and database without what tells of records that were moved away.

    `theirs` and `their_tree` are what the original answers and leaves when it has `given`. A
    record that is made anew in place of one keeps a link that the old one may have had.
    """
    tree = {
        name: entry
        for name, entry in step.our_tree.items()
        if name in step.before or not name.startswith(_QUARANTINE)
    }
    tree = _without_emptied(tree, _damaged(step), given.keys() - their_tree.keys())
    if step.options.op == OP_NEW:
        tree = {k: e for k, e in tree.items() if e.kind != LINK or k in their_tree}
    err, count = _ASIDE.subn("", step.ours.err)
    if step.ours.status != 6 or not count or "iface iter could not read dir" in err:
        return replace(step.ours, err=err), tree
    if theirs.status == 0:
        lines = (line for line in err.splitlines(True) if not subject(line))
        err = "".join(lines).replace(ONE_IFACE, "")
    closing = _CLOSING.search(theirs.err)
    err = _CLOSING.sub(closing[0] if closing else "", err)
    if theirs.status == 21 and err in ("", ONE_IFACE):
        err = theirs.err
    is_stray_said = "Got ENOTDIR error" in err and uses_library(step) and theirs.status in (0, 21)
    return replace(step.ours, err=err, status=1 if is_stray_said else theirs.status), tree
