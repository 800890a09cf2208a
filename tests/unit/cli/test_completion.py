"""Completion: what is offered where, that the programs take it, and that asking leaves no trace."""

import os
import shutil
import subprocess
import sys

import pytest

from pyiscsi.cli import completion, options
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from tests.unit.cli.commands import Machine

T1, T2 = "iqn.2003-01.org.example:disk1", "iqn.2003-01.org.example:disk2"


def filled(path, monkeypatch):
    """A machine with two targets, an iface and two discovery records."""
    made = Machine(path, monkeypatch)
    for line in (
        f"-m node -o new -T {T1} -p 10.0.0.1,1",
        f"-m node -o new -T {T2} -p 10.0.0.1:3261,1",
        f"-m node -o new -T {T2} -p [fe80::1]:3260,1",
        "-m iface -o new -I eth0",
        "-m discoverydb -t st -p 10.0.0.1 -o new",
        "-m discoverydb -t isns -p 10.0.0.2 -o new",
    ):
        assert made.run_line(line).status == 0
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For tests that change nothing."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield filled(tmp_path_factory.mktemp("shared"), monkeypatch)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """For tests that do."""
    return filled(tmp_path, monkeypatch)


@pytest.fixture
def ask(monkeypatch, capfd):
    """What bash is offered for a line that ends at the cursor; whole words, as kinds and values."""

    def run(line, *, shell="bash", word=None):
        program = line.split()[0]
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.delenv("COMP_WORD", raising=False)
        if word is not None:
            monkeypatch.setenv("COMP_WORD", word)
        assert completion.main(["pyiscsi-complete", shell, program]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        return out

    return run


@pytest.fixture
def offered(ask, monkeypatch):
    """The words offered, unshortened, for the last word of a line."""

    def run(line):
        # zsh replaces the whole word, so it is given the whole word
        words = completion.split_arg_string(line + "\x01")
        text = ask("\n".join([*words[:-1], words[-1][:-1]]), shell="zsh")
        lines = text.split("\n")[:-1]
        assert set(lines[::3]) <= {"plain", ""}
        return [word for word in lines[1::3] if word]

    return run


# ---- options ----------------------------------------------------------------


@pytest.mark.parametrize("mode", options._ALL)
def test_options_of_a_mode(shared, offered, mode):
    """Just those that the mode allows and that are not there."""
    expected = []
    for long, letter, kind, modes, *_ in options.OPTIONS:
        if mode in modes and letter not in "md":
            expected += [f"-{letter}", f"--{long}" + "=" * (kind == options.ATTACHED_VALUE)]
    assert offered(f"iscsiadm -m {mode} -d 1 -") == expected
    assert offered(f"iscsiadm -d1 --mode={mode} ") == expected


def test_options_without_a_mode(shared, offered):
    """The few that make sense there; any other once its beginning is typed."""
    starters = ["-m", "--mode", "-k", "--killiscsid", "-V", "--version", "-h", "--help"]
    assert offered("iscsiadm ") == starters
    assert offered("iscsiadm -") == starters
    assert offered("iscsiadm --") == starters[1::2]
    assert offered("iscsiadm --ta") == ["--targetname"]


def test_options_that_may_come_again(shared, offered):
    """-I, -o, -n and -v are offered although they are there, the others once."""
    found = offered("iscsiadm -m node -I a -o new -n a -v b -T t -p 1.1.1.1 -")
    assert {"-I", "-o", "-n", "-v"} <= set(found)
    assert not {"-T", "-p", "-m", "--targetname"} & set(found)


def test_after_the_end_of_options(shared, offered):
    assert offered("iscsiadm -m node -- -") == []
    assert offered("iscsiadm word -m node --log") == [
        "--login",
        "--loginall",
        "--logout",
        "--logoutall",
    ]
    assert offered("iscsiadm -m node wor") == []


def test_posixly_correct(shared, offered, monkeypatch):
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    assert offered("iscsiadm word -") == []
    assert "-m" in offered("iscsiadm -")


@pytest.mark.parametrize(
    ("line", "letters"),
    [
        ("iscsid -", "cifdugnphv"),
        ("iscsistart -", "citgapuwUWdbNfPhv"),
        ("iscsi-iname -", "hpg"),
        ("iscsi_discovery 1.1.1.1 -", "pdtfml"),
        ("iscsi-gen-initiatorname -", "hfp"),
    ],
)
def test_options_of_other_programs(shared, offered, line, letters):
    short = [word[1:] for word in offered(line) if len(word) == 2]
    assert sorted(short) == sorted(letters)


# ---- words ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("iscsiadm -m ", list(options._ALL)),
        ("iscsiadm -m disc", ["discovery", "discoverydb"]),
        ("iscsiadm --mo=no", ["--mo=node"]),
        ("iscsiadm --mo no", ["node"]),
        ("iscsiadm -mse", ["-msession"]),
        ("iscsiadm -lmse", ["-lmsession"]),
        ("iscsiadm --m", ["--mode"]),
        ("iscsiadm -m 'no", ["node"]),
        ("iscsiadm -m node -L ", ["all", "automatic", "manual", "onboot"]),
        ("iscsiadm -m node -U ", ["all", "automatic", "manual"]),
        ("iscsiadm -m node -o ", ["new", "delete", "update", "show"]),
        ("iscsiadm -m iface -o a", ["apply", "applyall"]),
        ("iscsiadm -m iface -C ", ["ping"]),
        ("iscsiadm -m host -C ", ["chap", "flashnode", "stats"]),
        ("iscsiadm -m host --portal_type=", ["--portal_type=ipv4", "--portal_type=ipv6"]),
        ("iscsiadm -m host --portal_type ipv", []),
        ("iscsiadm -m host -A ", ["ipv4", "ipv6"]),
        ("iscsiadm -m discovery -t ", ["sendtargets", "st", "isns", "fw"]),
        ("iscsiadm -m session -P ", ["0", "1", "2", "3"]),
        ("iscsiadm -k ", ["0"]),
        ("iscsiadm -m node -n node.startup -v ", ["manual", "automatic", "onboot"]),
        ("iscsiadm -m node -n node.leading_login -v ", ["No", "Yes"]),
        ("iscsiadm -m iface -n iface.transport_name -v i", ["iser"]),
        ("iscsiadm -m node -n node.session.timeo.re", ["node.session.timeo.replacement_timeout"]),
        ("iscsiadm -m node -n iface.", ["iface.transport_name"]),
        ("iscsiadm -m iface -n iface.net", ["iface.net_ifacename"]),
        ("iscsiadm -m discovery -t isns -n discovery.isns.u", ["discovery.isns.use_discoveryd"]),
        ("iscsiadm -m bogus -o ", []),
        ("iscsistart -P node.session.scan", ["node.session.scan="]),
        ("iscsi_discovery 10.0.0.1 -t ", ["tcp", "iser"]),
        ("iscsid -d 8", ["8"]),
    ],
)  # fmt: skip
def test_words(shared, offered, line, expected):
    assert offered(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("iscsiadm -m node -T ", [T1, T2]),
        (f"iscsiadm -m node -T {T1[:-1]}", [T1, T2]),
        (f"iscsiadm -m node -T{T1[:20]}", [f"-T{T1}", f"-T{T2}"]),
        ("iscsiadm -m node -p 10.0.0.1:3261 -T ", [T2]),
        ("iscsiadm -m node -p 10.0.0.1 -T ", [T1, T2]),
        ("iscsiadm -m node -p ", ["10.0.0.1:3260", "10.0.0.1:3261", "[fe80::1]:3260"]),
        (f"iscsiadm -m node -T {T2} -p ", ["10.0.0.1:3261", "[fe80::1]:3260"]),
        ("iscsiadm -m node -T iqn.none -p ", []),
        ("iscsiadm -m node -I ", ["eth0", "default", "iser"]),
        ("iscsiadm -m iface -I e", ["eth0"]),
        ("iscsiadm -m discoverydb -t st -p ", ["10.0.0.1:3260"]),
        ("iscsiadm -m discoverydb -t isns -p ", ["10.0.0.2:3205"]),
        ("iscsiadm -m discovery -p ", ["10.0.0.1:3260"]),
        ("iscsistart -t ", [T1, T2]),
        (f"iscsistart -t {T2} -a ", ["10.0.0.1", "fe80::1"]),
        ("iscsi_discovery ", ["10.0.0.1"]),
        ("iscsi_discovery 10.0.0.1 -p ", ["3260"]),
    ],
)
def test_names_of_the_database(shared, offered, line, expected):
    assert offered(line) == expected


def test_sessions_and_hosts(monkeypatch, ask, offered, shared_up):
    """Ids in order of number, each with its target for shells that show it."""
    monkeypatch.setenv("SYSFS_PATH", str(shared_up / "sys"))
    sids = offered("iscsiadm -m session -r ")
    assert sids
    assert sids == sorted(sids, key=int)
    lines = ask("iscsiadm\n-m\nsession\n-r\n", shell="zsh").split("\n")
    target = (shared_up / f"sys/class/iscsi_session/session{sids[0]}/targetname").read_text()
    assert lines[:3] == ["plain", sids[0], target.strip()]
    hosts = {path.name for path in (shared_up / "sys/class/iscsi_host").iterdir()}
    assert {f"host{number}" for number in offered("iscsiadm -m host -H ")} == hosts


@pytest.mark.parametrize(
    "line",
    ["iscsid -c /et", "iscsid --config=", "iscsid -p ", "iscsistart -c x", "iscsiadm -r /sy"],
)
def test_paths(shared, ask, line):
    """Left to the shell."""
    assert [row.split(",")[0] for row in ask(line).splitlines()] == ["file"]


def test_names_that_a_shell_would_run(machine, offered):
    """Nothing that does more than stand there when the line is entered."""
    for name in ("iqn.x:$(id)", "iqn.x:a b", "iqn.x:`id`", "iqn.x:;id", "iqn.x:ü", "iqn.x:a,plain"):
        (machine.path / "db/nodes" / name / "10.0.0.1,3260,1").mkdir(parents=True)
    assert offered("iscsiadm -m node -T ") == [T1, T2, "iqn.x:a,plain"]


# ---- the programs take what is offered --------------------------------------


def parsed(line):
    return options.parse(line.split(), Env(), Output())


def test_words_are_taken(machine, offered):
    """By the reader of the command line, or by the mode."""
    for mode in offered("iscsiadm -m "):
        for op in offered(f"iscsiadm -m {mode} -o "):
            assert parsed(f"iscsiadm -m {mode} -o {op}").op
        for kind in offered(f"iscsiadm -m {mode} -t "):
            assert parsed(f"iscsiadm -m {mode} -t {kind}").type
        for submode in offered(f"iscsiadm -m {mode} -C "):
            assert parsed(f"iscsiadm -m {mode} -C {submode}").submode == submode
        for level in offered(f"iscsiadm -m {mode} -P "):
            assert "level" not in machine.run_line(f"-m {mode} -P {level}").err
    assert "level" in machine.run_line("-m node -P 2").err
    for letter in "LU":
        for word in offered(f"iscsiadm -m node -{letter} "):
            assert "Invalid" not in machine.run_line(f"-m node -{letter} {word}").err


def test_settings_are_taken(machine, offered):
    """Every key can be set, to every word offered for it."""
    count = 0
    for where in (f"-m node -T {T1}", "-m iface -I eth0", "-m discoverydb -t st -p 10.0.0.1"):
        for key in offered(f"iscsiadm {where} -n "):
            for word in offered(f"iscsiadm {where} -n {key} -v ") or ["1"]:
                answer = machine.run_line(f"{where} -o update -n {key} -v {word}")
                # a driver that is not loaded is no matter of words
                assert answer.status == 0 or "transport" in answer.err, (key, word, answer)
                count += 1
    assert count > 100


# ---- shells' formats --------------------------------------------------------


def test_bash_gets_what_it_replaces(shared, ask):
    """Readline's word begins behind a colon or an equals sign unless it is quoted."""
    line = f"iscsiadm -m node -T {T1[:-1]}"
    assert ask(line, word="disk") == "plain,disk1\nplain,disk2\n"
    assert ask(f"iscsiadm -m node -T {T1.partition(':')[0]}:", word="") == (
        "plain,disk1\nplain,disk2\n"
    )
    assert ask(line, word=T1[:-1]) == f"plain,{T1}\nplain,{T2}\n"
    quoted = f'iscsiadm -m node -T "{T1[:-1]}'
    assert ask(quoted, word=f'"{T1[:-1]}') == f"plain,{T1}\nplain,{T2}\n"
    assert ask("iscsiadm --mode=no", word="no") == "plain,node\n"


