"""The iscsi_discovery command: discover what a portal offers and try a login to each of it.

Texts, statuses and what becomes of the records are those of open-iscsi's utils/iscsi_discovery.sh,
by the same functions that iscsiadm calls; docs/deviations.md has the differences.
"""

from __future__ import annotations

import os
import sys

from pyiscsi.cli import getopts
from pyiscsi.cli.getopt import NO_VALUE, VALUE
from pyiscsi.cli.iscsiadm import open_context
from pyiscsi.cli.options import Done
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, IpcError, NoObjectsFound, PyIscsiError, error_text
from pyiscsi.names import ISCSI_PORT, Pattern, format_portal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiscsi.names import NodeKey
    from pyiscsi.ops.context import Context

PROGRAM = "iscsi_discovery"

OPTIONS = (
    ("", "p", VALUE),
    ("", "d", NO_VALUE),
    ("", "t", VALUE),
    ("", "f", NO_VALUE),
    ("", "m", NO_VALUE),
    ("", "l", NO_VALUE),
)

USAGE = """\
Usage: {program} <IP> [-p <port>] [-d] [-t <tcp|iser> [-f]] [-m] [-l]
Options:
-p\t\tset the port number (default is 3260).
-d\t\tprint debugging information
-t\t\tset transport (default is tcp).
-f\t\tforce specific transport -disable the fallback to tcp (default is fallback enabled).
\t\t\tforce the transport specified by the argument of the -t flag.
-m\t\tmanual startup - will set manual startup (default is automatic startup).
-l\t\tlogin to the new discovered nodes (default is false).
"""

_NOTHING_DONE = 2
_INTERRUPTED = 130
"""The status a shell gives a program that SIGINT ended (128 + 2)."""

_FALLBACK = "tcp"
_STARTUP = "node.conn[0].startup"
_TRANSPORT = "iface.transport_name"
_NEEDS = {
    # iSER has no digests; cxgb3i takes PDUs up to 16 KiB, everything included.
    "iser": (
        ("node.conn[0].iscsi.HeaderDigest", "None"),
        ("node.conn[0].iscsi.DataDigest", "None"),
    ),
    "cxgb3i": (("node.conn[0].iscsi.MaxRecvDataSegmentLength", "8192"),),
}
"""Settings that go with a transport."""


class Wish:
    """What the command line asks for. `stay`: -l; `manual`: -m; `only`: no fallback to tcp, -f."""

    __slots__ = ("address", "debug", "manual", "only", "port", "stay", "transport")

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = ISCSI_PORT
        self.transport = _FALLBACK
        self.debug = self.manual = self.only = self.stay = False


def main(argv: Sequence[str] | None = None, out: Output | None = None) -> int:
    """Run the command; returns the exit status: 1 for a wrong line, 2 if nothing was tried."""
    out = out or Output(program=PROGRAM)
    os.umask(0o077)
    try:
        status = _run(sys.argv if argv is None else argv, Env.from_environ(), out)
    except Done as done:
        status = done.status
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except PyIscsiError as error:
        status = out.report_error(error)
    except OSError as error:
        out.err(str(error))
        status = ExitCode.GENERIC
    return out.finish(status)


def _run(argv: Sequence[str], env: Env, out: Output) -> int:
    with open_context(env) as context:
        out.notices = context.notices
        _require_daemon(context, out)
        wish = read_options(argv, out)
        _require_no_session(context, wish, out)
        found = _discover(context, wish, out)
        status = ExitCode.SUCCESS
        portals = {key.fields()[:3]: key for key in found}
        for key in portals.values():
            status = _Trial(context, wish, key, out).run() or status
        out.out(f"discovered {len(found)} targets at {wish.address}")
        return status


def _require_daemon(context: Context, out: Output) -> None:
    try:
        context.client(start=False)
    except IpcError as error:
        if error.exit_code != ExitCode.DAEMON_NOT_CONNECTED:
            raise
        out.out_lines(("iscsid is not running", "Exiting..."))
        raise Done(ExitCode.GENERIC) from error


def read_options(argv: Sequence[str], out: Output) -> Wish:
    """The address first, then the options. Raises Done for anything else."""
    usage = USAGE.format(program=argv[0]).splitlines()
    if len(argv) < 2:
        out.out_lines(usage)
        raise Done(ExitCode.GENERIC)
    wish = Wish(argv[1])
    if not _is_dotted_quad(wish.address):
        out.out(f"{wish.address} is not a vaild IP address!")
        raise Done(ExitCode.GENERIC)
    try:
        for token in getopts.read(argv[2:], OPTIONS, []):
            attribute, convert = _ATTRIBUTES[token.letter]
            setattr(wish, attribute, convert(token.value))
    except getopts.BadOption as error:
        out.raw_err(f"{argv[0]}: {error}\n")
        out.out_lines(usage)
        raise Done(ExitCode.GENERIC) from error
    if not wish.port:
        out.out_lines(usage)
        raise Done(ExitCode.GENERIC)
    return wish


