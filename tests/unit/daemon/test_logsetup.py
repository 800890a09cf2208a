from __future__ import annotations

import linecache
import logging
import os
import queue
import socket
import threading
from pathlib import Path

import pytest

from pyiscsi.daemon import logsetup

LOG = logging.getLogger("iscsid")


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.mark.parametrize("option", range(10))
def test_a_debug_option_shows_the_levels_below_it(option: int) -> None:
    """D-092: log_debug(n) prints when the -d value is greater than n."""
    collector = Collector()
    with logsetup.logging_to(collector, option):
        for level in range(9):
            logsetup.debug(level, "level %d", level)
        LOG.info("info")
        LOG.error("error")
    shown = [f"level {level}" for level in range(9) if option > level]
    assert collector.lines == [*shown, "info", "error"]


def test_the_terminal_gets_a_prefix_except_for_info(capfd: pytest.CaptureFixture[str]) -> None:
    """Errors, warnings and debug on stderr as `iscsid: text`, info bare on stdout."""
    with logsetup.logging_to(logsetup.StreamSink(), 1):
        LOG.info("to stdout")
        LOG.warning("a warning")
        LOG.error("an error: %s", "\udcff")
        logsetup.debug(0, "a detail")
    out, err = capfd.readouterr()
    assert out == "to stdout\n"
    assert err == "iscsid: a warning\niscsid: an error: \\udcff\niscsid: a detail\n"


def test_the_journal_gets_the_severity(capfd: pytest.CaptureFixture[str]) -> None:
    with logsetup.logging_to(logsetup.JournalSink(), 1):
        LOG.info("info")
        LOG.error("two\nlines")
        logsetup.debug(0, "debug")
    assert capfd.readouterr().err == "<6>info\n<3>two\n<3>lines\n<7>debug\n"


def test_syslog_gets_facility_daemon_and_our_pid(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(10)
        with logsetup.logging_to(logsetup.SyslogSink(path), 0):
            LOG.warning("first %s", "\udcff")
            received = server.recv(1000).decode()
    assert received.startswith("<28>")
    assert received.endswith(f" iscsid[{os.getpid()}]: first \\udcff")


def test_syslog_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    sink = logsetup.SyslogSink(path)
    with logsetup.logging_to(sink, 0):
        LOG.warning("nobody listens")
        for text in ("one", "two"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
                server.bind(path)
                server.settimeout(10)
                LOG.warning(text)
                received = server.recv(1000).decode()
                while "nobody" in received:
                    received = server.recv(1000).decode()
                assert received.endswith(f"]: {text}")
            os.unlink(path)


def test_a_stuck_sink_never_blocks_and_losses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """W-26: bounded, with a drop counter, and no wait in the caller."""
    monkeypatch.setattr(logsetup, "QUEUE_MESSAGES", 5)
    release, stuck, sixth = threading.Event(), threading.Event(), threading.Event()

    class Stuck(Collector):
        def emit(self, record: logging.LogRecord) -> None:
            stuck.set()
            release.wait(10)
            super().emit(record)
            if len(self.lines) == 6:
                sixth.set()

    sink = Stuck()
    with logsetup.logging_to(sink, 0):
        LOG.warning("0")
        assert stuck.wait(10)
        for number in range(1, 11):
            LOG.warning("%d", number)
        release.set()
        assert sixth.wait(10)
        LOG.warning("after")
    assert sink.lines == ["0", "1", "2", "3", "4", "5", "5 log message(s) lost", "after"]


def test_the_exit_does_not_wait_for_a_stuck_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logsetup, "FLUSH_S", 0.05)
    monkeypatch.setattr(logsetup, "QUEUE_MESSAGES", 1)
    release = threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.wait(10)

    threads = set(threading.enumerate())
    with logsetup.logging_to(Stuck(), 0):
        for _ in range(5):
            LOG.warning("x")
    release.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)


def test_a_message_that_cannot_be_formatted_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    collector = Collector()
    with logsetup.logging_to(collector, 0):
        LOG.warning("%d", "not a number")
        LOG.warning("next")
    assert collector.lines[-1] == "next"


def test_the_writer_keeps_order() -> None:
    records: queue.Queue[logging.LogRecord | None] = queue.Queue()
    collector = Collector()
    writer = logsetup.Writer(records, collector)
    writer.start()
    for number in range(100):
        records.put(logging.LogRecord("x", logging.INFO, "", 0, str(number), (), None))
    writer.stop()
    assert collector.lines == [str(number) for number in range(100)]


def test_the_journal_is_recognised_by_device_and_inode() -> None:
    status = os.fstat(2)
    own = f"{status.st_dev}:{status.st_ino}"
    assert logsetup.is_journal({"JOURNAL_STREAM": own})
    for other in ("", "1:2", own + "0", "x"):
        assert not logsetup.is_journal({"JOURNAL_STREAM": other})


def test_the_sink_follows_how_we_run() -> None:
    status = os.fstat(2)
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    choose = logsetup.choose_sink
    assert isinstance(choose(foreground=False, environ=journal), logsetup.SyslogSink)
    assert isinstance(choose(foreground=True, environ=journal), logsetup.JournalSink)
    assert isinstance(choose(foreground=True, environ={}), logsetup.StreamSink)


def test_a_writing_thread_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke it is lost, and everything after it is written."""
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: died.set())

    class Fragile(Collector):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "break":
                raise ValueError
            super().emit(record)

    sink = Fragile()
    with logsetup.logging_to(sink, 0):
        for number in range(2):
            LOG.warning("break")
            assert died.wait(30)
            died.clear()
            for thread in threading.enumerate():
                if thread.name.startswith("Thread-"):
                    thread.join(0.2)
            LOG.warning("after %d", number)
    revived = "the thread that writes the log had ended, started again"
    assert sink.lines == [revived, "after 0", revived, "after 1"]


def test_a_traceback_opens_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-057: modules lie on a disk that may be the lost one; places and causes are shown."""
    read: list[str] = []
    collector = Collector()

    def fail() -> None:
        try:
            raise KeyError("why")
        except KeyError as error:
            raise ValueError("what") from error

    with monkeypatch.context() as patch, logsetup.logging_to(collector, 0):
        patch.setattr(linecache, "updatecache", lambda name, *_: read.append(name) or [])
        try:
            fail()
        except ValueError:
            LOG.exception("a bug")
    assert read == []
    (text,) = collector.lines
    lines = text.splitlines()
    assert lines[0] == "a bug"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[3:6] == ["KeyError: 'why'", "which led to", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: what"
    assert lines[-2].endswith(", in test_a_traceback_opens_no_file.<locals>.fail")
