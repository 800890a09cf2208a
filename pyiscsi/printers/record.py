"""A record as `-o show` prints it (open-iscsi usr/idbm.c idbm_print)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def record_lines(version: str, shown: Iterable[tuple[str, str]]) -> list[str]:
    """Header, one `key = value` line for each pair, footer. `version`: INTERFACE_VERSION."""
    lines = [f"{key} = {text}" for key, text in shown]
    return [f"# BEGIN RECORD {version}", *lines, "# END RECORD"]
