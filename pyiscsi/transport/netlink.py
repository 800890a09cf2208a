"""The NETLINK_ISCSI socket: framing, one reader on the loop, one worker thread for requests.

pyroute2's core does not fit this protocol (docs/adr/0004): it pairs replies by nlmsg_seq, which the
kernel leaves 0 here; it opens a second socket when used from another thread, but requests must
leave from a thread because the kernel runs them inside sendmsg; and it gives a socket up for good
after ENOBUFS, which we survive.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pyiscsi.errors import ExitCode, RemoteProtocolError, TransportError
from pyiscsi.transport import frames
from pyiscsi.transport.numbers import GROUP_ISCSID, NETLINK_ISCSI, SO_RCVBUFFORCE

_LOG = logging.getLogger("iscsid")

RECEIVE_BUFFER_BYTES = 8 << 20
"""Thousands of events: enough for every session of a big host to fail at once."""

STUCK_S = 5.0
"""Messages that wait so long while the loop runs will not be read any more."""
SLOW_S = 60.0
"""A request the kernel works on for so long is worth a line in the log."""

_MESSAGE_BYTES = 1 << 16
_BATCH = 256
"""Messages read in one turn of the loop, so that a flood does not starve the sessions."""


def open_socket() -> socket.socket:
    """A bound NETLINK_ISCSI socket; its port id becomes the sessions' `creator`.

    Raises TransportError (12 when the kernel has no iSCSI, 13 without the privilege).
    """
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    try:
        sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_ISCSI)
    except OSError as exc:
        raise _open_error(exc) from exc
    try:
        _enlarge(sock)
        sock.bind((0, GROUP_ISCSID))
    except OSError as exc:
        sock.close()
        raise _open_error(exc) from exc
    return sock


def _open_error(exc: OSError) -> TransportError:
    denied = exc.errno in (errno.EPERM, errno.EACCES)
    code = ExitCode.ACCESS if denied else ExitCode.TRANSPORT_NOT_FOUND
    return TransportError(f"can not open the kernel's iSCSI interface: {exc.strerror}", code)


def _enlarge(sock: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
        except PermissionError:
            _LOG.debug("netlink receive buffer stays within net.core.rmem_max")


class Channel:
    """Messages to and from the kernel over one datagram socket.

    `on_message(nlmsg_type, body)` is called on the loop for each message, `on_lost()` once the
    socket has been emptied after the kernel dropped messages (ENOBUFS).
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        name = sock.getsockname()
        self._port_id = name[0] if isinstance(name, tuple) else 0
        self._threads: list[threading.Thread] = []
        self._worker = ThreadPoolExecutor(1, "netlink", self._note_thread)
        self._sending: tuple[int, float] | None = None
        """The kind of request the kernel is carrying out, and since when."""
        self._reads = 0
        self._waiting: tuple[int, float] | None = None
        """`_reads` when messages were first seen waiting, and when that was."""
        self._failure = ""
        self._buffer = bytearray(_MESSAGE_BYTES)
        self._lost = False
        self._on_message: Callable[[int, bytes], None] = lambda _kind, _body: None
        self._on_lost: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, on_message: Callable[[int, bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self.drain)

    async def send(self, kind: int, bodies: Sequence[bytes], *, close_fd: int = -1) -> None:
        """Send messages, each when the kernel has carried the one before out, from the worker
        thread; returns when it has carried out the last.

        Cancelled before their turn they are not sent; later the kernel finishes them unheard.
        `close_fd` is closed when the kernel is done with the requests, or when it will never see
        them. Raises TransportError.
        """
        job: Future[None] = self._worker.submit(self._send, kind, bodies)
        if close_fd >= 0:
            job.add_done_callback(lambda _: os.close(close_fd))
        try:
            await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise TransportError("kernel interface closed") from None
        except OSError as exc:
            raise TransportError(f"can not send to the kernel: {exc.strerror}") from exc

    def _note_thread(self) -> None:
        self._threads.append(threading.current_thread())

    def _send(self, kind: int, bodies: Sequence[bytes]) -> None:
        try:
            for body in bodies:
                self._sending = kind, time.monotonic()
                self._sock.send(frames.frame(kind, body, self._port_id))
        finally:
            self._sending = None

    def drain(self) -> None:
        """Handle what the socket holds, up to a batch."""
        for _ in range(_BATCH):
            try:
                size, _, flags, sender = self._sock.recvmsg_into([self._buffer])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    self._fail(exc)
                    break
                self._lost = True
                continue
            self._reads += 1
            if isinstance(sender, tuple) and sender[0] != 0:
                continue  # only the kernel (port 0) may speak
            if flags & socket.MSG_TRUNC:
                self._lost = True
            else:
                self._split(bytes(self._buffer[:size]))
        else:
            return
        if self._lost:
            self._lost = False
            self._on_lost()

    def _split(self, datagram: bytes) -> None:
        try:
            for kind, body in frames.split(datagram):
                self._handle(kind, body)
        except RemoteProtocolError as exc:
            _LOG.warning("%s", exc)

    def _handle(self, kind: int, body: bytes) -> None:
        """An error nobody planned for costs what the message said: that must be found out again."""
        try:
            self._on_message(kind, body)
        except Exception:
            _LOG.exception("a kernel message was not understood")
            self._lost = True

    def _fail(self, error: OSError) -> None:
        """The socket is broken: no reader any more, which would be called again and again."""
        self._failure = f"reading kernel events failed: {error.strerror}"
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())

    def trouble(self) -> str:
        """Why nothing is heard from the kernel, or said to it; "" when all works."""
        if self._failure:
            return self._failure
        if any(not thread.is_alive() for thread in self._threads):
            return "the thread that talks to the kernel has ended"
        return self._reader_trouble()

    def _reader_trouble(self) -> str:
        now = time.monotonic()
        if not _is_readable(self._sock):
            self._waiting = None
        elif self._waiting is None or self._waiting[0] != self._reads:
            self._waiting = self._reads, now
        elif now - self._waiting[1] >= STUCK_S:
            return f"kernel events have not been read for {now - self._waiting[1]:.0f} s"
        return ""

    def slow_request(self) -> tuple[int, float] | None:
        """Kind and age in seconds of a request that takes the kernel longer than SLOW_S."""
        sending = self._sending
        age_s = time.monotonic() - sending[1] if sending else 0.0
        return (sending[0], age_s) if sending and age_s >= SLOW_S else None

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._sock.close()


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
