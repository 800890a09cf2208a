"""Every difference between the two programs that is meant, each with its line of deviations.md.

The original's answer and database are changed into what ours have to be, or the original is asked
something else in the first place; what is then still different is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential import answers, contents, refusals, strays
from tests.differential.step import Step
from tests.differential.tree import Tree


@dataclass(frozen=True)
class Difference:
    """`where`: how a row of docs/deviations.md begins. `expect` changes what is expected of ours
    from what the original answered, `prepare` what the original is asked or given before it runs;
    both say whether they did."""

    name: str
    where: str
    expect: Callable[[Step], bool] = lambda step: False
    prepare: Callable[[Step], bool] = lambda step: False


_PATH = "a record whose content names another target, portal or tag than its path"
INVALID_NAME = Difference("invalid name", "one invalid name in a SendTargets answer")
"""Not in the table: the original's target does not tell such names (play.py)."""
SET_ASIDE = Difference("set aside", "an empty or torn record")
"""Not in the table: play.py asks the original again, without such records (strays.py)."""

DIFFERENCES = (
    # Files that are no records
    Difference("backups", "names that end in `~` or begin with `.`", prepare=strays.backup),
    Difference(
        "stray in nodes", "stray file in `nodes/`", strays.stray_said, strays.stray_in_nodes
    ),
    Difference("stray portal", "portal directory whose name is not", prepare=strays.stray_portal),
    Difference(
        "inside portal", "directory inside a portal directory", prepare=strays.inside_portal
    ),
    Difference("empty portal", "empty portal directory", prepare=strays.empty_portal),
    Difference("both forms", "flat record and directory of one portal", strays.both_forms),
    Difference(
        "built-in files", "file `ifaces/default` or `ifaces/iser`", prepare=strays.built_in_file
    ),
    Difference("no transport", "file in `ifaces/` that names no transport", strays.no_transport),
    Difference(
        "not linked",
        "node records written by a discovery that writes no discovery record",
        answers.not_linked,
    ),
    Difference("dangling links", "a dangling link of a discovery record", strays.dangling_links),
    Difference("unlinked", "a node record whose link was removed", strays.unlinked),
    Difference("no static", "deleting node records while `static/` is missing", answers.no_static),
    Difference(
        "not rewritten", "`-m iface -o new`, node records bound to it", answers.not_rewritten
    ),
    # Texts of records
    Difference(
        "unknown keys",
        "a key nobody knows in a record",
        contents.with_unknown,
        contents.without_unknown,
    ),
    Difference(
        "bad words",
        "a word that a setting does not know, in a record",
        contents.bad_words_said,
        contents.without_bad_words,
    ),
    Difference(
        "numbers shown", "`cmds_max` and `queue_depth` beyond 16 bits", contents.numbers_shown
    ),
    Difference(
        "family shown",
        "node record with an IPv6 `iface.ipaddress` whose iface name lacks `ipv6`",
        contents.family_shown,
        contents.without_other_family,
    ),
    Difference("family kept", "IPv6-only keys in a node record", contents.family_kept),
    Difference("own names", _PATH, prepare=contents.own_names),
    Difference(
        "names said",
        "`discovery.sendtargets.address` or `port` missing in a discovery record",
        prepare=contents.names_said,
    ),
    Difference(
        "same portals",
        "discovery trees (`-P 1`) with two portals that differ in the group tag alone",
        contents.same_portals,
    ),
    Difference("own source", _PATH, prepare=contents.own_source),
    # Arguments
    Difference("blanks", "blanks round a value in `-v`", prepare=answers.strip_values),
    Difference("line break", "values with a line break or NUL in `-v`", refusals.line_break),
    Difference(
        "control shown", "control characters in a value that is refused", refusals.control_shown
    ),
    Difference("empty name", "`-n ''`", refusals.empty_name),
    Difference(
        "node name", "target names `.`, `..`, with `/` or control characters", refusals.node_name
    ),
    Difference("tag", "`-p` with a tag below -1 on `-o new`", refusals.tag),
    Difference(
        "discovery address",
        "discoverydb address that is empty, begins with a dot or has a `/`",
        refusals.discovery_address,
    ),
    Difference(
        "long name", "a record whose link cannot be made (name too long)", refusals.long_name
    ),
    Difference("not made", "`discoverydb -o new` with a name too long", answers.not_made),
    Difference("slash", "iface names with `/` on `-o new`", refusals.name_with_slash),
    Difference("hidden iface", "iface names `.x`, `x~` and `iface.example`", refusals.hidden_iface),
    Difference("iface.example", "`-m iface -I iface.example`", refusals.example_iface),
    Difference(
        "special iface",
        "`-m iface -o delete` of `default` or `iser`",
        refusals.special_iface_deleted,
    ),
    # Statuses
    Difference("nothing to add", "`-m node -o new` with nothing to add", refusals.nothing_to_add),
    Difference("iface update refused", "`-m iface -o update` refused", refusals.refused_update),
    Difference("half CHAP", "mutual CHAP without an own password", refusals.half_chap),
    # Lines on stderr
    Difference("ranges", "settings out of their range, in discovery", answers.ranges),
    Difference(
        "unreadable", "discovery directory that can't be read, in listings", answers.unreadable
    ),
    Difference("remarks", "any command that ends with status 0", answers.quiet),
    Difference("file lines", "lines about `iscsid.conf` and records", answers.file_lines),
    Difference("library", "messages of `libopeniscsiusr`", answers.library),
)


def prepare(step: Step) -> None:
    """Change what the original is asked and given."""
    for difference in DIFFERENCES:
        if difference.prepare(step):
            step.explained.append(difference.name)


def explain(step: Step) -> None:
    """Change what is expected, as far as it has to be."""
    _put_back(step)
    for difference in DIFFERENCES:
        if step.is_equal:
            return
        if difference.expect(step):
            step.explained.append(difference.name)


def _put_back(step: Step) -> None:
    """What the original was given otherwise and left alone, ours had as it was and left alone."""
    kept: Tree = {}
    for name, entry in step.before.items():
        if entry != step.their_before.get(name) == step.their_tree.get(name):
            parts = name.split("/")
            above = ["/".join(parts[:count]) for count in range(1, len(parts))]
            kept |= {k: step.before[k] for k in above} | {name: entry}
    if kept:
        step.expected_tree = dict(sorted((step.expected_tree | kept).items()))
