"""`-m discovery` and `-m discoverydb`: records, listings, discoveries by a stand-in daemon."""

import pytest

from pyiscsi.cli.modes import session_actions
from pyiscsi.errors import DaemonError, IpcError
from pyiscsi.ops.context import Context
from tests.unit.cli.commands import FakeClient, Machine

A = "10.0.0.1"
T, U = "iqn.2026-11.test:a", "iqn.2026-11.test:b"
NOT_FOUND = f"iscsiadm: Discovery record [{A},3260] not found"
CLOSING = "iscsiadm: Could not perform SendTargets discovery: "
NO_FIRMWARE = "iscsiadm: Could not get list of targets from firmware. (err 21)\n"


def entry(target, address, iface="default", tpgt=1):
    return {"target": target, "address": address, "port": 3260, "tpgt": tpgt, "iface": iface}


FOUND = [entry(T, A), entry(U, "10.0.0.2", tpgt=-1), entry(U, "fe80::2")]


class Daemon(FakeClient):
    def __init__(self, machine):
        config = str(machine.path / "etc" / "iscsid.conf")
        found = {"found": FOUND, "messages": []}
        super().__init__({"config": {"config_file": config}, "discover": found})

    @property
    def wishes(self):
        return [args for op, args in self.asked if op == "discover"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def daemon(machine, monkeypatch):
    client = Daemon(machine)
    monkeypatch.setattr(Context, "client", lambda self, **_: client)
    return client


@pytest.fixture
def logins(monkeypatch):
    seen = []

    def do_login(_context, _out, records, wait, closing_line):
        seen.append(([record.node_key().fields() for record in records], wait, closing_line))
        return 15

    monkeypatch.setattr(session_actions, "do_login", do_login)
    return seen


def st_config(machine, portal=f"{A},3260"):
    return (machine.path / "db" / "send_targets" / portal / "st_config").read_text()


def db(machine, line):
    return machine.run_line(f"-m discoverydb {line}")


# Usage


@pytest.mark.parametrize(
    ("line", "status", "err"),
    [
        ("discovery", 21, ""),
        ("discovery -o show", 21, ""),
        ("discovery -t bogus", 21, ""),
        ("discovery -o delete", 7, "iscsiadm: Invalid operation.\n"),
        ("discovery -t st", 7, "iscsiadm: Please specify portal as <ipaddr>[:<ipport>]\n"),
        ("discovery -t isns", 7, "iscsiadm: Please specify portal as <ipaddr>:[<ipport>]\n"),
        ("discovery -t fw", 21, NO_FIRMWARE),
        ("discoverydb -t fw -D", 21, NO_FIRMWARE),
        ("discovery -t slp", 7, "iscsiadm: SLP discovery is not fully implemented yet.\n"),
        (f"discovery -p {A}", 7, f"{NOT_FOUND}!\n"),
        (f"discovery -p {A} -D", 7, f"{NOT_FOUND}!\n"),
        (f"discovery -p {A} -o new", 7, f"{NOT_FOUND}!\n"),
        ("discoverydb", 21, ""),
        (
            "discoverydb -o delete",
            7,
            "iscsiadm: Invalid operation. Operation not supported.\n",
        ),
        (
            f"discoverydb -p {A}",
            7,
            "iscsiadm: Invalid command. Portal not needed or Possibly missing discovery --type.\n",
        ),
        (
            f"discoverydb -p {A} -o show",
            7,
            "iscsiadm: Invalid command. Possibly missing discovery --type.\n",
        ),
        ("discoverydb -t st", 7, "iscsiadm: Please specify portal as <ipaddr>[:<ipport>]\n"),
        ("discoverydb -t isns", 7, "iscsiadm: Please specify portal as <ipaddr>[:<ipport>]\n"),
        (f"discoverydb -t st -p {A}", 6, f"{NOT_FOUND}.\n"),
        (f"discoverydb -t st -p {A} -o delete", 6, f"{NOT_FOUND}.\n"),
        (
            "discoverydb -t fw",
            7,
            "iscsiadm: Invalid command. Possibly missing --discover argument.\n",
        ),
        (
            "discoverydb -t fw -D -I default",
            21,
            f"{NO_FIRMWARE}iscsiadm: Could not perform fw discovery.\n",
        ),
        ("discoverydb -t slp", 7, "iscsiadm: SLP discovery is not fully implemented yet.\n"),
    ],
)
def test_usage(machine, line, status, err):
    """CLI-063, CLI-069, CLI-072, CLI-073, CLI-074, CLI-075, CLI-076, CLI-077, CLI-094, CLI-095,
    CLI-096, CLI-102, CLI-103, CLI-104, CLI-127, CLI-146."""
    assert tuple(machine.run_line(f"-m {line}")) == (status, "", err)
    assert not machine.files()


def test_empty_tree(machine):
    """CLI-064, CLI-071."""
    lines = "".join(
        f"{heading}:\nNo targets found.\n"
        for heading in ("SENDTARGETS", "iSNS", "STATIC", "FIRMWARE")
    )
    for mode in ("discovery", "discoverydb"):
        assert tuple(machine.run_line(f"-m {mode} -P 1")) == (21, lines, "")


# Records


@pytest.mark.parametrize(
    ("kind", "portal", "shown", "path"),
    [
        ("st", A, f"{A},3260", f"send_targets/{A},3260/st_config"),
        ("sendtargets", f"{A}:3261", f"{A},3261", f"send_targets/{A},3261/st_config"),
        ("st", "[fe80::1]:3260", "fe80::1,3260", "send_targets/fe80::1,3260/st_config"),
        ("isns", A, f"{A},3205", f"isns/{A},3205/isns_config"),
    ],
)
def test_new(machine, daemon, kind, portal, shown, path):
    """CLI-078, CLI-079, CLI-080, CLI-081, DB-060: written from iscsid.conf, in place of what was
    there."""
    machine.conf("discovery.sendtargets.reopen_max = 9")
    for _ in range(2):
        answer = db(machine, f"-t {kind} -p {portal} -o new")
        assert tuple(answer) == (0, f"New discovery record for [{shown}] added.\n", "")
    assert path in machine.files()
    shown_again = db(machine, f"-t {kind} -p {portal}").out
    address, port = shown.rsplit(",", 1)
    assert f"discovery.sendtargets.address = {address}\n" in shown_again
    assert f"discovery.sendtargets.port = {port}\n" in shown_again
    assert ("reopen_max = 9\n" in shown_again) == (kind != "isns")


def test_isns_record(machine, daemon):
    """CLI-082: its address is under the other kind's key, as in the original."""
    db(machine, f"-t isns -p {A} -o new")
    assert db(machine, f"-t isns -p {A}").out == (
        "# BEGIN RECORD 2.1.8\ndiscovery.startup = manual\ndiscovery.type = isns\n"
        f"discovery.sendtargets.address = {A}\ndiscovery.sendtargets.port = 3205\n"
        "discovery.isns.use_discoveryd = No\ndiscovery.isns.discoveryd_poll_inval = -1\n"
        "# END RECORD\n"
    )


@pytest.mark.parametrize("where", ["discovery", "discoverydb -t st"])
def test_show(machine, daemon, where):
    """CLI-083, CLI-084, CLI-085, CLI-097, CLI-098: masked unless -S; -l and -P change nothing."""
    db(machine, f"-t st -p {A} -o new")
    key = "discovery.sendtargets.auth.password"
    assert db(machine, f"-t st -p {A} -o update -n {key} -v geheim").status == 0
    for extra in ("", "-o show", "-P 1"):
        answer = machine.run_line(f"-m {where} -p {A} {extra}")
        assert (answer.status, answer.err) == (0, "")
        assert answer.out.startswith("# BEGIN RECORD 2.1.8\n")
        assert f"{key} = ********\n" in answer.out
    assert f"{key} = geheim\n" in machine.run_line(f"-m {where} -p {A} -S").out
    assert db(machine, f"-t st -p {A} -l").out == db(machine, f"-t st -p {A}").out


def test_update(machine, daemon):
    """CLI-087, CLI-088."""
    db(machine, f"-t st -p {A} -o new")
    base = "discovery.sendtargets.auth"
    line = f"-t st -p {A} -o update -n {base}.username -v joe -n {base}.password -v geheim"
    assert tuple(db(machine, line)) == (0, "", "")
    text = st_config(machine)
    assert f"{base}.username = joe\n{base}.password = geheim\n" in text


@pytest.mark.parametrize(
    ("pairs", "err"),
    [
        ("", "Update requires name and value."),
        (
            "-n discovery.sendtargets.address -v x",
            "Cannot modify discovery.sendtargets.address. It is used to look up the record and "
            "cannot be changed.",
        ),
        ("-n discovery.foo -v x", "Cannot modify discovery.foo. Invalid param name."),
        (
            "-n discovery.sendtargets.auth.authmethod -v KRB",
            "unknown value format 'KRB' for parameter name 'discovery.sendtargets.auth.authmethod'",
        ),
    ],
)
def test_update_refused(machine, daemon, pairs, err):
    """CLI-086, CLI-089, CLI-090, CLI-091."""
    db(machine, f"-t st -p {A} -o new")
    before = st_config(machine)
    answer = db(machine, f"-t st -p {A} -o update {pairs}")
    assert tuple(answer) == (7, "", f"iscsiadm: {err}\n")
    assert st_config(machine) == before


@pytest.mark.parametrize(
    ("line", "err"),
    [
        ("discoverydb -t st -p {} -o nonpersistent", "Operation is not supported."),
        (
            "discovery -p {} -o new",
            "Operations new and update for discovery mode is not supported. Use discoverydb mode.",
        ),
        (
            "discovery -p {} -o update",
            "Operations new and update for discovery mode is not supported. Use discoverydb mode.",
        ),
        ("discovery -p {} -o apply", "Invalid operation."),
    ],
)
def test_other_operations(machine, daemon, line, err):
    """CLI-092, CLI-100, CLI-101."""
    db(machine, f"-t st -p {A} -o new")
    assert tuple(machine.run_line(f"-m {line.format(A)}")) == (7, "", f"iscsiadm: {err}\n")


@pytest.mark.parametrize("where", ["discovery", "discoverydb -t st"])
def test_delete(machine, daemon, where):
    """CLI-093, CLI-099: the record and its nodes, sessions notwithstanding, in silence."""
    plant(machine, A, T, "10.0.0.1,3260,1")
    machine.session(1, T, "10.0.0.1")
    assert tuple(machine.run_line(f"-m {where} -p {A} -o delete")) == (0, "", "")
    assert machine.files() == {"nodes/", "send_targets/", "static/", "ifaces/"}


def plant(machine, source, target, portal):
    """A discovery record with one node linked to it, as a discovery leaves them."""
    directory = machine.path / "db" / "send_targets" / f"{source},3260"
    if not directory.exists():
        assert db(machine, f"-t st -p {source} -o new").status == 0
    address, port, tpgt = portal.split(",")
    shown = f"[{address}]" if ":" in address else address
    machine.run_line(f"-m node -o new -T {target} -p {shown}:{port},{tpgt}")
    record = machine.path / "db" / "nodes" / target / portal / "default"
    text = record.read_text().replace(
        "node.discovery_type = static", "node.discovery_type = send_targets"
    )
    text = text.replace(
        "node.discovery_port = 0", f"node.discovery_address = {source}\nnode.discovery_port = 3260"
    )
    record.write_text(text)
    (machine.path / "db" / "static" / f"{target},{portal},default").rename(
        directory / f"{target},{portal},default"
    )


def test_listing(machine, daemon):
    """CLI-065, CLI-066, CLI-067, CLI-068, CLI-070, CLI-071: flat, tree, and levels above 1."""
    plant(machine, A, U, "10.0.0.2,3260,1")
    plant(machine, A, T, "10.0.0.1,3260,1")
    plant(machine, "fe80::1", U, "fe80::2,3260,3")
    db(machine, f"-t isns -p {A} -o new")
    machine.run_line(f"-m node -o new -T {T} -p 10.0.0.7")
    machine.run_line(f"-m node -o new -T {T} -p 10.0.0.8,1")
    flat = f"{A}:3260 via sendtargets\nfe80::1:3260 via sendtargets\n{A}:3205 via isns\n"
    tree = (
        f"SENDTARGETS:\nDiscoveryAddress: {A},3260\n"
        f"Target: {T}\n\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\n"
        f"Target: {U}\n\tPortal: 10.0.0.2:3260,1\n\t\tIface Name: default\n"
        f"DiscoveryAddress: fe80::1,3260\n"
        f"Target: {U}\n\tPortal: [fe80::2]:3260,3\n\t\tIface Name: default\n"
        f"iSNS:\nDiscoveryAddress: {A},3205\n"
        f"STATIC:\nTarget: {T}\n\tPortal: 10.0.0.7:3260,-1\n\t\tIface Name: default\n"
        "\tPortal: 10.0.0.8:3260,1\n\t\tIface Name: default\n"
        "FIRMWARE:\nNo targets found.\n"
    )
    for mode in ("discovery", "discoverydb"):
        for line in ("", "-o show", "-P 0", "-P -3"):
            assert tuple(machine.run_line(f"-m {mode} {line}")) == (0, flat, "")
        for line in ("-P 1", "-P 5", "-o show -P 1"):
            assert tuple(machine.run_line(f"-m {mode} {line}")) == (0, tree, "")


# Discovering


@pytest.mark.parametrize(
    ("op", "bits", "recorded"),
    [
        ("", "new update delete", True),
        ("-o new", "new", True),
        ("-o update", "update", True),
        ("-o delete", "delete", True),
        ("-o new -o delete", "new delete", True),
        ("-o show", "", True),
        ("-o nonpersistent", "", False),
        ("-o nonpersistent -o new", "new", False),
    ],
)
def test_what_the_daemon_is_asked(machine, daemon, op, bits, recorded):
    """CLI-105, CLI-106, CLI-111, CLI-112, CLI-114 to CLI-120, CLI-132, DB-062."""
    answer = machine.run_line(f"-m discovery -t st -p {A}:3261,1 {op}")
    assert (answer.status, answer.err) == (0, "")
    (wish,) = daemon.wishes
    assert {key for key in ("new", "update", "delete") if wish[key]} == set(bits.split())
    assert (wish["persist"], wish["ifaces"]) == (bool(bits), None)
    assert (wish["type"], wish["address"], wish["port"]) == ("sendtargets", A, 3261)
    assert wish["record"]["discovery.sendtargets.address"] == A
    assert (f"send_targets/{A},3261/st_config" in machine.files()) == recorded


def test_flat(machine, daemon):
    """CLI-105, CLI-108, CLI-110: one line for each portal and iface; nothing from level 2 on."""
    lines = f"{A}:3260,1 {T}\n10.0.0.2:3260,-1 {U}\n[fe80::2]:3260,1 {U}\n"
    for extra, out in (("", lines), ("-P 0", lines), ("-P 2", ""), ("-D", lines)):
        assert tuple(machine.run_line(f"-m discovery -t st -p {A} {extra}")) == (0, out, "")


def test_tree(machine, daemon):
    """CLI-107, CLI-134."""
    daemon.answers["discover"]["found"] = [
        entry(T, A, "if0"), entry(T, A, "default"), entry(T, "10.0.0.2"), entry(U, "10.0.0.2"),
    ]  # fmt: skip
    assert machine.run_line(f"-m discovery -t st -p {A} -P 1").out == (
        f"Target: {T}\n\tPortal: {A}:3260,1\n\t\tIface Name: if0\n\t\tIface Name: default\n"
        "\tPortal: 10.0.0.2:3260,1\n\t\tIface Name: default\n"
        f"Target: {U}\n\tPortal: 10.0.0.2:3260,1\n\t\tIface Name: default\n"
    )


def test_stored_settings(machine, daemon):
    """CLI-121, CLI-125, CLI-128, CLI-142, DB-061: who rewrites the record, and who uses it."""
    db(machine, f"-t st -p {A} -o new")
    db(machine, f"-t st -p {A} -o update -n discovery.sendtargets.auth.username -v joe")
    stored = st_config(machine)
    for line in (f"-m discovery -p {A} -D", f"-m discoverydb -t st -p {A} -D"):
        assert machine.run_line(line).status == 0
        assert daemon.wishes[-1]["record"]["discovery.sendtargets.auth.username"] == "joe"
        assert st_config(machine) == stored
    assert machine.run_line(f"-m discovery -t st -p {A}").status == 0
    assert "discovery.sendtargets.auth.username" not in daemon.wishes[-1]["record"]
    assert "joe" not in st_config(machine)


@pytest.mark.parametrize(("op", "written"), [("", True), ("-o nonpersistent", False)])
def test_discoverydb_makes_its_record(machine, daemon, op, written):
    """CLI-128, CLI-129, CLI-130."""
    assert db(machine, f"-t st -p {A} -D {op}").status == 0
    assert (f"send_targets/{A},3260/st_config" in machine.files()) == written
    assert daemon.wishes[0]["persist"] == written


def test_remarks_about_records_are_for_failures(machine, daemon):
    """The daemon's lines about single records do not spoil a success."""
    daemon.answers["discover"]["messages"] = ["This command will remove the record ..."]
    assert machine.run_line(f"-m discovery -t st -p {A}").err == ""


@pytest.mark.parametrize(
    ("line", "flat"),
    [
        (f"discovery -t st -p {A} -l", True),
        (f"discovery -t st -p {A} -l -P 1", False),
        (f"discoverydb -t st -p {A} -D -l", True),
        (f"discovery -p {A} -l", True),
    ],
)
def test_login_to_what_was_found(machine, daemon, logins, line, flat):
    """CLI-122 to CLI-124, CLI-126, CLI-131: listed first; logins wait; no closing line."""
    db(machine, f"-t st -p {A} -o new")
    machine.run_line(f"-m node -o new -T {T} -p {A}:3260,1")
    answer = machine.run_line(f"-m {line}")
    assert (answer.status, answer.err) == (15, "")
    assert answer.out.startswith(f"{A}:3260,1 {T}\n" if flat else f"Target: {T}\n")
    ((keys, wait, closing_line),) = logins
    assert keys == [
        (T, A, 3260, 1, "default"),
        (U, "10.0.0.2", 3260, -1, "default"),
        (U, "fe80::2", 3260, 1, "default"),
    ]
    assert (wait, closing_line) == (True, False)


def iface(machine, name, transport="tcp"):
    directory = machine.path / "db" / "ifaces"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(
        f"# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = {name}\n"
        f"iface.transport_name = {transport}\n# END RECORD\n"
    )


def test_named_ifaces(machine, daemon):
    """CLI-133, CLI-134."""
    iface(machine, "if0")
    assert machine.run_line(f"-m discovery -t st -p {A} -I if0 -I default").status == 0
    assert daemon.wishes[0]["ifaces"] == ["if0", "default"]


def unreadable(machine, name):
    return (
        f"iscsiadm: Could not read iface info for {name}. Make sure an iface config with the file "
        f"name and iface.iscsi_ifacename {name} is in {machine.path}/db/ifaces.\n"
    )


def test_unreadable_ifaces(machine, daemon):
    """CLI-135, CLI-136: dropped; nothing is written or asked when none is left."""
    answer = machine.run_line(f"-m discovery -t st -p {A} -I nosuch")
    assert tuple(answer) == (21, "", unreadable(machine, "nosuch"))
    assert set(machine.files()) == {"ifaces/"}
    assert daemon.wishes == []
    assert tuple(machine.run_line(f"-m discovery -t st -p {A} -I default -I nosuch"))[::2] == (
        0,
        "",
    )
    assert daemon.wishes[0]["ifaces"] == ["default"]


def test_ifaces_without_driver(machine, daemon, monkeypatch):
    """CLI-137: dropped when the transport is not there and cannot be loaded."""
    monkeypatch.setenv("PATH", str(machine.path))  # without modprobe
    answer = machine.run_line(f"-m discovery -t st -p {A} -I iser")
    text = "iscsiadm: Could not load transport iser.Dropping interface iser.\n"
    assert tuple(answer) == (21, "", text)
    transport = machine.path / "sys/class/iscsi_transport/iser"
    transport.mkdir(parents=True)
    (transport / "handle").write_text("1\n")
    (transport / "caps").write_text("0x9\n")
    assert machine.run_line(f"-m discovery -t st -p {A} -I iser").status == 0


# Failures


@pytest.mark.parametrize(
    ("error", "lines", "text"),
    [
        (
            DaemonError("", 4, ("cannot resolve host name x",)),
            ["cannot resolve host name x"],
            "encountered connection failure",
        ),
        (
            DaemonError("", 24, ("Login failed to authenticate with target ", "discovery login")),
            ["Login failed to authenticate with target ", "discovery login"],
            "iSCSI login failed due to authorization failure",
        ),
        (
            DaemonError("", 7, ("Cannot perform discovery. Invalid Initiatorname.",)),
            ["Cannot perform discovery. Invalid Initiatorname."],
            "invalid parameter",
        ),
        (DaemonError("only root may", 13), ["only root may"], "daemon access denied"),
        (DaemonError("", 12), [], "iSCSI driver not found. Please make sure it is loaded, and "
         "retry the operation"),
        (IpcError("read error (-1/104), daemon died?", 18), ["read error (-1/104), daemon died?"],
         "could not communicate to iscsid"),
        (IpcError("", 33), [], "iscsid request timed out"),
        (
            IpcError("can not connect to iSCSI daemon (111)!", 20),
            ["can not connect to iSCSI daemon (111)!",
             "Cannot perform discovery. Initiatorname required."],
            "could not connect to iscsid",
        ),
    ],
)  # fmt: skip
def test_failures(machine, daemon, error, lines, text):
    """CLI-139 to CLI-141, CLI-144, DB-065: the daemon's lines, the closing line, its status."""
    daemon.answers["discover"] = error
    answer = machine.run_line(f"-m discovery -t st -p {A}")
    assert (answer.status, answer.out) == (error.exit_code, "")
    assert answer.err == "".join(f"iscsiadm: {line}\n" for line in lines) + f"{CLOSING}{text}\n"
    assert f"send_targets/{A},3260/st_config" in machine.files()


def test_no_iface_left(machine, daemon):
    """CLI-137: the daemon dropped all of them and says why."""
    daemon.answers["discover"] = DaemonError("", 21, ("Could not load transport x.",))
    answer = machine.run_line(f"-m discovery -t st -p {A}")
    assert tuple(answer) == (21, "", "iscsiadm: Could not load transport x.\n")


def test_nothing_found(machine, daemon):
    daemon.answers["discover"] = {"found": []}
    assert tuple(machine.run_line(f"-m discovery -t st -p {A}")) == (
        21,
        "",
        "iscsiadm: No portals found\n",
    )


@pytest.mark.parametrize("mode", ["discovery -t isns", "discoverydb -t isns -D"])
def test_isns(machine, daemon, mode):
    """Asked on port 3205 with a record of its kind, which discoverydb alone writes."""
    answer = machine.run_line(f"-m {mode} -p {A} -P 1")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"Target: {T}\n\tPortal: {A}:3260,1\n\t\tIface Name: default\n")
    (wish,) = daemon.wishes
    assert (wish["type"], wish["address"], wish["port"]) == ("isns", A, 3205)
    assert all(wish[key] for key in ("new", "update", "delete", "persist"))
    assert wish["record"]["discovery.isns.discoveryd_poll_inval"] == "-1"
    record = {f"isns/{A},3205/isns_config"} if "db" in mode else set()
    assert set(machine.files()) & {f"isns/{A},3205/isns_config"} == record


