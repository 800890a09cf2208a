"""What counts as proof that a checklist item holds."""

from __future__ import annotations

from pathlib import Path

from tests.repo import evidence, figures

RESULTS = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_good[one]"/>
<testcase classname="tests.unit.test_a" name="test_half[one]"/>
<testcase classname="tests.unit.test_a" name="test_half[two]"><failure/></testcase>
<testcase classname="tests.unit.test_a" name="test_skipped"><skipped/></testcase>
</testsuite></testsuites>"""


def test_only_a_test_that_ran_and_never_failed_counts(tmp_path: Path) -> None:
    """A case that failed spoils its function, a skipped one proves nothing."""
    results = tmp_path / "tests.xml"
    results.write_text(RESULTS)
    assert evidence.passed(results) == {("tests.unit.test_a", "test_good")}


def test_marks_belong_to_the_next_command_only() -> None:
    """Ids above a directive or two lines above a command mark nothing."""
    lines = ["# CLI-001 DB-002 both", "$ one", "$ two", "# CLI-003", "@sleep 1", "$ three"]
    steps = list(evidence.marked_steps(lines))
    assert steps == [(1, ["CLI-001", "DB-002"]), (2, []), (3, [])]


def test_counting_names_what_is_missing() -> None:
    """The figure counts items, the total is the last number of the list."""
    line, missing = figures.count({"DB-001", "DB-003"}, "DB", ((1, 3), (5, 5)))
    assert line == "DB 2 of 5 (1 numbers name nothing)"
    assert missing == ["DB-002", "DB-005"]
