"""Open-iscsi's socket answered by the native socket's request table."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyiscsi.daemon import compat
from pyiscsi.daemon.requests import Requests
from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError, SessionNotFound
from pyiscsi.ipc import compat_socket
from pyiscsi.ipc.messages import Message
from pyiscsi.records.record import Record
from pyiscsi.transport.base import Statistics
from tests.unit.ipc.compat_daemon import squatted


class Sessions:
    def __init__(self) -> None:
        self.logins: list[tuple[str, bool]] = []
        self.logouts: list[int] = []

    async def login(self, record: Record, *, multiple: bool = False) -> tuple[int, int]:
        self.logins.append((record["node.name"], multiple))
        return 1, 2

    async def logout(self, sid: int) -> None:
        self.logouts.append(sid)

    async def stats(self, sid: int) -> Statistics:
        return Statistics({"txdata_octets": sid}, {"eh_abort_cnt": 1})

    def states(self, sids: Sequence[int] | None) -> dict[int, tuple[str, str]]:
        return {1: ("LOGGED IN", "NO CHANGE")} if sids == [1] else {}


async def no_discovery(args: Message) -> Message:
    raise AssertionError("open-iscsi's clients discover by themselves")


def test_requests(tmp_path: Path) -> None:
    """D-010, D-011, D-012: every question reaches the same code as over the native socket."""
    name = tmp_path / "initiatorname.iscsi"
    name.write_text("InitiatorName=iqn.2026-11.test:me\nInitiatorAlias=alias\n")
    settings = Settings(str(tmp_path / "iscsid.conf"), str(name))
    settings.reload()
    sessions = Sessions()
    stopped = []

    async def stop() -> None:
        stopped.append(True)

    async def main() -> None:
        handlers = compat.CompatRequests(Requests(sessions, settings, no_discovery, stop))
        await handlers.login({"node.name": "iqn.2026-11.test:one"}, multiple=True)
        await handlers.logout(5)
        found = await handlers.stats(9)
        assert (found.counters, found.custom) == ({"txdata_octets": 9}, {"eh_abort_cnt": 1})
        assert await handlers.states(1) == ("LOGGED IN", "NO CHANGE")
        with pytest.raises(SessionNotFound):
            await handlers.states(2)
        assert await handlers.config_file() == str(tmp_path / "iscsid.conf")
        assert await handlers.initiator_name() == "iqn.2026-11.test:me"
        assert await handlers.initiator_alias() == "alias"
        await handlers.stop()

    asyncio.run(main())
    assert sessions.logins == [("iqn.2026-11.test:one", True)]
    assert sessions.logouts == [5]
    assert stopped == [True]


def test_statistics_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-012: a kernel that does not answer is not waited for forever."""
    monkeypatch.setattr(compat, "STATISTICS_TIMEOUT_S", 0)

    class Silent(Sessions):
        async def stats(self, sid: int) -> Statistics:
            await asyncio.Event().wait()
            raise AssertionError

    async def stop() -> None:
        raise AssertionError

    async def main() -> None:
        requests = Requests(Silent(), Settings("", ""), no_discovery, stop)
        with pytest.raises(PyIscsiError) as caught:
            await compat.CompatRequests(requests).stats(1)
        assert caught.value.exit_code == 33

    asyncio.run(main())


NAME = f"pyiscsi-test-{os.getpid()}"


def env_of(path: Path) -> Env:
    return Env(socket_path=str(path / "native"), compat_socket=NAME)


def test_claim(tmp_path: Path) -> None:
    """D-002: a socket systemd passed is used; else one is bound; a second daemon is refused."""
    env = env_of(tmp_path)
    own_only = Env(socket_path=env.socket_path)
    assert asyncio.run(compat.claim(own_only, [])) is None
    own = asyncio.run(compat.claim(env, []))
    assert own is not None
    with own:
        assert asyncio.run(compat.claim(env, [("", own)])) is own
        own.listen()
        with pytest.raises(PyIscsiError, match=f"Can not bind IPC socket @{NAME}: Address already"):
            asyncio.run(compat.claim(env, []))


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")


