"""Differences about the text of records: the original is given records without what it trips over.

Line numbers stay: a line that is taken away becomes a comment.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from pyiscsi.cli.options import OP_NONE, OP_SHOW, OP_UPDATE
from pyiscsi.records.text import tokenize
from tests.differential import words
from tests.differential.step import Step, leaves
from tests.differential.tree import FILE, LINK

_KINDS = (
    ("nodes/", "node"),
    ("ifaces/", "iface"),
    ("send_targets/", "discovery_sendtargets"),
    ("isns/", "discovery_isns"),
)


Change = Callable[[str, str, bytes], bytes]
"""Path, kind and a line to the line instead."""


def _change_records(step: Step, change: Change) -> bool:
    """Give the original other contents."""
    changed = {}
    for name, entry in step.their_before.items():
        kind = next((kind for start, kind in _KINDS if name.startswith(start)), None)
        if kind and entry.kind == FILE:
            content = _changed(change, name, kind, entry.content)
            if content != entry.content:
                changed[name] = entry._replace(content=content)
    step.their_before = step.their_before | changed
    return bool(changed)


@functools.lru_cache(10000)
def _changed(change: Change, name: str, kind: str, content: bytes) -> bytes:
    return b"\n".join(change(name, kind, line) for line in content.split(b"\n"))


@functools.lru_cache(100000)
def pair_of(line: bytes) -> tuple[str, str] | None:
    """Key and value of a line that sets one."""
    found, _ = tokenize(line + b"\n")
    return found[0][1:] if found else None


def without_unknown(step: Step) -> bool:
    """The original is given records without the lines it does not know."""
    return _change_records(step, _known_line)


def _known_line(_name: str, kind: str, line: bytes) -> bytes:
    pair = pair_of(line)
    unknown = pair and pair[0] not in words.KNOWN[kind]
    return b"#" if unknown or re.match(rb"\s*=\s*=", line) else line


def with_unknown(step: Step) -> bool:
    """A record that is changed keeps what we do not know, behind the rest."""
    if step.options.op != OP_UPDATE:
        return False
    changed = {}
    for name, entry in step.their_tree.items():
        before = step.before.get(name)
        if not before or before.kind != FILE or entry == step.their_before[name]:
            continue
        kind = next((kind for start, kind in _KINDS if name.startswith(start)), "")
        pairs = filter(None, map(pair_of, before.content.split(b"\n")))
        kept = {key: value for key, value in pairs if kind and key not in words.KNOWN[kind]}
        lines = "".join(f"{key} = {value}\n" for key, value in kept.items())
        data = lines.encode("utf-8", "surrogateescape") + b"# END RECORD\n"
        changed[name] = entry._replace(content=entry.content.replace(b"# END RECORD\n", data))
    changed = {name: entry for name, entry in changed.items() if entry != step.their_tree[name]}
    step.expected_tree = step.expected_tree | changed
    return bool(changed)


@functools.lru_cache(10000)
def _identity(name: str) -> dict[str, str]:
    """What a record's path says of it, by key."""
    parts = name.split("/")
    if re.fullmatch(r"(send_targets|isns)/[^/]+,[^/]+(/(st|isns)_config)?", name):
        address, _, port = parts[1].rpartition(",")
        return {"discovery.sendtargets.address": address, "discovery.sendtargets.port": port}
    if not re.fullmatch(rf"nodes/[^/]+/{PORTAL}(/[^/]+)?", name):
        return {}
    address, port, *tag = parts[2].split(",")
    said = {"node.name": parts[1], "node.conn[0].address": address, "node.conn[0].port": port}
    if len(parts) == 3:
        return {} if tag else said
    return said | {"node.tpgt": tag[0], "iface.iscsi_ifacename": parts[3]} if tag else {}


PORTAL = r"[^,/]+,-?\d+(,-?\d+)?"
"""How a portal directory, or a flat record, is called."""


