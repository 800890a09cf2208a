"""make bench: what commands cost, ours beside Debian's open-iscsi, in one run.

With --native: commands on records on this machine's own disk and kernel, in a mount namespace with
an /etc/iscsi of its own. Without: the same and sessions in the guest, each program with its own
daemon. Both programs always work on the same record files.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.bench import place, table
from tests.bench.measure import Figure, milliseconds
from tests.bench.records import RecordRows, no_daemon, own_daemon
from tests.bench.sessions import SessionRows

_NATIVE_BULK_REPEATS = 3
_GUEST_BULK_REPEATS = 1
"""Its system calls are so slow that ten thousand records take minutes."""


def main() -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--native", action="store_true", help="on this machine, records only")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--records", type=int, default=10_000)
    arguments = parser.parse_args()
    missing = [name for name in ("iscsiadm", "iscsid") if not Path(f"/usr/sbin/{name}").exists()]
    if missing:
        print(f"no comparison: Debian's open-iscsi is not installed ({', '.join(missing)} missing)")
        return 1
    if not arguments.native:
        _in_guest(arguments.repeats, arguments.records)
        return 0
    if place.is_inside():
        _natively(arguments.repeats, arguments.records)
        return 0
    if reason := place.why_not():
        print(f"not on this machine itself: {reason}")
        return 0
    return place.run_inside(sys.argv[1:])


def _natively(repeats: int, records: int) -> None:
    table.print_heading(f"Records on this machine, {place.enter()}, no daemon")
    _interpreter(repeats)
    rows = RecordRows(no_daemon, repeats, _NATIVE_BULK_REPEATS, counting=True)
    rows.print_all(records)


def _in_guest(repeats: int, records: int) -> None:
    place.use_memory()
    table.print_heading("Sessions in the guest, own daemon each")
    SessionRows(repeats).print_all()
    table.print_heading("Records in the guest, tmpfs, own daemon each")
    _interpreter(repeats)
    RecordRows(own_daemon, repeats, _GUEST_BULK_REPEATS, counting=False).print_all(records)


def _interpreter(repeats: int) -> None:
    """The yardstick: what any Python program costs here."""
    python = os.path.realpath(sys.executable)
    table.print_row(
        "python3 -c pass", {table.OURS: Figure(milliseconds([python, "-c", "pass"], repeats))}
    )


if __name__ == "__main__":
    sys.exit(main())
