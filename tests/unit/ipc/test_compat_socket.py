"""Open-iscsi's name for its socket: which it is, getting it, and seeing who else has it."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc import compat_socket
from pyiscsi.ipc.compat_server import Server

NAME = f"pyiscsi-test-{os.getpid()}"


def test_address() -> None:
    """D-001: a NUL and 27 characters, nothing behind them; backlog; the first to bind has it."""
    address = compat_socket.address(Env().compat_socket)
    assert address == "\0ISCSIADM_ABSTRACT_NAMESPACE"
    assert len(address) + 2 == 30
    assert Server.backlog >= 32
    with compat_socket.bind(NAME) as listener:
        assert listener.getsockname() == f"\0{NAME}".encode()
        with pytest.raises(compat_socket.NameTaken, match=f"Can not bind IPC socket @{NAME}: "):
            compat_socket.bind(NAME)
        assert compat_socket.choose([("", listener)], NAME) is listener
        assert compat_socket.choose([("", listener)], NAME[:-1]) is None
    with pytest.raises(PyIscsiError, match="too long") as caught:
        compat_socket.bind("x" * 200)
    assert not isinstance(caught.value, compat_socket.NameTaken)


@pytest.mark.parametrize(
    ("path", "variable", "name"),
    [
        ("/run/iscsid.sock", "", "ISCSIADM_ABSTRACT_NAMESPACE"),
        ("/tmp/own.sock", "", ""),
        ("/tmp/own.sock", "other", "other"),
        ("/run/iscsid.sock", "other", "other"),
        ("/run/iscsid.sock", "none", ""),
    ],
)
def test_which_name(path: str, variable: str, name: str) -> None:
    """An installation aside of the machine's own does not take its name."""
    environ = {"PYISCSI_SOCKET": path, "PYISCSI_COMPAT_SOCKET": variable}
    assert Env.from_environ(environ).compat_socket == name


def test_who_holds_it() -> None:
    """Whoever called listen(), waited for while he is about to; nobody, when he never does."""
    assert compat_socket.holder(NAME, 0) is None
    with compat_socket.bind(NAME) as listener:
        assert compat_socket.holder(NAME, 0.2) is None
        timer = threading.Timer(0.2, listener.listen)
        timer.start()
        assert compat_socket.holder(NAME, 30) == (os.getpid(), os.geteuid())
        timer.join()


def test_a_holder_that_accepts_nobody() -> None:
    with compat_socket.bind(NAME) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.listen(0)
        first.connect(f"\0{NAME}")
        assert compat_socket.holder(NAME, 0.2) is None
