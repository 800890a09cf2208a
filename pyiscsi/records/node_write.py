"""Adding and deleting node records with their back links (open-iscsi usr/idbm.c)."""

from __future__ import annotations

import os

from pyiscsi.errors import InvalidArgument, RecordError
from pyiscsi.names import UNKNOWN_TPGT, NodeKey
from pyiscsi.records import links
from pyiscsi.records.files import has_vanished, make_private, remove_empty, remove_quietly
from pyiscsi.records.nodes import portal_path, split_portal
from pyiscsi.records.schema import MASTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.records.nodes import NodeStore
    from pyiscsi.records.record import Record


def add(
    store: NodeStore, record: Record, write: Callable[[Record, str], None] | None = None
) -> None:
    """Write a record and its back link; an older one is replaced and its other link removed.

    A record with a tpgt takes the place of the flat file of the same portal. `write` does what
    Database.write() does. Raises InvalidArgument for names that cannot be paths, RecordError with
    nothing changed.
    """
    root = store.database.root
    store.path(record.node_key())
    with store.database.lock:
        if record.fmt == MASTER:
            _reuse_tpgt(store, record)
        key = record.node_key()
        old = _links_of_older(store, key)
        link = links.path_for(root, links.source_of(record), key)
        made = link is not None and links.make(root, link, key)
        make_private(store.path(key))
        try:
            (write or store.database.write)(record, store.path(key))
        except RecordError:
            if made and link:
                remove_quietly(link)
            _remove_empty_directories(root, key)
            raise
        if key.tpgt != UNKNOWN_TPGT:
            remove_quietly(_flat_path(root, key))
        for path in old - {link}:
            remove_quietly(path)


def _flat_path(root: str, key: NodeKey) -> str:
    return portal_path(root, NodeKey(key.target, key.address, key.port))


def _links_of_older(store: NodeStore, key: NodeKey) -> set[str]:
    """Where the record that is about to be replaced has its link."""
    if not os.path.lexists(store.path(key)):
        return set()
    try:
        older = store.read(key)
    except RecordError:
        return set()
    link = _own_link(store.database.root, older, key)
    return {link} if link else set()


def _own_link(root: str, record: Record, key: NodeKey) -> str | None:
    """The link a stored record has; None for discovery types and addresses without one.

    Fields edited by hand must not make a record undeletable.
    """
    try:
        link = links.find(root, links.source_of(record), key)
    except InvalidArgument:
        return None
    return link if link and os.path.islink(link) else None


def _remove_empty_directories(root: str, key: NodeKey) -> None:
    if key.tpgt != UNKNOWN_TPGT:
        remove_empty(portal_path(root, key))
    remove_empty(f"{root}/nodes/{key.target}")


def _reuse_tpgt(store: NodeStore, record: Record) -> None:
    """Take the tpgt of a portal that is known already, as open-iscsi does since 2.1.9."""
    key = record.node_key()
    if key.tpgt != UNKNOWN_TPGT:
        return
    portals = [split_portal(name) for name in _names(os.path.dirname(store.path(key)))]
    tags = [p[2] for p in portals if p and p[:2] == (key.address, key.port) and p[2]]
    if not tags:
        return
    portal = f"{key.target}/{key.address}:{key.port}"
    if len(tags) > 1:
        store.database.report(f"multiple tpg records for portal {portal} found")
    store.database.report(f"using tpgt {tags[0]} from existing record")
    record.values["node.tpgt"] = tags[0]


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def delete(store: NodeStore, key: NodeKey) -> None:
    """Remove a record's link, its file, and its directories once they are empty."""
    root = store.database.root
    path = store.path(key)
    with store.database.lock:
        try:
            record = store.read(key)
        except RecordError as error:
            if not has_vanished(error):
                raise
            line = f"Could not stat {path} to delete node: No such file or directory"
            raise RecordError(line, path) from error.__cause__
        link = _own_link(root, record, key)
        if link:
            remove_quietly(link)
        try:
            os.unlink(path)
        except OSError as error:
            raise RecordError(f"Could not remove {path}: {error.strerror}", path) from error
        _remove_empty_directories(root, key)
