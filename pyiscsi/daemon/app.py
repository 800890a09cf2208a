"""The daemon's life: what starts in which order, what ends it, and how it ends."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import gc
import importlib
import logging
import os
import pkgutil
import signal
import socket
import stat
import threading
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from pyiscsi.daemon import compat, logsetup, notify, process
from pyiscsi.daemon.background import Background
from pyiscsi.daemon.discover import Discovery
from pyiscsi.daemon.loop import run_loop
from pyiscsi.daemon.nokernel import NoKernel
from pyiscsi.daemon.pidfile import AlreadyRunning, LockedFile, PidFile
from pyiscsi.daemon.requests import Requests, Sessions
from pyiscsi.daemon.settings import Settings
from pyiscsi.daemon.watch import Checks, Watch, Workers, log_dead_thread
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc import compat_server
from pyiscsi.ipc.server import Server

WORKER_THREADS = 64
"""Name lookups, sysfs and record writes; enough that some stuck ones do not stop the rest."""

ADOPT_WAIT_S = 2.0
"""How long clients wait at start for existing sessions to be taken over; it then goes on."""

STOP_ANSWER_S = 0.5
"""iscsiadm waits one second for the answer to `stop`."""

_ROOMS = ("daemon", "discovery", "ipc", "proto", "records", "sysfs", "transport")
_LATE_IMPORTS = ("encodings.idna", "stringprep", "unicodedata", "concurrent.futures.thread")
"""What the standard library would load in the middle of a name lookup."""

_log = logging.getLogger("iscsid")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for. Empty paths are the usual ones; `pid_file` "" is none."""

    config_file: str = ""
    initiatorname_file: str = ""
    foreground: bool = False
    debug: int = 0
    uid: int | None = None
    gid: int | None = None
    pid_file: str = ""


