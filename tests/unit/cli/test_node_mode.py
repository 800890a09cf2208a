"""`-m node`: selection, listing, making, changing and deleting records, and who does the rest."""

import pytest

from pyiscsi.cli.modes import session_actions
from pyiscsi.ops import nodes
from pyiscsi.ops.context import Context
from tests.unit.cli.commands import Machine

T, U = "iqn.2026-11.test:a", "iqn.2026-11.test:b"
NONE = "iscsiadm: No records found\n"
SUMMARY = "iscsiadm: Could not execute operation on all records: "


def added(address, port, tpgt, target, iface="tcp:[hw=,ip=,net_if=,iscsi_if=default]"):
    return f"New iSCSI node [{iface} {address},{port},{tpgt} {target}] added\n"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def machine(empty):
    for words in ((T, "10.0.0.1:3260,1"), (T, "10.0.0.2:3260,1"), (U, "10.0.0.1:3261,2")):
        answer = empty.run("-m", "node", "-o", "new", "-T", words[0], "-p", words[1])
        assert (answer.status, answer.err) == (0, "")
    return empty


def value(machine, key, *words):
    """What records hold for a key, secrets too."""
    answer = machine.run("-m", "node", "-o", "show", "-S", *words)
    return [
        line.split(" = ", 1)[1] for line in answer.out.splitlines() if line.startswith(f"{key} =")
    ]


# Listing and selection


def test_flat(machine):
    """CLI-148, CLI-151, CLI-152, CLI-057, CLI-058: sorted; level junk and -S make no difference."""
    flat = f"10.0.0.1:3260,1 {T}\n10.0.0.2:3260,1 {T}\n10.0.0.1:3261,2 {U}\n"
    for line in ("", "-P 0", "-P -1", "-P abc", "-S", "-n a", "x y"):
        assert tuple(machine.run_line(f"-m node {line}")) == (0, flat, "")


@pytest.mark.parametrize(("words"), [("-p", ""), ("-p", "[fe80::1"), ("-p", ":3261")])
def test_empty_pattern_is_the_whole_list(machine, words):
    """CLI-162, CLI-163."""
    assert len(machine.run("-m", "node", *words).out.splitlines()) == 3


def test_tree(machine):
    """CLI-149: an Iface Name after every Portal."""
    machine.run("-m", "node", "-o", "new", "-T", T, "-p", "10.0.0.1:3260,1", "-I", "iser")
    portal = "\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: "
    assert machine.run_line("-m node -P 1").out == (
        f"Target: {T}\n{portal}default\n{portal}iser\n"
        "\tPortal: 10.0.0.2:3260,1\n\t\tIface Name: default\n"
        f"Target: {U}\n\tPortal: 10.0.0.1:3261,2\n\t\tIface Name: default\n"
    )


@pytest.mark.parametrize("level", ["2", "-2", "9"])
def test_wrong_level(empty, level):
    """CLI-150: judged before there is anything to print."""
    assert tuple(empty.run("-m", "node", "-P", level)) == (
        7,
        "",
        f"iscsiadm: Invalid info level {level}. Try 0 or 1.\n",
    )


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("-o show", 3),
        (f"-T {T}", 2),
        (f"-T {T} -P 1", 2),
        (f"-T {T} -P 9", 2),
        (f"-T {T} -p 10.0.0.1", 1),
        ("-p 10.0.0.1", 1),
        ("-p 10.0.0.1:3261", 1),
        ("-p 10.0.0.1:3261,9", 1),
        ("-I default", 3),
        (f"--targetname={U}", 1),
    ],
)
def test_records_shown(machine, line, count):
    """CLI-153, CLI-154, CLI-156, CLI-157, CLI-159: one block for each match."""
    answer = machine.run_line(f"-m node {line}")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.count("# BEGIN RECORD 2.1.8\nnode.name = ") == count
    assert answer.out.count("# END RECORD\n") == count


@pytest.mark.parametrize(
    "line",
    ["-T nosuch", "-p 10.0.0.9", "-I iser", f"-T {T} -p localhost", f"-T {U} -p 10.0.0.1"],
)
@pytest.mark.parametrize("op", ["", "-o show"])
def test_nothing_shown(machine, line, op):
    """CLI-155, CLI-161, CLI-164: records match by text; a portal without port means 3260."""
    assert tuple(machine.run_line(f"-m node {line} {op}")) == (21, "", NONE)


