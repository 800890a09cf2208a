"""What one command works with: the stores, the kernel's tree and the daemon, each on first use."""

from __future__ import annotations

from pyiscsi.errors import DaemonError, ExitCode, IpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiscsi.env import Env
    from pyiscsi.ipc.compat_client import Discover
    from pyiscsi.ipc.conversation import Conversation
    from pyiscsi.records.config import Config
    from pyiscsi.records.database import Database
    from pyiscsi.records.discovery import DiscoveryStore
    from pyiscsi.records.ifaces import IfaceStore
    from pyiscsi.records.nodes import NodeStore
    from pyiscsi.sysfs.tree import SysfsTree

_CONFIG_TIMEOUT_S = 1.0
"""As the original's: a busy daemon must not hold up a command that can do without it."""

_STARTUP_TIMEOUT_S = 120.0
"""Longer than a service manager gives a daemon to start."""

_STARTUP_KEY = "iscsid.startup"
_NO_STARTUP = (
    "iscsid is not running. Could not start it up automatically using the startup command in the "
    "iscsid.conf iscsid.startup setting. Please check that the file exists or that your init "
    "scripts have started iscsid."
)
_BUILT_IN_DEFAULTS = ""
"""No file: what open-iscsi falls back to when it cannot ask iscsid which file is in force."""


class Context:
    """One command's access to everything. `notices` are lines to show only if the command fails.

    Making it does nothing; every part is made when it is first asked for and kept.
    """

    __slots__ = (
        "_client", "_config", "_database", "_discover", "_discovery", "_ifaces", "_nodes",
        "_silence", "_startup_tried", "_tree", "env", "notices",
    )  # fmt: skip

    def __init__(self, env: Env, discover: Discover | None = None) -> None:
        self.env = env
        self._discover = discover
        self.notices: list[str] = []
        self._startup_tried = False
        self._silence: IpcError | None = None
        self._client: Conversation | None = None
        self._config: Config | None = None
        self._database: Database | None = None
        self._discovery: DiscoveryStore | None = None
        self._ifaces: IfaceStore | None = None
        self._nodes: NodeStore | None = None
        self._tree: SysfsTree | None = None

    @property
    def database(self) -> Database:
        """What the stores share: the lock, and the damage they met."""
        if self._database is None:
            from pyiscsi.records.database import Database

            self._database = Database(self.env)
        return self._database

    @property
    def nodes(self) -> NodeStore:
        if self._nodes is None:
            from pyiscsi.records.nodes import NodeStore

            self._nodes = NodeStore(self.env, self.database)
        return self._nodes

    @property
    def discovery(self) -> DiscoveryStore:
        if self._discovery is None:
            from pyiscsi.records.discovery import DiscoveryStore

            self._discovery = DiscoveryStore(self.env, self.database)
        return self._discovery

    @property
    def ifaces(self) -> IfaceStore:
        if self._ifaces is None:
            from pyiscsi.records.ifaces import IfaceStore

            self._ifaces = IfaceStore(self.env, self.database)
        return self._ifaces

    @property
    def tree(self) -> SysfsTree:
        if self._tree is None:
            from pyiscsi.sysfs.tree import SysfsTree

            self._tree = SysfsTree(self.env.sysfs_root)
        return self._tree

    @property
    def config(self) -> Config:
        """The settings file iscsid works with; built-in defaults while there is no iscsid."""
        if self._config is None:
            from pyiscsi.records.config import Config

            self._config = Config(self._config_path())
            self.notices.extend(self._config.problems)
        return self._config

    def _config_path(self) -> str:
        try:
            answer = self.client().request("config", timeout=_CONFIG_TIMEOUT_S)
        except (IpcError, DaemonError) as error:
            self.drop_client()
            if error.exit_code == ExitCode.INVALID_REQUEST:
                raise  # There is a daemon, of another release: its settings are not to be guessed.
            self.notices.extend(str(error).split("\n"))
            return _BUILT_IN_DEFAULTS
        return str(answer.get("config_file") or self.env.config_file)

    def client(self, *, start: bool = True) -> Conversation:
        """The connection to iscsid, which is started once if nobody listens and `start` is set.

        Raises IpcError; every call tries again until a connection is made, unless the daemon was
        silent: a command for many records must not wait for each of them.
        """
        if self._silence is not None:
            raise self._silence
        if self._client is None:
            try:
                if start and not self._startup_tried:
                    self._client = self._connect_or_start()
                else:
                    self._client = self._connect()
            except IpcError as error:
                if error.exit_code == ExitCode.REQUEST_TIMED_OUT:
                    self._silence = error
                raise
        return self._client

    def _connect(self, startup: Callable[[], None] | None = None) -> Conversation:
        from pyiscsi.ipc import either

        return either.connect(self.env, startup=startup, discover=self._discover)

    def close(self) -> None:
        """End what must not be left to chance: the connection to iscsid."""
        self.drop_client()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop_client(self) -> None:
        """Close the connection; the next use makes a new one. Needed after an IpcError."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect_or_start(self) -> Conversation:
        try:
            return self._connect(self._start_daemon)
        except _StartupFailed as failure:
            try:
                return self._connect()
            except IpcError as error:
                lines = "\n".join([*failure.lines, str(error)])
                raise IpcError(lines, error.exit_code) from error

    def _start_daemon(self) -> None:
        """Run the startup command of iscsid.conf. Raises _StartupFailed when that cannot help.

        Its path is the compiled-in one, because there is no daemon that could tell another.
        """
        from pyiscsi.records.config import read_scalar

        self._startup_tried = True
        command, problems = read_scalar(self.env.config_file, _STARTUP_KEY)
        if not command:
            raise _StartupFailed([*problems, _NO_STARTUP])
        if _run(command):
            raise _StartupFailed([])


def _run(command: str) -> int:
    """The status of a shell command. Raises _StartupFailed when it does not end."""
    import subprocess

    # Its words go nowhere: stderr must stay empty if the command succeeds after all, and a
    # daemon that keeps running with our pipe as its stderr would never let us go on.
    try:
        done = subprocess.run(  # noqa: S602 - the setting is a shell command by definition
            command,
            shell=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_STARTUP_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise _StartupFailed(
            [f"{_STARTUP_KEY} has not ended within {_STARTUP_TIMEOUT_S:g} seconds"]
        ) from error
    return done.returncode


class _StartupFailed(IpcError):
    """The startup command cannot help, so nobody need be waited for; `lines` say why."""

    exit_code = ExitCode.DAEMON_NOT_CONNECTED

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
