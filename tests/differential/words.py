"""Strategies for command lines: plain ones mostly, every odd form now and then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

_FIELDS = json.loads((Path(__file__).parents[1] / "data/db/fields.json").read_text())["fields"]

Strings = st.SearchStrategy[str]
Words = list[str]


@st.composite
def mostly(draw: st.DrawFn, common: Sequence[str], rare: Sequence[str], parts: int = 7) -> str:
    """One of `common`, but every `parts` + 1st time one of `rare`."""
    return draw(st.sampled_from(rare if draw(st.integers(0, parts)) == parts else common))


TARGETS = mostly(
    ["iqn.2026-11.test:a", "iqn.2026-11.test:b", "iqn.c"],
    [
        "", ".", "..", "a/b", "a b", "a,b", "x~", ".x", "iqn.é", "iqn.\udcff", "-x", "t\n", "IQN.C",
        "iqn." + "y" * 180, "iqn." + "z" * 219, "w" * 255, "<empty>", "#",
    ],
)  # fmt: skip

ADDRESSES = mostly(
    ["10.0.0.1", "10.0.0.2", "10.0.0.1", "[fe80::1]", "fe80::2", "portal.test"],
    [
        "127.0.0.1", "localhost", "again.test", "six.test", "[::1]", "::1", "[FE80::1]",
        "[fe80:0::1]", "nosuch.test", "fe80::1%eth0", "[fe80::1", "fe80::1]", "10.0.0.01", "10.1",
        "", "..", "a/b", "x~", ".x", "a b", "é", "h" * 260, "PORTAL.test",
    ],
)  # fmt: skip
PORTS = mostly(
    ["", "", ":3260", ":3261"],
    [":", ":0", ":70000", ":abc", ":-1", ":-2", ":4294967296", ":003260", ": 3260", ":3260x",
     ":99999999999999999999", ":2147483648", ":3260:5"],
)  # fmt: skip
TAGS = mostly(
    [",1", ",1", "", ",2"],
    [",0", ",-1", ",-2", ",65535", ",65536", ",99999", ",4294967295", ",4294967296", ",", ",x",
     ",1,default", ",01", ",2147483647", ",2147483648", ", 3"],
)  # fmt: skip
PORTALS = st.builds("{}{}{}".format, ADDRESSES, PORTS, TAGS)
IFACES = mostly(
    ["default", "eth0", "eth0", "my-ipv6", "nosuch"],
    ["iser", "", "a/b", ".x", "x~", "iface.example", "stray", "n" * 64, "n" * 65, "a b", "é",
     "Eth0", "a,b", "\udcff"],
)  # fmt: skip


def keys_of(kind: str) -> list[str]:
    """All keys of a kind of record, hidden ones too."""
    return list(dict.fromkeys(field["key"] for field in _FIELDS if field["record"] == kind))


KNOWN = {
    kind: {f["key"] for f in _FIELDS if f["record"] == kind and f["default"]["2.1.8"] is not None}
    for kind in ("node", "iface", "discovery_sendtargets", "discovery_isns")
}
"""Keys of 2.1.8 by kind of record."""


ALLOWED = {f["key"]: f["allowed"] for f in _FIELDS if isinstance(f["allowed"], list)}
ALLOWED = {key: texts for key, texts in ALLOWED.items() if not key.endswith("chap_algs")}
"""The words of the settings that have words."""
FAMILIES = {
    kind: {
        f["key"]: f["variants"][0]
        for f in _FIELDS
        if f["record"] == kind and f["variants"] in (["ipv4"], ["ipv6"])
    }
    for kind in ("node", "iface")
}
"""Keys of one address family only, by kind of record."""


def _types() -> dict[str, dict[str, object]]:
    return {field["key"]: field for field in _FIELDS}


_BY_KEY = _types()
_ODD_KEYS = [
    "", "node.bogus", "node.startup ", "NODE.STARTUP", "node.transport_name", "iface.isid",
    "x" * 127, "node.conn[1].address", "node.cnx[0].address", "node.session.sess_reopen_log_freq",
    "x" * 128, "node.conn[0].tcp.congestion_control", "node.boot_lun", "discovery.slp.x", "é",
    "iface.", "a = b", "node.session.conn_reopen_log_freq", "node", "x" * 300,
]  # fmt: skip
_NODE, _IFACE, _DISCOVERY = ["node"], ["iface"], ["discovery_sendtargets", "discovery_isns"]
KEYS = {kind: keys_of(kind) for kind in _NODE + _IFACE + _DISCOVERY}
"""Keys by kind of record, hidden ones too; of nodes those that no iface has."""
KEYS["node"] = [key for key in KEYS["node"] if not key.startswith("iface.")]

NUMBERS = [
    "0", "1", "7", "12", "255", "-1", "256", "300", "65535", "65536", "2147483647", "2147483648",
    "-2147483648", "-2147483649", "4294967295", "4294967296", "99999999999", "18446744073709551615",
    "18446744073709551616", "-18446744073709551616", "9" * 40, "010", "0x10", "+5", "-", "--1",
    "+-1", "1.5", "abc", "12abc", "", "-0", "\t7", " 8", "9 ", "1 2", "٣",
]  # fmt: skip
TEXTS = [
    "a", "word", "two words", "secret12secret", "iqn.x:y", "00:11:22:33:44:55", "eth9", "default",
    "<empty>", "a = b", "#x", "a # b", "'q'", '"q"', "é", "\udcff", "=", "", "k=v", "dhcp",
    "static", "10.9.8.7", "fe80::9", "::ffff:1.2.3.4", "tcp", "iser", "bogus", "%s", "a\tb", "\\",
    "-n", "--",
]  # fmt: skip
LONG_TEXTS = [n * "L" for n in (14, 15, 16, 17, 18, 63, 64, 65, 79, 80, 127, 128, 223, 224, 253,
                                254, 255, 256, 300, 1023, 1024, 1025, 2100)]  # fmt: skip
BLANK_TEXTS = [" ", " lead", "trail ", "\ttab", "end\t", " \x0b both \x0c "]
BROKEN_TEXTS = ["a\nb", "a\rb", "x\nnode.startup = automatic", "\n", "a\x01b", "\x7f"]
WORDS = [
    "Yes", "No", "yes", "NO", "None", "CHAP", "chap", "manual", "automatic", "onboot", "auto",
    "Manual", "CRC32C", "CRC32C,None", "None,CRC32C", "CRC32C, None", "crc32c", "MD5", "static",
    "fw", "slp", "send_targets", "isns", "sendtargets",
]  # fmt: skip
ALGORITHMS = [
    "MD5", "SHA1,MD5", "SHA3-256,SHA256,SHA1,MD5", "SHA1 MD5", "SHA1,,MD5,", "X", "MD5,MD5", "sha1",
    "SHA256\tMD5", "MD5,SHA1,SHA256,SHA3-256,MD5,X", ",", "SHA256;MD5",
]  # fmt: skip


_ANY_TEXT = st.one_of(
    *[st.sampled_from(texts) for texts in (NUMBERS, TEXTS, LONG_TEXTS, WORDS, ALGORITHMS)],
    st.sampled_from(BLANK_TEXTS + BROKEN_TEXTS),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)


@st.composite
def values(draw: st.DrawFn, key: str) -> str:
    """A value for a key: a fitting one mostly, any other now and then."""
    field = _BY_KEY.get(key)
    if field is None or draw(st.integers(0, 9)) == 9:
        return draw(_ANY_TEXT)
    allowed = field["allowed"]
    if field["type"] == "enum_list":
        return draw(st.sampled_from(ALGORITHMS))
    if isinstance(allowed, list):
        return draw(mostly(allowed, WORDS, 2))
    if field["type"] == "string":
        return draw(mostly(TEXTS, LONG_TEXTS, 3))
    return draw(st.sampled_from(NUMBERS))


@st.composite
def pair(draw: st.DrawFn, kinds: Sequence[str]) -> tuple[str, str]:
    """A key, most often of these kinds of record, and a value for it."""
    own = [key for kind in kinds for key in KEYS[kind]]
    others = [key for keys in KEYS.values() for key in keys] + _ODD_KEYS
    key = draw(mostly(own, others, 9))
    return key, draw(values(key))


@st.composite
def settings(draw: st.DrawFn, kinds: Sequence[str], least: int = 0) -> Words:
    """`-n KEY -v VALUE` several times; now and then turned round or halved."""
    words: Words = []
    for key, value in draw(st.lists(pair(kinds), min_size=least, max_size=3)):
        name, text = ["-n", key], ["-v", value]
        form = draw(st.integers(0, 19))
        words += {0: text + name, 1: name, 2: text, 3: name + name + text}.get(form, name + text)
    return words


def maybe(letter: str, strategy: Strings, often: int = 1) -> st.SearchStrategy[Words]:
    """`letter` with a value, or nothing; `often` times as often as nothing."""
    given = strategy.map(lambda text: [letter, text])
    return st.one_of(st.just([]), *[given] * often)


def line(*parts: st.SearchStrategy[Words] | Words) -> st.SearchStrategy[Words]:
    """A command line from words that stay and words that are drawn."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(lambda lists: [word for words in lists for word in words])