def test_isns_without_records(machine, daemon):
    """As for SendTargets, the new record is left out too."""
    assert machine.run_line(f"-m discoverydb -t isns -D -p {A}:3206 -o nonpersistent").status == 0
    (wish,) = daemon.wishes
    assert (wish["port"], wish["persist"]) == (3206, False)
    assert not any(name.startswith("isns") for name in machine.files())


@pytest.mark.parametrize("mode", ["discovery -t isns", "discoverydb -t isns -D"])
@pytest.mark.parametrize(
    ("status", "line", "text"),
    [
        (25, "iSNS discovery failed: No such entry", "iSNS query failed"),
        (26, "Could not register iqn.a with iSNS server: Busy.", "iSNS registration failed"),
    ],
)
def test_isns_failures(machine, daemon, mode, status, line, text):
    """CLI-145: the daemon's line, the closing line, its status."""
    daemon.answers["discover"] = DaemonError("Busy", status, (line,))
    assert tuple(machine.run_line(f"-m {mode} -p {A}")) == (
        status,
        "",
        f"iscsiadm: {line}\niscsiadm: Could not perform iSNS discovery: {text}\n",
    )


def test_isns_nothing_found(machine, daemon):
    daemon.answers["discover"] = {"found": []}
    assert tuple(machine.run_line(f"-m discovery -t isns -p {A}")) == (
        21, "", "iscsiadm: No portals found\n",
    )  # fmt: skip


def test_a_record_that_cannot_be_written(machine, daemon):
    """DB-104: said before anything is asked."""
    (machine.path / "db" / "send_targets").write_text("in the way")
    answer = machine.run_line(f"-m discovery -t st -p {A}")
    assert (answer.status, daemon.wishes) == (6, [])
    assert answer.err.endswith("iscsiadm: Could not add new discovery record.\n")


@pytest.mark.parametrize("address", ["a/b", "..", "a\nb"])
def test_an_address_that_is_no_path_component(machine, daemon, address):
    answer = machine.run("-m", "discovery", "-t", "st", "-p", address)
    assert (answer.status, answer.out, daemon.wishes) == (7, "", [])
    assert answer.err.startswith("iscsiadm: ")
