"""Who may log in, and the questions about sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.daemon.registry import Registry
from pyiscsi.daemon.session import Session
from pyiscsi.errors import (
    ExitCode,
    LoggedOut,
    PyIscsiError,
    SessionExists,
    SessionNotFound,
    TransportError,
)
from pyiscsi.names import Pattern
from pyiscsi.transport.base import SessionUnbound, Statistics
from pyiscsi.transport.scripted import ScriptedKernel, ScriptedTransport
from tests.unit.daemon.actor_parts import INITIATOR, House, node, run, until


async def refused(registry: Registry, **settings: str) -> int:
    with pytest.raises(PyIscsiError) as caught:
        await registry.login(node(**settings))
    return int(caught.value.exit_code)


def test_login_logout_states_stats(tmp_path: Path) -> None:
    """D-064: a sid that is no session is 2, everywhere."""
    house = House(tmp_path)
    house.kernel.statistics = Statistics({"txdata_octets": 5}, {"eh_abort_cnt": 1})

    async def test() -> None:
        registry = house.registry()
        sid, host = await registry.login(node())
        assert (sid, host) == (1, 0)
        assert registry.states(None) == {1: ("LOGGED IN", "NO CHANGE")}
        assert registry.states([1, 2]) == {1: ("LOGGED IN", "NO CHANGE")}
        assert (await registry.stats(1)).custom == {"eh_abort_cnt": 1}
        await registry.logout(1)
        assert registry.states(None) == {}
        for question in (registry.stats(1), registry.logout(1), registry.logout(-1)):
            with pytest.raises(SessionNotFound):
                await question
        await registry.close()

    run(test())
    assert house.kernel.is_empty()


def test_a_second_login_is_refused(tmp_path: Path) -> None:
    """D-041: 15 for a session of ours, and for one that others made; another iface is free."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        assert await refused(registry) == ExitCode.SESSION_EXISTS
        assert await refused(house.registry()) == ExitCode.SESSION_EXISTS
        record = node(iscsi_ifacename="other")
        assert await registry.login(record) == (2, 1)
        await registry.close()

    run(test())


def test_the_same_login_twice_at_once(tmp_path: Path) -> None:
    """D-041: one succeeds, the other gets 15 at once."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        results = await asyncio.gather(
            *(registry.login(node()) for _ in range(5)), return_exceptions=True
        )
        assert results[0] == (1, 0)
        assert all(isinstance(result, SessionExists) for result in results[1:])
        await registry.close()

    run(test())


def test_one_portal_under_two_spellings_at_once(tmp_path: Path) -> None:
    """D-041: names are resolved for the comparison, also with a login that has only begun."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        results = await asyncio.gather(
            registry.login(node(address="::1")),
            registry.login(node(address="0:0:0:0:0:0:0:1")),
            registry.login(node(address="192.0.2.7")),
            return_exceptions=True,
        )
        assert isinstance(results[1], SessionExists)
        assert not isinstance(results[0], BaseException)
        assert not isinstance(results[2], BaseException)
        await registry.close()

    run(test())


def test_several_sessions_when_asked_for(tmp_path: Path) -> None:
    """D-041: `multiple` makes exactly as many as are asked for."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await asyncio.gather(*(registry.login(node(), multiple=True) for _ in range(3)))
        assert sorted(registry.states(None)) == [1, 2, 3]
        await registry.close()

    run(test())


def test_logins_that_are_given_up(tmp_path: Path) -> None:
    """Only those that were meant, and only as long as the kernel has no session of theirs."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node(address="192.0.2.9"))
        house.network.hangs = True
        logins = [asyncio.create_task(registry.login(node(address=f"192.0.2.{n}"))) for n in (1, 2)]
        await until(lambda: len(house.network.connected) == 3)
        ended = await registry.give_up_logins(Pattern(address="192.0.2.1"))
        assert [key.address for key in ended] == ["192.0.2.1"]
        with pytest.raises(LoggedOut):
            await logins[0]
        assert not logins[1].done()
        for other in (Pattern(port=3261), Pattern("iqn.a:no"), Pattern(iface="no")):
            assert await registry.give_up_logins(other) == []
        assert [key.address for key in await registry.give_up_logins(Pattern())] == ["192.0.2.2"]
        with pytest.raises(LoggedOut):
            await logins[1]
        assert registry.states(None) == {1: ("LOGGED IN", "NO CHANGE")}
        await registry.close()

    run(test())
    assert house.network.all_closed()


