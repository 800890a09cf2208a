"""Help: the original's text, and click's view of the same table."""

import os
import subprocess

import pytest

from pyiscsi.cli.help import USAGE, click_command
from pyiscsi.cli.options import OPTIONS
from tests.unit.cli.commands import Machine

ORIGINAL = "/usr/sbin/iscsiadm"


@pytest.mark.parametrize("line", ["-h", "--help", "-h -m node", "--he"])
def test_help(tmp_path, monkeypatch, line):
    """CLI-002, CLI-003, CLI-007."""
    answer = Machine(tmp_path, monkeypatch).run_line(line)
    assert tuple(answer) == (0, "".join(f"{text}\n" for text in USAGE), "")
    assert len(USAGE) == 8
    assert [index for index, text in enumerate(USAGE, 1) if text.endswith(" ")] == [1, 7]


@pytest.mark.upstream
@pytest.mark.skipif(not os.path.exists(ORIGINAL), reason="Debian's open-iscsi is not installed")
def test_help_is_the_originals():
    """CLI-002: byte for byte."""
    original = subprocess.run([ORIGINAL, "-h"], capture_output=True, check=True, text=True)
    assert original.stdout == "".join(f"{text}\n" for text in USAGE)


def test_click_command_has_the_same_options():
    command = click_command()
    names = {option for parameter in command.params for option in parameter.opts}
    assert names == {f"--{row[0]}" for row in OPTIONS} | {f"-{row[1]}" for row in OPTIONS}
