"""What -d shows beyond open-iscsi's own lines: files, directories, and the talk with iscsid.

The lines come from the interpreter's audit events (sys.addaudithook), to which ipc adds its own:
so nothing is formatted, and this module not even imported, when nobody asks for it. Secrets are
masked. A line of level N is shown by -d above N, as in open-iscsi.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyiscsi.cli.report import Output
    from pyiscsi.env import Env

    Lines = Iterator[tuple[int, str]]

DAEMON, REQUESTS, WRITES, READS, DETAILS = 1, 3, 4, 5, 7
"""Levels: which daemon is asked; requests; changes of files; reads; contents, and sysfs."""

MASK = "********"
_HIDDEN = "password"
"""In the name of a key whose value is not shown."""

_FILES = {
    # event with a path as its first argument: level, what is done
    "os.listdir": (READS, "listing"),
    "os.scandir": (READS, "listing"),
    "os.rmdir": (WRITES, "removing"),
    "os.remove": (WRITES, "removing"),
}
_PAIRS = {
    # event with two paths: what is done
    "os.rename": "renaming",
    "os.link": "linking",
    "os.symlink": "linking",
}


class Tracing:
    """Shows a command's doings while the block runs."""

    def __init__(self, env: Env, out: Output) -> None:
        self._out = out
        self._own = (env.db_root, env.config_root, env.lock_dir)
        self._system = (env.sysfs_root, env.proc_root)
        self._is_on = False

    def __enter__(self) -> None:
        self._is_on = True
        sys.addaudithook(self._hook)

    def __exit__(self, *_: object) -> None:
        self._is_on = False  # a hook cannot be taken away

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._is_on:
            return
        try:
            for level, line in self._lines(event, arguments):
                self._out.debug(level, line)
        except Exception as error:
            # Being watched must not make a command fail.
            self._out.debug(DETAILS, f"{event} cannot be shown: {error}")

    def _lines(self, event: str, arguments: tuple[object, ...]) -> Lines:
        if event in _FILES:
            return self._file(*_FILES[event], arguments[0])
        if event in _PAIRS:
            return self._file(WRITES, f"{_PAIRS[event]} {_text(arguments[0])}", arguments[1])
        if event == "os.mkdir" and not os.path.isdir(_text(arguments[0])):
            return self._file(WRITES, "making", arguments[0])
        if event == "open" and not os.path.isdir(_text(arguments[0])):
            return self._open(*arguments)
        talk = _TALK.get(event)
        return iter(()) if talk is None else talk(*arguments)

    def _open(self, path: object, _mode: object, flags: object) -> Lines:
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            return self._file(WRITES, "writing", path)
        return self._file(READS, "reading" if os.path.exists(_text(path)) else "no file", path)

    def _file(self, level: int, what: str, path: object) -> Lines:
        """Only the command's own files, not modules that are being imported."""
        name = _text(path)
        if name.startswith(self._system):
            yield DETAILS, f"{what} {name}"
        elif name.startswith(self._own):
            yield level, f"{what} {name}"


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes)) else ""


def _connect(_socket: object, address: object) -> Lines:
    name = _text(address)
    if name:
        yield DAEMON, f"asking iscsid on {'@' + name[1:] if name[0] == chr(0) else name}"


def _popen(_program: object, words: object, *_: object) -> Lines:
    yield DAEMON, f"running {words[-1] if isinstance(words, list) else words}"


def _spawn(program: object, *_: object) -> Lines:
    yield DAEMON, f"running {_text(program)}"


def _request(message: Mapping[str, object]) -> Lines:
    if "hello" in message:
        return
    yield REQUESTS, f"request {message['id']}: {message['op']}"
    yield from _contents(">", message["args"])


def _answer(message: Mapping[str, object]) -> Lines:
    hello, error = message.get("hello"), message.get("error")
    if isinstance(hello, dict):
        yield (
            DAEMON,
            f"{hello.get('program')} {hello.get('version')} answers, "
            f"protocol {hello.get('protocol')}",
        )
    elif isinstance(error, dict):
        yield REQUESTS, f"answer {message.get('id')}: error {error.get('code')}"
        yield from _contents("<", error)
    else:
        kind, what = ("event", "") if "event" in message else ("answer", ": success")
        yield REQUESTS, f"{kind} {message.get('id')}{what}"
        yield from _contents("<", message.get("ok", message.get("event")))


def _struct(command: int, sid: int, record: Mapping[str, str], size: int) -> Lines:
    yield REQUESTS, f"request {_command(command)}, session {sid}, {size} bytes"
    yield from _contents(">", record)


def _response(command: int, status: int) -> Lines:
    yield REQUESTS, f"answer to {_command(command)}: status {status}"


def _command(number: int) -> str:
    from pyiscsi.ipc.structs import Command

    return next((name for name, value in vars(Command).items() if value == number), str(number))


def _contents(mark: str, value: object, name: str = "") -> Lines:
    """`name = value` lines of nested maps; what is empty is left out."""
    if _HIDDEN in name and value:
        value = MASK
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _contents(mark, inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, each in enumerate(value):
            yield from _contents(mark, each, f"{name}[{number}]")
    elif value not in ("", None, []):
        yield DETAILS, f"{mark}    {name} = {value}"


_TALK: Mapping[str, Callable[..., Lines]] = {
    "socket.connect": _connect,
    "subprocess.Popen": _popen,
    "os.posix_spawn": _spawn,
    "pyiscsi.request": _request,
    "pyiscsi.answer": _answer,
    "pyiscsi.struct": _struct,
    "pyiscsi.response": _response,
}
