"""Sequences that once showed a difference, and one for each difference that is meant.

A line is a command of iscsiadm, or one of these:

    start NAME              the database to begin with (starts.py), otherwise an empty one
    sessions N ...          sessions that there are (machine.py)
    file PATH TEXT          a file below /etc/iscsi; `\\n` is a line end, `\\0` a NUL
    line PATH TEXT          a line at the end of a file
    mode PATH OCTAL
    remove PATH             with all below it
    offer TEXT              what discovery finds
"""

from __future__ import annotations

from typing import NamedTuple

A = "iqn.2026-11.test:a"
RECORD = f"nodes/{A}/10.0.0.1,3260,1/default"
FOUND = f"offer TargetName={A}\\nTargetAddress=127.0.0.1:3260,1\\n"
ST = "send_targets/127.0.0.1,3260/st_config"


class Case(NamedTuple):
    """`explained`: names of the differences (explained.py) that the commands must show, and no
    others; without any, everything is equal."""

    name: str
    lines: tuple[str, ...]
    explained: tuple[str, ...] = ()


FIXED = [
    Case(
        "an empty answer of SendTargets deletes nothing",
        (
            "start discovered",
            "-m discovery -t st -p 127.0.0.1",
            "-m discoverydb -t st -p 127.0.0.1 -D -o delete",
            "-m node",
        ),
    ),
    Case(
        "nonpersistent is about the discovery record alone",
        (
            "start discovered",
            FOUND,
            "-m discovery -t st -p 127.0.0.1 -o nonpersistent -o update",
            "-m discovery -t st -p 127.0.0.2 -o nonpersistent",
        ),
    ),
    Case(
        "looking for an iface makes its directory",
        (
            "-m node -I nosuch",
            "remove ifaces",
            "-m discovery -t st -p 127.0.0.1 -I nosuch",
        ),
    ),
    Case(
        "a name of 255 bytes is cut as a record cuts it",
        (
            f"-m node -o new -T {'w' * 255} -p fe80::1",
            f"-m node -T {'w' * 255}",
            f"-m node -T {'w' * 254} -o delete",
        ),
    ),
    Case(
        "a record made anew is private, a changed one keeps its mode",
        (
            "start nodes",
            f"mode {RECORD} 644",
            "mode nodes/iqn.c/portal.test,3260 640",
            f"-m node -o update -T {A} -n node.startup -v onboot",
            "-m node -o new -T iqn.c -p portal.test",
            f"-m node -o new -T {A} -p 10.0.0.1,1",
        ),
    ),
    Case(
        "a node of an IPv6 iface has no IPv4 settings of iscsid.conf",
        (
            "start ifaces",
            "file iscsid.conf iface.dhcp_dns = yes\\niface.tos = 4\\nnode.startup = onboot\\n",
            f"-m node -o new -T {A} -p 10.0.0.7,1 -I my-ipv6",
            f"-m node -o new -T {A} -p 10.0.0.8,1 -I eth0",
        ),
    ),
    Case(
        "a discovery address keeps its blanks",
        (
            "-m discoverydb -t st -o new -p ' 10.0.0.1'",
            "-m discoverydb -t st -o new -p '10.0.0.2 '",
        ),
    ),
    Case(
        "an address too long for a directory is not found",
        (
            f"-m discoverydb -t st -p {'h' * 260} -o delete",
            f"-m discoverydb -t isns -p {'h' * 260}",
        ),
    ),
    Case(
        "an iface with a new transport has no node records any more",
        (
            "start ifaces",
            "-m iface -I eth0 -o update -n iface.mtu -v 1400",
            "-m iface -I eth0 -o update -n iface.transport_name -v iser -n iface.mtu -v 1500",
            "-m iface -I eth0 -o update -n iface.mtu -v 1600",
            "-m iface -I eth0 -o update -n iface.transport_name -v tcp",
        ),
    ),
    Case(
        "an empty portal argument means the default port",
        ("start nodes", "-m node -o new -p ''", f"-m node -o new -T {A} -p ''"),
    ),
    Case(
        "a portal found with another spelling of its address keeps its record",
        (
            "start discovered",
            f"offer TargetName={A}\\nTargetAddress=portal.test:3260,1\\n"
            "TargetAddress=[FE80:0::1]:3260,2\\n",
            "-m discoverydb -t st -p 127.0.0.1 -D -o delete",
            "-m node",
        ),
    ),
    Case(
        "an iface in use is not made anew, the built-in ones included",
        (
            "sessions 1 2",
            "-m iface -I default -o new",
            "sessions",
            "-m iface -I default -o new",
        ),
    ),
]

