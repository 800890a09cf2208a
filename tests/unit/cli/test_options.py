"""The command line of iscsiadm: options, their immediate effects and the modes' permissions."""

import io

import pytest

from pyiscsi.cli.options import OPTIONS, Options, leading_int, parse
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from tests.unit.cli.commands import Machine

TRY = "Try `iscsiadm --help' for more information.\n"
V6 = "fe80::1"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def parsed(*words, env=None):
    out = Output(io.BytesIO(), io.BytesIO())
    return parse(["iscsiadm", *words], env or Env(), out)


@pytest.mark.parametrize(
    ("line", "status", "out", "err"),
    [
        ("", 7, "", TRY),
        ("-V", 0, "iscsiadm version 2.1.8\n", ""),
        ("--version", 0, "iscsiadm version 2.1.8\n", ""),
        ("-V -m bogus", 0, "iscsiadm version 2.1.8\n", ""),
        ("-m node -h", 7, "", "iscsiadm: node mode: option '-h' is not allowed/supported\n"),
        ("-m node -V", 7, "", "iscsiadm: node mode: option '-V' is not allowed/supported\n"),
        ("-m bogus", 7, "", "iscsiadm: mode -1 is not yet supported\n"),
        ("-m discover", 7, "", "iscsiadm: mode -1 is not yet supported\n"),
        ("-m=node", 7, "", "iscsiadm: mode -1 is not yet supported\n"),
        (
            "--p",
            7,
            "",
            "iscsiadm: option '--p' is ambiguous; possibilities: '--portal' '--print' "
            f"'--packetsize' '--portal_type'\n{TRY}",
        ),
        (
            "--login=x",
            7,
            "",
            "iscsiadm: option '--login' doesn't allow an argument\n"
            "iscsiadm: unrecognized character 'l'\n",
        ),
        (
            "-z",
            7,
            "",
            "iscsiadm: invalid option -- 'z'\niscsiadm: unrecognized character 'z'\n",
        ),
        (
            "-z -m node",
            7,
            "",
            "iscsiadm: invalid option -- 'z'\niscsiadm: invalid option -- 'z'\n"
            "iscsiadm: node mode: option '-?' is not allowed/supported\n",
        ),
        (
            "-m node -z",
            7,
            "",
            "iscsiadm: invalid option -- 'z'\n"
            "iscsiadm: node mode: option '-?' is not allowed/supported\n",
        ),
        ("--bogus", 7, "", f"iscsiadm: unrecognized option '--bogus'\n{TRY}"),
        (
            "-z --bogus",
            7,
            "",
            f"iscsiadm: invalid option -- 'z'\niscsiadm: unrecognized option '--bogus'\n{TRY}",
        ),
        (
            "-m",
            7,
            "",
            "iscsiadm: option requires an argument -- 'm'\niscsiadm: unrecognized character 'm'\n",
        ),
        (
            "-m node -T",
            7,
            "",
            "iscsiadm: option requires an argument -- 'T'\n"
            "iscsiadm: node mode: option '-?' is not allowed/supported\n",
        ),
        ("-p 1.2.3.4 -T iqn.x", 7, "", TRY),
        ("-m node -r 1", 7, "", "iscsiadm: node mode: option '-r' is not allowed/supported\n"),
        (
            "-m discoverydb -W",
            7,
            "",
            "iscsiadm: discovery mode: option '-W' is not allowed/supported\n",
        ),
        ("-r abc", 1, "", "iscsiadm: abc is an invalid session ID or path\n"),
        ("-r 0", 1, "", "iscsiadm: 0 is an invalid session ID or path\n"),
        ("-r 2x", 1, "", "iscsiadm: 2x is an invalid session ID or path\n"),
        ("-r /etc/hostname", 1, "", "iscsiadm: /etc/hostname is not a directory\n"),
        ("-m node -r abc", 7, "", "iscsiadm: node mode: option '-r' is not allowed/supported\n"),
        ("-r abc -m node", 1, "", "iscsiadm: abc is an invalid session ID or path\n"),
        ("-o bogus", 7, "", "iscsiadm: can not recognize operation: 'bogus'\n"),
        (
            f"-I {'i' * 65} -m iface",
            7,
            f"Invalid iface name {'i' * 65}. Must be from 1 to 64 characters.\n",
            "",
        ),
        (
            "-H -1 -m host",
            7,
            "",
            "iscsiadm: Invalid host no -1. Numerical result out of range.\n",
        ),
        (
            "-H 4294967296 -m host",
            7,
            "",
            "iscsiadm: Invalid host no 4294967296. Numerical result out of range.\n",
        ),
        ("-H aa:bb:cc:dd:ee:ff -m host", 7, "", "iscsiadm: Could not match MAC to host.\n"),
        (
            "-x 99999999999999999999 -m host",
            7,
            "",
            "iscsiadm: Invalid index 99999999999999999999. Numerical result out of range.\n",
        ),
        (
            "-k -1",
            7,
            "",
            "iscsiadm: Invalid killiscsid priority -1 Priority must be greater than or equal to "
            "zero.\n",
        ),
        ("-m node -k 0", 7, "", "iscsiadm: node mode: option '-k' is not allowed/supported\n"),
        (
            "--portal_type ipv4 -m host",
            7,
            "",
            "iscsiadm: option '--portal_type' requires an argument\n"
            "iscsiadm: option '--portal_type' requires an argument\n"
            "iscsiadm: host mode: option '-?' is not allowed/supported\n",
        ),
    ],
)
def test_usage(machine, line, status, out, err):
    """CLI-001, CLI-004, CLI-005, CLI-006, CLI-008, CLI-009, CLI-010, CLI-011, CLI-016, CLI-017,
    CLI-020, CLI-021, CLI-022, CLI-023, CLI-025, CLI-026, CLI-030, CLI-031, CLI-035, CLI-039,
    CLI-040, CLI-041, CLI-042, CLI-043, CLI-044, CLI-047, CLI-048, CLI-049, CLI-050, CLI-051,
    CLI-055, CLI-060."""
    assert tuple(machine.run_line(line)) == (status, out, err)
    assert not machine.files()


