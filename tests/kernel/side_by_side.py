"""The same commands for open-iscsi's programs and ours, on adapters of the same kind."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.kernel import adapter, lio, machine

NETDEV = "lo"
"""Without a device of that name open-iscsi complains on stderr and goes on."""

_SIDS = (
    (re.compile(r"^([a-z0-9]+: \[)\d+(\] [^ ]+:\d+,)", re.MULTILINE), r"\1S\2"),
    (re.compile(r"(sid: )\d+"), r"\1S"),
    (re.compile(r"(SID: )\d+"), r"\1S"),
    (re.compile(r"([Ss]id )\d+"), r"\1S"),
)
"""Session numbers, which go on counting from one side to the next."""


@dataclass(frozen=True)
class Answer:
    """What one command answered, sids left out."""

    command: str
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}status {self.status}"


def answer(command: str) -> Answer:
    """Run a command; let udev settle where disks may have come or gone."""
    done = machine.run(command)
    if command.endswith((" -l", " -u", " login", " logout")):
        machine.settle()
    texts = []
    for text in (done.out, done.err):
        for pattern, replacement in _SIDS:
            text = pattern.sub(replacement, text)
        texts.append(text)
    return Answer(command, done.rc, *texts)


def play(
    programs: str,
    transport: str,
    commands: Sequence[str],
    *,
    has_iscsiuio: bool = True,
    extra_caps: int = 0,
) -> list[Answer]:
    """What `programs` answer to shell commands, with two adapters and a daemon.

    In a command `{H}` is the second adapter's host number, `{M}` its MAC address, `{IF}` the name
    of its IPv4 iface, `{P}` the module's parameters; `{CHAP}` and `{FLASH}` are how its CHAP table
    and its flashnodes are addressed.
    """
    daemon = machine.Daemon()
    machine.write_configuration(machine.configuration())
    machine.clear_database()
    with machine.using(programs), _two(transport, extra_caps) as found:
        try:
            daemon.start()
            words = _words(found)
            with adapter.iscsiuio() if has_iscsiuio else contextlib.nullcontext():
                return [answer(_fill(command, words)) for command in commands]
        finally:
            daemon.kill()
            machine.drop_sessions()
            machine.clear_database()


def _two(transport: str, extra_caps: int) -> contextlib.AbstractContextManager[adapter.Adapter]:
    return adapter.fakehba(transport, netdev=NETDEV, extra_caps=extra_caps)


def _words(found: adapter.Adapter) -> dict[str, str]:
    host = f"iscsiadm -m host -H {found.host(1)}"
    return {
        "{H}": str(found.host(1)),
        "{M}": found.mac(1),
        "{IF}": found.iface(1),
        "{P}": str(adapter.PARAMETERS),
        "{CHAP}": f"{host} -C chap",
        "{FLASH}": f"{host} -C flashnode",
    }


def _fill(command: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        command = command.replace(word, value)
    return command


def target(iqn: str) -> None:
    """What discovery and logins over a kernel's endpoints reach."""
    lio.create_target(iqn, ["127.0.0.1:3260"], size_mb=8)
