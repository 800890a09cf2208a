"""The iscsiadm command: read the line, hand it to its mode, report, exit.

Every start pays for what is imported here, so modes, the database and the daemon's client are
imported when a command line needs them (tests/unit/cli/test_import_budget.py).
"""

from __future__ import annotations

import os
import sys

from pyiscsi.cli.options import TRY_LINE, Done, Options, parse
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.errors import (
    ExitCode,
    InvalidArgument,
    IpcError,
    PyIscsiError,
    RecordError,
    error_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyiscsi.ops.context import Context

_MODES = {
    "node": "pyiscsi.cli.modes.node",
    "discovery": "pyiscsi.cli.modes.discovery",
    "discoverydb": "pyiscsi.cli.modes.discoverydb",
    "session": "pyiscsi.cli.modes.session",
    "iface": "pyiscsi.cli.modes.iface",
    "host": "pyiscsi.cli.modes.host",
    "fw": "pyiscsi.cli.modes.fw",
}

_TRACED = 2
"""The least -d for which there is more to show than what the command says by itself."""

_STOP_TIMEOUT_S = 1.0
"""As the original: iscsid answers a stop request before it goes about it."""


def main(argv: Sequence[str] | None = None, out: Output | None = None) -> int:
    """Run one command; returns the exit status. argv[0] is the program's name."""
    out = out or Output()
    os.umask(0o077)
    try:
        status = run(sys.argv if argv is None else argv, Env.from_environ(), out)
    except Done as done:
        status = done.status
    except KeyboardInterrupt:
        out.err("caught SIGINT, exiting...")
        status = ExitCode.GENERIC
    except BrokenPipeError:
        status = ExitCode.GENERIC
    except PyIscsiError as error:
        status = out.report_error(error)
    except OSError as error:
        status = _report_os_error(error, out)
    except MemoryError:
        out.err(error_text(ExitCode.NO_MEMORY))
        status = ExitCode.NO_MEMORY
    return out.finish(status)


def run(argv: Sequence[str], env: Env, out: Output) -> int:
    """Read the line and do what it says. Raises PyIscsiError, Done and OSError."""
    posix = "POSIXLY_CORRECT" in os.environ
    options = parse(argv, env, out, posix=posix)
    if out.debug_level < _TRACED:
        return _act(options, env, out)
    from pyiscsi.cli.trace import Tracing

    with Tracing(env, out):
        return _act(options, env, out)


def _act(options: Options, env: Env, out: Output) -> int:
    if options.kill_priority is not None:
        return _stop_daemon(options.kill_priority, env, out)
    if options.mode is None:
        out.raw_err(TRY_LINE)
        return ExitCode.INVALID
    _make_root(env.db_root)
    return _dispatch(options, env, out)


def _dispatch(options: Options, env: Env, out: Output) -> int:
    mode = __import__(_MODES[options.mode or ""], fromlist=("run",))
    with open_context(env) as context:
        out.notices = context.notices
        status: int = mode.run(options, context, out)
    return status


def open_context(env: Env) -> Context:
    """A command's access to everything; discovery works with open-iscsi's daemon too."""
    from pyiscsi.ops.context import Context

    def discover(config: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        from pyiscsi.daemon import solo

        return solo.discover(env, config, args)

    return Context(env, discover)


def _make_root(path: str) -> None:
    try:
        os.mkdir(path, 0o770)
    except FileExistsError:
        pass
    except OSError as error:
        raise RecordError(
            f"Could not make {path} {error.errno}\nexiting due to idbm configuration error", path
        ) from error


def _stop_daemon(priority: int, env: Env, out: Output) -> int:
    """-k: ask iscsid to end; sessions stay. A failure is a failure, where the original says 0."""
    if priority:
        raise InvalidArgument(f"Invalid iscsid priority {priority}. Priority must be 0.")
    from pyiscsi.ipc import either

    try:
        client = either.connect(env, timeout=_STOP_TIMEOUT_S)
        try:
            client.request("stop", timeout=_STOP_TIMEOUT_S)
        finally:
            client.close()
    except PyIscsiError as error:
        code = error.exit_code
        if isinstance(error, IpcError) or str(error) != error_text(code):
            out.err(str(error))
        out.err(f"initiator reported error ({code} - {error_text(code)})")
        out.err("Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually")
        return code
    return ExitCode.SUCCESS


def _report_os_error(error: OSError, out: Output) -> int:
    where = f"{error.filename}: " if error.filename else ""
    out.err(f"{where}{error.strerror or error}")
    return ExitCode.DATABASE if error.filename else ExitCode.GENERIC


if __name__ == "__main__":
    sys.exit(main())
