"""Loading kernel modules: once, in time, with the reason logged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyiscsi.errors import ExitCode, TransportError
from pyiscsi.transport.modules import ModuleLoader


def modprobe(folder: Path, body: str) -> tuple[Path, Path]:
    """A program that notes its arguments in a file."""
    log, script = folder / "log", folder / "modprobe"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{body}\n')
    script.chmod(0o755)
    return script, log


@pytest.mark.parametrize(
    ("name", "module"),
    [("tcp", "iscsi_tcp"), ("iser", "ib_iser"), ("cxgb4i", "cxgb4i"), ("be2iscsi", "be2iscsi")],
)
def test_module_of_a_transport(tmp_path: Path, name: str, module: str) -> None:
    script, log = modprobe(tmp_path, "")
    asyncio.run(ModuleLoader((str(script), "-b", "--")).load_transport(name))
    assert log.read_text() == f"-b -- {module}\n"


def test_loaded_once_for_all_who_ask(tmp_path: Path) -> None:
    script, log = modprobe(tmp_path, "")

    async def main() -> None:
        loader = ModuleLoader((str(script),))
        await asyncio.gather(*(loader.load_transport("tcp") for _ in range(20)))
        await loader.load_transport("tcp")

    asyncio.run(main())
    assert log.read_text() == "iscsi_tcp\n"


@pytest.mark.parametrize("name", ["", "../x", "-r", "a b", "iscsi\n", "é", "a;b"])
def test_impossible_names_start_nothing(tmp_path: Path, name: str) -> None:
    script, log = modprobe(tmp_path, "")
    with pytest.raises(TransportError) as refused:
        asyncio.run(ModuleLoader((str(script),)).load_transport(name))
    assert refused.value.exit_code == ExitCode.TRANSPORT_NOT_FOUND
    assert not log.exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("sh", "-c", "echo FATAL: not found >&2; exit 1"), "FATAL: not found"),
        (("/proc/nonexistent/modprobe",), "No such file or directory"),
    ],
)
def test_failure_is_logged(
    command: tuple[str, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TransportError) as failed:
        asyncio.run(ModuleLoader(command).load_transport("tcp"))
    assert failed.value.exit_code == ExitCode.TRANSPORT_NOT_FOUND
    assert "Could not insert module iscsi_tcp: " in caplog.text
    assert reason in caplog.text


def test_deadline_ends_a_stuck_modprobe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process is killed, and the next who asks may try again."""
    script, _ = modprobe(tmp_path, "exec sleep 1000")

    async def main() -> None:
        loader = ModuleLoader((str(script),), deadline_s=0.3)
        for _ in range(2):
            with pytest.raises(TransportError):
                await loader.load_transport("tcp")

    asyncio.run(main())
    assert caplog.text.count("no answer in 0.3 s") == 2
