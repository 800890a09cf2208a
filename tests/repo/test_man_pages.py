"""The manual pages say what the programs do: options, statuses, settings, examples."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyiscsi import env
from pyiscsi.cli import (
    getopt,
    iscsi_discovery,
    iscsi_gen_initiatorname,
    iscsi_iname,
    iscsid,
    iscsistart,
    options,
)
from pyiscsi.cli.help import USAGE
from pyiscsi.cli.report import Output
from pyiscsi.errors import ExitCode, error_text
from pyiscsi.records.config import Config, read_scalar
from pyiscsi.records.schema import ISNS, MASTER, NODE, SENDTARGETS, Field
from tests.repo import manpages, sources

SHIPPED = sources.PROJECT / "etc" / "iscsid.conf"
MODULES = {
    "iscsiadm": options,
    "iscsid": iscsid,
    "iscsistart": iscsistart,
    "iscsi-iname": iscsi_iname,
    "iscsi_discovery": iscsi_discovery,
    "iscsi-gen-initiatorname": iscsi_gen_initiatorname,
}
WITHOUT_OPTIONS = {"iscsi_fw_login": "iscsi_fw_login", "pyiscsi-complete": "completion"}
"""Programs that take none, and their modules."""
HELPS = {
    "iscsiadm": "\n".join(USAGE),
    "iscsid": iscsid.HELP,
    "iscsistart": iscsistart._HELP,
    "iscsi-iname": iscsi_iname._USAGE,
    "iscsi_discovery": iscsi_discovery.USAGE.replace(" -disable ", " "),
    "iscsi-gen-initiatorname": iscsi_gen_initiatorname.USAGE,
}
NOT_IN_HELP = {("iscsi-iname", "h", "help")}
"""What the original's help leaves out, and therefore ours."""

EXAMPLES = manpages.examples()
RUN = [example for example in EXAMPLES if example.kind == "runs"]
SETTINGS = [example for example in EXAMPLES if example.kind == "iscsid.conf"]
ONLY_READ = [example for example in EXAMPLES if example.kind.startswith("needs a ")]


def table(program: str) -> tuple[tuple, ...]:
    """The option table of a program: rows that begin with long name, letter, kind."""
    if program in WITHOUT_OPTIONS:
        return ()
    module = MODULES[program]
    return getattr(module, "OPTIONS", None) or module._OPTIONS


def option_tags(program: str) -> dict[str, list[str]]:
    return manpages.entries(f"{program}.8", "OPTIONS")


def read_tag(tag: str) -> tuple[str, str, str]:
    """`-p, --portal IP` as (portal, p, kind of its value); without a long name as ("", p, kind)."""
    found = re.fullmatch(r"-(\w)(?:, --([\w-]+))?(?:([ =])(\S+))?", tag)
    assert found, tag
    kinds = {None: getopt.NO_VALUE, " ": getopt.VALUE, "=": getopt.ATTACHED_VALUE}
    return found[2] or "", found[1], kinds[found[3]]


@pytest.mark.parametrize("program", MODULES)
def test_options_of_the_page(program: str) -> None:
    """A page explains every option of its program, and no other."""
    explained = [read_tag(tag) for tag in option_tags(program)]
    assert sorted(explained) == sorted(row[:3] for row in table(program))
    assert all("".join(body).strip() for body in option_tags(program).values())


def letters_in_help(program: str) -> set[str]:
    clusters = re.findall(r"(?<![\w-])-([A-Za-z]+)", HELPS[program])
    return {letter for cluster in clusters for letter in cluster}


@pytest.mark.parametrize("program", MODULES)
def test_options_of_the_help(program: str) -> None:
    """--help names every option of the table, and no other."""
    left_out = {letter for name, letter, _ in NOT_IN_HELP if name == program}
    assert letters_in_help(program) | left_out == {row[1] for row in table(program)}


