"""Connection loss and recovery, asynchronous messages, lost events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pyiscsi.daemon.full_feature import sense_code
from pyiscsi.daemon.session import Session
from pyiscsi.errors import TransportError
from pyiscsi.proto.pdu import AsyncEvent, LogoutResponse, NopIn
from pyiscsi.transport.base import ConnectionFailed, SessionDestroyed, StopFlag
from tests.unit.daemon.actor_parts import WHERE, House, Stage, node, run, until

OPERATIONAL = ("LOGGED IN", "NO CHANGE")
Play = Callable[[Session], Awaitable[None]]


def play(stage: Stage, scene: Play) -> None:
    """Log in, play a scene, leave."""

    async def test() -> None:
        actor = stage.actor()
        await actor.log_in()
        await scene(actor)
        await actor.detach()

    run(test())


def logins(stage: Stage) -> int:
    return len(stage.target.logins)


async def recovered(stage: Stage, actor: Session, count: int = 2) -> None:
    await until(lambda: logins(stage) == count and actor.words() == OPERATIONAL)


def _now() -> float:
    return asyncio.get_running_loop().time()


def test_recovery(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-050, D-022: stop, Time2Wait, reconnect, same session; devices set running; log lines."""
    stage = Stage(tmp_path, node(DefaultTime2Wait="4"))
    words: list[tuple[str, str]] = []

    async def scene(actor: Session) -> None:
        unit = stage.sysfs.add_unit(1, 0, state="offline")
        start = _now()
        stage.kernel.lose(1)
        await until(lambda: actor.words() != OPERATIONAL)
        words.append(actor.words())
        await recovered(stage, actor)
        assert _now() - start == pytest.approx(4, abs=0.5)
        await until(lambda: (unit / "state").read_text().strip() == "running")
        await until(lambda: (unit / "rescan").read_text().strip() == "1")

    play(stage, scene)
    assert words == [("TRANSPORT WAIT", "REOPEN")]
    operations = stage.kernel.operations()
    assert operations.count("create_session") == operations.count("create_conn") == 1
    stop = next(call for call in stage.kernel.calls if call.operation == "stop_conn")
    assert stop["flag"] == StopFlag.RECOVER
    assert (
        "Kernel reported iSCSI connection 1:0 error "
        f"(1020 - ISCSI_ERR_TCP_CONN_CLOSE: TCP connection closed) state (3) {WHERE}"
    ) in caplog.messages
    done = f"connection1:0 is operational after recovery (1 attempts) {WHERE}"
    assert done in caplog.messages


def test_the_target_asks_for_more_time(tmp_path: Path) -> None:
    """D-050: the negotiated DefaultTime2Wait is waited (RFC 7143 §13.15), not only the record's."""
    stage = Stage(tmp_path, node(DefaultTime2Wait="2"))
    stage.target.text += b"DefaultTime2Wait=9\0"

    async def scene(actor: Session) -> None:
        start = _now()
        stage.kernel.lose(1)
        await recovered(stage, actor)
        assert _now() - start == pytest.approx(9, abs=0.5)

    play(stage, scene)


