"""Damage to valid input: what a hostile or broken peer sends is mostly right."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)


def _flip(data: bytearray, at: int, value: int) -> None:
    if data:
        data[at % len(data)] ^= value or 1


def _set(data: bytearray, at: int, value: int) -> None:
    if data:
        data[at % len(data)] = _NUMBERS[value % len(_NUMBERS)]


def _cut(data: bytearray, at: int, value: int) -> None:
    at %= len(data) + 1
    del data[at : at + value]


def _truncate(data: bytearray, at: int, _: int) -> None:
    del data[at % (len(data) + 1) :]


def _insert(data: bytearray, at: int, value: int) -> None:
    at %= len(data) + 1
    data[at:at] = bytes([value]) * (1 + value % 9)


def _double(data: bytearray, at: int, value: int) -> None:
    at %= len(data) + 1
    data[at:at] = data[at : at + value]


_MUTATIONS = (_flip, _set, _cut, _truncate, _insert, _double)


def damaged(seeds: Sequence[bytes], limit: int = 6) -> st.SearchStrategy[bytes]:
    """One of the seeds with up to `limit` places damaged, or any bytes at all."""
    steps = st.lists(
        st.tuples(st.sampled_from(_MUTATIONS), st.integers(0, 1 << 15), st.integers(0, 255)),
        max_size=limit,
    )

    def apply(seed: bytes, chosen: list[tuple[object, int, int]]) -> bytes:
        data = bytearray(seed)
        for mutate, at, value in chosen:
            mutate(data, at, value)  # type: ignore[operator]
        return bytes(data)

    return st.one_of(st.builds(apply, st.sampled_from(seeds), steps), st.binary(max_size=300))