@pytest.mark.parametrize("program", ["iscsid", "iscsistart", "iscsi-iname"])
def test_long_options_of_the_help(program: str) -> None:
    """Where --help has long options, they are those of the table; iscsiadm's has none."""
    found = set(re.findall(r"--([a-z][\w-]+)", HELPS[program]))
    left_out = {long for name, _, long in NOT_IN_HELP if name == program}
    assert found | left_out == {row[0] for row in table(program)}


@pytest.mark.parametrize("row", options.OPTIONS, ids=lambda row: row[0])
def test_iscsiadm_option(row: tuple) -> None:
    """The page gives the value's name and the modes that allow the option, as the table does."""
    long, letter, kind, modes, metavar, _ = row
    between = {getopt.NO_VALUE: "", getopt.VALUE: " ", getopt.ATTACHED_VALUE: "="}[kind]
    body = option_tags("iscsiadm")[f"-{letter}, --{long}{between}{metavar}"]
    shown = {(): "none", options._ALL: "all"}.get(modes) or ", ".join(modes)
    assert body[-1] == f"Modes: {shown}."


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("-m, --mode MODE", ()),
        ("-o, --op OPERATION", options._OPS),
        ("-t, --type TYPE", options._TYPES.keys() - {"slp"}),
        ("-C, --submode SUBMODE", options._SUBMODES),
        ("-A, --portal_type=TYPE", options._PORTAL_TYPES),
    ],
)
def test_words_of_options(tag: str, words: tuple[str, ...]) -> None:
    """Every word an option takes is explained (slp is only refused)."""
    body = set(re.findall(r"\w+", " ".join(option_tags("iscsiadm")[tag])))
    assert set(words) - body == set()


def test_modes() -> None:
    """The section on modes has each of them, and the synopsis too."""
    assert set(manpages.entries("iscsiadm.8", "MODES")) == set(options._ALL)
    synopsis = "\n".join(manpages.section("iscsiadm.8", "SYNOPSIS"))
    assert set(re.findall(r"\\-m (\w+)", synopsis)) == set(options._ALL)


def test_exit_statuses() -> None:
    """Every status with the text that goes with it."""
    known = {name: value for name, value in vars(ExitCode).items() if name.isupper()}
    assert manpages.entries("iscsiadm.8", "EXIT STATUS") == {
        str(code): [f"{error_text(code).rstrip('.') or 'success'}."] for code in known.values()
    }


@pytest.mark.parametrize("page", ["iscsiadm.8", "iscsid.8", "iscsistart.8"])
def test_environment(page: str) -> None:
    """Every variable that moves a root or a socket, with its default."""
    ours = {variable: default for _, variable, default in env._VARIABLES}
    shown = {
        tag: body[-1]
        for tag, body in manpages.entries(page, "ENVIRONMENT").items()
        if tag in ours or tag.startswith("PYISCSI_")
    }
    expected = {variable: f"Default: {default}." for variable, default in ours.items()}
    if page == "iscsistart.8":
        expected = {variable: line for variable, line in expected.items() if variable in shown}
    assert shown == expected


@pytest.mark.parametrize("page", manpages.pages(), ids=sources.name)
def test_title(page: Path) -> None:
    """The page is titled as the file is called, and refers to pages that are there."""
    text = page.read_text()
    title = re.search(r"^\.TH (\S+) (\d) ", text, re.MULTILINE)
    assert title
    assert f"{title[1]}.{title[2]}" == page.name
    named = {
        manpages.plain(line) for line in text.splitlines() if re.match(r"\.BR \S+ \(\d\)", line)
    }
    there = {f"{path.stem}({path.suffix[1:]})" for path in manpages.pages()}
    assert {name.rstrip(",.;:") for name in named} <= there


# ---- iscsid.conf ------------------------------------------------------------


def daemon_keys() -> set[str]:
    """The iscsid.* settings that the package reads."""
    found = re.compile(r"[\"'](iscsid\.(?!conf|sock|pid)[a-z_]+)[\"']")
    return {key for path in sources.package_modules() for key in found.findall(path.read_text())}


