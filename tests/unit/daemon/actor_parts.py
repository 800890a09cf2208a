"""What the session tests are played with: a clock that jumps, a network, a target, a sysfs."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.daemon.login_driver import Plan, Surroundings
from pyiscsi.daemon.parameters import Initiator, prepare
from pyiscsi.daemon.places import Places
from pyiscsi.daemon.registry import Registry
from pyiscsi.daemon.scan import Scanner
from pyiscsi.daemon.session import Session
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.proto.pdu import (
    AsyncMessage,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    decode,
)
from pyiscsi.proto.text import encode_text
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.base import ConnectionFailed
from pyiscsi.transport.numbers import Param
from pyiscsi.transport.scripted import Call, ScriptedKernel, ScriptedTransport

T = TypeVar("T")
TARGET = "iqn.2026-11.test:disk"
WHERE = f"[target: {TARGET}, portal: 192.0.2.1,3260, iface: default]"
"""How a log line of the session ends."""
INITIATOR = Initiator("iqn.2026-11.test:host", "host")
CONN_CLOSED = 1020


class _JumpingSelector(selectors.DefaultSelector):
    """Where a loop would sleep, time jumps; while a thread works, it really waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        while not ready and _threads_at_work():
            ready = super().select(0.01)
        if not ready:
            ready = super().select(0)
        if not ready:
            assert timeout is not None, "every task waits for something that never comes"
            self.now += timeout
        return ready


def _threads_at_work() -> bool:
    return any(thread.name == "iscsid-blocking" for thread in threading.enumerate())


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is as fast as its tasks."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; an hour of waiting takes no time."""

    async def limited() -> T:
        async with asyncio.timeout(10_000):
            return await test

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(limited())


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks, and the clock, go on until something is so."""
    async with asyncio.timeout(500):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to set
            await asyncio.sleep(0.01)


class Network:
    """Connects to whatever is asked for; `outcomes` are errors to raise first, in order."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.always: Exception | None = None
        self.hangs = False
        self.unresolved: Exception | None = None
        self.connected: list[tuple[float, str, int]] = []
        """(loop time, host, port) of each try."""
        self.options: list[dict[str, Any]] = []
        self.sockets: list[socket.socket] = []

    async def resolve(self, host: str, port: int, timeout_s: float) -> Sequence[Any]:
        if self.unresolved is not None:
            raise self.unresolved
        return [(host, port)]

    async def connect(self, addresses: Sequence[Any], port: int, **options: Any) -> socket.socket:
        now = asyncio.get_running_loop().time()
        self.connected.append((now, addresses[0][0], port))
        self.options.append(options)
        if self.hangs:
            await asyncio.sleep(options["deadline_s"])
            raise TransportError("Connection timed out", ExitCode.TRANSPORT_TIMEOUT)
        error = self.outcomes.pop(0) if self.outcomes else self.always
        if error is not None:
            raise error
        mine, theirs = socket.socketpair()
        theirs.close()
        self.sockets.append(mine)
        return mine

    def all_closed(self) -> bool:
        return all(sock.fileno() == -1 for sock in self.sockets)


class Target:
    """Answers what send_pdu sends. `script`: what happens to each login, then "accept"."""

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.always: object = "accept"
        self.answers_logout = True
        self.logout_response = 0
        self.text = b"TargetPortalGroupTag=1\0"
        """Keys in the answer to a login."""
        self.logins: list[LoginRequest] = []
        self.logouts: list[LogoutRequest] = []

    def __call__(self, transport: ScriptedTransport, call: Call) -> None:
        sid, header, data = call["sid"], call["header"], call["data"]
        assert isinstance(sid, int)
        assert isinstance(header, bytes)
        assert isinstance(data, bytes)
        pdu = decode(header, data)
        if isinstance(pdu, LogoutRequest):
            self.logouts.append(pdu)
            if self.answers_logout:
                answer = LogoutResponse(response=self.logout_response, time2wait=7)
                transport.reply_pdu(sid, *answer.encode())
            return
        assert isinstance(pdu, LoginRequest)
        self.logins.append(pdu)
        self._play(transport, sid, pdu, self.script.pop(0) if self.script else self.always)

    def _play(self, transport: ScriptedTransport, sid: int, pdu: LoginRequest, act: object) -> None:
        match act:
            case "accept":
                self._answer(transport, sid, pdu, transit=True)
            case "silent":
                return
            case "drop":
                transport.emit(ConnectionFailed(sid, 0, CONN_CLOSED))
            case "garbage":
                transport.reply_pdu(sid, bytes(48), b"")
            case (int(), int()):
                self._answer(transport, sid, pdu, status=act)
            case ("redirect", bool() as permanent, str() as address):
                status = (1, 2 if permanent else 1)
                text = encode_text([("TargetAddress", address)], 8192)
                self._answer(transport, sid, pdu, status=status, data=text)
            case _:
                raise AssertionError(act)

    def _answer(
        self,
        transport: ScriptedTransport,
        sid: int,
        pdu: LoginRequest,
        *,
        transit: bool = False,
        status: tuple[int, int] = (0, 0),
        data: bytes = b"",
    ) -> None:
        response = LoginResponse(
            transit=transit, csg=pdu.csg, nsg=pdu.nsg if transit else 0, isid=pdu.isid, tsih=1,
            stat_sn=41, status_class=status[0], status_detail=status[1],
            data=data or self.text,
        )  # fmt: skip
        transport.reply_pdu(sid, *response.encode())


