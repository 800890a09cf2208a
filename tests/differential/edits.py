"""What an administrator, an editor or a crash does to the files between two commands."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from tests.differential import words
from tests.differential.tree import DIRECTORY, FILE, LINK, Entry, Tree

Edit = Callable[[Tree], Tree]
CONF = "iscsid.conf"
_OWN = (CONF, "initiatorname.iscsi")

_ODD_LINES = [
    "", " ", "#", "# comment = x", "  # indented", "foo", "foo bar", "foo =", "foo=bar", "= x",
    "== x", "=", "\t", "node.startup=automatic", "node.startup= automatic",
    "node.startup\t=\tonboot", "  node.startup = onboot  ", "node.startup = onboot # why",
    "node.startup == onboot", "node.startup", "node.startup =", "node.startup automatic",
    "iface.mtu == 9", "x" * 2046, "x" * 2047, "x" * 2048, "#" * 3000, "x" * 127 + " = v",
    "x" * 128 + " = v", "x" * 129 + " = v", "node.session.auth.username = " + "u" * 255,
    "node.session.auth.username = " + "u" * 256, "node.session.auth.username = " + "u" * 300,
    "iface.state = " + "s" * 100, "x" * 130, "# END RECORD", "# BEGIN RECORD 2.0-873",
]  # fmt: skip
_UNKNOWN = ["node.bogus = 1", "node.session.sess_reopen_log_freq = 2", "isns.address = 1.2.3.4",
            "iface.hop_limit = 9"]  # fmt: skip


@st.composite
def lines(draw: st.DrawFn, *kinds: str) -> str:
    """A line for a file: a setting of one of these kinds mostly.

    An iface keeps its name: which file is meant otherwise depends on the command in open-iscsi. So
    does how much it reads of an address with more than the 255 bytes a name can have.
    """
    form = draw(st.integers(0, 6))
    if form > 4:
        return draw(st.sampled_from(_ODD_LINES if form == 5 else _UNKNOWN))
    key, value = draw(words.pair([draw(st.sampled_from(kinds))]))
    if (kinds, key) == (("iface",), "iface.iscsi_ifacename"):
        return f"# {key}"
    if key.startswith("iface."):
        value = value[:255]
    return f"{key} = {value}".replace("\n", " ").replace("\0", " ")


def _files(tree: Tree, inside: str = "") -> list[str]:
    return [
        name
        for name, entry in tree.items()
        if entry.kind == FILE and name not in _OWN and name.startswith(inside)
    ]


def _changed(tree: Tree, name: str, content: bytes) -> Tree:
    return tree | {name: tree[name]._replace(content=content)}


def set_conf(content: bytes) -> Edit:
    """iscsid.conf gets this content."""
    return lambda tree: tree | {CONF: Entry(FILE, 0o644, content)}


def _in_a_file(which: int, inside: str, change: Callable[[bytes], bytes]) -> Edit:
    """Change the content of one of the records below a directory, if there is any."""

    def edit(tree: Tree) -> Tree:
        names = _files(tree, inside)
        if not names:
            return tree
        name = names[which % len(names)]
        return _changed(tree, name, change(tree[name].content))

    return edit


def _insert(line: str, place: int) -> Callable[[bytes], bytes]:
    data = line.encode("utf-8", "surrogateescape")

    def change(content: bytes) -> bytes:
        parts = content.split(b"\n")
        parts.insert(min(place, len(parts) - 1), data)
        return b"\n".join(parts)

    return change


def _repeat(which: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        parts = content.split(b"\n")
        return b"\n".join([*parts[:-1], parts[which % len(parts)], parts[-1]])

    return change


def _drop(which: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        parts = content.split(b"\n")
        del parts[which % len(parts)]
        return b"\n".join(parts)

    return change


_PLACES = st.sampled_from([0, 1, 2, 3, 5, 20, 1000])
_SOME = st.integers(0, 200)
_KINDS = {
    "nodes/": ("node",),
    "ifaces/": ("iface",),
    "send_targets/": ("discovery_sendtargets",),
    "isns/": ("discovery_isns",),
}


def _line_edits(inside: str, kinds: tuple[str, ...]) -> st.SearchStrategy[Edit]:
    changes = st.builds(_insert, lines(*kinds), _PLACES)
    return st.builds(_in_a_file, _SOME, st.just(inside), changes)


LINE = st.one_of(*[_line_edits(inside, kinds) for inside, kinds in _KINDS.items()])

_WHOLE: list[Callable[[bytes], bytes]] = [
    lambda content: content.replace(b"\n", b"\r\n"),
    lambda content: content.replace(b" = ", b"\t =\t "),
    lambda content: b"\n\n".join(content.split(b"\n")),
    lambda content: b"\xef\xbb\xbf" + content,
    lambda content: b"\n".join(sorted(content.split(b"\n"))) + b"\n",
    lambda content: b"".join(x for x in content.splitlines(True) if not x.startswith(b"#")),
    lambda content: content[:-1],
]
_TORN: list[Callable[[bytes], bytes]] = [
    lambda content: b"",
    lambda content: content[: len(content) // 2],
    lambda content: content[:30],
    lambda content: content[:-2],
    lambda content: content[:100] + b"\0" + content[100:],
]
FORM = st.one_of(
    st.builds(_in_a_file, _SOME, st.just(""), st.sampled_from(_WHOLE)),
    st.builds(_in_a_file, _SOME, st.just(""), st.builds(_repeat, _SOME)),
    st.builds(_in_a_file, _SOME, st.just(""), st.builds(_drop, _SOME)),
)
DAMAGE = st.builds(_in_a_file, _SOME, st.just(""), st.sampled_from(_TORN))

CONF_CONTENT = st.lists(lines("node", "discovery_sendtargets", "discovery_isns"), max_size=6).map(
    lambda found: b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in found)
)
CONFIGURE = st.builds(set_conf, CONF_CONTENT)


def _remove(which: int, kind: str) -> Edit:
    """One file or link less, or a directory with all that is in it."""

    def edit(tree: Tree) -> Tree:
        names = [name for name, entry in tree.items() if entry.kind == kind and name not in _OWN]
        if not names:
            return tree
        gone = names[which % len(names)]
        return {k: v for k, v in tree.items() if k != gone and not k.startswith(f"{gone}/")}

    return edit


REMOVE = st.builds(_remove, _SOME, st.sampled_from([FILE, LINK, DIRECTORY]))


def _permit(which: int, mode: int) -> Edit:
    def edit(tree: Tree) -> Tree:
        names = _files(tree)
        if not names:
            return tree
        name = names[which % len(names)]
        return tree | {name: tree[name]._replace(mode=mode)}

    return edit


PERMIT = st.builds(_permit, _SOME, st.sampled_from([0o644, 0o640, 0o400, 0o666]))


def _flatten(which: int) -> Edit:
    """A discovery record as releases before 2.0-872 kept it: a file instead of a directory."""

    def edit(tree: Tree) -> Tree:
        names = [name for name in tree if name.endswith(("/st_config", "/isns_config"))]
        if not names:
            return tree
        name = names[which % len(names)]
        portal = name.rpartition("/")[0]
        others = {k: v for k, v in tree.items() if not k.startswith(f"{portal}/")}
        return others | {portal: tree[name]}

    return edit


FLATTEN = st.builds(_flatten, _SOME)
_NAMES = [
    "nodes/stray", "nodes/.swp", "nodes/empty/", "nodes/iqn.c/stray", "nodes/iqn.c/.swp",
    "static/stray", "nodes/iqn.c/10.0.0.1,3260,1/default~",
    "nodes/iqn.c/10.0.0.1,3260,1/.default.swp", "nodes/iqn.c/10.0.0.1,3260,1/sub/",
    "nodes/iqn.c/dir/", "nodes/iqn.c/10.0.0.1,3260,x/", "ifaces/stray", "ifaces/eth0~",
    "ifaces/.eth0.swp", "ifaces/sub/", "ifaces/iface.example", "ifaces/default",
    "send_targets/stray", "send_targets/10.0.0.1,3260/stray", "isns/stray", "stray",
    "send_targets/10.0.0.2,3260/", "isns/10.0.0.2,3205/",
]  # fmt: skip
_STRAY_TEXTS = [b"", b"text\n", b"iface.transport_name = tcp\n"]


def _stray(name: str, content: bytes) -> Edit:
    """A file or directory that no program made; directories above it as needed."""

    def edit(tree: Tree) -> Tree:
        made = dict(tree)
        parts = name.rstrip("/").split("/")
        for count in range(1, len(parts)):
            made.setdefault("/".join(parts[:count]), Entry(DIRECTORY, 0o700, b""))
        if any(made["/".join(parts[:n])].kind != DIRECTORY for n in range(1, len(parts))):
            return tree
        directory = name.endswith("/")
        entry = Entry(DIRECTORY, 0o700, b"") if directory else Entry(FILE, 0o600, content)
        made.setdefault(name.rstrip("/"), entry)
        return dict(sorted(made.items()))

    return edit


STRAY = st.builds(_stray, st.sampled_from(_NAMES), st.sampled_from(_STRAY_TEXTS))


_SLOW = re.compile(
    rb"^\s*(?:iface\.(?:net_ifacename|hwaddress|ipaddress)\s"
    rb"|discovery\.sendtargets\.(?:timeo\.\w+ = (?!15$|30$|45$)|reopen_max = (?!5$)))",
    re.MULTILINE,
)


_NO_ALGORITHM = re.compile(
    rb"^\s*node\.session\.auth\.chap_algs\s*="
    rb"(?!(?:.*[ \t,=])?(?:MD5|SHA1|SHA256|SHA3-256)(?:[ \t,]|$))",
    re.MULTILINE,
)


def can_discover(tree: Tree) -> bool:
    """Whether a discovery ends soon: no iface is bound to anything, no time is set.

    And whether open-iscsi's can log in at all, which without an algorithm it knows it cannot.
    """
    return not any(
        _SLOW.search(entry.content) or _NO_ALGORITHM.search(entry.content)
        for name, entry in tree.items()
        if name == CONF or name.startswith(("ifaces/", "send_targets/"))
    )
