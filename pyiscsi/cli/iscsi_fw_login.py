"""The iscsi_fw_login command, which udev runs when boot firmware names a target."""

from __future__ import annotations

import sys

from pyiscsi.cli import iscsiadm


def main() -> int:
    """`iscsiadm -m fw -l`, whatever the arguments; returns its exit status."""
    return iscsiadm.main(["iscsiadm", "-m", "fw", "-l"])


if __name__ == "__main__":
    sys.exit(main())
