"""Completion in real shells: what a line has become after TAB, and what is shown on the way."""

import os
import shutil
import sys

import pytest

from tests.repo.sources import PROJECT
from tests.unit.cli.commands import Machine
from tests.unit.cli.terminal import Terminal

ETC = PROJECT / "etc"
PROGRAMS = (
    "iscsiadm", "iscsid", "iscsistart", "iscsi-iname", "iscsi_discovery", "iscsi-gen-initiatorname",
)  # fmt: skip
T1, T2 = "iqn.2003-01.org.example:disk1", "iqn.2003-01.org.example:disk2"

START = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        f"bind 'set enable-bracketed-paste off'; source {ETC}/bash-completion/iscsiadm",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"unset zle_bracketed_paste; fpath=({ETC}/zsh $fpath); "
        "autoload -Uz compinit; compinit -D -u",
    ),
}


class Shell:
    """A shell in which the programs only show their arguments."""

    def __init__(self, name, path, environ):
        words, setup = START[name]
        self.terminal = Terminal(words, {**environ, "TERM": "dumb", "HOME": str(path)})
        self.terminal.type(f"{setup}\nPS1='> '\n")
        for program in PROGRAMS:
            self.terminal.type(f"{program}() {{ printf '<%s>' GOT \"$@\"; echo 'E''ND'; }}\n")
        self.terminal.type("echo 'REA''DY'\n")
        self.terminal.read_until("READY")

    def enter(self, keys):
        """Type a line, its TABs included, and enter it: what was shown, and the arguments."""
        self.terminal.type(f"{keys}\n")
        shown = self.terminal.read_until("<GOT>")
        return shown, self.terminal.read_until("END")

    def arguments(self, keys):
        return self.enter(keys)[1]


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, tmp_path_factory):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    path = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = Machine(path, monkeypatch)
        for target, portal in ((T1, "10.0.0.1,1"), (T2, "10.0.0.1:3261,1")):
            assert machine.run_line(f"-m node -o new -T {target} -p {portal}").status == 0
        assert machine.run_line("-m discoverydb -t st -p 10.0.0.1 -o new").status == 0
        machine.session(12, T1, "10.0.0.1")
        helper = path / "bin/pyiscsi-complete"
        helper.parent.mkdir()
        helper.write_text(f'#!/bin/sh\nexec {sys.executable} -m pyiscsi.cli.completion "$@"\n')
        helper.chmod(0o755)
        path_variable = f"{helper.parent}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path_variable, "PYTHONPATH": str(PROJECT)}
        made = Shell(request.param, path, environ)
    yield made
    made.terminal.close()


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        ("iscsiadm -m sess\t-r \t-u", "<-m><session><-r><12><-u>"),
        (
            "iscsiadm -m node --targ\tiq\t1\t--loginall=man\t",
            f"<-m><node><--targetname><{T1}><--loginall=manual>",
        ),
        (
            f"iscsiadm -m node -T {T1[:5]}\t2\t-p \t-l",
            f"<-m><node><-T><{T2}><-p><10.0.0.1:3261><-l>",
        ),
        (f"iscsiadm -m node -T {T1.partition(':')[0]}:\t1", f"<-m><node><-T><{T1}>"),
        (f'iscsiadm -m node -T "{T1[:-2]}\t1"', f"<-m><node><-T><{T1}>"),
        (f"iscsiadm -mnod\t -T{T1[:-1]}\t2", f"<-mnode><-T{T2}>"),
        ("iscsiadm --mode=nod\t --por\t10.0.0.1:3261", "<--mode=node><--portal><10.0.0.1:3261>"),
        ("iscsiadm -m host --portal_t\tipv6", "<-m><host><--portal_type=ipv6>"),
        ("iscsiadm -m node -n node.startu\t-v au\t", "<-m><node><-n><node.startup><-v><automatic>"),
        (
            "iscsiadm -m discoverydb -t send\t-p \t-D",
            "<-m><discoverydb><-t><sendtargets><-p><10.0.0.1:3260><-D>",
        ),
        ("iscsiadm -m node --loginall=on\t", "<-m><node><--loginall=onboot>"),
        ("iscsiadm -r /sy\tx", "<-r></sys/x>"),
        ("iscsid -c /et\tx --fore\t", "<-c></etc/x><--foreground>"),
        ("iscsistart -P node.session.sc\tmanual", "<-P><node.session.scan=manual>"),
        ("iscsi-iname --gen\t", "<--generate-iname-prefix>"),
        ("iscsi_discovery 10\t-t is\t-l", "<10.0.0.1><-t><iser><-l>"),
        ("iscsi-gen-initiatorname -f", "<-f>"),
        ("iscsiadm -m node -T no-such\t", "<-m><node><-T><no-such>"),
    ],
)  # fmt: skip
def test_lines(shell, keys, arguments):
    """Typed, completed and entered: these arguments arrive."""
    assert shell.arguments(keys) == arguments


def test_choices_are_shown(shell):
    """All that fit, where there are several; the session with its target in zsh."""
    shown, _ = shell.enter("iscsiadm -m \t\t\tfw")
    for mode in ("discovery", "discoverydb", "node", "session", "iface", "host", "fw"):
        assert mode in shown
    shown, _ = shell.enter("iscsiadm -m node --log\t\t\t")
    for option in ("--login", "--loginall", "--logout", "--logoutall"):
        assert option in shown


def test_without_the_helper(shell):
    """Nothing is completed and nothing shown where pyiscsi-complete is missing."""
    shell.terminal.type("OLD=$PATH; PATH=/nonexistent\n")
    shown, arguments = shell.enter("iscsiadm -m sess\t")
    shell.terminal.type("PATH=$OLD\n")
    assert arguments == "<-m><sess>"
    assert "not found" not in shown
    assert shell.arguments("iscsiadm -m sess\t") == "<-m><session>"


def test_every_program_has_its_file():
    """bash-completion loads a file by the command's name; zsh by the first line of one."""
    files = {path.name: path for path in (ETC / "bash-completion").iterdir()}
    assert sorted(files) == sorted(PROGRAMS)
    assert {path.resolve() for path in files.values()} == {files["iscsiadm"].resolve()}
    compdef = (ETC / "zsh/_iscsiadm").read_text().splitlines()[0]
    assert compdef.split() == ["#compdef", *PROGRAMS]
    assert all(program in files["iscsiadm"].read_text() for program in PROGRAMS)
