"""Discovery records: `send_targets/<address>,<port>/st_config` and `isns/.../isns_config`.

The same directories hold the back links of the node records found there (links.py).
"""

from __future__ import annotations

import os

from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError, RecordError
from pyiscsi.names import NodeKey, check_path_component
from pyiscsi.records import links
from pyiscsi.records.database import Store
from pyiscsi.records.edit import apply
from pyiscsi.records.files import (
    convert_to_directory,
    exists,
    failure,
    remove_empty,
    remove_quietly,
)
from pyiscsi.records.links import Source
from pyiscsi.records.nodes import NodeStore, sorted_names, split_portal, usable_names
from pyiscsi.records.schema import ISNS, SENDTARGETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import Kind

__all__ = ["ISNS_DIR", "SENDTARGETS_DIR", "DiscoveryStore", "Source", "source_for"]

SENDTARGETS_DIR = "send_targets"
ISNS_DIR = "isns"

_PLACES = {SENDTARGETS: (SENDTARGETS_DIR, "st_config"), ISNS: (ISNS_DIR, "isns_config")}
_CONFIG_NAMES = tuple(name for _, name in _PLACES.values())


def source_for(kind: Kind, address: str, port: int) -> Source:
    """What node records found by a discovery of this kind say they came from."""
    return Source(_PLACES[kind][0], address, port)


class DiscoveryStore(Store):
    """The discovery records below `env.db_root`; `kind` is SENDTARGETS or ISNS throughout.

    Every method raises InvalidArgument for an address that cannot be part of a path and
    RecordError for files that cannot be read or written.
    """

    __slots__ = ()

    def addresses(self, kind: Kind) -> list[tuple[str, int]]:
        """(address, port) of every record, bytewise by directory name; none is opened."""
        base = f"{self._database.root}/{_PLACES[kind][0]}"
        found = []
        for name in sorted_names(usable_names(_names(base))):
            # A second comma is an old iSNS link, directly in isns/.
            portal = split_portal(name)
            if portal and portal[2] is None and self._file(kind, portal[0], portal[1]):
                found.append(portal[:2])
        return found

    def _portal(self, kind: Kind, address: str, port: int) -> str:
        name = f"{address},{port}"
        check_path_component(address, "address")
        check_path_component(name, "portal")
        if address[0] == ".":  # listings leave such directories alone
            raise InvalidArgument(f"Invalid address {address!r}.")
        return f"{self._database.root}/{_PLACES[kind][0]}/{name}"

    def _config(self, kind: Kind, address: str, port: int) -> str:
        return f"{self._portal(kind, address, port)}/{_PLACES[kind][1]}"

    def _file(self, kind: Kind, address: str, port: int) -> str | None:
        """The file a record is in now: in its directory, or the flat form of old releases."""
        path = self._config(kind, address, port)
        if exists(path):
            return path
        flat = os.path.dirname(path)
        return flat if os.path.isfile(flat) else None

    def read(self, kind: Kind, address: str, port: int) -> Record | None:
        """The record, None when there is none."""
        path = self._file(kind, address, port)
        return self._database.read(kind, path) if path else None

    def stamp(self, kind: Kind, address: str, port: int) -> tuple[int, ...] | None:
        """What differs once the record was written again, None without a record; opens nothing."""
        path = self._file(kind, address, port)
        try:
            status = os.stat(path) if path else None
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None

    def write(self, record: Record) -> None:
        """Write a record, in place of an older one; the flat form becomes a directory."""
        address = record["discovery.sendtargets.address"]
        port = record.get_int("discovery.sendtargets.port")
        with self._database.lock:
            self._write(record, address, port)

    def _write(self, record: Record, address: str, port: int) -> None:
        path = self._config(record.kind, address, port)
        make_portal_directory(self._database.root, os.path.dirname(path))
        self._database.write(record, path)

    def update(
        self, kind: Kind, address: str, port: int, pairs: Sequence[tuple[str, str]]
    ) -> list[str]:
        """Set values in one record, all or none; returns warning lines.

        Raises RecordError when there is no such record, InvalidArgument when a name or value is
        refused.
        """
        with self._database.lock:
            record = self.read(kind, address, port)
            if record is None:
                raise self._missing(address, port)
            lines = apply(record, pairs)
            self._write(record, address, port)
        return lines

    def _missing(self, address: str, port: int) -> RecordError:
        return RecordError(f"Discovery record [{address},{port}] not found.")

    def delete(self, kind: Kind, address: str, port: int) -> None:
        """Remove a record, the node records linked to it, in use or not, and its directory.

        Nodes go first, so that an interrupted delete can be repeated. A name in the directory
        that is no link becomes a problem and keeps the directory.
        """
        path = self._file(kind, address, port)
        if path is None:
            raise self._missing(address, port)
        portal = self._portal(kind, address, port)
        if path != portal:
            self._delete_linked(portal)
        with self._database.lock:
            try:
                os.unlink(path)
            except OSError as error:
                raise RecordError(f"Could not remove {path}: {error.strerror}", path) from error
            remove_empty(portal)

    def _delete_linked(self, portal: str) -> None:
        nodes = NodeStore(self._database.env, self._database)
        failed = []
        for name in _names(portal):
            if name in _CONFIG_NAMES:
                continue
            link = f"{portal}/{name}"
            key = links.parse_link_name(name)
            if key is None:
                line = f"Improperly formed disc to node link {link}"
                self._database.report(line, ExitCode.DATABASE)
                continue
            try:
                if os.path.lexists(nodes.path(key)):
                    nodes.delete(key)
                if os.path.islink(link):
                    remove_quietly(link)
            except PyIscsiError as error:
                failed.append(str(error))
        if failed:
            raise RecordError("\n".join(failed), portal)

    def linked_nodes(self, source: Source) -> list[NodeKey]:
        """Keys of the node records found through a source, by the names of its links.

        static and fw have no address. iSNS links of the old style are given for any iSNS portal
        that has no directory, as they do not tell theirs.
        """
        place = links.directory(self._database.root, source)
        if place is None:
            return []
        keys = (links.parse_link_name(name) for name in sorted_names(usable_names(_names(place))))
        return [key for key in keys if key is not None]


def make_portal_directory(root: str, portal: str) -> None:
    """Turn a flat discovery record of old releases into a directory; the lock is held."""
    if not os.path.isfile(portal):
        return
    name = dict(_PLACES.values())[os.path.basename(os.path.dirname(portal))]
    convert_to_directory(root, portal, name)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise failure(path, error) from error
