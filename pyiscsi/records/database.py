"""What the stores of records share: root, lock, and the damage met so far."""

from __future__ import annotations

from pyiscsi.errors import ExitCode, RecordError
from pyiscsi.records.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.env import Env
    from pyiscsi.records.lock import DatabaseLock
    from pyiscsi.records.plain import PlainLines
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import Kind


class Database:
    """One view of the database for one command or one job of the daemon.

    Stores that call each other must share it, because they share its lock. `problems` are lines
    about damaged or stray files, each once; `exit_code` is what a listing ends with because of
    them (0 where open-iscsi only warns).
    """

    __slots__ = ("_lock", "_plain", "env", "exit_code", "problems", "root")

    def __init__(self, env: Env) -> None:
        self.env = env
        self.root = env.db_root
        self.problems: list[str] = []
        self.exit_code = 0
        self._lock: DatabaseLock | None = None
        self._plain: dict[Kind, PlainLines] = {}

    @property
    def lock(self) -> DatabaseLock:
        if self._lock is None:
            from pyiscsi.records.lock import DatabaseLock

            self._lock = DatabaseLock(self.env)
        return self._lock

    def report(self, line: str, exit_code: int = 0) -> None:
        """Remember a line for the user; the first exit code that is not 0 stays."""
        if line not in self.problems:
            self.problems.append(line)
        self.exit_code = self.exit_code or exit_code

    def read(self, kind: Kind, path: str) -> Record:
        """Read a record file.

        A file cut off in the middle is read again under the lock, because open-iscsi's programs
        rewrite in place under it; if it is still cut off it is moved away. Raises RecordError.
        """
        from pyiscsi.records.text import is_torn

        data = read(path)
        if is_torn(data):
            with self.lock:
                data = read(path)
                if is_torn(data):
                    raise self.set_aside(path)
        return self.parse(kind, path, data)

    def parse(self, kind: Kind, path: str, data: bytes) -> Record:
        """The record in a file's whole text; what is wrong with it is reported."""
        from pyiscsi.records.record import Record

        record, problems = Record.parse(kind, data, self.env.record_format, self._plain_of(kind))
        for problem in problems:
            code = ExitCode.GENERIC if problem.fatal else ExitCode.SUCCESS
            self.report(f"{problem.line} ({path})", code)
        return record

    def _plain_of(self, kind: Kind) -> PlainLines:
        plain = self._plain.get(kind)
        if plain is None:
            from pyiscsi.records.plain import PlainLines

            plain = self._plain[kind] = PlainLines(kind)
        return plain

    def set_aside(self, path: str) -> RecordError:
        """Quarantine a damaged file (the lock is held); returns the error that says so."""
        from pyiscsi.records.files import quarantine

        try:
            place = quarantine(self.root, path)
        except RecordError as error:
            line = f"Record {path} is empty, cut off or binary and cannot be moved away ({error})"
            return RecordError(line, path)
        return RecordError(f"Record {path} is empty, cut off or binary, moved to {place}", path)

    def write(self, record: Record, path: str) -> None:
        """Replace or make a record file; the lock is held."""
        from pyiscsi.records.files import replace

        replace(self.root, path, record.render())


class Store:
    """A part of the database. Stores that work together are given the same `database`."""

    __slots__ = ("_database",)

    def __init__(self, env: Env, database: Database | None = None) -> None:
        self._database = database or Database(env)

    @property
    def problems(self) -> list[str]:
        """See Database."""
        return self._database.problems

    @property
    def exit_code(self) -> int:
        return self._database.exit_code

    @property
    def database(self) -> Database:
        return self._database
