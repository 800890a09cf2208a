"""Differences in what is said, and in what is left of a command that succeeds or is refused."""

from __future__ import annotations

import re

from pyiscsi.cli.options import OP_DELETE, OP_NEW
from pyiscsi.records.values import BLANKS
from tests.differential.step import Step
from tests.differential.tree import DIRECTORY, LINK

_REMARKS = [
    r"iscsiadm: Nothing to configure\.",
    r"iscsiadm: Could not read proc_name for host\d+ rc 5\.",
    r"iscsiadm: NODE mode only accepts one interface\. Using the first one driver  hwaddress  "
    r"ipaddress \.",
    r"iscsiadm: iface mode only accepts one interface\. Using the first one .*\.",
    r"iscsiadm: [Cc]onfig file line \d+ .*",
    r"iSCSI WARNING: .*",
    r"iscsiadm: Ignoring (unknown|repeated) value '.*' for '.*'",
]


def quiet(step: Step) -> bool:
    """A remark beside success."""
    if step.theirs.status or step.ours.status or not step.expected.err:
        return False
    lines = step.expected.err.split("\n")[:-1]
    if not all(any(re.fullmatch(remark, line) for remark in _REMARKS) for line in lines):
        return False
    step.expect(err="")
    return True


_LIBRARY = re.compile(r"iSCSI (?:ERROR|WARNING): (.*?) +# \w+\.c:\w+\(\):\d+", re.DOTALL)


def library(step: Step) -> bool:
    """The library's messages without the place in its source."""
    text = _LIBRARY.sub(r"iscsiadm: \1", step.expected.err)
    if text == step.expected.err:
        return False
    step.expect(err=text)
    return True


_FILE_LINES = (
    re.compile(r"(?:iscsiadm|iSCSI WARNING): [Cc]onfig file (?:\S+ )?line (\d+) .*\n"),
    re.compile(r"(?:iscsiadm|iSCSI WARNING): ('.*' is not a valid iSCSI interface .* file).*\n"),
    re.compile(r"iscsiadm: (Ignoring (?:unknown|repeated) value '.*' for '\S+?')(?: \(\S+\))?\n"),
)


def subject(line: str) -> str | None:
    """What a line about a file's text is about; None for other lines."""
    matches = filter(None, (pattern.fullmatch(line) for pattern in _FILE_LINES))
    return next((match[1] for match in matches), None)


def file_lines(step: Step) -> bool:
    """What is wrong with a file is said once at most, and of which record."""
    theirs, ours = (x.splitlines(True) for x in (step.expected.err, step.ours.err))
    about = {subject(line) for line in theirs} - {None}
    said = {line: found for line in ours if (found := subject(line))}
    if not step.expected.status or not about or not set(said.values()) <= about:
        return False
    rest = [line for line in theirs if subject(line) is None]
    step.expect(err="".join([*said, *rest]))
    return True


def strip_values(step: Step) -> bool:
    """The original is asked for the value without the blanks round it."""
    words = list(step.their_words)
    for at, word in enumerate(words):
        if at and words[at - 1] in ("-v", "--value"):
            words[at] = word.strip(BLANKS)
        elif word.startswith(("-v", "--value=")) and word != "-v":
            start = "-v" if word.startswith("-v") else "--value="
            value = word.removeprefix(start).strip(BLANKS)
            words[at] = start + value if value else "--value="
    stripped = words != list(step.their_words)
    step.their_words = words
    return stripped


def not_rewritten(step: Step) -> bool:
    """Node records bound to an iface that is made anew with its defaults stay as they are."""
    options = step.options
    if (options.mode, options.op) != ("iface", OP_NEW) or options.params:
        return False
    same = {
        name: entry
        for name, entry in step.our_tree.items()
        if name.startswith("nodes/")
        and entry == step.before.get(name) != step.expected_tree.get(name)
        and name in step.expected_tree
    }
    step.expected_tree = step.expected_tree | same
    return bool(same)


def no_static(step: Step) -> bool:
    """Only a record that is made needs a directory for its link."""
    added = step.expected_tree.keys() - step.our_tree.keys()
    if step.options.op != OP_DELETE or "static" in step.before or added != {"static"}:
        return False
    step.expected_tree = {k: v for k, v in step.expected_tree.items() if k != "static"}
    return True


_NOT_MADE = re.compile(
    r"iscsiadm: Could not make dir (\S+) err 36\n"
    r"iscsiadm: Could not open \1: File name too long\n"
)


def not_made(step: Step) -> bool:
    """A directory that cannot be made is named once."""
    text = _NOT_MADE.sub(r"iscsiadm: Could not make \1: File name too long\n", step.expected.err)
    if text == step.expected.err:
        return False
    step.expect(err=text)
    return True


_NOT_LINKED = re.compile(
    r"(iscsiadm: Could not make link from disc source \S+ to node \S+: No such file or directory\n"
    r"iscsiadm: Could not add/update \[.*\]\n)+"
)


def not_linked(step: Step) -> bool:
    """Node records that are found without a discovery record have links all the same."""
    text = _NOT_LINKED.sub("", step.expected.err)
    if step.options.mode not in ("discovery", "discoverydb") or text == step.expected.err:
        return False
    linked = {
        name: entry
        for name, entry in step.our_tree.items()
        if name.startswith("send_targets") and (entry.kind in (LINK, DIRECTORY))
    }
    step.expect(err=text)
    step.expected_tree = dict(sorted((step.expected_tree | linked).items()))
    return True


_RANGES = re.compile(
    r"iscsiadm: Invalid iscsi\.\w+\. Must be within \d+ and \d+\. Setting to \d+\n"
)


def ranges(step: Step) -> bool:
    """Settings are taken into their range without a word."""
    text = _RANGES.sub("", step.expected.err)
    if step.options.mode not in ("discovery", "discoverydb") or text == step.expected.err:
        return False
    step.expect(err=text)
    return True


_UNREADABLE = re.compile(r"iscsiadm: Could not read discovery record for .*\.\n")


def unreadable(step: Step) -> bool:
    """Listings leave out discovery directories that they cannot read."""
    text = _UNREADABLE.sub("", step.expected.err)
    if step.options.mode not in ("discovery", "discoverydb") or text == step.expected.err:
        return False
    step.expect(err=text)
    return True