@pytest.mark.parametrize("error", [TransportError("Name or service not known"), None])
def test_recovery_without_the_resolver(
    tmp_path: Path, error: TransportError | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The resolver may need the disk that is gone: its last answer is used for a minute, and
    for another one each time it refuses or hangs."""
    stage = Stage(tmp_path, node(**{"conn[0]__address": "portal.example"}))

    async def resolve(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
        asked.append(host)
        if error is None:
            await asyncio.sleep(timeout_s)
        raise error or TransportError("no answer from the resolver")

    asked: list[str] = []

    async def scene(actor: Session) -> None:
        stage.network.resolve = resolve  # type: ignore[method-assign,assignment]
        stage.network.outcomes = [TransportError("Connection refused")] * 5
        stage.kernel.lose(1)
        await recovered(stage, actor)
        assert asked == []
        await asyncio.sleep(1000)
        stage.network.always = TransportError("Connection refused")
        stage.kernel.lose(1)
        await asyncio.sleep(59)
        assert asked == []
        await asyncio.sleep(59)
        assert asked == ["portal.example"]
        await asyncio.sleep(59)
        assert len(asked) == 2
        stage.network.always = None
        await recovered(stage, actor, 3)
        assert {host for _, host, _ in stage.network.connected} == {"portal.example"}

    play(stage, scene)
    assert "portal.example: " in caplog.text


def test_a_new_address_of_the_portal_is_found(tmp_path: Path) -> None:
    """The name is resolved again once the known addresses have not answered for a minute."""
    stage = Stage(tmp_path, node(**{"conn[0]__address": "portal.example"}))

    async def resolve(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
        return [("192.0.2.77", port)]

    async def scene(actor: Session) -> None:
        stage.network.resolve = resolve  # type: ignore[method-assign,assignment]
        stage.network.outcomes = [TransportError("Connection refused")] * 100
        start = _now()
        stage.kernel.lose(1)
        await until(lambda: stage.network.connected[-1][1] == "192.0.2.77")
        assert 60 <= _now() - start < 70
        stage.network.outcomes = []
        await recovered(stage, actor)

    play(stage, scene)


def test_taken_over_without_the_resolver(tmp_path: Path) -> None:
    """A daemon that is new to the session has the address that the kernel is connected to."""
    house = House(tmp_path)

    async def resolve(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
        raise TransportError("Name or service not known")

    async def test() -> None:
        house.network.resolve = resolve  # type: ignore[method-assign,assignment]
        house.kernel.put(7)
        house.sysfs.connection(7, persistent_address="portal.example", address="192.0.2.5")
        registry = house.registry()
        await registry.adopt()
        house.kernel.lose(7)
        await until(lambda: house.target.logins)
        await until(lambda: registry.states(None) == {7: ("LOGGED IN", "NO CHANGE")})
        assert [host for _, host, _ in house.network.connected] == ["192.0.2.5"]
        await registry.close()

    run(test())


def test_devices_are_left_alone_where_scanning_is_manual(tmp_path: Path) -> None:
    """D-055: running again in any case, sizes re-read with scan=auto only."""
    stage = Stage(tmp_path, node(scan="manual"))

    async def scene(actor: Session) -> None:
        unit = stage.sysfs.add_unit(1, 0, state="offline")
        stage.kernel.lose(1)
        await recovered(stage, actor)
        await until(lambda: (unit / "state").read_text().strip() == "running")
        assert (unit / "rescan").read_text() == ""

    play(stage, scene)


def test_recovery_goes_on_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-052, D-053: no end without reopen_max, at most 3 s between tries; a log line at the first,
    and one with the count at the tenth."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.network.always = TransportError("No route to host")
        stage.kernel.lose(1)
        await until(lambda: len(stage.network.connected) > 60)
        tries = [when for when, _, _ in stage.network.connected][1:]
        assert max(b - a for a, b in pairwise(tries)) <= 3.01
        assert actor.words() == ("TRANSPORT WAIT", "REOPEN")
        stage.network.always = None
        await recovered(stage, actor)

    play(stage, scene)
    line = f"connect to 192.0.2.1:3260 failed (No route to host) {WHERE}"
    shown = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [text for text in shown if line in text] == [
        line,
        f"10 attempts failed, the last: {line}",
    ]


def test_authorization_lost_is_tried_again_slowly(tmp_path: Path) -> None:
    """A rejected session is kept: fatal only in a first login."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.target.always = (2, 1)
        stage.kernel.lose(1)
        await until(lambda: logins(stage) == 6)
        tries = [when for when, _, _ in stage.network.connected][1:]
        assert tries[-1] - tries[-2] > 15
        stage.target.always = "accept"
        await recovered(stage, actor, 7)

    play(stage, scene)


def test_reopen_max(tmp_path: Path) -> None:
    """D-053: given up, the session is taken down."""
    stage = Stage(tmp_path, node(reopen_max="3"))

    async def scene(actor: Session) -> None:
        stage.network.always = TransportError("No route to host")
        stage.kernel.lose(1)
        await until(lambda: stage.ended)

    play(stage, scene)
    assert len(stage.network.connected) == 1 + 4
    assert stage.clean()


def test_reconnect_attempts_are_short(tmp_path: Path) -> None:
    """D-052: a SYN that got lost is not waited for; a link that is back is found within 3 s."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.network.hangs = True
        stage.kernel.lose(1)
        await until(lambda: len(stage.network.connected) == 4)
        assert all(options["deadline_s"] <= 3 for options in stage.network.options[1:])
        stage.network.hangs = False
        await recovered(stage, actor)

    play(stage, scene)


def test_a_permanent_redirect_is_remembered(tmp_path: Path) -> None:
    """D-038: recovery starts at the new portal; after a temporary one at the configured."""
    for permanent, host in ((True, "192.0.2.9"), (False, "192.0.2.1")):
        stage = Stage(tmp_path / host)
        stage.target.script.append(("redirect", permanent, "192.0.2.9:3260,1"))

        async def scene(actor: Session, stage: Stage = stage) -> None:
            stage.kernel.lose(1)
            await recovered(stage, actor, 3)

        play(stage, scene)
        assert stage.network.connected[-1][1] == host


def test_invalid_host_ends_the_session(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.emit(ConnectionFailed(1, 0, 1018))
        await until(lambda: stage.ended)

    play(stage, scene)
    assert stage.clean()


def test_session_destroyed_by_somebody_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.sessions.clear()
        stage.kernel.connections.clear()
        stage.kernel.emit(SessionDestroyed(1))
        await until(lambda: stage.ended)

    play(stage, scene)
    assert "destroy_session" not in stage.kernel.operations()


def test_session_vanishes_during_recovery(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.network.always = TransportError("No route to host")
        stage.kernel.lose(1)
        await until(lambda: len(stage.network.connected) > 2)
        stage.kernel.sessions.clear()
        stage.kernel.connections.clear()
        stage.sysfs.remove(1)
        await until(lambda: stage.ended)

    play(stage, scene)


def test_lost_events_with_a_failed_connection(tmp_path: Path) -> None:
    """D-024: after ENOBUFS the state is read from sysfs."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.sysfs.session(1, state="FAILED")
        stage.sysfs.connection(1, state="failed")
        stage.kernel.connections[1, 0] = "failed"
        stage.kernel.lose_events()
        await recovered(stage, actor)

    play(stage, scene)


def test_lost_events_with_a_healthy_connection(tmp_path: Path) -> None:
    """D-024: nothing is done to a session that is fine."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.lose_events()
        await asyncio.sleep(30)
        assert actor.words() == OPERATIONAL

    play(stage, scene)
    assert "stop_conn" not in stage.kernel.operations()


def test_an_event_nobody_reported_is_found_by_looking(tmp_path: Path) -> None:
    """D-024: sysfs is looked at from time to time."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.sysfs.session(1, state="FAILED")
        await until(lambda: actor.words() != OPERATIONAL)
        stage.sysfs.session(1, state="LOGGED_IN")
        await recovered(stage, actor)

    play(stage, scene)


def test_target_requests_logout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-054: async event 1: Logout reason 0, then a new login."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.tell(1, AsyncEvent.LOGOUT_REQUEST, parameter3=10)
        await recovered(stage, actor)

    play(stage, scene)
    assert [request.reason for request in stage.target.logouts] == [0]
    assert "Target requests logout within 10 seconds" in caplog.text


def test_target_requests_logout_and_does_not_answer_it(tmp_path: Path) -> None:
    """D-054: the answer is not waited for longer than logout_timeout."""
    stage = Stage(tmp_path)
    stage.target.answers_logout = False

    async def scene(actor: Session) -> None:
        stage.kernel.tell(1, AsyncEvent.LOGOUT_REQUEST, parameter3=10)
        await recovered(stage, actor)

    play(stage, scene)


@pytest.mark.parametrize("event", [AsyncEvent.DROP_CONNECTION, AsyncEvent.DROP_ALL_CONNECTIONS])
@pytest.mark.parametrize(("asked", "waited"), [(9, 9), (65535, 3600)])
def test_target_announces_a_drop(tmp_path: Path, event: int, asked: int, waited: int) -> None:
    """D-054: async 2 and 3 set Time2Wait (within the RFC's bound), nothing happens before."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.tell(1, event, parameter2=asked)
        await asyncio.sleep(5)
        assert actor.words() == OPERATIONAL
        start = _now()
        stage.kernel.lose(1)
        await asyncio.sleep(waited - 1)
        await recovered(stage, actor)
        assert _now() - start == pytest.approx(waited, abs=0.5)

    play(stage, scene)


def test_target_requests_renegotiation(tmp_path: Path) -> None:
    """D-054: async 4 is a lost connection."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.tell(1, AsyncEvent.RENEGOTIATE)
        await recovered(stage, actor)

    play(stage, scene)


@pytest.mark.parametrize("event", [AsyncEvent.VENDOR, 5, 254])
def test_unknown_asynchronous_messages(
    tmp_path: Path, event: int, caplog: pytest.LogCaptureFixture
) -> None:
    """D-054: 255 and unknown ones are logged and nothing else."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.tell(1, event)
        await until(lambda: "AEN not supported" in caplog.text)
        assert actor.words() == OPERATIONAL

    play(stage, scene)


@pytest.mark.parametrize(("scan", "expected"), [("auto", "- - -"), ("manual", "")])
def test_target_reports_changed_units(tmp_path: Path, scan: str, expected: str) -> None:
    """Async 0 with 3f/0e scans for new units where scanning is automatic."""
    stage = Stage(tmp_path, node(scan=scan))
    sense = b"\x70" + bytes(11) + b"\x3f\x0e" + bytes(4)

    async def scene(actor: Session) -> None:
        (stage.sysfs.root / "class/scsi_host/host0/scan").write_text("")
        data = len(sense).to_bytes(2, "big") + sense
        stage.kernel.tell(1, AsyncEvent.SCSI_EVENT, data=data)
        await asyncio.sleep(1)
        assert stage.sysfs.scans(0) == expected

    play(stage, scene)


def test_a_flood_of_changed_units_is_two_scans(tmp_path: Path) -> None:
    """A target cannot make us collect work: one scan runs, one more is due."""
    stage = Stage(tmp_path)
    sense = b"\x72\x06\x3f\x0e" + bytes(4)
    data = len(sense).to_bytes(2, "big") + sense
    scans: list[int] = []

    async def scan(sid: int, host_no: int, queue_depth: int) -> None:
        scans.append(sid)
        await asyncio.sleep(5)

    async def scene(actor: Session) -> None:
        actor._scanner.scan = scan  # type: ignore[method-assign]
        for _ in range(100):
            stage.kernel.tell(1, AsyncEvent.SCSI_EVENT, data=data)
        await asyncio.sleep(30)
        assert scans == [1, 1]
        stage.kernel.tell(1, AsyncEvent.SCSI_EVENT, data=data)
        await asyncio.sleep(30)
        assert scans == [1, 1, 1]

    play(stage, scene)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"\0\x04\x70\0\0\0", None),
        (b"\0\x12\x70" + bytes(11) + b"\x29\x01" + bytes(4), (0x29, 1)),
        (b"\0\x08\x72\x06\x3f\x0e" + bytes(4), (0x3F, 0x0E)),
        (b"\xff\xff\x72\x06\x3f\x0e", (0x3F, 0x0E)),
    ],
)
def test_sense_code(data: bytes, code: tuple[int, int] | None) -> None:
    """Fixed and descriptor sense, cut short and with a false length."""
    assert sense_code(data) == code


@pytest.mark.parametrize(
    "pdu", [NopIn().encode(), (bytes([0x25]) + bytes(47), b""), (b"\x3f" + bytes(47), b"")]
)
def test_other_pdus_do_no_harm(tmp_path: Path, pdu: tuple[bytes, bytes]) -> None:
    """What the kernel should have kept for itself costs at most the connection."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.kernel.reply_pdu(1, *pdu)
        await asyncio.sleep(30)
        assert actor.words() == OPERATIONAL

    play(stage, scene)


def test_unasked_logout_response(tmp_path: Path) -> None:
    """The target logs us out: recovered, with its own Time2Wait where it gives one."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        start = _now()
        stage.kernel.reply_pdu(1, *LogoutResponse(response=2, time2wait=6).encode())
        await recovered(stage, actor)
        assert _now() - start == pytest.approx(6, abs=0.5)

    play(stage, scene)


@pytest.mark.parametrize("where", ["waiting", "connecting", "in login"])
def test_detached_during_recovery(tmp_path: Path, where: str) -> None:
    """The daemon ends: the session stays in the kernel, stopped, for the next daemon."""
    stage = Stage(tmp_path)

    async def scene(actor: Session) -> None:
        stage.target.always = "silent"
        stage.network.hangs = where == "connecting"
        stage.kernel.lose(1)
        done = {
            "waiting": lambda: actor.words() != OPERATIONAL,
            "connecting": lambda: len(stage.network.connected) == 2,
            "in login": lambda: logins(stage) == 2,
        }
        await until(done[where])

    play(stage, scene)
    assert stage.kernel.connections == {(1, 0): "stopped"}
    assert stage.network.all_closed()