class Sysfs:
    """A sysfs in a directory: what the session code reads and writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = SysfsTree(str(root))
        for name in ("iscsi_session", "iscsi_connection", "scsi_host", "iscsi_host"):
            (root / "class" / name).mkdir(parents=True)

    def add(self, sid: int, host: int, **attributes: str) -> None:
        session = self._make(f"devices/host{host}/session{sid}/iscsi_session", f"session{sid}")
        conn = self._make(f"devices/host{host}/session{sid}/iscsi_connection", f"connection{sid}:0")
        scsi = self._make(f"devices/host{host}/scsi_host", f"host{host}")
        self.write(scsi, proc_name="iscsi_tcp", scan="")
        self.write(conn, state="up", persistent_address="192.0.2.1", persistent_port="3260")
        self.write(conn, ping_tmo="5", exp_statsn="77")
        values = {"targetname": TARGET, "tpgt": "1", "state": "LOGGED_IN", "creator": "4711"}
        values |= {"ifacename": "default", "initiatorname": INITIATOR.name} | attributes
        self.write(session, **values)

    def _make(self, parent: str, name: str) -> Path:
        path = self.root / parent / name
        path.mkdir(parents=True, exist_ok=True)
        link = self.root / "class" / path.parent.name / name
        if not link.is_symlink():
            link.symlink_to(path)
        return path

    def write(self, path: Path, **values: str) -> None:
        for name, value in values.items():
            (path / name).write_text(f"{value}\n" if value else "")

    def session(self, sid: int, **values: str) -> None:
        self.write(self.root / f"class/iscsi_session/session{sid}", **values)

    def connection(self, sid: int, **values: str) -> None:
        self.write(self.root / f"class/iscsi_connection/connection{sid}:0", **values)

    def remove(self, sid: int) -> None:
        (self.root / f"class/iscsi_session/session{sid}").unlink(missing_ok=True)
        (self.root / f"class/iscsi_connection/connection{sid}:0").unlink(missing_ok=True)

    def scans(self, host: int) -> str:
        path = self.root / f"class/scsi_host/host{host}/scan"
        return path.read_text().strip() if path.exists() else ""

    def add_unit(self, sid: int, host: int, state: str = "running") -> Path:
        """A SCSI unit 0:0:0 of the session; returns its directory."""
        name = f"{host}:0:0:0"
        unit = self.root / f"devices/host{host}/session{sid}/target{host}:0:0/{name}"
        unit.mkdir(parents=True)
        self.write(unit, state=state, queue_depth="32", rescan="")
        where = self.root / "bus/scsi/devices"
        where.mkdir(parents=True, exist_ok=True)
        (where / name).symlink_to(unit)
        device = self.root / f"class/iscsi_session/session{sid}/device"
        if not device.is_symlink():
            device.symlink_to(self.root / f"devices/host{host}/session{sid}")
        return unit


class KernelDouble(ScriptedTransport):
    """The scripted transport with its sessions shown in a Sysfs."""

    def __init__(self, sysfs: Sysfs, target: Target, **options: Any) -> None:
        super().__init__(peer=target, **options)
        self.sysfs = sysfs

    async def create_session(self, **numbers: int) -> tuple[int, int]:
        sid, host = await super().create_session(**numbers)
        self.sysfs.add(sid, host)
        return sid, host

    async def _set_param(self, sid: int, cid: int, param: int, value: str) -> None:
        await super()._set_param(sid, cid, param, value)
        match param:
            case Param.TARGET_NAME:
                self.sysfs.session(sid, targetname=value)
            case Param.IFACE_NAME:
                self.sysfs.session(sid, ifacename=value)
            case Param.PERSISTENT_ADDRESS:
                self.sysfs.connection(sid, persistent_address=value)
            case Param.PERSISTENT_PORT:
                self.sysfs.connection(sid, persistent_port=value)

    async def destroy_session(self, sid: int) -> None:
        await super().destroy_session(sid)
        self.sysfs.remove(sid)

    def put(self, sid: int, host: int = 0, conn: str = "started", **attributes: str) -> None:
        """A session that was there before."""
        self.sessions[sid] = host
        self.connections[sid, 0] = conn
        self.params[sid, 0] = {}
        self.sysfs.add(sid, host, **attributes)

    def lose(self, sid: int) -> None:
        self.emit(ConnectionFailed(sid, 0, CONN_CLOSED))

    def tell(self, sid: int, event: int, **fields: Any) -> None:
        """An asynchronous message from the target."""
        self.reply_pdu(sid, *AsyncMessage(event=event, **fields).encode())

    def is_empty(self) -> bool:
        """Nothing left in the kernel."""
        return not self.sessions and not self.connections


def node(**settings: str) -> Record:
    """A record of TARGET; names as in `timeo__login_timeout` for the last parts of a key."""
    record = Record(NODE)
    values = {
        "node.name": TARGET,
        "node.tpgt": "1",
        "node.conn[0].address": "192.0.2.1",
        "node.conn[0].timeo.login_timeout": "15",
        "node.session.initial_login_retry_max": "8",
    }
    for name, value in settings.items():
        values[_full_key(record, name.replace("__", "."))] = value
    for key, value in values.items():
        record.set(key, value)
    return record


def _full_key(record: Record, tail: str) -> str:
    matching = [key for key in record.values if f".{key}".endswith(f".{tail}")]
    assert len(matching) == 1, (tail, matching)
    return matching[0]


class Stage:
    """One actor with everything round it."""

    def __init__(
        self,
        tmp_path: Path,
        record: Record | None = None,
        *,
        target: Target | None = None,
        network: Network | None = None,
    ) -> None:
        self.target = target or Target()
        self.network = network or Network()
        self.sysfs = Sysfs(tmp_path / "sys")
        self.kernel = KernelDouble(self.sysfs, self.target)
        self.record = record or node()
        self.ended: list[Session] = []
        self.around = Surroundings(
            self.sysfs.tree, self.network, lambda count: bytes(count), Places()
        )

    def actor(self) -> Session:
        """To be called inside the loop."""
        prepared, _ = prepare(self.record, self.kernel.name, self.kernel.caps)
        plan = Plan(self.record, prepared, INITIATOR)
        scanner = Scanner(self.sysfs.tree)
        kernel = KernelSession(self.kernel)
        return Session(self.around, scanner, plan, kernel, self.ended.append)

    def clean(self) -> bool:
        """Nothing was leaked: no kernel object, no socket."""
        return self.kernel.is_empty() and self.network.all_closed()


class House:
    """A registry with everything round it."""

    def __init__(self, tmp_path: Path, *, target: Target | None = None) -> None:
        self.target = target or Target()
        self.network = Network()
        self.sysfs = Sysfs(tmp_path / "sys")
        self.kernel = KernelDouble(self.sysfs, self.target)
        config = tmp_path / "etc"
        config.mkdir(exist_ok=True)
        proc = tmp_path / "proc"
        (proc / "self").mkdir(parents=True, exist_ok=True)
        self.env = Env(
            config_root=str(config), db_root=str(config), lock_dir=str(tmp_path / "lock"),
            sysfs_root=str(tmp_path / "sys"), proc_root=str(proc),
            socket_path=str(tmp_path / "iscsid.sock"),
        )  # fmt: skip
        self.settings = Settings(
            self.env.config_file, self.env.initiatorname_file, INITIATOR.name, INITIATOR.alias
        )

    def registry(self) -> Registry:
        return Registry(
            ScriptedKernel(self.kernel), self.env, self.settings,
            random_bytes=lambda count: bytes(count), network=self.network,
        )  # fmt: skip