def test_unknown_iface(machine):
    """CLI-165: any operation, with the original's status."""
    for op in ("", "-o delete", "-o new", "-l"):
        assert tuple(machine.run_line(f"-m node -I nosuch {op}")) == (
            3,
            "",
            "iscsiadm: Could not read iface info for nosuch.\n",
        )


def test_several_ifaces(machine):
    """CLI-166: the first counts; the remark is for failures."""
    assert machine.run_line("-m node -I default -I nosuch").status == 0
    answer = machine.run_line("-m node -I iser -I default")
    assert tuple(answer) == (
        21,
        "",
        "iscsiadm: NODE mode only accepts one interface. Using the first one driver  hwaddress  "
        f"ipaddress .\n{NONE}",
    )


def test_secrets(machine):
    """CLI-160, CLI-195: stars unless -S."""
    line = f"-m node -T {U} -o update -n node.session.auth.password -v geheim"
    assert tuple(machine.run_line(line)) == (0, "", "")
    assert "auth.password = ********\n" in machine.run("-m", "node", "-T", U).out
    assert "auth.password = geheim\n" in machine.run("-m", "node", "-T", U, "-S").out


# Making


@pytest.mark.parametrize(
    ("portal", "shown", "path"),
    [
        ("10.0.0.9", ("10.0.0.9", 3260, -1), "10.0.0.9,3260"),
        ("10.0.0.9:3260,1", ("10.0.0.9", 3260, 1), "10.0.0.9,3260,1/default"),
        ("[fe80::9]:3260,1", ("fe80::9", 3260, 1), "fe80::9,3260,1/default"),
        ("host:3333,7", ("host", 3333, 7), "host,3333,7/default"),
    ],
)
def test_new(empty, portal, shown, path):
    """CLI-167, CLI-168, CLI-169, CLI-170, DB-001, DB-002, DB-003, DB-008."""
    answer = empty.run("-m", "node", "-o", "new", "-T", T, "-p", portal)
    assert tuple(answer) == (0, added(*shown, T), "")
    link = f"static/{T},{shown[0]},{shown[1]},{shown[2]},default"
    assert {f"nodes/{T}/{path}", "ifaces/"} <= empty.files()
    assert (link in empty.files()) == (shown[2] != -1)


def test_new_with_iface(empty):
    """CLI-171: bound to the iface; ifaces/ is made only without -I."""
    answer = empty.run("-m", "node", "-o", "new", "-T", T, "-p", "10.0.0.1,1", "-I", "iser")
    iface = "iser:[hw=,ip=,net_if=,iscsi_if=iser]"
    assert tuple(answer) == (0, added("10.0.0.1", 3260, 1, T, iface), "")
    assert "ifaces/" not in empty.files()


def test_new_again_for_known_portals(machine):
    """CLI-172, DB-045, DB-046: settings are lost, that is what -o new means."""
    machine.run_line(f"-m node -T {T} -o update -n node.startup -v automatic")
    answer = machine.run("-m", "node", "-o", "new", "-T", T)
    expected = added("10.0.0.1", 3260, 1, T) + added("10.0.0.2", 3260, 1, T)
    assert tuple(answer) == (0, expected, "")
    assert value(machine, "node.startup", "-T", T) == ["manual", "manual"]


def test_new_for_everything_known(machine):
    assert machine.run_line("-m node -o new").out.count("added\n") == 3
    assert machine.run_line("-m node -o new -p 10.0.0.1").out == added("10.0.0.1", 3260, 1, T)
    assert machine.run_line("-m node -o new -p 10.0.0.1:3261").out == added("10.0.0.1", 3261, 2, U)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-T iqn.none", "there is no record of target iqn.none; name its portal with -p"),
        ("-p 10.9.9.9", "there is no record with portal 10.9.9.9,3260; name its target with -T"),
        ("", "there are no records; name a target with -T and its portal with -p"),
    ],
)
def test_new_of_nothing(empty, line, reason):
    """CLI-173, CLI-174: a failure, and why, where the original prints half a line and says 0."""
    assert tuple(empty.run_line(f"-m node -o new {line}")) == (
        7,
        "",
        f"iscsiadm: Error while adding record: {reason}\n",
    )