def test_empty_iface_name(machine):
    """CLI-046."""
    assert tuple(machine.run("-I", "", "-m", "iface")) == (
        7,
        "Invalid iface name . Must be from 1 to 64 characters.\n",
        "",
    )


@pytest.mark.parametrize(
    ("mode", "letters"),
    [
        ("node", "HtDCxAakVhirbc"),
        ("session", "lLpITUDtWHCxAakVhbc"),
        ("discovery", "WTHRusrLUCxAakVhibc"),
        ("discoverydb", "WTHRusrLUCxAakVhibc"),
        ("iface", "TptSDlLURusrWxAkVh"),
        ("host", "ISlpTDuRsrLUWiabckVh"),
        ("fw", "pPoTuItDLUSRsrHCxAkVhiabc"),
    ],
)
def test_refused_by_mode(machine, mode, letters):
    """CLI-008, CLI-009, CLI-032, CLI-033, CLI-034, CLI-036, CLI-037, CLI-038."""
    takes_value = {row[1] for row in OPTIONS if row[2]}
    shown = "discovery" if mode == "discoverydb" else mode
    for letter in letters:
        words = ["-m", mode, f"-{letter}", *(["1"] if letter in takes_value else [])]
        assert tuple(machine.run(*words)) == (
            7,
            "",
            f"iscsiadm: {shown} mode: option '-{letter}' is not allowed/supported\n",
        )


ALLOWED = {
    "discovery": "dnvoPptIDlSm",
    "discoverydb": "dnvoPptIDlSm",
    "node": "dnvoPpIlSTLUWuRsm",
    "session": "dnvoPSuRsrim",
    "iface": "dnvoPIiHCabcm",
    "host": "dnvoPtHCxAm",
    "fw": "dnvlWm",
}


@pytest.mark.parametrize("mode", ALLOWED)
def test_allowed_by_mode(mode):
    """CLI-029: permissions are per mode; the table allows exactly these."""
    assert {row[1] for row in OPTIONS if mode in row[3]} == set(ALLOWED[mode])


def test_values():
    """CLI-018, CLI-019, CLI-045, CLI-057, CLI-058, CLI-059: what each option stores."""
    found = parsed(
        "--targ", "T", "--portal", "[fe80::1]:3261,5", "-P", "abc", "-o", "show", "-o", "bogus",
        "-I", "a", "-I", "b:c", "-n", "k", "-v", "x", "-v", "y", "-n", "l", "-n", "dangling",
        "-C", "chap", "--portal_type=ipv6", "-x", "12z", "-H", "7", "-W", "-S", "-R", "-s", "-D",
        "-b", "64", "-c", "3", "-i", "2", "-a", "10.0.0.9", "-t", "st", "-lu",
    )  # fmt: skip
    expected = {
        "targetname": "T", "portal_address": V6, "port": 3261, "tpgt": 5, "print_level": 0,
        "op": 8, "ifaces": ["a", "b:c"], "params": [("k", "x"), ("l", "y")], "submode": "chap",
        "portal_type": "ipv6", "index": 12, "host_no": 7, "no_wait": True, "show": True,
        "rescan": True, "stats": True, "discover": True, "packetsize": 64, "count": 3,
        "interval": 2, "ip": "10.0.0.9", "type": "sendtargets", "has_type": True, "login": True,
        "logout": True,
    }  # fmt: skip
    assert {name: getattr(found, name) for name in expected} == expected