def _is_dotted_quad(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(_number(part, 255) is not None for part in parts)


def _number(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > most:
        return None
    return int(text)


def _yes(_value: str) -> bool:
    return True


_ATTRIBUTES: dict[str, tuple[str, Callable[[str], object]]] = {
    "p": ("port", lambda value: _number(value, 0xFFFF) or 0),
    "d": ("debug", _yes),
    "t": ("transport", str),
    "f": ("only", _yes),
    "m": ("manual", _yes),
    "l": ("stay", _yes),
}


def _require_no_session(context: Context, wish: Wish, out: Output) -> None:
    from pyiscsi.ops import sessions

    if sessions.matching(context, Pattern(address=wish.address, port=wish.port)):
        out.out(
            f"Please logout from all targets on {wish.address}:{wish.port} "
            "before trying to run discovery on that portal"
        )
        raise Done(_NOTHING_DONE)


def _discover(context: Context, wish: Wish, out: Output) -> list[NodeKey]:
    """`-m discovery -t st`: makes the records. Raises Done when nothing is found."""
    from pyiscsi.ops import discover
    from pyiscsi.records.schema import SENDTARGETS

    if wish.debug:
        out.out(f"starting discovery to {wish.address}")
    out.before_waiting()
    record = discover.default_record(context, SENDTARGETS, wish.address, wish.port)
    try:
        context.discovery.write(record)
        effects = discover.Wish(new=True, update=True, delete=True)
        found, remarks = discover.targets(context, record, effects)
        for line in remarks:
            out.notice(line)
        if not found:
            raise NoObjectsFound("No portals found")
    except PyIscsiError as error:
        for line in getattr(error, "messages", ()) or str(error).split("\n"):
            out.err(line)
        out.err(f"Could not perform SendTargets discovery: {error_text(error.exit_code)}")
        out.out(f"failed to discover targets at {wish.address}")
        raise Done(_NOTHING_DONE) from error
    return found


class _Trial:
    """The attempts to log in to one portal of one target, through all ifaces it has records for."""

    def __init__(self, context: Context, wish: Wish, key: NodeKey, out: Output) -> None:
        self.context = context
        self.wish = wish
        self.target = key.target
        self.portal = format_portal(key.address, key.port)
        self.pattern = Pattern(key.target, key.address, key.port)
        self.out = out

    def run(self) -> int:
        """Try what was asked for, then tcp; returns the status of the logout that follows."""
        wish = self.wish
        self._debug(f"Testing {wish.transport}-login to target")
        if self._is_in_use():
            return self._failed(wish.transport)
        if self._attempt(wish.transport):
            return self._finish(wish.transport)
        if not wish.only and wish.transport != _FALLBACK:
            self._debug(f"starting to test {_FALLBACK}-login to target")
            if self._attempt(_FALLBACK):
                return self._finish(_FALLBACK)
        return ExitCode.SUCCESS

    def _debug(self, what: str) -> None:
        if self.wish.debug:
            self.out.out(f"{what} {self.target} portal {self.portal}")

    def _is_in_use(self) -> bool:
        """Such records are left as they are."""
        from pyiscsi.ops import sessions

        return bool(sessions.matching(self.context, self.pattern))

    def _attempt(self, transport: str) -> bool:
        pairs = [*_NEEDS.get(transport, ()), (_TRANSPORT, transport)]
        if not self.wish.manual:
            pairs.append((_STARTUP, "automatic"))
        self.out.before_waiting()
        if self._set(*pairs) and self._log_in():
            return True
        self._failed(transport)
        self._set((_STARTUP, "manual"))
        return False

    def _failed(self, transport: str) -> int:
        self.out.out(f"Cannot login over {transport} to portal {self.portal}")
        return ExitCode.SUCCESS

    def _set(self, *pairs: tuple[str, str]) -> bool:
        """`-m node -o update`; whether every record could be changed."""
        try:
            for key in self.context.nodes.keys(self.pattern):
                self.context.nodes.update(key, pairs)
        except PyIscsiError as error:
            self.out.notice(str(error))
            return False
        return True

    def _log_in(self) -> bool:
        from pyiscsi.ops.login import login_all

        try:
            keys = self.context.nodes.keys(self.pattern)
            records = [self.context.nodes.read(key) for key in keys]
            status = login_all(self.context, records, wait=True, report=lambda _event: None)
        except PyIscsiError as error:
            self.out.notice(str(error))
            return False
        return bool(records) and status == ExitCode.SUCCESS

    def _finish(self, transport: str) -> int:
        self.out.out(
            f"Set target {self.target} to automatic login over {transport} to portal {self.portal}"
        )
        if self.wish.stay:
            return ExitCode.SUCCESS
        from pyiscsi.cli.modes.session_actions import do_logout

        return do_logout(self.context, self.out, pattern=self.pattern)


if __name__ == "__main__":
    sys.exit(main())