def test_new_ignores_pairs(empty):
    """CLI-175."""
    line = f"-m node -o new -T {T} -p 10.0.0.1,1 -n node.startup -v automatic"
    assert empty.run_line(line).status == 0
    assert value(empty, "node.startup") == ["manual"]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\nb"])
def test_new_with_a_dangerous_name(empty, name):
    """DB-006: refused before anything is written."""
    answer = empty.run("-m", "node", "-o", "new", "-T", name, "-p", "10.0.0.1,1")
    assert (answer.status, answer.out) == (7, "")
    assert answer.err.startswith("iscsiadm: Error while adding record: Invalid target name")
    assert not empty.files()


def test_new_that_cannot_be_written(machine):
    """DB-104: the line says where, the status is 6."""
    (machine.path / "db" / "nodes" / "iqn.x:file").write_text("in the way\n")
    answer = machine.run_line("-m node -o new -T iqn.x:file -p 10.0.0.1,1")
    assert (answer.status, answer.out) == (6, "")
    assert answer.err.endswith(
        "iscsiadm: Error while adding record: encountered iSCSI database failure\n"
    )


def test_master_format_reuses_a_known_tpgt(empty, monkeypatch):
    """DB-004."""
    monkeypatch.setenv("PYISCSI_RECORD_FORMAT", "master")
    empty.run_line(f"-m node -o new -T {T} -p 10.0.0.1,4")
    empty.run_line(f"-m node -o new -T {T} -p 10.0.0.1,5")
    answer = empty.run_line(f"-d 1 -m node -o new -T {T} -p 10.0.0.1")
    assert answer.out == added("10.0.0.1", 3260, 4, T)
    assert f"multiple tpg records for portal {T}/10.0.0.1:3260 found\n" in answer.err
    assert "using tpgt 4 from existing record\n" in answer.err
    assert f"nodes/{T}/10.0.0.1,3260" not in empty.files()


# Changing


@pytest.mark.parametrize(
    "words",
    [
        ("-T", T, "-o", "update", "-n", "node.startup", "-v", "automatic"),
        ("-v", "automatic", "-n", "node.startup", "-T", T, "-o", "update"),
        ("-T", T, "-o", "update", "-n", "a", "-n", "node.startup", "-v", "automatic"),
        ("--op=update", "--value=automatic", "--name", "node.startup", "--target", T),
    ],
)
def test_update(machine, words):
    """CLI-177, CLI-178, CLI-179."""
    assert tuple(machine.run("-m", "node", *words)) == (0, "", "")
    assert value(machine, "node.startup") == ["automatic", "automatic", "manual"]


def test_update_of_everything(machine):
    """CLI-182, CLI-192, CLI-194; clients §1.1: several pairs, empty values."""
    pairs = ("node.session.cmds_max", "abc"), ("node.session.auth.username", "joe")
    words = [word for name, text in pairs for word in ("-n", name, "-v", text)]
    assert tuple(machine.run("-m", "node", "-o", "update", *words)) == (0, "", "")
    assert value(machine, "node.session.cmds_max") == ["0"] * 3
    assert value(machine, "node.session.auth.username") == ["joe"] * 3
    name = "node.session.auth.username"
    assert machine.run("-m", "node", "-o", "update", "-n", name, "-v", "").status == 0
    assert value(machine, name) == ["<empty>"] * 3


@pytest.mark.parametrize("line", ["", "-n node.startup", "-v automatic"])
def test_update_without_a_pair(machine, line):
    """CLI-180, CLI-181."""
    assert tuple(machine.run_line(f"-m node -T {T} -o update {line}")) == (
        7,
        "",
        "iscsiadm: update requires name and value\n",
    )


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("nosuch.key", "x", ["Cannot modify nosuch.key. Invalid param name."]),
        (
            "node.name",
            "x",
            ["Cannot modify node.name. It is used to look up the record and cannot be changed."],
        ),
        (
            "node.tpgt",
            "3",
            ["Cannot modify node.tpgt. It is used to look up the record and cannot be changed."],
        ),
        (
            "node.startup",
            "bogus",
            [
                "unknown value format 'bogus' for parameter name 'node.startup'",
                "Unknown parameter node.startup.",
            ],
        ),
    ],
)
def test_update_refused(machine, name, text, lines):
    """CLI-184, CLI-185, CLI-186, CLI-187, DB-037: every match says it, none is changed."""
    before = machine.run("-m", "node", "-o", "show", "-S").out
    words = ("-n", "node.session.cmds_max", "-v", "9", "-n", name, "-v", text)
    answer = machine.run("-m", "node", "-T", T, "-o", "update", *words)
    expected = [*lines, *lines, "Could not execute operation on all records: invalid parameter"]
    assert tuple(answer) == (7, "", "".join(f"iscsiadm: {line}\n" for line in expected))
    assert machine.run("-m", "node", "-o", "show", "-S").out == before