def test_defaults():
    found = Options()
    assert (found.mode, found.op, found.port, found.tpgt, found.host_no) == (None, 0, -1, -1, 0)
    assert (found.print_level, found.sid, found.loginall, found.kill_priority) == (-1,) + 3 * (
        None,
    )
    assert (found.packetsize, found.count, found.interval) == (32, 1, 0)


def test_pairs_in_any_order():
    """CLI-178, CLI-179: a pair is complete when both halves are there."""
    assert parsed("-n", "a", "-n", "b", "-v", "c").params == [("b", "c")]
    assert parsed("-v", "X", "-n", "Y").params == [("Y", "X")]
    assert parsed("-n", "Y", "-v", "").params == [("Y", "")]
    assert parsed("-v", "X").params == []


def test_operations_are_gathered():
    """CLI-132, CLI-201: -o is a set; CLI-202: every word is known."""
    words = ("new", "delete", "update", "show", "nonpersistent", "apply", "applyall", "login")
    for bit, word in enumerate([*words, "logout"]):
        assert parsed("-o", word).op == 1 << bit
    assert parsed("--op", "new", "--op", "delete").op == 3


def test_last_startup_mode_serves_both():
    found = parsed("-L", "all", "-U", "manual")
    assert (found.loginall, found.logoutall) == ("manual", "manual")


def test_unknown_type_and_submode_are_absent():
    """CLI-102."""
    found = parsed("-t", "bogus", "-C", "bogus", "-A", "ipv5")
    assert (found.type, found.has_type, found.submode, found.portal_type) == (
        None,
        True,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", -1, -1)),
        ("10.0.0.1:3261,2", ("10.0.0.1", 3261, 2)),
        ("10.0.0.1:", ("10.0.0.1", 0, -1)),
        ("10.0.0.1:abc", ("10.0.0.1", 0, -1)),
        ("10.0.0.1:3260,1,default", ("10.0.0.1", 3260, 1)),
        ("[fe80::1],5", (V6, -1, 5)),
        ("fe80::1%eth0", ("fe80::1%eth0", -1, -1)),
        ("host:3261,4", ("host", 3261, 4)),
        (":3260", ("", 3260, -1)),
    ],
)
def test_portal_debug_line(machine, text, expected):
    """CLI-056: the parts of -p, as -d 3 shows them."""
    answer = machine.run("-d", "3", "-p", text)
    assert answer.err == "iscsiadm: ip {}, port {}, tgpt {}\n".format(*expected) + TRY


def test_unclosed_bracket_counts_as_absent():
    """CLI-163."""
    found = parsed("-p", "10.0.0.1:1,2", "-p", "[fe80::1")
    assert found.portal_address is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), (" -3x", -3), ("+4", 4), ("abc", 0), ("", 0), ("-", 0),
     ("99999999999", 1215752191), ("2147483648", -2147483648), ("9" * 30, -1), ("\u0663", 0)],
)  # fmt: skip
def test_leading_int(text, value):
    """CLI-057: atoi of -P, -d and the rest."""
    assert leading_int(text) == value


@pytest.mark.parametrize("text", ["7", " 7", "007", "+7"])
def test_sid_number(text):
    assert parsed("-r", text).sid == 7


@pytest.mark.parametrize(
    ("letter", "status", "message"),
    [("P", 0, ""), ("H", 7, "out of range"), ("x", 7, "out of range"), ("p", 0, "")],
)
def test_numbers_of_any_length(machine, letter, status, message):
    """Python converts no more than 4300 digits; strtol(3) takes them all."""
    answer = machine.run(f"-{letter}", f"{'1.1.1.1:' if letter == 'p' else ''}{'9' * 5000}", "-V")
    assert answer.status == status
    assert message in answer.err


def test_sid_paths(machine):
    """Directories in sysfs name their session."""
    machine.session(12, "iqn.x:t", "10.0.0.1")
    tree = machine.path / "sys"
    env = Env.from_environ()
    for path in ("class/iscsi_session/session12", "devices/platform/host7/session12"):
        assert parsed("-r", f"{tree}/{path}", env=env).sid == 12
    answer = machine.run("-r", str(tree / "class"))
    assert answer.status == 7
    assert answer.err.endswith(f"iscsiadm: invalid sid '{tree}/class'\n")


def test_host_by_mac(machine):
    """A MAC address names the host that has it, whatever the case of its letters."""
    host = machine.path / "sys/class/iscsi_host/host3"
    host.mkdir(parents=True)
    (host / "hwaddress").write_text("00:11:22:AA:bb:cc\n")
    assert parsed("-H", "00:11:22:aa:BB:CC", env=Env.from_environ()).host_no == 3
