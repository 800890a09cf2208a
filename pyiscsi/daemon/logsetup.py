"""Where the daemon's messages go, and open-iscsi's debug levels.

A thread writes them, from a bounded queue, so that a slow terminal, pipe or syslog never holds up
the event loop; what does not fit is counted and reported.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import socket
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

NAME = "iscsid"
QUEUE_MESSAGES = 4096
FLUSH_S = 2.0
"""How long our exit may wait for a slow reader of the log."""

_SYSLOG_PATH = "/dev/log"
_FACILITY_DAEMON = 3

_SYSLOG_SEVERITY = (
    # at least this level, syslog severity (syslog(3))
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (0, 7),
)


def debug_level(level: int) -> int:
    """The logging level of open-iscsi's log_debug(level): DEBUG for 0, one less for each more."""
    return max(1, logging.DEBUG - level)


def debug(level: int, message: str, *args: object) -> None:
    """Log a line that is shown when the value of -d is above `level`."""
    logging.getLogger(NAME).log(debug_level(level), message, *args)


def threshold(option: int) -> int:
    """The logging level that shows exactly what `-d option` asks for."""
    return debug_level(option - 1) if option > 0 else logging.INFO


def severity(level: int) -> int:
    return next(number for least, number in _SYSLOG_SEVERITY if level >= least)


def _write(fd: int, text: str) -> None:
    """Past Python's buffers: a lock held there by a stuck thread would hang our exit."""
    data = text.encode("utf-8", "backslashreplace")
    with suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]


class StreamSink(logging.Handler):
    """A terminal: `iscsid: ` before errors, warnings and debug on stderr; plain info on stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno == logging.INFO:
            _write(1, f"{text}\n")
        else:
            _write(2, f"{NAME}: {text}\n")


class JournalSink(logging.Handler):
    """stderr that is the systemd journal: the severity goes in front (sd-daemon(3))."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = f"<{severity(record.levelno)}>"
        lines = self.format(record).splitlines() or [""]
        _write(2, "".join(f"{mark}{line}\n" for line in lines))


class SyslogSink(logging.Handler):
    """syslog, facility daemon, ident iscsid[pid]; connected on first use and after each failure."""

    def __init__(self, path: str = _SYSLOG_PATH) -> None:
        super().__init__()
        self._path = path
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        priority = _FACILITY_DAEMON << 3 | severity(record.levelno)
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(record.created))
        for line in self.format(record).splitlines():
            text = f"<{priority}>{stamp} {NAME}[{os.getpid()}]: {line}"
            self._send(text.encode("utf-8", "backslashreplace"))

    def _send(self, data: bytes) -> None:
        for _ in range(2):  # once more after syslogd was restarted
            try:
                self._connected().send(data)
            except OSError:
                self.close_socket()
            else:
                return

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.settimeout(5.0)
            try:
                sock.connect(self._path)
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self.close_socket()
        super().close()


class Formatter(logging.Formatter):
    """Tracebacks without source lines: the files may be on the disk that is being brought back."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(_traceback(ei[1]))


def _traceback(error: BaseException) -> list[str]:
    """Where an exception comes from, after what it was raised for or in the middle of."""
    lines: list[str] = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        lines += [*_traceback(before), "which led to"]
    lines.append("Traceback (most recent call last):")
    for frame, number in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_qualname}')
    # traceback.format_exception_only() would look into the causes, and so read their files.
    text = str(error)
    return [*lines, f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__]


class BoundedQueue(logging.handlers.QueueHandler):
    """Hands records to the writing thread; never waits."""

    def __init__(self, records: queue.Queue[logging.LogRecord | None], writer: Writer) -> None:
        super().__init__(records)
        self._writer = writer
        self._lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        self._writer.revive()
        try:
            if self._lost:
                self.queue.put_nowait(self._report())
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def _report(self) -> logging.LogRecord:
        text = f"{self._lost} log message(s) lost"
        return logging.LogRecord(NAME, logging.WARNING, "", 0, text, (), None)


class Writer(logging.handlers.QueueListener):
    """The writing thread."""

    def __init__(self, records: queue.Queue[logging.LogRecord | None], sink: logging.Handler):
        super().__init__(records, sink)
        self._records = records

    def revive(self) -> None:
        """Start the thread again if it has died."""
        if self._thread is not None and not self._thread.is_alive():
            text = "the thread that writes the log had ended, started again"
            record = logging.LogRecord(NAME, logging.ERROR, "", 0, text, (), None)
            with suppress(queue.Full):
                self._records.put_nowait(record)
            self._thread = None
            self.start()

    def enqueue_sentinel(self) -> None:
        with suppress(queue.Full):
            self._records.put(None, timeout=FLUSH_S)

    def stop(self) -> None:
        """Write what is queued; a sink that takes longer than FLUSH_S loses the rest."""
        self.revive()
        self.enqueue_sentinel()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(FLUSH_S)


def is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the journal's stream (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def choose_sink(*, foreground: bool, environ: Mapping[str, str]) -> logging.Handler:
    if not foreground:
        return SyslogSink()
    return JournalSink() if is_journal(environ) else StreamSink()


@contextmanager
def logging_to(sink: logging.Handler, debug_option: int) -> Iterator[logging.Logger]:
    """Send the messages of logger `iscsid` to a sink while the block runs.

    All are written when it ends. Starts a thread: no fork afterwards.
    """
    logger = logging.getLogger(NAME)
    asyncio_logger = logging.getLogger("asyncio")
    records: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_MESSAGES)
    listener = Writer(records, sink)
    handler = BoundedQueue(records, listener)
    handler.setFormatter(Formatter())
    listener.start()
    logger.setLevel(threshold(debug_option))
    for each in (logger, asyncio_logger):
        each.addHandler(handler)
        each.propagate = False
    try:
        yield logger
    finally:
        for each in (logger, asyncio_logger):
            each.removeHandler(handler)
            each.propagate = True
        listener.stop()
        sink.close()
