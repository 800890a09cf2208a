"""The iscsid command: read the options, run the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli import getopt
from pyiscsi.env import Env

if TYPE_CHECKING:
    from pyiscsi.daemon.app import Options

OPTIONS = (
    ("config", "c", getopt.VALUE),
    ("initiatorname", "i", getopt.VALUE),
    ("foreground", "f", getopt.NO_VALUE),
    ("debug", "d", getopt.VALUE),
    ("uid", "u", getopt.VALUE),
    ("gid", "g", getopt.VALUE),
    ("no-pid-file", "n", getopt.NO_VALUE),
    ("pid", "p", getopt.VALUE),
    ("help", "h", getopt.NO_VALUE),
    ("version", "v", getopt.NO_VALUE),
)

HELP = """\
Usage: iscsid [OPTION]
Open-iSCSI initiator daemon.
  -c, --config=[path]     Execute using the config file (/etc/iscsi/iscsid.conf).
  -i, --initiatorname=[path]     read initiatorname from file (/etc/iscsi/initiatorname.iscsi).
  -f, --foreground        Make the program run in the foreground
  -d, --debug debuglevel  Print debugging information
  -u, --uid=uid           Run as uid, default is current user
  -g, --gid=gid           Run as gid, default is current user group
  -n, --no-pid-file       Do not use a pid file
  -p, --pid=pidfile       Use pid file (default /run/iscsid.pid).
  -h, --help              Display this help and exit
  -v, --version           Display version and exit
"""
TRY_LINE = "Try `iscsid --help' for more information.\n"


class UsageError(Exception):
    """The command line is wrong; the text is the complaint's whole line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run iscsid; the exit status, once the daemon has ended. argv[0] is the program's name."""
    words = sys.argv if argv is None else list(argv)
    env = Env.from_environ()
    try:
        chosen = read_options(words, posix="POSIXLY_CORRECT" in os.environ)
        if isinstance(chosen, str):
            sys.stdout.write(chosen)
            return 0
        options = daemon_options(chosen, env)
    except UsageError as error:
        sys.stderr.write(f"{error}\n{TRY_LINE}")
        return 1
    from pyiscsi.daemon import app, loop

    status = app.run(options, env, os.environ)
    if loop.stuck_threads():
        os._exit(status)
    return status


def read_options(words: Sequence[str], *, posix: bool = False) -> dict[str, str] | str:
    """Values by option letter, or the text that -h or -v asks for; the first of them counts."""
    shown = getopt.shown_program(words[0], os.environ.get("PATH"))
    chosen: dict[str, str] = {}
    for token in getopt.scan(words[1:], OPTIONS, posix=posix):
        if token.letter == getopt.PROBLEM:
            raise UsageError(f"{shown}: {token.problem}")
        if token.letter == "h":
            return HELP
        if token.letter == "v":
            return f"iscsid version {INTERFACE_VERSION}\n"
        chosen[token.letter] = token.value
    return chosen


def daemon_options(chosen: dict[str, str], env: Env) -> Options:
    """Raises UsageError for options that contradict each other (usr/iscsid.c)."""
    if "n" in chosen and "p" in chosen:
        raise UsageError("error: Conflicting PID-file options requested")
    if "f" in chosen and "p" in chosen:
        raise UsageError("error: PID file specified but unused in foreground mode")
    from pyiscsi.daemon.app import Options

    no_pid_file = "n" in chosen or "f" in chosen
    return Options(
        config_file=_absolute(chosen.get("c", env.config_file)),
        initiatorname_file=_absolute(chosen.get("i", env.initiatorname_file)),
        foreground="f" in chosen,
        debug=_number(chosen.get("d", "0")),
        uid=_number(chosen["u"]) if "u" in chosen else None,
        gid=_number(chosen["g"]) if "g" in chosen else None,
        pid_file="" if no_pid_file else _absolute(chosen.get("p", env.pid_file)),
    )


def _absolute(path: str) -> str:
    """The daemon leaves the directory it was started in."""
    return os.path.abspath(path)


def _number(text: str) -> int:
    """atoi(): leading digits, 0 when there are none."""
    digits = ""
    for char in text.strip():
        if not (char.isascii() and char.isdigit()):
            break
        digits += char
    return int(digits or "0")


if __name__ == "__main__":
    sys.exit(main())
