"""The last attempt of a first login, which has less time than the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.daemon.places import AT_A_TIME
from pyiscsi.errors import ExitCode, PyIscsiError
from tests.unit.daemon.actor_parts import Stage, Target, node, run


@pytest.mark.parametrize(
    ("act", "status"),
    [("drop", ExitCode.PDU_TIMEOUT), ((3, 1), ExitCode.TRANSPORT_TIMEOUT)],
)
def test_it_does_not_hide_what_went_wrong(tmp_path: Path, act: object, status: int) -> None:
    """D-036: its connect is cut short by the window's end; the status is that of the others."""
    stage = Stage(tmp_path, node(login_timeout="5", initial_login_retry_max="2"))
    stage.target.always = act

    async def test() -> PyIscsiError:
        login = asyncio.create_task(stage.actor().log_in())
        await asyncio.sleep(6.5)
        stage.network.hangs = True
        with pytest.raises(PyIscsiError) as caught:
            await login
        return caught.value

    assert run(test()).exit_code == status
    assert stage.clean()


def test_silence_at_its_step_does_not_hide_it_either(tmp_path: Path) -> None:
    """The target refuses all but the last login, which it does not answer: still 8."""
    stage = Stage(tmp_path, node(login_timeout="5", initial_login_retry_max="2"))
    stage.target.always = (3, 1)

    async def test() -> PyIscsiError:
        login = asyncio.create_task(stage.actor().log_in())
        await asyncio.sleep(6.5)
        stage.target.always = "silent"
        with pytest.raises(PyIscsiError) as caught:
            await login
        return caught.value

    assert run(test()).exit_code == ExitCode.TRANSPORT_TIMEOUT
    assert stage.clean()


def test_a_turn_that_never_came_is_no_matter_of_names(tmp_path: Path) -> None:
    """All places are taken for longer than the window: 8, not 4."""
    stage = Stage(tmp_path, node(login_timeout="5", initial_login_retry_max="1"))

    async def resolve(host: str, port: int, timeout_s: float) -> list[tuple[str, int]]:
        await asyncio.sleep(0.01)
        return [(host, port)]

    async def test() -> PyIscsiError:
        stage.network.resolve = resolve  # type: ignore[method-assign,assignment]
        places = stage.around.places
        taken = [await places.take() for _ in range(AT_A_TIME)]
        login = asyncio.create_task(stage.actor().log_in())
        await asyncio.sleep(6)
        for place in taken:
            place.give_back()
        with pytest.raises(PyIscsiError) as caught:
            await login
        return caught.value

    assert run(test()).exit_code == ExitCode.TRANSPORT_TIMEOUT
    assert stage.clean()


def test_redirection_without_an_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-038: 19, and the log says what kind of refusal it was."""
    stage = Stage(tmp_path, target=Target((1, 1)))

    async def test() -> None:
        with pytest.raises(PyIscsiError) as caught:
            await stage.actor().log_in()
        assert caught.value.exit_code == ExitCode.FATAL_LOGIN

    run(test())
    assert "login rejected: redirection that leads nowhere (01/01)" in caplog.text