def test_update_of_the_iface_part(machine):
    """CLI-188: refused before any record is looked for."""
    line = "-m node -T nosuch -o update -n iface.ipaddress -v x"
    assert tuple(machine.run_line(line)) == (
        7,
        "",
        "iscsiadm: Cannot modify iface.ipaddress. Use iface mode to update this value.\n",
    )


@pytest.mark.parametrize("name", ["iface.transport_name", "node.transport_name"])
def test_update_of_the_transport(machine, name):
    """CLI-189, CLI-190, CLI-191, DB-036: an alias, and not below a running session."""
    words = ("-m", "node", "-T", T, "-o", "update", "-n", name, "-v", "iser")
    assert tuple(machine.run(*words)) == (0, "", "")
    assert value(machine, "iface.transport_name") == ["iser", "iser", "tcp"]
    machine.session(1, T, "10.0.0.2")
    assert tuple(machine.run(*words)) == (
        15,
        "",
        "iscsiadm: Cannot modify node/iface transport name while a session is using it. "
        "Log out the session then update record.\n",
    )


def test_update_with_ignored_words(machine):
    """CLI-193: warnings are for -d, the command succeeds in silence."""
    words = ("-n", "node.session.auth.chap_algs", "-v", "SHA1,MD5,BAD,SHA1")
    assert tuple(machine.run("-m", "node", "-T", U, "-o", "update", *words)) == (0, "", "")
    assert value(machine, "node.session.auth.chap_algs", "-T", U) == ["SHA1,MD5"]
    answer = machine.run("-d", "1", "-m", "node", "-T", U, "-o", "update", *words)
    assert answer.err.count("iscsiadm: Ignoring ") == 2


@pytest.mark.parametrize("op", ["update -n node.startup -v manual", "delete"])
@pytest.mark.parametrize("line", ["-T nosuch", "-p 10.9.9.9", "-I iser"])
def test_change_of_nothing(machine, op, line):
    """CLI-183, CLI-199."""
    assert tuple(machine.run_line(f"-m node {line} -o {op}")) == (21, "", NONE)


def test_changes_match_resolved_names(empty):
    """CLI-161, DB-047: -p localhost means 127.0.0.1 for everything but showing."""
    empty.run_line(f"-m node -o new -T {T} -p 127.0.0.1,1")
    assert empty.run_line("-m node -p localhost -o show").status == 21
    line = "-m node -p localhost -o update -n node.startup -v onboot"
    assert empty.run_line(line).status == 0
    assert value(empty, "node.startup") == ["onboot"]


def test_iface_matches_while_the_transport_does(empty):
    """DB-047: a record whose transport was changed no longer belongs to its iface."""
    empty.run_line(f"-m node -o new -T {T} -p 10.0.0.1,1 -I iser")
    empty.run_line(f"-m node -T {T} -o update -n iface.transport_name -v tcp")
    assert empty.run_line("-m node -I iser").status == 0
    assert tuple(empty.run_line("-m node -I iser -o delete")) == (21, "", NONE)


def test_records_that_go_meanwhile(machine, monkeypatch):
    """Deleted by somebody else between the search and the change: as if never found."""
    find = nodes.matching

    def racing(context, pattern):
        keys = find(context, pattern)
        Context(context.env).nodes.delete(keys[-1])
        return keys

    monkeypatch.setattr(nodes, "matching", racing)
    change = "-o update -n node.startup -v automatic"
    assert tuple(machine.run_line(f"-m node -T {T} {change}")) == (0, "", "")
    assert tuple(machine.run_line(f"-m node -T {U} {change}")) == (21, "", NONE)
    assert value(machine, "node.startup") == ["automatic"]
    assert tuple(machine.run_line("-m node -o delete")) == (21, "", NONE)


