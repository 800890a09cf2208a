"""What a command works with: the daemon, started once, and the settings it has in force."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyiscsi.errors import IpcError
from pyiscsi.ops.context import Context
from pyiscsi.records.schema import NODE
from tests.unit.ops.daemon import FakeDaemon, serving
from tests.unit.sysfs.capture import env_of

REFUSED = "can not connect to iSCSI daemon (111)!"
NO_STARTUP = (
    "iscsid is not running. Could not start it up automatically using the startup command in the "
    "iscsid.conf iscsid.startup setting. Please check that the file exists or that your init "
    "scripts have started iscsid."
)
RETRIES = "node.session.initial_login_retry_max"


def conf(root: Path, *lines: str) -> None:
    (root / "etc/iscsi/iscsid.conf").write_text("".join(f"{line}\n" for line in lines))


def context_of(root: Path) -> Context:
    return Context(env_of(root))


def test_importing_it_imports_nothing_else() -> None:
    """Commands on records import it."""
    code = (
        "import sys; before = set(sys.modules); import pyiscsi.ops.context;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        "__future__", "pyiscsi", "pyiscsi.errors", "pyiscsi.ops", "pyiscsi.ops.context"
    ]  # fmt: skip


def test_parts_are_made_once(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    assert context.nodes is context.nodes
    assert context.tree is context.tree
    assert context.ifaces.database is context.nodes.database is context.discovery.database


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], [NO_STARTUP, REFUSED]),
        (["iscsid.startup = "], ["Invalid config line for iscsid.startup. Missing value",
                                 NO_STARTUP, REFUSED]),
        (["iscsid.startup = /bin/false"], [REFUSED]),
        (["iscsid.startup = echo noise; echo noise >&2; exit 3"], [REFUSED]),
    ],
)  # fmt: skip
def test_no_daemon(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], lines: list[str], said: list[str]
) -> None:
    """CLI-212: the startup command runs, and its noise stays away from our streams."""
    context = context_of(tmp_path)
    conf(tmp_path, *lines)
    with pytest.raises(IpcError) as caught:
        context.client()
    assert str(caught.value).split("\n") == said
    assert caught.value.exit_code == 20
    assert capfd.readouterr() == ("", "")


def test_missing_file_is_said(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    with pytest.raises(IpcError) as caught:
        context.client()
    path = context.env.config_file
    assert str(caught.value).split("\n") == [
        f"can't open iscsid.startup configuration file {path}", NO_STARTUP, REFUSED
    ]  # fmt: skip


def test_startup_runs_once_through_the_shell(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    proof = tmp_path / "proof"
    conf(tmp_path, f"iscsid.startup = echo run >> {proof} && false")
    for _ in range(3):
        with pytest.raises(IpcError, match=r"can not connect"):
            context.client()
    assert proof.read_text() == "run\n"


def test_without_start(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    proof = tmp_path / "proof"
    conf(tmp_path, f"iscsid.startup = echo run >> {proof}")
    with pytest.raises(IpcError, match=r"can not connect"):
        context.client(start=False)
    assert not proof.exists()


def test_startup_that_brings_the_daemon_up(tmp_path: Path) -> None:
    """D-013: the command succeeds when somebody listens once its startup command is done."""
    context = context_of(tmp_path)
    with serving(context.env, FakeDaemon()):
        socket = Path(context.env.socket_path)
        hidden = socket.with_suffix(".hidden")
        socket.rename(hidden)
        conf(tmp_path, f"iscsid.startup = mv {hidden} {socket}")
        assert context.client() is context.client()
        context.drop_client()


def test_startup_that_fails_although_the_daemon_runs(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    with serving(context.env, FakeDaemon()):
        socket = Path(context.env.socket_path)
        hidden = socket.with_suffix(".hidden")
        socket.rename(hidden)
        conf(tmp_path, f"iscsid.startup = mv {hidden} {socket}; exit 1")
        context.client()
        context.drop_client()


def test_settings_file_of_the_daemon(tmp_path: Path) -> None:
    """CLI-167: the file iscsid works with decides, not the one at the usual place."""
    context = context_of(tmp_path)
    conf(tmp_path, f"{RETRIES} = 5")
    other = tmp_path / "other.conf"
    other.write_text(f"{RETRIES} = 6\n")
    with serving(context.env, FakeDaemon(str(other))) as daemon:
        assert context.config.defaults(NODE)[RETRIES] == "6"
        assert context.config.defaults(NODE)[RETRIES] == "6"
        context.drop_client()
    assert len(daemon.of("config")) == 1
    assert context.notices == []


def test_settings_without_daemon(tmp_path: Path) -> None:
    """daemon-down: built-in defaults, and a line for the case that the command fails."""
    context = context_of(tmp_path)
    conf(tmp_path, "iscsid.startup = /bin/false", f"{RETRIES} = 5")
    assert context.config.defaults(NODE)[RETRIES] == "4"
    assert context.notices == [REFUSED]


def test_problems_of_the_settings_file_become_notices(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    conf(tmp_path, "nonsense")
    with serving(context.env, FakeDaemon(context.env.config_file)):
        assert context.config is not None
        context.drop_client()
    assert len(context.notices) == 1


def test_startup_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up and said so; the daemon is then asked for once more."""
    monkeypatch.setattr("pyiscsi.ops.context._STARTUP_TIMEOUT_S", 0.2)
    context = context_of(tmp_path)
    conf(tmp_path, "iscsid.startup = exec sleep 60")
    with pytest.raises(IpcError) as caught:
        context.client()
    said = "iscsid.startup has not ended within 0.2 seconds"
    assert str(caught.value).split("\n") == [said, REFUSED]
    assert caught.value.exit_code == 20


def test_a_silent_daemon_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command for many records must not wait for each of them."""
    monkeypatch.setattr("pyiscsi.ipc.stream.CONNECT_TIMEOUT_S", 0.2)
    context = context_of(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(context.env.socket_path)
        listener.listen()
        for _ in range(3):
            with pytest.raises(IpcError) as caught:
                context.client()
            assert caught.value.exit_code == 33
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
