"""Adding, changing and deleting node records, some hundred with one lock and one trip to the disk.

Whatever is out of the ordinary about a record is left to the functions for a single one, so that
the outcome and the words are theirs.
"""

from __future__ import annotations

from pyiscsi.errors import PyIscsiError
from pyiscsi.records import node_write
from pyiscsi.records.batch import Change, Text, put, replace_all, sync_upwards, write_out
from pyiscsi.records.disk import open_disk
from pyiscsi.records.edit import apply
from pyiscsi.records.files import read_with_status
from pyiscsi.records.lock import INTERVAL_S
from pyiscsi.records.schema import NODE
from pyiscsi.records.text import is_torn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.names import NodeKey
    from pyiscsi.records.disk import Disk
    from pyiscsi.records.nodes import NodeStore
    from pyiscsi.records.record import Record

    Pairs = Sequence[tuple[str, str]]
    Outcome = list[str] | PyIscsiError

FEWEST = 16
"""Below, single changes cost less than what the others need first."""

AT_ONCE = 256
"""Records of one trip. The lock is held for a few of their system calls, which takes no longer than
writing one record to a slow disk."""

TURN_S = 0.5
"""After so long of taking the lock again and again others get their chance."""


def update(
    store: NodeStore, keys: Sequence[NodeKey], pairs: Pairs
) -> Iterator[tuple[NodeKey, Outcome]]:
    """Set values in records, in each all or none; yields warning lines or the error of each.

    Raises RecordError when the lock cannot be had: then nobody tries for ten thousand records, one
    after the other.
    """
    disk = _open_disk(store, len(keys))
    if disk is None:
        for key in keys:
            yield key, _update_one(store, key, pairs)
        return
    with disk:
        for start in range(0, len(keys), AT_ONCE):
            yield from _update_some(store, disk, keys[start : start + AT_ONCE], pairs)


def _open_disk(store: NodeStore, count: int) -> Disk | None:
    env = store.database.env
    return open_disk(env.db_root, count, env.proc_root) if count >= FEWEST else None


def _update_some(
    store: NodeStore, disk: Disk, keys: Sequence[NodeKey], pairs: Pairs
) -> Iterator[tuple[NodeKey, Outcome]]:
    import time

    now_ns = time.time_ns()
    found = ((n, _prepare(store, key, pairs, now_ns)) for n, key in enumerate(keys))
    prepared = {n: change for n, change in found if change}
    done = replace_all(store.database, disk, [change for change, _ in prepared.values()])
    changed = {n for n, is_done in zip(prepared, done, strict=True) if is_done}
    for n, key in enumerate(keys):
        yield key, prepared[n][1] if n in changed else _update_one(store, key, pairs)


def _prepare(
    store: NodeStore, key: NodeKey, pairs: Pairs, now_ns: int
) -> tuple[Change, list[str]] | None:
    """The change of a record and warning lines; None when it has to be changed by itself."""
    try:
        path = store.path(key)
        data, status = read_with_status(path)
        if is_torn(data):
            return None
        record = store.identified(store.database.parse(NODE, path, data), key)
        lines = apply(record, pairs)
    except PyIscsiError:
        return None
    return Change(path, data, status, now_ns, record.render()), lines


def _update_one(store: NodeStore, key: NodeKey, pairs: Pairs) -> Outcome:
    try:
        return store.update(key, pairs)
    except PyIscsiError as error:
        return error


def add(store: NodeStore, records: Sequence[Record]) -> Iterator[tuple[Record, Outcome]]:
    """Write records and links as NodeStore.add() does, AT_ONCE of them at most; yields no lines or
    the error of each. Raises RecordError when the lock cannot be had.
    """
    root = store.database.root
    disk = _open_disk(store, len(records))
    if disk is None:
        for record in records:
            yield record, _add_one(store, record, Text(b""))
        return
    texts = [Text(record.render()) for record in records]
    with disk:
        try:
            write_out(root, disk, texts)
            with store.database.lock:
                outcomes = [_add_one(store, *one) for one in zip(records, texts, strict=True)]
        finally:
            for text in texts:
                text.drop()
        if not disk.sync():
            outcomes = [_sync_one(store, *one) for one in zip(records, outcomes, strict=True)]
    yield from zip(records, outcomes, strict=True)


def _add_one(store: NodeStore, record: Record, text: Text) -> Outcome:
    def write(record: Record, path: str) -> None:
        # The record's tag may have changed only now.
        if record.render() != text.data or not put(store.database.root, text, path):
            store.database.write(record, path)

    try:
        node_write.add(store, record, write)
    except PyIscsiError as error:
        return error
    return []


def _sync_one(store: NodeStore, record: Record, outcome: Outcome) -> Outcome:
    try:
        if not isinstance(outcome, PyIscsiError):
            sync_upwards(store.database.root, store.path(record.node_key()))
    except PyIscsiError as error:
        return error
    return outcome


def delete(store: NodeStore, keys: Sequence[NodeKey]) -> Iterator[tuple[NodeKey, Outcome]]:
    """Delete records with links and empty directories; yields no lines or the error of each.

    Raises RecordError when the lock cannot be had.
    """
    import time

    turn_ends = time.monotonic() + TURN_S
    for start in range(0, len(keys), AT_ONCE):
        if time.monotonic() > turn_ends:
            # Long enough for everyone who waits for the lock to try again.
            time.sleep(2 * INTERVAL_S)
            turn_ends = time.monotonic() + TURN_S
        some = keys[start : start + AT_ONCE]
        with store.database.lock:
            outcomes = [_delete_one(store, key) for key in some]
        yield from zip(some, outcomes, strict=True)


def _delete_one(store: NodeStore, key: NodeKey) -> Outcome:
    try:
        store.delete(key)
    except PyIscsiError as error:
        return error
    return []
