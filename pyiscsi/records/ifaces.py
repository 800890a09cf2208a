"""Iface records: `ifaces/<name>`, and the built-in `default` and `iser` that are never stored.

Messages are those of open-iscsi usr/iface.c.
"""

from __future__ import annotations

import os

from pyiscsi.errors import ExitCode, InvalidArgument, PyIscsiError, RecordError
from pyiscsi.names import DEFAULT_IFACE, IFACE_NAME_MAX, Pattern, check_path_component
from pyiscsi.records.database import Database, Store
from pyiscsi.records.edit import apply
from pyiscsi.records.files import exists, failure, has_vanished, make_directories
from pyiscsi.records.nodes import NodeStore, sorted_names, usable_names
from pyiscsi.records.record import EMPTY, Record
from pyiscsi.records.schema import IFACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.env import Env

BUILT_IN = {DEFAULT_IFACE: "tcp", "iser": "iser"}
"""Transport of the ifaces that exist without a file."""

_NAME = "iface.iscsi_ifacename"
_TRANSPORT = "iface.transport_name"
_BINDINGS = ("iface.hwaddress", "iface.net_ifacename")
_EXAMPLE = "iface.example"
_UNSET = ("", EMPTY, "default")


class IfaceStore(Store):
    """The iface records below `env.db_root`. See Database for `problems` and `exit_code`."""

    __slots__ = ("_root",)

    def __init__(self, env: Env, database: Database | None = None) -> None:
        super().__init__(env, database)
        self._root = f"{env.db_root}/ifaces"

    def ensure_dir(self) -> None:
        make_directories(self._database.root, self._root)

    def names(self) -> list[str]:
        """Names of the stored ifaces, bytewise; built-in ones are not among them."""
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failure(self._root, error) from error
        return [
            name
            for name in sorted_names(usable_names(names))
            if name not in BUILT_IN and name != _EXAMPLE and not os.path.isdir(self._path(name))
        ]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> Record:
        """A stored or built-in iface.

        Raises RecordError with exit code 7 when there is none, with 6 when its file is damaged or
        names no transport.
        """
        if name in BUILT_IN:
            return Record(
                IFACE, {_NAME: name, _TRANSPORT: BUILT_IN[name]}, self._database.env.record_format
            )
        _check_name(name)
        path = self._path(name)
        if "/" in name or not exists(path):
            raise _missing(name, path)
        record = self._database.read(IFACE, path)
        if not record[_TRANSPORT]:
            line = f"'{path}' is not a valid iSCSI interface configuration file"
            raise RecordError(line, path)
        if not record[_NAME]:
            record.values[_NAME] = name
        return record

    def records(self) -> Iterator[Record]:
        """All stored ifaces that can be read; the others become `problems`.

        A file without a transport is a warning only, any other failure sets `exit_code`. One that
        somebody has deleted since it was listed is left out.
        """
        for name in self.names():
            try:
                yield self.read(name)
            except RecordError as error:
                if has_vanished(error):
                    continue
                warning = "is not a valid iSCSI interface" in str(error)
                self._database.report(str(error), 0 if warning else error.exit_code)

    def for_discovery(self) -> list[Record]:
        """The ifaces a discovery without -I uses: all stored tcp ones, else `default`."""
        found = [record for record in self.records() if record[_TRANSPORT] == "tcp"]
        return found or [self.read(DEFAULT_IFACE)]

    def write(self, record: Record) -> None:
        """Write an iface, in place of an older one. Built-in names are refused."""
        name = record[_NAME]
        if name in BUILT_IN:
            raise InvalidArgument(
                f"iface {name} is a special interface and is not stored in {self._root}."
            )
        _check_name(name)
        self._check_file_name(name)
        with self._database.lock:
            self._database.write(record, self._path(name))

    def _check_file_name(self, name: str) -> None:
        try:
            check_path_component(name, "iface name")
        except InvalidArgument as error:
            path = self._path(name)
            line = f"Could not open {path!r}: Invalid argument"
            raise RecordError(line, path) from error
        if name == _EXAMPLE or not usable_names([name]):
            raise InvalidArgument(
                f"Invalid iface name {name}: files with such names are not read as ifaces."
            )

    def update(self, name: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Set values in one iface, all or none; returns warning lines.

        Raises InvalidArgument when a name or value is refused. Bound node records are not touched:
        see propagate().
        """
        if name in BUILT_IN:
            _check_pairs(self.read(name), pairs)
            raise InvalidArgument(f"iface {name} is a special interface and cannot be modified.")
        with self._database.lock:
            record = self.read(name)
            _check_pairs(record, pairs)
            lines = apply(record, pairs)
            self._database.write(record, self._path(name))
        return lines

    def propagate(
        self, nodes: NodeStore, iface: Record, pairs: Sequence[tuple[str, str]]
    ) -> list[str]:
        """Set the same values in every node record bound to an iface.

        `iface` is the iface after the update: records count as bound when iface name and transport
        are equal, so an iface with a new transport has none, as in the original. Returns lines
        about records that could not be changed.
        """
        lines: list[str] = []
        for key in nodes.keys(Pattern(iface=iface[_NAME])):
            try:
                if nodes.read(key)[_TRANSPORT] == iface[_TRANSPORT]:
                    nodes.update(key, pairs)
            except PyIscsiError as error:
                lines.append(str(error))
        return lines

    def delete(self, name: str) -> None:
        """Remove an iface file; node records bound to it are the caller's business."""
        if name in BUILT_IN:
            raise InvalidArgument(f"iface {name} is a special interface and cannot be deleted.")
        path = self._path(name)
        _check_name(name)
        with self._database.lock:
            if "/" in name or not exists(path):
                raise _missing(name, path)
            try:
                os.unlink(path)
            except OSError as error:
                raise RecordError(f"Could not remove {path}: {error.strerror}", path) from error


def _missing(name: str, path: str) -> RecordError:
    line = f"Could not read iface info for {name}."
    return RecordError(line, path, exit_code=ExitCode.INVALID)


def _check_name(name: str) -> None:
    if not 1 <= len(name.encode("utf-8", "surrogateescape")) <= IFACE_NAME_MAX:
        raise InvalidArgument(
            f"Invalid iface name {name}. Must be from 1 to {IFACE_NAME_MAX} characters."
        )


def _check_pairs(record: Record, pairs: Sequence[tuple[str, str]]) -> None:
    """An iface keeps its name, and stays bound by hardware address or by network device.

    What else is wrong with a name or a value is said only after this.
    """
    for key, _ in pairs:
        if key == _NAME:
            raise InvalidArgument(f"Can not update {key}. Delete it, and then create a new one.")
        for bound, other in (_BINDINGS, _BINDINGS[::-1]):
            if key == other and record[bound] not in _UNSET and record[other] in _UNSET:
                raise InvalidArgument(
                    f"Can not update interface binding from {bound.removeprefix('iface.')} to "
                    f"{other.removeprefix('iface.')}. You must delete the interface and create a "
                    "new one"
                )
