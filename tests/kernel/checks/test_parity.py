"""Every scenario recorded from open-iscsi 2.1.8, played with our programs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.kernel import machine, parity

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("name", parity.scenario_names())
def test_scenario(name: str) -> None:
    """No step that was equal to open-iscsi's answer may differ now (tests/parity/floor.txt).

    Whatever open-iscsi writes, ours has an empty stderr where the status is 0.
    """
    out = Path(os.environ["LAB_OUT"]) / "parity"
    parity.play_scenario(name, out)
    steps = json.loads((out / f"{name}.json").read_text())["steps"]
    loud = [x for x in steps if not machine.is_silent(x["cmd"], x["rc"], x["err"])]
    assert loud == []
    answer = parity.compare(out, name)
    figure = re.search(r"^parity: (\d+) of (\d+) steps equal$", answer, re.MULTILINE)
    assert figure, answer
    assert int(figure[1]) >= parity.floors()[name], answer
