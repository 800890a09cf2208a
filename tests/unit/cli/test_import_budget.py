"""What a command may import: our own modules and what every interpreter has loaded anyway.

`python3` starts in about 9 ms; `re` costs 5 ms, `enum` 4, `socket` 8, click 30. Programs call
iscsiadm a dozen times for one volume, so the list is a test, not a hope.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.unit.cli.commands import Machine

ROOT = pathlib.Path(__file__).parents[3]
FREE = {"errno", "fcntl", "stat", "os", "sys", "__future__"}
RUN = f"""
import errno, os, stat, sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
from pyiscsi.cli.iscsiadm import main
status = main(["iscsiadm", *sys.argv[1:]])
os.write(3, "\\n".join([str(status), *sorted(set(sys.modules) - before)]).encode())
"""


def imported(*words):
    """Exit status and names of the modules a command loads."""
    reader, writer = os.pipe()
    script = f"import os; os.dup2({writer}, 3)\n{RUN}"
    with open(reader, encoding="utf-8") as report:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", script, *words],
            capture_output=True, check=True, pass_fds=(writer,),
        )  # fmt: skip
        os.close(writer)
        status, *names = report.read().split("\n")
    return int(status), set(names)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    assert made.run_line("-m node -o new -T iqn.x:t -p 10.0.0.1,1").status == 0
    assert made.run_line("-m node -o new -T iqn.x:t -p 10.0.0.2,1").status == 0
    assert made.run_line("-m discoverydb -t st -p 10.0.0.1 -o new").status == 0
    return made


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("-V", 0),
        ("-h", 0),
        ("", 7),
        ("-m node", 0),
        ("-m node -P 1", 0),
        ("-m node -T iqn.x:t", 0),
        ("-m node -T iqn.x:t -p 10.0.0.1 -o show", 0),
        ("-m node -T iqn.x:t -o update -n node.startup -v automatic", 0),
        ("-m node -T iqn.x:t -p 10.0.0.1 -o update -n node.startup -v automatic", 0),
        ("-m node -T iqn.x:t -o delete", 0),
        ("-m node -T iqn.none -o update -n node.startup -v manual", 21),
        ("-m discovery", 0),
        ("-m discovery -P 1", 0),
        ("-m discoverydb -t st -p 10.0.0.1", 0),
        ("-m discoverydb -t st -p 10.0.0.1 -o update -n discovery.sendtargets.reopen_max -v 2", 0),
        ("-m session", 21),
    ],
)
def test_only_our_own_modules(machine, line, status):
    found, names = imported(*line.split())
    assert found == status
    assert {name for name in names - FREE if not name.startswith("pyiscsi")} == set()


def test_a_listing_loads_no_record_parser(machine):
    """`-m node` answers from directory names."""
    _, names = imported("-m", "node")
    assert not names & {"pyiscsi.records.record", "pyiscsi.records.schema_node"}
    assert not {name for name in names if name.startswith(("pyiscsi.ipc", "pyiscsi.sysfs"))}
    assert "pyiscsi.cli.trace" not in names


def test_version_loads_no_mode():
    _, names = imported("-V")
    assert not {name for name in names if name.startswith(("pyiscsi.ops", "pyiscsi.records"))}