# ---- no trace ---------------------------------------------------------------

LINES = (
    "iscsiadm ",
    "iscsiadm -m node -T iqn.2003-01.org.example:",
    "iscsiadm -m node -p ",
    "iscsiadm -m node -I ",
    "iscsiadm -m discoverydb -p ",
    "iscsiadm -m session -r ",
    "iscsiadm -m host -H ",
    "iscsiadm -m node -n ",
    "iscsiadm -m node -n node.startup -v ",
    "iscsid -",
    "iscsistart -t ",
    "iscsi-iname -",
    "iscsi_discovery ",
    "iscsi-gen-initiatorname -",
)


def state(path):
    """Names, sizes and times of everything below a directory."""
    return {
        str(found): (found.lstat().st_size, found.lstat().st_mtime_ns)
        for found in sorted(path.rglob("*"))
    }


def test_nothing_is_changed(machine, ask):
    """Even where a listing would set a damaged record aside."""
    (machine.path / f"db/nodes/{T1}/10.0.0.1,3260,1/default").write_text("")
    (machine.path / f"db/nodes/{T2}/10.0.0.1,3261,1/default").write_text("node.name = iqn.x")
    (machine.path / "db/ifaces/eth1").write_text("")
    before = state(machine.path)
    for line in LINES:
        ask(line)
    assert state(machine.path) == before
    assert machine.run_line("-m node").status != 0
    assert state(machine.path) != before


