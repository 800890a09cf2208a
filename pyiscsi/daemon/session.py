"""One session from its login request to its end.

The task of `_live` (`_serve` when taken over) alone touches the session's kernel objects. A logout
cancels it, waits until it has let go and then does its own work, so a logout never waits for a
recovery and the two never meet in the kernel.

    first login -> operational -> lost -> recovery -> operational ... -> logout or end
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from pyiscsi.daemon import endpoints, recovery
from pyiscsi.daemon.full_feature import Loss, SessionOver, Watcher, exists
from pyiscsi.daemon.kernel_session import CID, KernelSession
from pyiscsi.daemon.login_driver import Attempt, Limits, Plan, PortalAddress, Surroundings
from pyiscsi.daemon.logout import close_session, refuse_when_in_use
from pyiscsi.daemon.messages import GIVING_UP, SessionLog, connection_line, failure_line
from pyiscsi.daemon.recovery import AttemptFailed, Cause, Retries
from pyiscsi.daemon.scan import Repeated, Scanner
from pyiscsi.daemon.waits import stop_tasks
from pyiscsi.errors import ExitCode, LoggedOut, LoginFailed, LogoutFailed, PyIscsiError
from pyiscsi.proto.effects import LoginResult, Redirect
from pyiscsi.proto.limits import REDIRECTS_MAX
from pyiscsi.proto.states import (
    ConnectionEvent,
    ConnectionState,
    InternalStage,
    connection_words,
    next_connection_state,
    stage_words,
)
from pyiscsi.transport.base import Statistics

log = logging.getLogger("iscsid")

RECONNECT_TIMEOUT_S = 3.0
"""A SYN lost in a broken link is sent again by the kernel after 1, 3, 7 ... s: trying anew finds a
repaired link sooner than waiting."""
DETACH_TIMEOUT_S = 5.0


class Session:
    """Actor of one session. Made by the registry, which hears of its end through `on_end`."""

    def __init__(
        self,
        around: Surroundings,
        scanner: Scanner,
        plan: Plan,
        kernel: KernelSession,
        on_end: Callable[[Session], None],
    ) -> None:
        self.plan = plan
        self.key = plan.record.node_key()
        self._log = SessionLog(self.key)
        self.state = ConnectionState.FREE
        self.stage = InternalStage.NO_CHANGE
        self._around = around
        self._scanner = scanner
        self._kernel = kernel
        self._on_end = on_end
        connected = partial(self._happens, ConnectionEvent.CONNECTED)
        self._attempt = Attempt(around, plan, kernel, connected)
        self._portal = plan.portal
        self._scans = plan.record["node.session.scan"] == "auto"
        self._moved_to: PortalAddress | None = None
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._life: asyncio.Task[None] | None = None
        self._logout: asyncio.Task[None] | None = None
        self._device_work: set[asyncio.Task[None]] = set()
        self._time2wait_s = plan.prepared.default_time2wait_s
        self._scan_again = Repeated(self._scan)
        self._has_ended = False
        self._is_let_go = False
        self.is_broken = False

    @property
    def sid(self) -> int:
        """The kernel's number, -1 while the session does not exist there."""
        return self._kernel.sid if self._kernel.exists else -1

    def words(self) -> tuple[str, str]:
        """Connection state and the daemon's stage, as iscsiadm shows them."""
        return connection_words(self.state), stage_words(self.stage)

    # What the registry asks for.

    async def log_in(self) -> tuple[int, int]:
        """Start and wait for the first login: (sid, host number), or the error it ended with.

        Cancelling the caller does not cancel the login.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._start(self._live())
        return await asyncio.shield(self._answer)

    def adopt(self, *, healthy: bool) -> None:
        """Take over a session of the kernel; one that is not healthy is recovered."""
        self.state = ConnectionState.LOGGED_IN
        if not healthy:
            self.stage = InternalStage.REOPEN
        self._start(self._serve(None if healthy else Loss("found failed", 0)))

    async def log_out(self, *, safely: bool = False, proc_root: str = "/proc") -> None:
        """End the session; a second request shares the first one's outcome.

        `safely`: raises Busy (28) while a disk of the session is mounted or otherwise in use.
        """
        if self._logout is None or self._logout.done():
            self._logout = asyncio.create_task(self._log_out(safely, proc_root))
            self._logout.add_done_callback(self._report_bug)
        await asyncio.shield(self._logout)

    async def detach(self) -> None:
        """Stop working for the session, which stays in the kernel. A first login is undone."""
        if self._logout is not None:
            await asyncio.wait({self._logout}, timeout=DETACH_TIMEOUT_S)
        self._is_let_go = True
        await stop_tasks(self._logout, self._life, *self._device_work)
        if not self._has_ended:
            if self.state is not ConnectionState.LOGGED_IN:
                await self._stop_connection()
            self._kernel.forget()

    def successor(self) -> Session:
        """Another actor for the same session of the kernel."""
        old, notes = self._kernel, self._around.endpoints
        kernel = endpoints.take_over(notes, old.transport, old.sid, old.host_no)
        return Session(self._around, self._scanner, self.plan, kernel, self._on_end)

    async def statistics(self) -> Statistics:
        return await self._kernel.transport.get_stats(self._kernel.sid, CID)

    # A life.

    def _start(self, life: Coroutine[Any, Any, None]) -> None:
        self._life = asyncio.create_task(life)
        self._life.add_done_callback(self._report_bug)

    async def _live(self) -> None:
        try:
            await self._log_in_first()
        except BaseException as error:
            try:
                await self._take_down()
            finally:
                self._end(error)
            if isinstance(error, PyIscsiError):
                return
            raise
        self._report("is operational now")
        self._work_on_devices(self._scan_and_answer())
        await self._serve()

    async def _serve(self, loss: Loss | None = None) -> None:
        """Watch the connection and bring it back when it is lost, until the session is over."""
        try:
            while True:
                if loss is not None:
                    await self._recover(loss)
                loss = await self._watcher().until_lost()
        except SessionOver as over:
            self._log.error("session%d: %s", self._kernel.sid, over)
            await self._take_down()
            self._report("is shutdown.")
            self._end(None)

    # First login.

    async def _log_in_first(self) -> None:
        """Try until it works or `initial_login_retry_max` times `login_timeout` has passed."""
        loop = asyncio.get_running_loop()
        window_s = self.plan.prepared.retry_window_s
        login_timeout_s = self.plan.prepared.login_timeout_s
        gives_up_at = loop.time() + window_s
        limits = Limits(login_timeout_s, login_timeout_s, gives_up_at if window_s else math.inf)
        retries = Retries(self._random)
        self._happens(ConnectionEvent.CONNECT)
        while True:
            try:
                await self._reach_full_feature_phase(limits)
                return
            except AttemptFailed as failure:
                await self._after_failure(failure, retries)
                left_s = gives_up_at - loop.time()
                if not failure.fatal and left_s > 0:
                    await self._attempt.pause(failure.cause, min(retries.delay_s, left_s))
                if failure.fatal or loop.time() >= gives_up_at:
                    if window_s and not failure.fatal:
                        self._log.warning(GIVING_UP, window_s)
                    self._log.error("login failed: %s", failure.error)
                    raise recovery.final_error(failure) from failure

    async def _scan_and_answer(self) -> None:
        """The login is answered when its disks are there; a scan that is cut short still counts."""
        try:
            if self._scans:
                await self._scan()
        finally:
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((self._kernel.sid, self._kernel.host_no))

    # One attempt, followed through redirects.

    async def _reach_full_feature_phase(self, limits: Limits) -> None:
        """One attempt; on return the session is LOGGED_IN. Raises AttemptFailed."""
        self._portal = self._moved_to or self.plan.portal
        for _hop in range(REDIRECTS_MAX + 1):
            try:
                outcome = await self._attempt.run(self._portal, limits)
            except AttemptFailed:
                self._moved_to = None
                raise
            if isinstance(outcome, LoginResult):
                self._time2wait_s = int(outcome["DefaultTime2Wait"])
                self._happens(ConnectionEvent.LOGIN_SUCCEEDED)
                self.stage = InternalStage.NO_CHANGE
                return
            self._portal = await self._follow(outcome)
        error = LoginFailed(f"redirected more than {REDIRECTS_MAX} times")
        raise AttemptFailed(Cause.REJECTED, error, fatal=True)

    async def _follow(self, redirect: Redirect) -> PortalAddress:
        """Leave the portal that sent us on; returns the one we were sent to."""
        await self._stop_attempt()
        if self.stage is InternalStage.NO_CHANGE:
            self.stage = InternalStage.REDIRECT
        if not redirect.address:
            error = LoginFailed("redirected without an address")
            raise AttemptFailed(Cause.REJECTED, error, fatal=True)
        portal = PortalAddress(redirect.address, redirect.port)
        self._log.info("session%d: redirected to %s", self._kernel.sid, portal)
        if redirect.permanent:
            self._moved_to = portal
        return portal

    async def _after_failure(self, failure: AttemptFailed, retries: Retries) -> None:
        """Leave the kernel ready for the next attempt and report, once for each kind of trouble."""
        await self._stop_attempt()
        if self.stage is InternalStage.REDIRECT:
            self.stage = InternalStage.NO_CHANGE
        line = failure_line(failure, self._portal)
        is_news = retries.note(failure.cause, line)
        self._log.log(logging.WARNING if is_news else logging.DEBUG, "%s", line)
        if retries.is_milestone:
            self._log.warning("%d attempts failed, the last: %s", retries.count, line)

    # Recovery.

    async def _recover(self, loss: Loss) -> None:
        """Reconnect and log in again until it works; SessionOver when it never will."""
        timeout_s = self.plan.prepared.login_timeout_s
        limits = Limits(timeout_s, min(timeout_s, RECONNECT_TIMEOUT_S))
        retries = Retries(self._random)
        self.stage = InternalStage.REOPEN
        self._happens(ConnectionEvent.TRANSPORT_LOST)
        self._happens(ConnectionEvent.CLEANUP_STARTED)
        await self._stop_connection()
        self._happens(ConnectionEvent.CLEANUP_SUCCEEDED)
        self._happens(ConnectionEvent.CONNECT)
        await asyncio.sleep(loss.time2wait_s)
        while True:
            try:
                await self._reach_full_feature_phase(limits)
                break
            except AttemptFailed as failure:
                await self._after_failure(failure, retries)
                self._check_worth_going_on(retries.count)
                await self._attempt.pause(failure.cause, retries.delay_s)
        self._log.warning(
            "connection%d:%d is operational after recovery (%d attempts)",
            self._kernel.sid, CID, retries.count + 1,
        )  # fmt: skip
        self._work_on_devices(self._scanner.bring_back(self._kernel.sid, self._scans))

    def _check_worth_going_on(self, failures: int) -> None:
        if not exists(self._around.tree, self._kernel.sid):
            self._kernel.gone()
            raise SessionOver("vanished from the kernel")
        if recovery.gives_up(failures, self.plan.prepared.reopen_max):
            raise SessionOver(f"given up after {failures} attempts to reconnect")

    # Logout.

    async def _log_out(self, safely: bool, proc_root: str) -> None:
        if safely:
            await refuse_when_in_use(self._around.tree, self._kernel.sid, proc_root)
        self._is_let_go = True
        await stop_tasks(self._life, *self._device_work)
        if self._has_ended:
            return
        problem: PyIscsiError | None = None
        try:
            await close_session(
                self._kernel,
                self._around.tree,
                self.plan.prepared.logout_timeout_s,
                connected=self.state is ConnectionState.LOGGED_IN,
                before_pdu=lambda: self._happens(ConnectionEvent.LOGOUT_STARTED),
            )
        except PyIscsiError as error:
            problem = error
        self._report("is shutdown.")
        self._end(None)
        if problem is not None:
            raise LogoutFailed(str(problem), ExitCode.INTERNAL) from problem

    # Parts.

    def _random(self) -> float:
        return self._around.random_bytes(1)[0] / 255

    def _happens(self, event: ConnectionEvent) -> None:
        """The only place where the connection's state changes."""
        label, state = next_connection_state(self.state, event)
        log.debug(
            "connection%d:%d: %s %s -> %s",
            self._kernel.sid, CID, label, self.state.name, state.name,
        )  # fmt: skip
        self.state = state

    def _watcher(self) -> Watcher:
        return Watcher(
            self._kernel,
            self._around.tree,
            self._log,
            logout_timeout_s=self.plan.prepared.logout_timeout_s,
            time2wait_s=self._time2wait_s,
            scan=self._scan_for_target,
            happens=self._happens,
        )

    def _scan_for_target(self) -> None:
        """The target says its units have changed, which it may do faster than scans end."""
        if self._scans and self._scan_again.ask():
            self._work_on_devices(self._scan_again.run())

    async def _scan(self) -> None:
        depth = self.plan.record.get_int("node.session.queue_depth")
        await self._scanner.scan(self._kernel.sid, self._kernel.host_no, depth)

    def _work_on_devices(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._device_work.add(task)
        task.add_done_callback(self._device_work.discard)

    async def _stop_connection(self) -> None:
        """STOP_CONN where it is due; a refusal is met again, and judged, by the next bind."""
        try:
            await self._kernel.stop()
        except PyIscsiError as error:
            self._log.error("connection%d:%d: %s", self._kernel.sid, CID, error)

    async def _stop_attempt(self) -> None:
        """Leave a failed attempt; the session waits for its next one in XPT_WAIT."""
        await self._stop_connection()
        in_login = self.state is ConnectionState.IN_LOGIN
        self._happens(ConnectionEvent.LOGIN_FAILED if in_login else ConnectionEvent.TRANSPORT_LOST)
        self._happens(ConnectionEvent.CONNECT)

    async def _take_down(self) -> None:
        try:
            await self._kernel.destroy()
        except PyIscsiError as error:
            self._log.error("session%d: %s", self._kernel.sid, error)

    def _end(self, error: BaseException | None) -> None:
        """Tell everybody who waits that there is no session any more."""
        self._has_ended, self.state = True, ConnectionState.FREE
        if self._answer is not None and not self._answer.done():
            if not isinstance(error, PyIscsiError):
                kind = LoginFailed if self._logout is None else LoggedOut
                error = kind("login was broken off", ExitCode.LOGIN)
            self._answer.set_exception(error)
            self._answer.exception()  # the client may have gone: not asyncio's business
        self._on_end(self)

    def _report(self, what: str) -> None:
        key = self.key
        portal = f"{key.address},{key.port}"
        log.warning("%s", connection_line(self._kernel.sid, key.target, portal, key.iface, what))

    def _report_bug(self, task: asyncio.Task[None]) -> None:
        """What nobody planned for ends this actor, not the daemon; the registry makes another."""
        error = None if task.cancelled() else task.exception()
        is_planned = self._is_let_go if task.cancelled() else error is None
        if is_planned or (task is self._logout and isinstance(error, PyIscsiError)):
            return
        self._log.critical("session%d: internal error", self._kernel.sid, exc_info=error)
        if not self._has_ended:
            self.is_broken = True
            self._kernel.forget()
            self._end(error)