@ROOT_ONLY
@pytest.mark.parametrize("backlog", [8, 0, None])
def test_name_taken_by_a_user(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    backlog: int | None,
) -> None:
    """An ordinary user who listens, accepts nobody or only binds does not stop us; he is named."""
    monkeypatch.setattr(compat, "HOLDER_PATIENCE_S", 0.2)
    env = Env(
        socket_path=str(tmp_path / "native"), compat_socket=NAME, proc_root=proc(tmp_path, {})
    )
    with squatted(NAME, backlog) as (_, pid), socket.socket(socket.AF_UNIX) as first:
        if backlog == 0:
            first.connect(f"\0{NAME}")
        assert asyncio.run(compat.claim(env, [])) is None
    (line,) = caplog.messages
    who = f"process {pid} of user 65534" if backlog else "a process that does not answer"
    assert line.startswith(f"@{NAME} is held by {who}, which is no iscsid: ")
    assert env.socket_path in line


def proc(root: Path, processes: dict[int | str, tuple[str, str]]) -> str:
    """A /proc with these processes (command name, network namespace), and ours in `net:[1]`."""
    processes["self"] = ("x", "net:[1]")
    for name, (comm, namespace) in processes.items():
        (root / f"proc/{name}/ns").mkdir(parents=True)
        (root / f"proc/{name}/comm").write_text(f"{comm}\n")
        (root / f"proc/{name}/ns/net").symlink_to(namespace)
    return str(root / "proc")


SECOND = 4_000_000


@pytest.mark.parametrize(
    ("pid", "comm", "namespace", "is_daemon"),
    [
        (SECOND, "iscsid", "net:[1]", True),
        (SECOND, "iscsid", "net:[2]", False),
        (SECOND, "iscsistart", "net:[1]", False),
        (os.getpid(), "iscsid", "net:[1]", False),
        (os.getppid(), "iscsid", "net:[1]", False),
    ],
)
def test_name_whose_holder_does_not_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pid: int,
    comm: str,
    namespace: str,
    is_daemon: bool,
) -> None:
    """D-002: it is an iscsid's when one of root runs where the same names are seen."""
    monkeypatch.setattr(compat, "HOLDER_PATIENCE_S", 0.1)
    root = proc(tmp_path, {pid: (comm, namespace)})
    env = Env(socket_path=str(tmp_path / "native"), compat_socket=NAME, proc_root=root)
    with compat_socket.bind(NAME):
        if is_daemon:
            with pytest.raises(PyIscsiError, match=f"Can not bind IPC socket @{NAME}: "):
                asyncio.run(compat.claim(env, []))
        else:
            assert asyncio.run(compat.claim(env, [])) is None


@ROOT_ONLY
def test_an_iscsid_of_a_user_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "HOLDER_PATIENCE_S", 0.1)
    root = proc(tmp_path, {SECOND: ("iscsid", "net:[1]")})
    os.chown(f"{root}/{SECOND}", 65534, -1)
    env = Env(socket_path=str(tmp_path / "native"), compat_socket=NAME, proc_root=root)
    with compat_socket.bind(NAME):
        assert asyncio.run(compat.claim(env, [])) is None


@pytest.mark.parametrize(
    ("by_uid", "uid", "name", "allowed"),
    [
        (True, 0, None, True),
        (False, 0, None, True),
        (True, 1000, None, False),
        (False, 1000, "root", True),
        (False, 1000, "joe", False),
        (False, 1000, "", False),
    ],
)
def test_peers(
    monkeypatch: pytest.MonkeyPatch, by_uid: bool, uid: int, name: str | None, allowed: bool
) -> None:
    """D-003: the name is looked up only for users who need one; without it nobody is root."""
    asked = []

    def getpwuid(number: int) -> SimpleNamespace:
        asked.append(number)
        if not name:
            raise KeyError(number)
        return SimpleNamespace(pw_name=name)

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    settings = Settings("", "", ipc_auth_uid=by_uid)
    assert asyncio.run(compat.Peers(settings)(uid)) is allowed
    assert asked == ([] if name is None else [uid])