def own_names(step: Step) -> bool:
    """A record is of the target and portal its path names, whatever it says itself."""
    return _change_records(step, _own_line)


def _own_line(name: str, _kind: str, line: bytes) -> bytes:
    pair = pair_of(line)
    own = _identity(name).get(pair[0]) if pair else None
    if own is None or pair is None or pair[1] == own:
        return line
    return f"{pair[0]} = {own}".encode("utf-8", "surrogateescape")


def names_said(step: Step) -> bool:
    """A record that does not say its portal has its directory's."""
    changed = {}
    for name, entry in step.their_before.items():
        if entry.kind == FILE:
            said = {pair[0] for pair in map(pair_of, entry.content.split(b"\n")) if pair}
            text = "".join(f"{k} = {v}\n" for k, v in _identity(name).items() if k not in said)
            if text:
                whole = entry.content[: entry.content.rfind(b"\n") + 1]
                data = whole + text.encode("utf-8", "surrogateescape")
                changed[name] = entry._replace(content=data)
    step.their_before = step.their_before | changed
    return bool(changed)


BACK_LINK = re.compile(
    r"(static|fw|isns|(?:send_targets|isns)/[^/,]+,\d+)/([^/]+),([^/,]+),(\d+),(-?\d+),([^/,]+)"
)


def same_portals(step: Step) -> bool:
    """Portals that differ in their tag alone are shown as one by the original."""
    theirs, ours = step.expected.out, step.ours.out
    if step.options.mode not in ("discovery", "discoverydb") or step.options.print_level < 1:
        return False
    if theirs == ours or leaves(_one_portal(theirs)) != leaves(_one_portal(ours)):
        return False
    step.expect(out=ours)
    return True


def _one_portal(text: str) -> str:
    """A tree without tags, and without a portal that is like the one before."""
    lines: list[str] = []
    portal = ""
    for line in text.split("\n"):
        if line.startswith("\tPortal: "):
            line = line.rpartition(",")[0]
            if line == portal:
                continue
            portal = line
        elif not line.startswith("\t\t"):
            portal = ""
        lines.append(line)
    return "\n".join(lines)


def own_source(step: Step) -> bool:
    """In discovery trees a record is of the source that has its only link."""
    if step.options.mode not in ("discovery", "discoverydb") or step.options.print_level < 1:
        return False
    sources: dict[str, set[str]] = {}
    for name, entry in step.their_before.items():
        match = BACK_LINK.fullmatch(name)
        if match and entry.kind == LINK and _is_source(step, match[1]):
            record = f"nodes/{match[2]}/{match[3]},{match[4]},{match[5]}/{match[6]}"
            sources.setdefault(record, set()).add(match[1])
    changed = {}
    for name, found in sources.items():
        entry = step.their_before.get(name)
        if len(found) == 1 and entry and entry.kind == FILE:
            kind, _, portal = found.pop().partition("/")
            address, _, port = portal.rpartition(",")
            lines = [f"node.discovery_type = {kind}", f"node.discovery_address = {address}"]
            data = "\n".join([*lines, f"node.discovery_port = {port}", ""])
            whole = entry.content[: entry.content.rfind(b"\n") + 1]
            changed[name] = entry._replace(content=whole + data.encode())
    step.their_before = step.their_before | changed
    return bool(changed)


def _is_source(step: Step, place: str) -> bool:
    configs = (f"{place}/st_config", f"{place}/isns_config")
    return "/" not in place or any(name in step.before for name in configs)


def uses_library(step: Step) -> bool:
    """Whether the original reads node and iface records with its library."""
    return step.options.mode in ("node", "iface") and step.options.op in (OP_NONE, OP_SHOW)


def without_bad_words(step: Step) -> bool:
    """For listings the original is given records without words that a setting does not know."""
    return uses_library(step) and _change_records(step, _fitting_line)


