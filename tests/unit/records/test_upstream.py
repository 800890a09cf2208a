"""The same files, side by side with Debian's iscsiadm in a mount namespace of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import InvalidArgument
from pyiscsi.names import NodeKey
from pyiscsi.records.discovery import DiscoveryStore
from pyiscsi.records.ifaces import IfaceStore
from pyiscsi.records.lock import DatabaseLock
from pyiscsi.records.nodes import NodeStore
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS
from pyiscsi.records.text import tokenize
from tests.unit.records.samples import PORTAL, from_portal, listed, node, sendtargets

pytestmark = [pytest.mark.upstream, pytest.mark.root]

KEY = NodeKey("iqn.a", "10.0.0.1", 3260, 1)
RECORD = f"nodes/iqn.a/{PORTAL}/default"
INSIDE = 'mount --bind "$0/etc" /etc/iscsi && mount --bind "$0/lock" /run/lock && exec "$@"'


class Upstream:
    """Debian's iscsiadm on a private database; `env` is ours for the same."""

    def __init__(self, base):
        self.base = base
        self.etc = base / "etc"
        for path in (self.etc, base / "lock"):
            path.mkdir()
        (self.etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.i\n")
        (self.etc / "iscsid.conf").write_text("")
        self.env = Env(db_root=str(self.etc), lock_dir=str(base / "lock/iscsi"))

    def start(self, *args):
        command = ["unshare", "-m", "sh", "-c", INSIDE, str(self.base), "iscsiadm", *args]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *args, status=0):
        """stdout and the lines of stderr without the program's name; checks the exit status."""
        child = self.start(*args)
        out, err = (text.decode("utf-8", "surrogateescape") for text in child.communicate())
        assert child.returncode == status, err
        return out, [line.removeprefix("iscsiadm: ") for line in err.split("\n") if line]

    def run_all(self, *commands):
        """Several at once: each that makes a record first waits a second for the daemon."""
        for child in [self.start(*command.split()) for command in commands]:
            _, err = child.communicate()
            assert child.returncode == 0, err

    def read(self, name):
        return (self.etc / name).read_bytes()


def missing():
    """Why Debian's program cannot be run here, "" when it can."""
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    if not shutil.which("iscsiadm") or not Path("/etc/iscsi").is_dir():
        return "Debian's open-iscsi is not installed"
    done = subprocess.run(["iscsiadm", "-V"], capture_output=True, text=True)
    if done.stdout.strip() != "iscsiadm version 2.1.8":
        return f"not open-iscsi 2.1.8: {done.stdout.strip()}"
    done = subprocess.run(
        ["unshare", "-m", "mount", "--bind", "/etc/iscsi", "/etc/iscsi"],
        capture_output=True,
        text=True,
    )
    return f"no mount namespaces here: {done.stderr.strip()}" if done.returncode else ""


@pytest.fixture(scope="module")
def available():
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture
def upstream(tmp_path, available):
    return Upstream(tmp_path)


@pytest.fixture
def nodes(upstream):
    return NodeStore(upstream.env)


def printed(record, *, secrets=False):
    """What iscsiadm prints for a record."""
    lines = [f"{key} = {text}" for key, text in record.shown(secrets=secrets)]
    return "\n".join(["# BEGIN RECORD 2.1.8", *lines, "# END RECORD", ""])