def test_a_login_that_failed_may_be_repeated(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        house.target.script.append((2, 3))
        assert await refused(registry) == ExitCode.FATAL_LOGIN
        await registry.login(node())
        await registry.close()

    run(test())


def test_admission(tmp_path: Path) -> None:
    """Unknown transport 12; no initiator name 5, unless the iface has one."""
    house = House(tmp_path)
    house.settings.initiator_name = ""

    async def test() -> None:
        registry = house.registry()
        assert await refused(registry, transport_name="nix") == ExitCode.TRANSPORT_NOT_FOUND
        assert await refused(registry) == ExitCode.LOGIN
        await registry.login(node(initiatorname="iqn.2026-11.test:iface"))
        assert house.kernel.params[1, 0][34] == "iqn.2026-11.test:iface"
        await registry.close()

    run(test())
    assert house.kernel.operations().count("create_session") == 1


def test_a_changed_initiator_name_counts_for_the_next_login(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        house.settings.initiator_name = "iqn.2026-11.test:new"
        await registry.login(node(), multiple=True)
        await registry.close()

    run(test())
    assert house.kernel.params[1, 0][34] == INITIATOR.name
    assert house.kernel.params[2, 0][34] == "iqn.2026-11.test:new"


async def _no_answer(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
    await asyncio.sleep(timeout_s)
    raise TransportError("no answer from the resolver")


def test_dead_portals_hold_nobody_up(tmp_path: Path) -> None:
    """D-040: a refused, a silent and an unresolvable portal beside one that works."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        house.network.always = TransportError("Connection refused")
        dead = asyncio.create_task(refused(registry, address="192.0.2.66"))
        await until(lambda: len(house.network.connected) > 3)
        house.network.always = None
        house.target.script.append("silent")
        silent = asyncio.create_task(refused(registry, address="192.0.2.67"))
        await until(lambda: house.target.logins)
        resolve = house.network.resolve
        house.network.resolve = _no_answer  # type: ignore[method-assign,assignment]
        unresolvable = asyncio.create_task(refused(registry, address="dead.example"))
        await asyncio.sleep(0.05)
        house.network.resolve = resolve  # type: ignore[method-assign]
        start = asyncio.get_running_loop().time()
        await registry.login(node())
        assert asyncio.get_running_loop().time() - start < 0.1
        assert not any(task.done() for task in (dead, silent, unresolvable))
        for task in (dead, silent, unresolvable):
            task.cancel()
        await registry.close()

    run(test())


def test_corrections_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node(logout_timeout="0"))
        await registry.close()

    run(test())
    assert (
        "Invalid timeo.logout_timeout. Must be greater than zero. Using default 15."
        in caplog.messages
    )


def test_close_leaves_sessions_and_undoes_logins(tmp_path: Path) -> None:
    """D-076: sessions stay; a login that was not done leaves nothing."""
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        house.target.always = "silent"
        login = asyncio.create_task(refused(registry, iscsi_ifacename="other"))
        await until(lambda: len(house.target.logins) == 2)
        await registry.close()
        assert await login == ExitCode.LOGIN

    run(test())
    assert house.kernel.connections == {(1, 0): "started"}
    assert "unbind_session" not in house.kernel.operations()


def test_no_login_begins_after_close(tmp_path: Path) -> None:
    """D-076: one that was just being admitted, or comes now, makes nothing in the kernel."""
    house = House(tmp_path)

    async def test() -> None:
        driver_loaded = asyncio.Event()

        class SlowKernel(ScriptedKernel):
            async def transport(self, name: str) -> ScriptedTransport:
                await driver_loaded.wait()
                return await super().transport(name)

        registry = Registry(
            SlowKernel(house.kernel), house.env, house.settings, network=house.network
        )
        admitting = asyncio.create_task(refused(registry))
        await asyncio.sleep(1)
        await registry.close()
        driver_loaded.set()
        assert await admitting == ExitCode.LOGIN
        assert await refused(registry) == ExitCode.LOGIN
        house.kernel.put(7)
        with pytest.raises(SessionNotFound):
            await registry.logout(7)

    run(test())
    assert house.kernel.calls == []


def test_close_waits_for_a_logout(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        unbound = asyncio.Event()

        async def slow_unbind(sid: int) -> None:
            await asyncio.sleep(2)
            house.kernel.emit(SessionUnbound(sid))
            unbound.set()

        house.kernel.unbind_session = slow_unbind  # type: ignore[method-assign]
        logout = asyncio.create_task(registry.logout(1))
        await asyncio.sleep(1)
        await registry.close()
        assert unbound.is_set()
        await logout

    run(test())
    assert house.kernel.is_empty()


@pytest.mark.parametrize("setting", [True, False])
def test_safe_logout_is_the_daemons_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: bool
) -> None:
    """D-063: iscsid.safe_logout reaches the session, with the mount table to look into."""
    house = House(tmp_path)
    house.settings.safe_logout = setting
    asked: list[tuple[bool, str]] = []

    async def log_out(_session: Session, *, safely: bool, proc_root: str) -> None:
        asked.append((safely, proc_root))

    async def test() -> None:
        registry = house.registry()
        await registry.login(node())
        monkeypatch.setattr(Session, "log_out", log_out)
        await registry.logout(1)
        await registry.close()

    run(test())
    assert asked == [(setting, house.env.proc_root)]
