"""make soak-records: records stay whole whatever is killed; real target, real daemon."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.integration import tgtd
from tests.integration.ipc.iscsid import Machine
from tests.integration.storm.storm import TARGETS, Storm

pytestmark = tgtd.NEEDED

SECONDS = float(os.environ.get("STORM_SECONDS", "15"))


def test_records_survive_every_death(tmp_path: Path) -> None:
    """DB-102, DB-103, DB-105: daemon and clients killed at random while all of them write.

    Every listing in between and every file afterwards is whole; no lock and no temporary file
    stays behind the next command.
    """
    seed = random.randrange(1 << 32)
    with tgtd.running(*TARGETS) as target:
        storm = Storm(Machine(tmp_path), target.portal, seed)
        storm.run(SECONDS)
        print(f"\n{SECONDS:g} s, seed {seed}: {dict(sorted(storm.counts.items()))}")
        assert storm.faults == []
        assert storm.leftovers() == []
        assert storm.discover() == (0, "", [])
    kinds = ("daemon killed", "client killed", "listings", "update: status 0")
    for what in (*kinds, "discovery: status 0"):
        assert storm.counts[what] > 0, storm.counts
    assert {f"iqn.x:fixed{number}" for number in range(1, 6)} <= storm.known()