def record_fields() -> dict[str, Field]:
    """The fields that iscsid.conf sets for new records; ifaces in node records are of IPv4."""
    return {
        key: field
        for kind in (ISNS, SENDTARGETS, NODE)
        for key, field in kind.fields.items()
        if field.in_config and not field.hidden and "ipv4" in field.variants
    }


def explained_settings() -> dict[str, dict[str, str]]:
    """What iscsid.conf(5) says of each setting: Type, Range, Unit, Default, As shipped."""
    return {
        key: _facts(body[-1].removesuffix("."))
        for key, body in manpages.entries("iscsid.conf.5", "SETTINGS").items()
    }


def _facts(line: str) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in line.split("; "))


def shipped_settings() -> dict[str, dict[str, str]]:
    """The same of the comments in etc/iscsid.conf, with its active line as shipped value."""
    found: dict[str, dict[str, str]] = {}
    facts = ""
    for line in SHIPPED.read_text().splitlines():
        setting = re.fullmatch(r"(#?)((?:node|discovery|iscsid)\.\S+) =\s*(.*)", line)
        if setting:
            found[setting[2]] = _facts(facts)
            if not setting[1] and setting[3] != found[setting[2]]["Default"]:
                found[setting[2]]["As shipped"] = setting[3]
        elif line.startswith("# "):
            facts = line[2:] if line.startswith("# Type: ") else f"{facts} {line[2:]}"
        else:
            facts = ""
    return found


def test_settings_of_the_page() -> None:
    """iscsid.conf(5) has every setting that has an effect, and no other."""
    assert set(explained_settings()) == record_fields().keys() | daemon_keys()


@pytest.mark.parametrize(
    ("key", "facts"), shipped_settings().items(), ids=lambda one: str(one)[:60]
)
def test_page_and_shipped_file(key: str, facts: dict[str, str]) -> None:
    """Type, range, unit and default are the same in both."""
    assert explained_settings()[key] == facts


@pytest.mark.parametrize(("key", "field"), record_fields().items(), ids=lambda one: str(one)[:60])
def test_setting(key: str, field: Field) -> None:
    """Default, words and length are those of the record's field."""
    facts = explained_settings()[key]
    fmt = "2.1.8" if field.default is not None else MASTER
    assert facts["Default"] == (field.default_for(fmt) or "(none)")
    if field.allowed:
        words = re.split(r" \| | or |any of | ", facts.get("Range", facts["Type"]))
        assert set(words) - {""} == set(field.allowed)
    elif field.max_len and facts["Type"] == "text":
        assert facts["Range"] == f"up to {field.max_len} bytes"
    elif "int" in field.type:
        assert facts["Type"] == "integer"


@pytest.mark.parametrize("example", SETTINGS, ids=str)
def test_example_settings(example: manpages.Example, tmp_path: Path) -> None:
    """Lines of iscsid.conf(5) read without complaint and arrive in new records."""
    path = tmp_path / "iscsid.conf"
    path.write_text("".join(f"{line}\n" for line in example.lines))
    config = Config(str(path))
    made = {kind: config.defaults(kind).values for kind in (NODE, SENDTARGETS, ISNS)}
    for line in example.lines:
        key, value = line.split(" = ", 1)
        if key in daemon_keys():
            assert read_scalar(str(path), key) == (value, [])
        else:
            assert {values[key] for values in made.values() if key in values} == {value}
    assert config.problems == []


# ---- examples ---------------------------------------------------------------


def test_every_example_is_of_a_known_kind() -> None:
    """None is forgotten: each is run, or read for its options, or is settings."""
    assert [str(one) for one in EXAMPLES if one not in RUN + SETTINGS + ONLY_READ] == []
    assert {one.page for one in EXAMPLES} == {page.name for page in manpages.pages()}


