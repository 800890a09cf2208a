"""Every parser takes any input, or refuses it with one of our errors (also `make fuzz`)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, check

EXAMPLES = {"native-server": 150, "firmware-table": 300, "bootpath": 300}
"""Where one input costs milliseconds."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_it(name: str) -> None:
    """Parsed or refused, never anything else, memory bounded."""
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES.get(name, 1500),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        check(target, data.draw(target.strategy))

    run()