class KernelLink(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def trouble(self) -> str: ...

    def delay(self) -> str: ...

    async def transport(self, name: str) -> Any: ...


class SessionKeeper(Sessions, Protocol):
    """daemon.registry.Registry."""

    async def adopt(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """How the two large parts are made; tests put their own in."""

    kernel: Callable[[Env], KernelLink]
    registry: Callable[[Any, Env, Settings], SessionKeeper]


class Daemon:
    """One run of iscsid inside an event loop."""

    def __init__(
        self,
        options: Options,
        env: Env,
        environ: MutableMapping[str, str],
        *,
        parts: Parts | None = None,
        passed: list[tuple[str, socket.socket]] | None = None,
        readiness: process.Readiness | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._options = options
        self._env = env
        self._environ = environ
        self._server: Server | None = None
        self._compat: compat_server.Server | None = None
        self._background: Background | None = None
        self._parts = parts or real_parts(environ)
        self._passed = passed or []
        self._readiness = readiness or process.Readiness()
        self._notifier = notify.Notifier(environ)
        self._settings = Settings(
            options.config_file or env.config_file,
            options.initiatorname_file or env.initiatorname_file,
        )
        self._stop_asked = asyncio.Event()
        self._released = asyncio.Event()
        self._watch = Watch()
        self._checks = Checks()
        if workers is not None:
            self._checks.add(workers.trouble)

    async def run(self) -> int:
        """Start, serve until stopped, release everything; the exit status."""
        self._handle_signals()
        status = 0
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                await self._stop_asked.wait()
                self._notifier.send(notify.STOPPING)
                for server in self._servers():
                    server.stop_listening()
        except PyIscsiError as error:
            _log.error("%s", error)
            status = 1
        except Exception:
            _log.exception("iscsid failed")
            status = 1
        self._released.set()
        # At once: a silent client of one must not hold up the answers of the other.
        await asyncio.gather(*(server.close() for server in self._servers()))
        if self._server is not None:
            _log.info("iscsid shutting down.")
        return status

    def _servers(self) -> list[Server | compat_server.Server]:
        return [each for each in (self._compat, self._server) if each is not None]

    async def _start(self, stack: AsyncExitStack) -> None:
        listener = self._claim(stack)
        compat_listener = await compat.claim(self._env, self._passed)
        if compat_listener is not None:
            stack.callback(compat_listener.close)
        kernel = await self._open_kernel(stack)
        await self._read_settings()
        registry = self._parts.registry(kernel, self._env, self._settings)
        stack.push_async_callback(registry.close)
        discovery = Discovery(self._env, self._settings, kernel)
        self._background = Background(self._env, self._settings, discovery, registry)
        stack.push_async_callback(self._background.close)
        keep_trying = self._background.awaited.add
        requests = Requests(registry, self._settings, discovery, self._stop, keep_trying)
        self._server = Server(
            requests.table(),
            allowed_uids=frozenset({0, self._options.uid or os.geteuid()}),
        )
        stack.push_async_callback(self._watch.close)
        process.harden(self._env.proc_root)
        await self._adopt(registry)
        await self._server.start(listener)
        await self._serve_compat(compat_listener, requests)
        await self._settle_in()
        self._background.start()
        self._watch.keep("the look at ourselves", self._checks.run)
        self._watch.keep("the watchdog", lambda: self._notifier.watchdog(self._checks.is_well))
        self._readiness.announce()
        self._notifier.send(notify.READY)

    async def _settle_in(self) -> None:
        """Sessions and clients are looked after: now for what they may need later.

        In threads, as it reads files: the disk they are on may be one that is being recovered.
        """
        await asyncio.to_thread(warm_up)
        gc.freeze()  # what is there now stays: no collection needs to look at it again
        gc.enable()
        await asyncio.to_thread(process.stay_in_memory)
        process.take_precedence()
        process.drop_privileges(self._options.uid, self._options.gid)

    async def _serve_compat(self, listener: socket.socket | None, requests: Requests) -> None:
        if not self._env.compat_socket:
            return
        self._compat = compat_server.Server(
            compat.CompatRequests(requests), is_allowed=compat.Peers(self._settings)
        )
        if listener is not None:
            await self._compat.start(listener)
            return
        serve = functools.partial(compat.serve_when_free, self._compat, self._env.compat_socket)
        self._watch.keep("waiting for open-iscsi's socket", serve)

    def _claim(self, stack: AsyncExitStack) -> socket.socket:
        """Become the only daemon, and hold the socket. Raises PyIscsiError."""
        path = self._env.socket_path
        lock = LockedFile(f"{path}.lock", "lock file")
        try:
            lock.acquire()
        except AlreadyRunning as error:
            raise PyIscsiError(
                f"Can not bind IPC socket {path}: iscsid is already running"
            ) from error
        # The lock file stays: removing it would let two daemons hold locks on two files.
        stack.callback(lock.release, remove=False)
        if self._options.pid_file:
            pid_file = PidFile(self._options.pid_file)
            pid_file.acquire()
            stack.callback(pid_file.release)
        listener = notify.choose_native(self._passed, path)
        if listener is None:
            listener = bind(path)
            stack.callback(_remove, path)
        stack.callback(listener.close)
        return listener

    async def _open_kernel(self, stack: AsyncExitStack) -> KernelLink:
        kernel = self._parts.kernel(self._env)
        try:
            await kernel.open()
        except (PyIscsiError, OSError) as error:
            raise PyIscsiError(
                f"Cannot open NETLINK_ISCSI ({error}): the kernel module scsi_transport_iscsi is "
                "not loaded, or iscsid is not in the initial network namespace, or it lacks "
                "CAP_NET_ADMIN"
            ) from error
        stack.push_async_callback(kernel.close)
        self._checks.add(kernel.trouble, is_vital=True)
        self._checks.add(kernel.delay)
        return kernel

    async def _adopt(self, registry: SessionKeeper) -> None:
        from pyiscsi.sysfs.sessions import session_ids
        from pyiscsi.sysfs.tree import SysfsTree

        if not await asyncio.to_thread(session_ids, SysfsTree(self._env.sysfs_root)):
            return
        self._notifier.send(notify.SYNCING)
        adoption = self._watch.keep("taking over the sessions", registry.adopt)
        with suppress(TimeoutError):
            async with asyncio.timeout(ADOPT_WAIT_S):
                await adoption.ended.wait()

    async def _stop(self) -> None:
        self._stop_asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_ANSWER_S):
                await self._released.wait()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._signalled, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if self._options.foreground:
            loop.add_signal_handler(signal.SIGINT, self._signalled, signal.SIGINT)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _signalled(self, number: signal.Signals) -> None:
        logsetup.debug(1, "pid %d caught signal %d", os.getpid(), number)
        self._stop_asked.set()

    def _reload(self) -> None:
        _log.info("reading the settings again")
        self._watch.keep("reading the settings", self._read_again)

    async def _read_again(self) -> None:
        self._notifier.send(notify.reloading())
        await self._read_settings()
        if self._background is not None:
            self._background.reload()
        self._notifier.send(notify.READY)

    async def _read_settings(self) -> None:
        await asyncio.to_thread(self._settings.reload)
        for line in self._settings.problems:
            _log.warning("%s", line)


def real_parts(environ: MutableMapping[str, str]) -> Parts:
    def kernel(env: Env) -> KernelLink:
        if environ.get("PYISCSI_NO_KERNEL") == "1":
            return NoKernel()
        from pyiscsi.transport.kernel import Kernel

        return Kernel(env)

    def registry(kernel: Any, env: Env, settings: Settings) -> SessionKeeper:
        from pyiscsi.daemon.registry import Registry

        return Registry(kernel, env, settings)

    return Parts(kernel, registry)


def bind(path: str) -> socket.socket:
    """The native socket, mode 0600, not yet listening. The caller holds the lock beside it.

    So whatever socket exists there was left by a daemon that died. Raises PyIscsiError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise PyIscsiError(f"Can not bind IPC socket {path}: {reason}") from error
    return listener


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def warm_up() -> None:
    """Import all that recovery and requests can need: later the disk may be the one we run."""
    import pyiscsi

    for room in _ROOMS:
        folder = os.path.join(os.path.dirname(pyiscsi.__file__), room)
        for module in pkgutil.iter_modules([folder]):
            _import(f"pyiscsi.{room}.{module.name}")
    for name in _LATE_IMPORTS:
        _import(name)
    with suppress(OSError):
        socket.getaddrinfo("localhost", None)  # loads the resolver's own libraries


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        _log.warning("could not load %s: %s", name, error)


def run(options: Options, env: Env, environ: MutableMapping[str, str]) -> int:
    """Run the daemon as the command line says; the exit status. The parent of a daemon exits."""
    gc.disable()  # collections while starting find nothing, and sessions wait meanwhile
    passed = notify.take_sockets(environ, os.getpid())
    os.umask(process.UMASK)
    process.limit_thread_memory()
    readiness = None
    if not options.foreground:
        readiness = process.daemonize(_log_started)
    process.set_name()
    sink = logsetup.choose_sink(foreground=options.foreground, environ=environ)
    with logsetup.logging_to(sink, options.debug):
        faulthandler.enable()  # a watchdog ends who hangs with SIGABRT: the log then says where
        threading.excepthook = log_dead_thread
        workers = Workers(WORKER_THREADS)

        async def main() -> int:
            daemon = Daemon(
                options, env, environ, passed=passed, readiness=readiness, workers=workers
            )
            return await daemon.run()

        return run_loop(main(), workers)


def _log_started(pid: int) -> None:
    with logsetup.logging_to(logsetup.SyslogSink(), 0) as log:
        log.info("iSCSI daemon with pid=%d started!", pid)