def _target(often: int = 3) -> st.SearchStrategy[Words]:
    return maybe("-T", TARGETS, often)


def _portal(often: int = 2) -> st.SearchStrategy[Words]:
    return maybe("-p", PORTALS, often)


def _iface() -> st.SearchStrategy[Words]:
    one = IFACES.map(lambda name: ["-I", name])
    two = st.tuples(IFACES, IFACES).map(lambda names: ["-I", names[0], "-I", names[1]])
    return st.one_of(*[st.just([])] * 6, one, one, one, two)


_LEVEL = maybe("-P", mostly(["0", "1"], ["2", "-1", "x", "", "3", "4294967296"], 3))
_SHOW = st.sampled_from([[], [], ["-S"]])
OPERATIONS = mostly(
    ["new", "delete", "update", "show"],
    ["nonpersistent", "apply", "applyall", "login", "logout", "bogus", "", "New", "n"],
    4,
)
_TYPES = mostly(["st", "isns"], ["sendtargets", "fw", "slp", "bogus", ""], 5)

NODE_NEW = line(
    ["-m", "node", "-o", "new"],
    *[_target(9), _portal(9), _iface()],
    st.one_of(*[st.just([])] * 9, settings(_NODE)),
)
NODE_SHOW = line(["-m", "node", "-o", "show"], _target(), _portal(1), _iface(), _SHOW, _LEVEL)
NODE_LIST = st.one_of(
    line(["-m", "node"], _LEVEL, _SHOW),
    line(["-m", "node"], _target(), _portal(1), _iface(), _LEVEL, _SHOW),
)
NODE_UPDATE = line(
    ["-m", "node", "-o", "update"],
    *[_target(), _portal(1), _iface(), settings(_NODE, 1)],
)
NODE_DELETE = line(["-m", "node", "-o", "delete"], _target(5), _portal(1), _iface())
IFACE_NEW = line(
    ["-m", "iface", "-o", "new"],
    maybe("-I", IFACES, 19),
    st.one_of(st.just([]), settings(_IFACE)),
)
IFACE_UPDATE = line(["-m", "iface", "-o", "update"], maybe("-I", IFACES, 19), settings(_IFACE, 1))
IFACE_DELETE = line(["-m", "iface", "-o", "delete"], maybe("-I", IFACES, 19))
IFACE_SHOW = line(
    ["-m", "iface"], st.sampled_from([[], ["-o", "show"]]), maybe("-I", IFACES, 1), _LEVEL
)
IFACE_APPLY = line(["-m", "iface", "-o"], st.sampled_from([["apply"]]), maybe("-I", IFACES, 9))
_STORED = st.sampled_from(["discoverydb", "discoverydb", "discoverydb", "discovery"])
DISCOVERY_NEW = line(
    ["-m", "discoverydb", "-o", "new"],
    *[_TYPES.map(lambda kind: ["-t", kind]), _portal(9)],
)
DISCOVERY_SHOW = line(
    ["-m", "discoverydb"],
    *[_TYPES.map(lambda kind: ["-t", kind]), _portal(9), _SHOW, _LEVEL],
    st.sampled_from([[], ["-o", "show"]]),
)
DISCOVERY_UPDATE = line(
    ["-m", "discoverydb", "-o", "update"],
    *[_TYPES.map(lambda kind: ["-t", kind]), _portal(9), settings(_DISCOVERY, 1)],
)
DISCOVERY_DELETE = line(
    ["-m", "discoverydb", "-o", "delete"], _TYPES.map(lambda kind: ["-t", kind]), _portal(9)
)
_LIVE = st.sampled_from(["127.0.0.1", "127.0.0.2", "[::1]", "::1", "127.0.0.1:3260,7", "localhost"])
_WHAT = maybe("-o", mostly(["new", "update", "delete", "nonpersistent"], ["show", "apply"], 9))
DISCOVERY_PLAIN = line(
    ["-m", "discovery"],
    _portal(3),
    maybe("-o", OPERATIONS),
    _SHOW,
    _LEVEL,
    settings(_DISCOVERY),
)
DISCOVERY_LIST = line(
    _STORED.map(lambda mode: ["-m", mode]), st.sampled_from([[], [], ["-o", "show"]]), _LEVEL
)
DISCOVER = st.one_of(
    line(
        ["-m", "discovery", "-t", "st"],
        *[maybe("-p", _LIVE, 9), _WHAT, _WHAT, maybe("-I", IFACES), _LEVEL],
    ),
    line(["-m", "discovery", "-D"], maybe("-p", _LIVE, 9), _WHAT, maybe("-I", IFACES), _LEVEL),
    line(
        ["-m", "discoverydb", "-D", "-t", "st"],
        *[maybe("-p", _LIVE, 9), _WHAT, _WHAT, maybe("-I", IFACES), _LEVEL],
    ),
)
_SIDS = mostly(
    ["1", "2", "3", "4", "5", "6"],
    [
        "99",
        "0",
        "x",
        "",
        "2x",
        "-1",
        "/sys/class/iscsi_session/session1",
        "/sys/block",
    ],
)
SESSIONS = st.sampled_from([(), (), (), (1, 2, 3, 4, 5, 6), (2,), (3, 5)])
"""Sessions of the capture that there are (machine.py)."""
SESSION = line(
    ["-m", "session"],
    *[maybe("-r", _SIDS, 3), maybe("-o", mostly(["show", "update", "delete"], ["apply", "bogus"]))],
    *[st.one_of(st.just([]), settings(_NODE)), _LEVEL, _SHOW],
)
_MODES = mostly(
    ["node", "iface", "discoverydb", "discovery", "session"], ["fw", "host", "bogus", "", "nod"], 9
)