def test_default_records(upstream, nodes):
    """DB-001, DB-010, DB-011, DB-112: equal text, names, links and modes."""
    upstream.run_all(
        "-m node -o new -T iqn.a -p 10.0.0.1,1",
        "-m node -o new -T iqn.a -p [fe80::1]:3261",
        "-m discoverydb -t st -p 10.0.0.1 -o new",
        "-m discoverydb -t isns -p 10.0.0.5 -o new",
        "-m iface -I eth -o new",
        "-m iface -I my-ipv6 -o new",
    )
    ours = upstream.base / "ours"
    ours.mkdir()
    env = Env(db_root=str(ours), lock_dir=upstream.env.lock_dir)
    store = NodeStore(env)
    store.add(node())
    store.add(node(address="fe80::1", port=3261, tpgt=-1))
    discovery = DiscoveryStore(env)
    discovery.write(sendtargets())
    isns = Record(ISNS, {"discovery.sendtargets.address": "10.0.0.5"})
    isns.values["discovery.sendtargets.port"] = "3205"
    discovery.write(isns)
    for name in ("eth", "my-ipv6"):
        IfaceStore(env).write(Record(IFACE, {"iface.iscsi_ifacename": name}))
    assert files_of(ours) == files_of(upstream.etc)


def files_of(root):
    """Mode and content of everything; link targets relative to the database."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            target = os.readlink(path)
            found[name] = target.removeprefix("/etc/iscsi").removeprefix(str(root))
        elif name not in ("initiatorname.iscsi", "iscsid.conf"):
            content = path.read_bytes() if path.is_file() else None
            found[name] = (path.stat().st_mode & 0o777, content)
    return found


def full_pairs():
    """A value that is not the default for every key of node records that can be set."""
    for key, field in NODE.fields.items():
        if not field.can_update or field.hidden or field.default is None:
            continue
        if field.allowed:
            text = next(word for word in field.allowed if word != field.default)
        elif field.type == "string":
            text = f"v {key.rpartition('.')[2]}"[: field.max_len]
        else:
            text = "7"
        yield key, text


def test_full_record(upstream, nodes):
    """DB-012, DB-013, DB-035, DB-112: every key updated by both programs; file and printed text."""
    nodes.add(node())
    pairs = [pair for pair in full_pairs() if pair[0].startswith("node.")]
    assert len(pairs) == 45
    nodes.update(KEY, pairs)
    ours = upstream.read(RECORD)
    nodes.add(node())
    args = [word for key, text in pairs for word in ("-n", key, "-v", text)]
    upstream.run("-m", "node", "-T", "iqn.a", "-o", "update", *args)
    assert upstream.read(RECORD) == ours
    record = nodes.read(KEY)
    assert upstream.run("-m", "node", "-T", "iqn.a")[0] == printed(record)
    assert upstream.run("-m", "node", "-T", "iqn.a", "-S")[0] == printed(record, secrets=True)


@pytest.mark.parametrize("name", ["eth", "my-ipv6"])
def test_full_iface_block(upstream, name):
    """DB-012, DB-110: iface.* of both families, rewritten by the original without a change."""
    record = Record(NODE, node(iface=name).values)
    pairs = [p for p in full_pairs() if p[0].startswith("iface.") and p[0] != "iface.ipaddress"]
    for key, text in pairs:
        if key != "iface.iscsi_ifacename" and record.variant in IFACE.fields[key].variants:
            record.set(key, text)
    record.set("iface.transport_name", "tcp")
    NodeStore(upstream.env).add(record)
    shown = upstream.run("-m", "node", "-T", "iqn.a")[0]
    assert shown == printed(record)
    iface = Record(IFACE, {k: v for k, v in record.values.items() if k in IFACE.fields})
    IfaceStore(upstream.env).write(iface)
    assert upstream.run("-m", "iface", "-I", name)[0] == printed(iface)


ODD_LINES = b"""k=v
node.startup=automatic
node.startup= manual
== x
= x
foo
foo bar
foo =
node.session.cmds_max == 12
node.session.queue_depth = 33 # c
node.session.auth.username = "two  words"
node.session.nr_sessions = 12abc
node.session.initial_cmdsn = 99999999999
node.session.reopen_max = -1
node.session.err_timeo.abort_timeout =\t010\r
node.session.timeo.replacement_timeout =0x10
node.session.scan = Automatic
node.session.auth.chap_algs = SHA1,X SHA1,,MD5
iface.vlan_priority = 300
iface.vlan_id = 65536
iface.first_burst_len = -1
iface.hwaddress = 00:11:22:33:44:55:66
node.session.auth.password = \xff\xfe
"""
LONG_LINES = [
    b"k" * 128 + b" = v",
    b"k" * 129 + b" = v",
    b"k" * 130,
    b"node.session.auth.username_in = " + b"u" * 300,
    b"#" * 2046,
    b"#" * 2047,
    b"#" * 3000,
    b"x" * 2047 + b"node.leading_login = Yes",
    b"node.session.initial_login_retry_max = 5",
]


def test_odd_lines(upstream, nodes):
    """DB-020 to DB-025, DB-027, DB-030, DB-032, DB-034: the same words, the same record."""
    nodes.add(node())
    path = upstream.etc / RECORD
    text = (
        path.read_bytes() + ODD_LINES + b"\n".join(LONG_LINES) + b"\nnode.session.nr_sessions = 9"
    )
    path.write_bytes(text)
    pair = ("node.startup", "onboot")
    _, lines = upstream.run(
        "-m", "node", "-T", "iqn.a", "-o", "update", "-n", pair[0], "-v", pair[1]
    )
    theirs = path.read_bytes()
    path.write_bytes(text)
    nodes.update(KEY, [pair])
    assert [line.replace(f" ({path})", "") for line in nodes.problems] == sorted(
        lines, key=lambda line: not line.startswith("Config file")
    )
    ours = [line for line in path.read_bytes().split(b"\n") if not line.startswith(b"k" * 127)]
    assert ours == theirs.split(b"\n")


def test_random_files(upstream, nodes):
    """DB-025: twenty files of damaged text, read the same by both."""
    import random

    source = random.Random(7)
    nodes.add(node())
    whole = upstream.read(RECORD)
    path = upstream.etc / RECORD
    for _ in range(20):
        data = bytearray(whole)
        for _ in range(30):
            place = source.randrange(60, len(data) - 20)
            data[place] = source.choice(b"\n\t =#\r\0\xffaA0,")
        _, complaints = tokenize(bytes(data))
        path.write_bytes(data)
        child = upstream.start("-m", "node", "-T", "iqn.a", "-o", "update", *PAIR)
        err = child.communicate()[1].decode("utf-8", "replace").split("\n")
        theirs = [x.removeprefix("iscsiadm: ") for x in err if x.startswith("iscsiadm: Config")]
        # The original reads a record twice when what it says of itself is not where it is.
        assert theirs[: len(complaints)] == complaints


PAIR = ("-n", "node.session.scan", "-v", "manual")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("node.bogus", "1"),
        ("node.name", "x"),
        ("node.tpgt", "1"),
        ("node.startup", "sometimes"),
        ("node.session.iscsi.InitialR2T", "yes"),
        ("node.conn[0].iscsi.DataDigest", "CRC32C, None"),
        ("node.conn[0].tcp.congestion_control", "bbr"),
        ("node.session.sess_reopen_log_freq", "2"),
    ],
)
def test_refusals(upstream, nodes, key, text):
    """DB-031, DB-033, DB-035: the same lines and status, the file untouched."""
    nodes.add(node())
    before = upstream.read(RECORD)
    args = ("-m", "node", "-T", "iqn.a", "-o", "update", "-n", key, "-v", text)
    _, theirs = upstream.run(*args, status=7)
    with pytest.raises(InvalidArgument) as caught:
        nodes.update(KEY, [(key, text)])
    assert str(caught.value).split("\n") == theirs[:-1]
    assert caught.value.exit_code == 7
    assert upstream.read(RECORD) == before


def test_each_lists_and_deletes_the_others(upstream, nodes):
    """DB-110, DB-048: records of one program, removed by the other."""
    for address, tpgt in (("10.0.0.1", 1), ("fe80::1", 2), ("10.0.0.2", -1)):
        nodes.add(node(address=address, tpgt=tpgt))
    out, err = upstream.run("-m", "node")
    assert (out, err) == (
        "10.0.0.1:3260,1 iqn.a\n10.0.0.2:3260,4294967295 iqn.a\n[fe80::1]:3260,2 iqn.a\n",
        [],
    )
    upstream.run("-m", "node", "-o", "delete")
    assert files_of(upstream.etc).keys() == {"nodes", "static"}
    portals = ("10.0.0.1,1", "[fe80::1],2", "10.0.0.2")
    upstream.run_all(*(f"-m node -o new -T iqn.a -p {portal}" for portal in portals))
    for key in listed(nodes):
        nodes.delete(key)
    assert files_of(upstream.etc).keys() == {"nodes", "static", "ifaces"}
    assert nodes.problems == []


def test_many_at_once(upstream, nodes):
    """DB-048, DB-110: forty records changed and deleted by each, with the same outcome."""
    before = files_of(upstream.etc).keys()
    keys = [NodeKey(f"iqn.{number:02}", "10.0.0.1", 3260, 1) for number in range(40)]
    outcomes = {}
    for who in ("ours", "theirs"):
        for key in keys:
            nodes.add(node(target=key.target))
        if who == "ours":
            assert list(nodes.update_all(keys, [PAIR[1::2]])) == [(key, []) for key in keys]
        else:
            upstream.run("-m", "node", "-o", "update", *PAIR)
        changed = files_of(upstream.etc)
        if who == "ours":
            assert list(nodes.delete_all(keys)) == [(key, []) for key in keys]
        else:
            upstream.run("-m", "node", "-o", "delete")
        outcomes[who] = (changed, files_of(upstream.etc))
    assert outcomes["ours"] == outcomes["theirs"]
    assert outcomes["ours"][1].keys() - before == {"nodes", "static"}


def test_discovery_records_of_each_other(upstream, nodes):
    """DB-060, DB-064, DB-110"""
    store = DiscoveryStore(upstream.env, nodes.database)
    store.write(sendtargets())
    nodes.add(from_portal("10.0.0.1"))
    show = ("-m", "discoverydb", "-t", "st", "-p", "10.0.0.1")
    record = store.read(SENDTARGETS, "10.0.0.1", 3260)
    assert upstream.run(*show)[0] == printed(record)
    assert upstream.run("-m", "discovery")[0] == "10.0.0.1:3260 via sendtargets\n"
    upstream.run(*show, "-o", "delete")
    assert files_of(upstream.etc).keys() == {"nodes", "send_targets"}
    upstream.run(*show, "-o", "new")
    store.delete(SENDTARGETS, "10.0.0.1", 3260)
    assert files_of(upstream.etc).keys() == {"nodes", "send_targets"}


def test_the_original_waits_for_our_lock(upstream, nodes):
    """DB-100: and goes on when it is given back."""
    nodes.add(node())
    before = upstream.read(RECORD)
    with DatabaseLock(upstream.env):
        child = upstream.start("-d8", "-m", "node", "-T", "iqn.a", "-o", "update", *PAIR)
        seen = b""
        while b"Waiting for discovery DB lock" not in seen:
            line = child.stderr.readline()
            assert line, seen
            seen += line
        assert upstream.read(RECORD) == before
    child.communicate()
    assert child.returncode == 0
    assert nodes.read(KEY)["node.session.scan"] == "manual"


def test_both_update_one_record(upstream, nodes):
    """DB-100, DB-103: nothing one program wrote is lost by the other."""
    nodes.add(node())
    numbers = [key for key, text in full_pairs() if text == "7" and key.startswith("node.")]
    theirs, ours = numbers[:6], numbers[6:12]
    children = [
        upstream.start("-m", "node", "-T", "iqn.a", "-o", "update", "-n", key, "-v", "7")
        for key in theirs
    ]
    for key in ours:
        nodes.update(KEY, [(key, "7")])
    for child in children:
        child.communicate()
        assert child.returncode == 0
    record = nodes.read(KEY)
    assert {record[key] for key in theirs + ours} == {"7"}
    assert nodes.problems == []