# Deleting


def test_delete(machine):
    """CLI-196, CLI-197, CLI-198, DB-048: link, file and emptied directories go, in silence."""
    assert tuple(machine.run_line(f"-m node -T {T} -p 10.0.0.1 -o delete")) == (0, "", "")
    assert machine.run("-m", "node").out == f"10.0.0.2:3260,1 {T}\n10.0.0.1:3261,2 {U}\n"
    assert tuple(machine.run_line(f"-m node -T {T} -o delete")) == (0, "", "")
    assert not [name for name in machine.files() if T in name]
    assert tuple(machine.run_line("-m node -o delete")) == (0, "", "")
    assert machine.files() == {"nodes/", "static/", "ifaces/"}


def test_delete_in_use(machine):
    """CLI-200, DB-048: the others go all the same."""
    machine.session(1, T, "10.0.0.1")
    answer = machine.run_line(f"-m node -T {T} -o delete")
    assert tuple(answer) == (
        15,
        "",
        f"iscsiadm: This command will remove the record [iface: default, target: {T}, portal: "
        "10.0.0.1,3260], but a session is using it. Logout session then rerun command to remove "
        f"record.\n{SUMMARY}session exists\n",
    )
    assert machine.run("-m", "node").out == f"10.0.0.1:3260,1 {T}\n10.0.0.1:3261,2 {U}\n"


@pytest.mark.parametrize(
    "line",
    [
        "-o new -o delete",
        "-o nonpersistent",
        "-o apply",
        "-o applyall",
        "-o login",
        "-o logout",
        f"-T {T} -o show -o delete",
    ],
)
def test_unsupported_operations(machine, line):
    """CLI-201, CLI-202, CLI-203."""
    before = machine.files()
    assert tuple(machine.run_line(f"-m node {line}")) == (
        7,
        "",
        "iscsiadm: operation is not supported.\n",
    )
    assert machine.files() == before


# Damaged records


def damage(machine, data):
    (machine.path / "db" / "nodes" / T / "10.0.0.1,3260,1" / "default").write_bytes(data)


def test_an_unknown_key_hides_nothing(machine):
    """DB-026: others are listed, the status tells."""
    path = machine.path / "db" / "nodes" / T / "10.0.0.1,3260,1" / "default"
    damage(machine, path.read_bytes().replace(b"node.startup = manual", b"node.startup = never"))
    answer = machine.run("-m", "node", "-o", "show")
    assert answer.status == 1
    assert answer.out.count("# BEGIN RECORD") == 3
    assert answer.err.startswith("iscsiadm: ")


def test_a_torn_record_is_reported(machine):
    """DB-029: it is no row, and it does not stop an update of the others."""
    damage(machine, b"")
    answer = machine.run("-m", "node")
    assert answer.out == f"10.0.0.2:3260,1 {T}\n10.0.0.1:3261,2 {U}\n"
    assert answer.status == 6
    assert answer.err.startswith("iscsiadm: ")
    assert machine.run("-m", "node").status == 0


@pytest.mark.parametrize("operation", ["update -n node.startup -v automatic", "delete"])
def test_a_torn_record_fails_a_change(machine, operation):
    """DB-029, DB-038: of those that match it is the one that cannot be changed."""
    damage(machine, b"")
    answer = machine.run_line(f"-m node -o {operation}")
    assert answer.status == 6
    first, last = answer.err.splitlines()
    assert "is empty, cut off or binary, moved to" in first
    assert last == (
        "iscsiadm: Could not execute operation on all records: encountered iSCSI database failure"
    )
    assert machine.run_line(f"-m node -o {operation}").status == (21 if "del" in operation else 0)


@pytest.mark.parametrize(
    "operation", [("-o", "show"), ("-o", "update", "-n", "node.startup", "-v", "manual")]
)
def test_a_binary_record_is_reported(machine, operation):
    """DB-029: neither shown as if it were empty nor overwritten: every byte is kept aside."""
    garbage = bytes(range(256)) * 9
    damage(machine, garbage)
    answer = machine.run("-m", "node", "-T", T, "-p", "10.0.0.1", *operation)
    assert answer.status == 6
    assert "binary, moved to" in answer.err
    assert [p.read_bytes() for p in machine.path.glob("db/.pyiscsi-quarantine/*")] == [garbage]