def run_program(line, *words):
    return subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.completion", *words],
        env={**os.environ, "COMP_LINE": line}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_writes_no_locks_no_network(shared, tmp_path):
    """As the kernel sees it: no socket, no process, no change to any file."""
    log = tmp_path / "strace"
    calls = "trace=%net,%process,open,openat,creat,link,linkat,symlinkat,rename,renameat,renameat2"
    calls += ",unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,truncate,ftruncate,flock"
    trace = ("strace", "-f", "-qq", "-o", str(log), "-e", calls)
    code = (
        "import os; from pyiscsi.cli import completion\n"
        f"for line in {LINES!r}:\n"
        "    os.environ['COMP_LINE'] = line\n"
        "    completion.main(['', 'bash', line.split()[0]])\n"
    )
    done = subprocess.run(
        [*trace, sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") > 50
    lines = [text.partition(" ")[2].lstrip() for text in log.read_text().splitlines()]
    assert any(text.startswith("execve(") for text in lines)
    harmless = ("execve(", "exit_group(", "+++", "arch_prctl(", "wait4(")
    for text in lines:
        if not text.startswith(harmless):
            assert text.startswith("open"), text
            assert not {"O_WRONLY", "O_RDWR", "O_CREAT"} & set(text.replace(",", "|").split("|"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("iscsiadm -m ", ()),
        ("iscsiadm -m ", ("bash",)),
        ("iscsiadm -m ", ("fish", "iscsiadm")),
        ("iscsiadm -m ", ("bash", "ls")),
        ("iscsiadm -m node -T ", ("bash", "iscsiadm", "word")),
    ],
)
def test_silence(shared, line, words):
    """A question that makes no sense is answered with nothing."""
    done = run_program(line, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == ""


def test_a_database_that_cannot_be_read(machine, ask, monkeypatch):
    monkeypatch.setenv("PYISCSI_DB_ROOT", str(machine.path / "etc/iscsid.conf"))
    for line in LINES[1:5]:
        assert ask(line).replace("plain,default\nplain,iser\n", "").strip() == ""
    monkeypatch.setenv("PYISCSI_DB_ROOT", str(machine.path / "missing"))
    monkeypatch.setenv("SYSFS_PATH", str(machine.path / "missing"))
    for line in LINES[1:7]:
        assert ask(line).replace("plain,default\nplain,iser\n", "").strip() == ""


def test_a_reader_that_is_gone(shared):
    """The shell may stop listening."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "pyiscsi.cli.completion", "bash", "iscsiadm"],
        env={**os.environ, "COMP_LINE": "iscsiadm -m "},
        stdout=writer, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_imports(shared):
    """Neither what takes long to load nor anything that could reach the network."""
    code = (
        "import sys; from pyiscsi.cli import completion; "
        "completion.main(['', 'bash', 'iscsiadm']); print(*sorted(sys.modules))"
    )
    env = {**os.environ, "COMP_LINE": "iscsiadm -m node -p "}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    names = set(done.stdout.split())
    assert "click" in names
    assert not names & {"asyncio", "socket", "subprocess", "ssl", "pyroute2", "pyudev"}