@st.composite
def _anything(draw: st.DrawFn) -> Words:
    """Options in any number and order, many of them where they do not belong."""
    pieces = st.one_of(
        OPERATIONS.map(lambda op: ["-o", op]),
        TARGETS.map(lambda name: ["-T", name]),
        PORTALS.map(lambda portal: ["-p", portal]),
        IFACES.map(lambda name: ["-I", name]),
        settings(_NODE, 1),
        settings(_IFACE, 1),
        settings(_DISCOVERY, 1),
        st.sampled_from([
            ["-S"], ["-P", "1"], ["-P", "0"], ["-W"], ["-d", "0"], ["-r", "1"], ["-r", "x"],
            ["-H", "0"], ["-H", "x"], ["-x", "1"], ["-C", "bogus"], ["-A", "ipv4"],
            ["-a", "1.2.3.4"], ["-b", "1"], ["-c", "1"], ["-i", "1"], ["--bogus"], ["-z"],
            ["word"], ["--"], ["-l", "-u"], ["-V"], ["-h"], ["-T"], ["-m", "node"],
        ]),
    )  # fmt: skip
    mode = draw(st.one_of(*[_MODES.map(lambda name: ["-m", name])] * 9, st.just([])))
    drawn = draw(st.lists(pieces, max_size=5))
    if mode in (["-m", "discovery"], ["-m", "discoverydb"]):
        drawn.append(draw(st.sampled_from([[], ["-t", "bogus"]])))
    place = draw(st.sampled_from([0, 0, 0, len(drawn)]))
    drawn.insert(place, mode)
    return [word for words in drawn for word in words]


ANYTHING = _anything()

_LONG = {
    "-m": "--mode", "-o": "--op", "-T": "--targetname", "-p": "--portal", "-I": "--interface",
    "-n": "--name", "-v": "--value", "-P": "--print", "-t": "--type",
}  # fmt: skip


@st.composite
def spelled(draw: st.DrawFn, lines: st.SearchStrategy[Words]) -> Words:
    """The same options, written another way now and then."""
    words = draw(lines)
    form = draw(st.integers(0, 19))
    if form > 2 or len(words) % 2:
        return words
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if not all(letter in _LONG for letter, _ in pairs):
        return words
    ways = {
        0: lambda letter, text: [f"{_LONG[letter]}={text}"],
        1: lambda letter, text: [_LONG[letter], text],
        2: lambda letter, text: [letter + text] if text else [letter, text],
    }
    return [word for letter, text in pairs for word in ways[form](letter, text)]
