"""iscsistart: its command line, and what reaches the boot login."""

import io

import pytest

from pyiscsi.cli import iscsistart
from pyiscsi.cli.report import Output

TRY = "Try `iscsistart --help' for more information.\n"
TARGET = ["-i", "iqn.x:i", "-g", "1", "-t", "iqn.x:t", "-a", "10.0.0.1"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("POSIXLY_CORRECT", raising=False)
    monkeypatch.setenv("PYISCSI_CONFIG_ROOT", "/nowhere")


@pytest.fixture
def boots(monkeypatch):
    """Settings that reach pyiscsi.daemon.boot.run()."""
    seen = []
    monkeypatch.setattr("pyiscsi.daemon.boot.run", lambda settings, env: seen.append(settings) or 0)
    return seen


def run(*words):
    stdout, stderr = io.BytesIO(), io.BytesIO()
    status = iscsistart.main(["iscsistart", *words], Output(stdout, stderr, program="iscsistart"))
    return status, stdout.getvalue().decode(), stderr.getvalue().decode()


def test_version_and_help(boots):
    """CLI-386: at once, wherever they stand."""
    assert run("-v", "-z") == (0, "iscsistart version 2.1.8\n", "")
    status, out, err = run(*TARGET, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(
        "Usage: iscsistart [OPTION]\nOpen-iSCSI initiator.\n  -c, --config=[path]"
    )
    assert out.endswith("  -v, --version            display version and exit\n")
    assert len(out.splitlines()) == 19
    assert boots == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-z"], "invalid option -- 'z'"),
        (["-p"], "option requires an argument -- 'p'"),
        (["--targ"], "option '--targetname' requires an argument"),
        (["--fw"], "option '--fw' is ambiguous; possibilities: '--fwparam_connect' "
         "'--fwparam_network' '--fwparam_print'"),
    ],
)  # fmt: skip
def test_getopt(boots, words, complaint):
    """CLI-387."""
    assert run(*TARGET, *words) == (7, "", f"iscsistart: {complaint}\n{TRY}")


@pytest.mark.parametrize(
    ("given", "missing"),
    [(0, "InitiatorName"), (2, "Portal Group"), (4, "TargetName"), (6, "IP Address")],
)
def test_required(boots, given, missing):
    """CLI-388, CLI-389."""
    expected = f"iscsistart: {missing} not set. Exiting iscsistart\n"
    assert run(*TARGET[:given]) == (7, "", expected)
    assert boots == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-P", "foo"], (7, "", "iscsistart: Invalid --param foo. Missing value.\n")),
        (["-P", "foo="], (7, "", "iscsistart: Invalid --param foo. Missing value.\n")),
        ([*TARGET, "-P", "foo=1"], (1, "", "iscsistart: Unknown parameter foo.\n")),
        (
            [*TARGET, "--param=node.startup=never"],
            (1, "", "iscsistart: unknown value format 'never' for parameter name 'node.startup'\n"),
        ),
    ],
)
def test_parameters_refused(boots, words, expected):
    """CLI-393, CLI-394."""
    assert run(*words) == expected
    assert boots == []


@pytest.mark.parametrize(
    ("letter", "name", "shown"),
    [("u", "username", "x" * 257), ("w", "password", "********"),
     ("U", "username_in", "x" * 257), ("W", "password_in", "********")],
)  # fmt: skip
def test_too_long(boots, letter, name, shown):
    """A secret is not repeated, which the original does."""
    line = f"iscsistart: invalid {name} {shown}. Max {name} length is 256.\n"
    assert run(f"-{letter}", "x" * 257) == (7, line, "")
    assert run(*TARGET, f"-{letter}", "x" * 256)[0] == 0


@pytest.mark.parametrize(
    ("letter", "name", "limit"), [("t", "targetname", 255), ("a", "address", 1025)]
)
def test_too_long_a_name(boots, letter, name, limit):
    """Refused at once, on stdout."""
    text = "x" * (limit + 1)
    line = f"iscsistart: invalid {name} {text}. Max {name} length is {limit}.\n"
    assert run(f"-{letter}", text) == (7, line, "")
    assert boots == []
    assert run(*TARGET, f"-{letter}", text[1:])[0] == 0


@pytest.mark.parametrize(
    ("letter", "line"),
    [
        ("b", "Could not get boot entry."),
        ("N", "Could not setup fw entries."),
        ("f", "Could not get list of targets from firmware."),
    ],
)
def test_firmware(boots, letter, line, tmp_path, monkeypatch):
    """CLI-395: as on a machine without boot firmware."""
    monkeypatch.setenv("SYSFS_PATH", str(tmp_path))
    monkeypatch.setenv("PYISCSI_PROC_ROOT", str(tmp_path))
    assert run(f"-{letter}") == (21, f"{line}\n", "")


def test_settings(boots):
    """Everything arrives; the first of repeated parameters is applied last."""
    words = [
        *TARGET, "-p", "3261", "-u", "user", "-w", "secret", "-U", "in", "-W", "other", "-d", "2",
        "-c", "/x/iscsid.conf", "-P", "node.session.scan=manual", "-P", "node.session.scan=auto",
    ]  # fmt: skip
    assert run(*words) == (0, "", "")
    (found,) = boots
    assert (found.initiator_name, found.target_name, found.address) == (
        "iqn.x:i", "iqn.x:t", "10.0.0.1",
    )  # fmt: skip
    assert (found.port, found.tpgt, found.debug, found.config_file) == (
        3261,
        1,
        2,
        "/x/iscsid.conf",
    )
    assert (found.username, found.password) == ("user", "secret")
    assert (found.username_in, found.password_in) == ("in", "other")
    assert found.params == [("node.session.scan", "auto"), ("node.session.scan", "manual")]
    assert "secret" not in repr(found)
    assert "other" not in repr(found)


def test_defaults(boots):
    run(*TARGET)
    (found,) = boots
    assert (found.port, found.config_file, found.params) == (3260, "/nowhere/iscsid.conf", [])