MEANT = [
    Case("backups of editors are left alone", (
        "start nodes", f"file nodes/{A}/10.0.0.1,3260,1/default~ x\\n", "-m node",
    ), ("backups",)),
    Case("a file among the targets hides nothing", (
        "start nodes", "file nodes/stray x\\n", "-m node",
    ), ("stray in nodes",)),
    Case("a tag that is no number, and more than one iface", (
        "start nodes", "file nodes/iqn.c/10.0.0.1,3260,x/y x\\n",
        "-m node -o show -I default -I default",
    ), ("stray portal", "stray in nodes")),
    Case("a file among the targets, and a damaged record", (
        "start nodes", "file nodes/stray x\\n", f"file {RECORD} ", "-m node",
    ), ("stray in nodes", "set aside")),
    Case("a directory that is no portal's is not listed", (
        "start nodes", f"file nodes/{A}/odd/default x\\n", "-m node",
    ), ("stray portal",)),
    Case("a directory beside a record is ignored", (
        "start nodes", f"file nodes/{A}/10.0.0.1,3260,1/sub/x x\\n", "-m node",
    ), ("inside portal",)),
    Case("a portal directory with nothing but strays", (
        "start nodes", f"remove {RECORD}", f"file nodes/{A}/10.0.0.1,3260,1/default~ x\\n",
        f"file nodes/{A}/10.0.0.1,3260,1/sub/x x\\n", f"-m node -o new -T {A}",
    ), ("empty portal", "inside portal", "backups")),
    Case("an empty portal directory is none", (
        "start nodes", f"remove {RECORD}", f"-m node -o new -T {A}",
    ), ("empty portal",)),
    Case("flat record and directory of one portal", (
        "start nodes", f"-m node -o new -T {A} -p 10.0.0.1", f"mode nodes/{A}/10.0.0.1,3260 640",
        "-m node -o new",
    ), ("both forms",)),
    Case("an iface file without a transport", (
        "file ifaces/stray x\\n", "-m iface -I stray -o update -n iface.mtu -v 9",
        "-m iface -I stray -o apply",
    ), ("no transport",)),
    Case("found without a discovery record", (
        FOUND, "-m discovery -t st -p 127.0.0.1 -o nonpersistent -o new",
    ), ("not linked",)),
    Case("links to no record, and their directory", (
        "start discovered", "remove nodes", FOUND, "-m discoverydb -t st -p 127.0.0.1 -D -o delete",
        "remove nodes", "-m discoverydb -t st -p 127.0.0.1 -o delete",
    ), ("dangling links",)),
    Case("a record without its link", (
        "start discovered",
        f"remove send_targets/127.0.0.1,3260/{A},10.0.0.1,3260,1,default", FOUND,
        "-m discoverydb -t st -p 127.0.0.1 -D -o delete",
    ), ("unlinked",)),
    Case("deleting needs no directory for links", (
        "start nodes", "remove static", "-m node -o delete",
    ), ("no static",)),
    Case("bound records are not rewritten for nothing", (
        "start ifaces", f"line nodes/{A}/10.0.0.1,3260,1/eth0 # by hand",
        "-m iface -I eth0 -o new",
    ), ("not rewritten",)),
    Case("an unknown key is kept", (
        "start nodes", f"line {RECORD} node.bogus = 1", "-m node",
        f"-m node -T {A} -o update -n node.startup -v onboot",
    ), ("unknown keys",)),
    Case("a word that a setting does not know", (
        "start nodes", f"line {RECORD} node.startup = sometimes", f"-m node -T {A}",
    ), ("bad words",)),
    Case("numbers beyond the bits that are shown", (
        "start nodes",
        f"-m node -T {A} -o update -n node.session.initial_cmdsn -v -1",
        f"-m node -T {A} -p 10.0.0.1 -o show",
        f"-m node -T {A} -o update -n node.session.queue_depth -v 65537",
        f"-m node -T {A} -o show",
    ), ("numbers shown",)),
    Case("an iface with an IPv6 address", (
        "-m iface -I eth0 -o new -n iface.ipaddress -v fe80::9", "-m iface -I eth0",
    ), ("family shown",)),
    Case("IPv6 settings of a node", (
        "start nodes", f"line {RECORD} iface.ipaddress = fe80::9",
        f"line {RECORD} iface.hop_limit = 9",
        f"-m node -T {A} -p 10.0.0.1 -o update -n node.startup -v onboot",
    ), ("family kept",)),
    Case("the path says whose record it is", (
        "start nodes", f"line {RECORD} node.name = iqn.other", "-m node",
    ), ("own names",)),
    Case("and so it does for one that says nothing", (
        "start discovered", f"file {ST} node.startup = x\\n", "-m discovery",
    ), ("names said",)),
    Case("the link says where a record is from", (
        "start discovered",
        f"line nodes/{A}/10.0.0.1,3260,1/default node.discovery_type = static",
        "-m discovery -P 1",
    ), ("own source",)),
    Case("portals that differ in the tag alone", (
        "start nodes", f"-m node -o new -T {A} -p 10.0.0.1,2", "-m discovery -P 1",
    ), ("same portals",)),
    Case("blanks round a value", (
        "start nodes", "-m node -o update -n node.session.auth.username -v ' user '",
    ), ("blanks",)),
    Case("a value of two lines", (
        "-m iface -o new -I eth0 -n iface.state -v $'a\\nb'",
    ), ("line break",)),
    Case("a value of two lines where words are expected, and one that rings a bell", (
        "start nodes", "-m node -o update -n node.startup -v $'a\\nb'",
        f"-m node -T {A} -o update -n 'node.conn[0].iscsi.DataDigest' -v '\a'",
    ), ("control shown",)),
    Case("a setting without a name", (
        "start nodes", "-m node -o update -n '' -v x",
    ), ("empty name",)),
    Case("target names that are no names of directories", (
        "-m node -o new -T .. -p 10.0.0.1,1", "-m node -o new -T a/b -p 10.0.0.1,1",
        "-m node -o new -T iqn.a -p .x,1",
    ), ("node name",)),
    Case("tags below -1", ("-m node -o new -T iqn.a -p 10.0.0.1,-2",), ("tag",)),
    Case("discovery addresses that are no names of directories", (
        "-m discoverydb -t st -p a/b -o new", "-m discoverydb -t isns -p '' -o new",
        "-m discoverydb -t isns -p .x",
    ), ("discovery address",)),
    Case("a name too long for its link", (
        f"-m node -o new -T {'w' * 230} -p fe80::1234:5678:9abc,1",
    ), ("long name",)),
    Case("an address too long for a directory", (
        f"-m discoverydb -t st -o new -p {'h' * 260}",
    ), ("not made",)),
    Case("iface names with a slash", ("-m iface -o new -I a/b",), ("slash",)),
    Case("iface names that are not listed", (
        "-m iface -o new -I .x", "-m iface -o new -I x~", "-m iface -o new -I iface.example",
    ), ("hidden iface",)),
    Case("files of built-in ifaces", (
        "file ifaces/default iface.transport_name = tcp\\n",
        "file ifaces/iser iface.transport_name = tcp\\n",
        "-m iface", "-m iface -I iser", "-m iface -o show", "-m iface -P 1",
    ), ("built-in files",)),
    Case("the example of an iface", ("-m iface -I iface.example",), ("iface.example",)),
    Case("built-in ifaces are not deleted", (
        "start nodes", "-m iface -I default -o delete",
    ), ("special iface",)),
    Case("nothing to add", ("-m node -o new -T iqn.a",), ("nothing to add",)),
    Case("an iface that refuses", (
        "-m iface -o new -I eth0 -n iface.bogus -v 1",
    ), ("iface update refused",)),
    Case("one half of mutual CHAP", (
        FOUND, "file iscsid.conf discovery.sendtargets.auth.password_in = secret\\n",
        "-m discovery -t st -p 127.0.0.1",
    ), ("half CHAP",)),
    Case("one half of mutual CHAP, and a line that is wrong", (
        FOUND, "file iscsid.conf discovery.sendtargets.auth.password_in = secret\\nfoo\\n",
        "-m discovery -t st -p 127.0.0.1",
    ), ("half CHAP", "file lines")),
    Case("settings out of their range", (
        "file iscsid.conf discovery.sendtargets.iscsi.MaxRecvDataSegmentLength = 7\\n",
        "-m discovery -t st -p 127.0.0.1",
    ), ("ranges",)),
    Case("a discovery directory without a record", (
        "file send_targets/10.0.0.1,3260/x x\\n", "-m discovery",
    ), ("unreadable",)),
    Case("remarks beside success", ("-m iface -I default -o apply",), ("remarks",)),
    Case("remarks about files beside a failure", (
        "start nodes", f"line {RECORD} foo", f"-m node -T {A} -o update -n node.bogus -v 1",
    ), ("file lines",)),
    Case("messages of the library", ("-m iface -I nosuch",), ("library",)),
    Case("a damaged record is set aside", (
        "start nodes", f"file {RECORD} # BEGIN RECORD 2.1.8\\nnode.na", f"-m node -T {A}",
        "-m node",
    ), ("set aside",)),
    Case("a damaged record among those that are deleted, and more than one iface", (
        "start nodes", f"file {RECORD} # BEGIN RECORD 2.1.8\\nnode.na",
        "-m node -o delete -p 10.0.0.1 -I default -I default",
    ), ("set aside",)),
    Case("a damaged record beside one that is deleted", (
        "start ifaces", f"file {RECORD} # BEGIN RECORD 2.1.8\\nnode.na",
        "-m node -o delete -p 10.0.0.1",
    ), ("set aside",)),
    Case("a damaged record of an iface that is asked for", (
        "start ifaces", f"file nodes/{A}/10.0.0.1,3260,1/eth0 # BEGIN RECORD 2.1.8\\nnode.na",
        "-m node -o delete -I eth0 -I eth0",
    ), ("set aside",)),
    Case("a damaged iface is deleted", (
        "start ifaces", "file ifaces/eth0 # BEGIN RECORD 2.1.8\\niface.is",
        "-m iface -I eth0 -o delete",
    ), ("set aside",)),
    Case("the only record is damaged, and more than one iface is asked for", (
        "start nodes", f"file {RECORD} # BEGIN RECORD 2.1.8\\nnode.na",
        f"-m node -T {A} -p 10.0.0.1 -I default -I default",
    ), ("set aside",)),
]  # fmt: skip