@pytest.fixture
def shell(tmp_path: Path):
    """Runs a line in sh with our programs first on PATH, on a machine of temporary roots."""
    for folder in ("etc", "lock", "proc", "bin", "sys/class/iscsi_transport/tcp"):
        (tmp_path / folder).mkdir(parents=True)
    for attribute, value in (("handle", "1"), ("caps", "0x3fffff")):
        (tmp_path / "sys/class/iscsi_transport/tcp" / attribute).write_text(f"{value}\n")
    (tmp_path / "etc/iscsid.conf").write_text("iscsid.startup = /bin/false\n")
    for name, module in {**MODULES, **WITHOUT_OPTIONS, "iscsiadm": "iscsiadm"}.items():
        wrapper = tmp_path / "bin" / name
        word = module if isinstance(module, str) else module.__name__.rpartition(".")[2]
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m pyiscsi.cli.{word} "$@"\n')
        wrapper.chmod(0o755)
    environ = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(sources.PROJECT),
        "PYISCSI_CONFIG_ROOT": f"{tmp_path}/etc",
        "PYISCSI_DB_ROOT": f"{tmp_path}/etc",
        "PYISCSI_LOCK_DIR": f"{tmp_path}/lock",
        "PYISCSI_PROC_ROOT": f"{tmp_path}/proc",
        "PYISCSI_SOCKET": f"{tmp_path}/iscsid.sock",
        "PYISCSI_PID_FILE": f"{tmp_path}/iscsid.pid",
        "SYSFS_PATH": f"{tmp_path}/sys",
    }

    def run(line: str) -> tuple[str, str]:
        line = line.replace("/etc/iscsi", f"{tmp_path}/etc")
        done = subprocess.run(
            ["sh", "-c", line], env=environ, cwd=tmp_path, capture_output=True, text=True
        )
        return done.stdout, done.stderr

    return run


def without_random_digits(lines: list[str] | tuple[str, ...]) -> list[str]:
    return [re.sub(r"(?<=:)[0-9a-f]{6,12}$", "RANDOM", line) for line in lines]


@pytest.mark.parametrize("example", RUN, ids=str)
def test_example(example: manpages.Example, shell) -> None:
    """Every command of the example answers, on stdout, just what the page shows."""
    for command in example.commands():
        stdout, stderr = shell(command.text)
        answer = without_random_digits(stdout.splitlines())
        assert (answer, stderr) == (without_random_digits(command.answer), ""), command.text


@pytest.mark.parametrize("example", ONLY_READ, ids=str)
def test_command_line_of_example(example: manpages.Example, tmp_path: Path) -> None:
    """Examples that need a target or a kernel have options their program takes together."""
    roots = env.Env(sysfs_root=str(tmp_path), proc_root=str(tmp_path))
    for command in example.commands():
        words = shlex.split(command.text.replace("\\\n", ""))
        if words[0] == "iscsiadm":
            options.parse(words, roots, Output(io.BytesIO(), io.BytesIO()))
        if words[0] == "iscsi_discovery":
            assert iscsi_discovery.read_options(words, Output(io.BytesIO(), io.BytesIO()))
            del words[1]
        rest: list[str] = []
        rows = [row[:3] for row in table(words[0])]
        tokens = getopt.scan(words[1:], rows, posix=False, positionals=rest)
        assert [token.problem for token in tokens if token.letter == getopt.PROBLEM] == []
        assert rest == []


# ---- form -------------------------------------------------------------------


@pytest.mark.parametrize("page", manpages.pages(), ids=sources.name)
def test_formats_without_warnings(page: Path) -> None:
    """groff has nothing to say about the page."""
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-mandoc", "-Tutf8", "-ww", "-z", str(page)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", manpages.pages(), ids=sources.name)
def test_typed_characters(page: Path) -> None:
    """What a reader copies from an example is what was meant: no typographic quotes or dashes."""
    inside = False
    for line in page.read_text().splitlines():
        inside = line == ".EX" or (inside and line != ".EE")
        assert not (inside and re.search(r"['`~^]|(?<!\\)-", line)), line