def _fitting_line(_name: str, kind: str, line: bytes) -> bytes:
    if _LONG_KEY.match(line):
        return b"#"
    pair = pair_of(line)
    allowed = words.ALLOWED.get(pair[0]) if pair else None
    return b"#" if kind == "node" and allowed and pair and pair[1] not in allowed else line


_LONG_KEY = re.compile(rb"\s*[^#\s=][^\s=]{127}")


_BAD_WORD = re.compile(
    r"iscsiadm: config file line \d+ contains unknown value format .* for parameter name .* "
    r"\(/etc/iscsi/(.*)\)\n"
)


def bad_words_said(step: Step) -> bool:
    """The records are shown, what is wrong with them is said, and the status is 1."""
    lines = step.ours.err.splitlines(True)
    named = [match[1] for line in lines if (match := _BAD_WORD.fullmatch(line))]
    changed = [k for k, entry in step.before.items() if step.their_before.get(k) != entry]
    if step.expected.status or not named or len(named) < len(lines) or set(named) - set(changed):
        return False
    step.expect(status=1, err=step.ours.err)
    return True


def _family_of(name: str) -> str:
    """The address family whose keys the library expects in a file."""
    parts = name.split("/")
    iface = parts[-1] if parts[0] == "ifaces" or len(parts) == 4 else "default"
    return "ipv6" if "ipv6" in iface else "ipv4"


def without_other_family(step: Step) -> bool:
    """For listings, and where an iface is used, the original is given records without keys of the
    other address family."""
    uses = uses_library(step) or step.options.mode == "iface"
    return uses and _change_records(step, _line_of_family)


def _line_of_family(name: str, kind: str, line: bytes) -> bytes:
    pair = pair_of(line)
    family = words.FAMILIES.get(kind, {}).get(pair[0]) if pair else None
    return line if family in (None, _family_of(name)) else b"#"


def _is_of_a_family(line: str) -> bool:
    key = line.partition(" = ")[0]
    return key in words.FAMILIES["iface"] or key in words.FAMILIES["node"]


def family_shown(step: Step) -> bool:
    """What is said of one family only is left out of the comparison."""
    theirs, ours = (x.splitlines(True) for x in (step.expected.out, step.ours.out))
    if theirs == ours or not uses_library(step):
        return False
    if [x for x in theirs if not _is_of_a_family(x)] != [x for x in ours if not _is_of_a_family(x)]:
        return False
    step.expect(out=step.ours.out)
    return True


_WIDTHS = {
    "node.session.cmds_max": 1 << 16,
    "node.session.queue_depth": 1 << 16,
    "node.session.initial_cmdsn": 1 << 32,
}


def _as_unsigned(line: str) -> str:
    key, _, value = line.rstrip("\n").partition(" = ")
    return f"{key} = {int(value) % _WIDTHS[key]}\n"


def numbers_shown(step: Step) -> bool:
    """The original shows some numbers as unsigned ones of a few bits."""
    if not uses_library(step):
        return False
    theirs = step.expected.out.splitlines(True)
    at, ours = (
        [(n, x) for n, x in enumerate(lines) if x.partition(" = ")[0] in _WIDTHS]
        for lines in (theirs, step.ours.out.splitlines(True))
    )
    if len(at) != len(ours):
        return False
    for (place, shown), (_, stored) in zip(at, ours, strict=True):
        if shown == _as_unsigned(stored):
            theirs[place] = stored
    changed = "".join(theirs) != step.expected.out
    step.expect(out="".join(theirs))
    return changed


def family_kept(step: Step) -> bool:
    """Keys of the other family in records that were changed."""
    changed = {}
    for name, entry in step.expected_tree.items():
        ours = step.our_tree.get(name)
        if ours in (None, entry) or entry.kind != FILE:
            continue
        if ours and _without_families(entry.content) == _without_families(ours.content):
            changed[name] = entry._replace(content=ours.content)
    step.expected_tree = step.expected_tree | changed
    return bool(changed)


def _without_families(content: bytes) -> list[str]:
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    return [line for line in lines if not _is_of_a_family(line)]
