"""iscsi_fw_login: `iscsiadm -m fw -l` under the name udev calls."""

import sys

from pyiscsi.cli import iscsi_fw_login
from tests.unit.cli.commands import Machine


def test_same_answer_as_iscsiadm(tmp_path, monkeypatch, capfd):
    """Without boot firmware, and whatever the arguments."""
    answer = Machine(tmp_path, monkeypatch).run_line("-m fw -l")
    assert answer.status == 21
    monkeypatch.setattr(sys, "argv", ["/usr/sbin/iscsi_fw_login", "--help"])
    assert iscsi_fw_login.main() == answer.status
    assert capfd.readouterr() == (answer.out, answer.err)
