"""A record as `-o show` prints it (open-iscsi usr/idbm.c idbm_print)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def record_lines(version: str, shown: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Header, one `key = value` line for each pair, footer. `version`: INTERFACE_VERSION."""
    yield f"# BEGIN RECORD {version}"
    for key, text in shown:
        yield f"{key} = {text}"
    yield "# END RECORD"