def test_a_tag_that_could_not_be_listed_is_refused(machine):
    """CLI-056: 4294967295, as listings have it, is the unknown tag; below -1 there is none."""
    answer = machine.run("-m", "node", "-o", "new", "-T", "iqn.z", "-p", "10.0.0.1:3260,-2")
    assert answer.status == 7
    assert answer.err.endswith("Error while adding record: invalid portal group tag -2\n")
    assert machine.run("-m", "node", "-T", "iqn.z").status == 21


# Sessions: who is asked, and in which order of precedence


@pytest.fixture
def calls(monkeypatch):
    """Calls that reach session_actions, by name."""
    seen = []

    def record(name):
        def called(_context, _out, *args, **kwargs):
            seen.append((name, args, kwargs))
            return 0

        return called

    for name in ("do_login", "do_loginall", "do_logout", "do_rescan", "do_stats"):
        monkeypatch.setattr(session_actions, name, record(name))
    return seen


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("-L all -U all", "do_loginall"),
        ("-U all -o new -l", "do_logout"),
        ("-R -s -l -u -o show", "do_rescan"),
        ("-l -u -s", "do_stats"),
        (f"-l -T {T}", "do_login"),
        ("--logout all", "do_logout"),
        ("-P 10.0.0.1:3260 --rescan", "do_rescan"),
    ],
)
def test_precedence(machine, calls, line, name):
    """CLI-015, CLI-022: the first of -L -U -R -s -l -u that applies; clients' odd forms too."""
    assert machine.run_line(f"-m node {line}").status == 0
    assert [call[0] for call in calls] == [name]


def test_new_comes_before_sessions(machine, calls):
    assert machine.run_line(f"-m node -o new -T {T} -R -s -l -u").out.count("added\n") == 2
    assert calls == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-l -u", "Invalid parameters. Both login and logout passed in"),
        ("-l -o show", "Invalid parameters. Login/logout and op passed in"),
        ("-u -o delete", "Invalid parameters. Login/logout and op passed in"),
    ],
)
def test_contradictions(machine, calls, line, text):
    assert tuple(machine.run_line(f"-m node {line}")) == (7, "", f"iscsiadm: {text}\n")
    assert calls == []


@pytest.mark.parametrize(
    ("line", "what"),
    [("-L bogus", "loginall option bogus"), ("-U onboot", "logoutall option onboot"),
     ("-U bogus", "logoutall option bogus")],
)  # fmt: skip
def test_wrong_startup_modes(machine, calls, line, what):
    assert tuple(machine.run_line(f"-m node {line}")) == (
        7,
        "",
        f"iscsiadm: Invalid {what}.\nTry `iscsiadm --help' for more information.\n",
    )
    assert calls == []


def test_login_gets_matching_records(machine, calls):
    """A login means records, matched by resolution too; -W is passed on."""
    machine.run_line(f"-m node -T {T} -l -W")
    ((_, (records, wait), options),) = calls
    assert {record["node.conn[0].address"] for record in records} == {"10.0.0.1", "10.0.0.2"}
    assert (wait, options) == (False, {"closing_line": True})


def test_login_of_nothing(machine, calls):
    assert tuple(machine.run_line("-m node -T nosuch -l")) == (21, "", NONE)
    assert calls == []


def test_session_patterns(machine, calls):
    """CLI-155: the default port narrows sessions as it does records."""
    machine.run_line(f"-m node -T {T} -p 10.0.0.1 -I default -u")
    ((_, _, options),) = calls
    pattern = options["pattern"]
    assert (pattern.target, pattern.address, pattern.port, pattern.iface) == (
        T, "10.0.0.1", 3260, "default",
    )  # fmt: skip


def test_startup_modes(machine, calls):
    machine.run_line("-m node -L automatic -W")
    machine.run_line("-m node -U manual")
    assert calls == [
        ("do_loginall", ("automatic", False), {}),
        ("do_logout", (), {"startup": "manual"}),
    ]
