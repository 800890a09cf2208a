"""The iscsistart command line; the logins themselves are pyiscsi.daemon.boot."""

from __future__ import annotations

import os
import sys

from pyiscsi import INTERFACE_VERSION
from pyiscsi.cli.getopt import NO_VALUE, PROBLEM, VALUE, scan, shown_program
from pyiscsi.cli.options import Done, leading_int
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, PyIscsiError
from pyiscsi.names import ISCSI_PORT, UNKNOWN_TPGT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiscsi.firmware.entry import BootEntry

PROGRAM = "iscsistart"
_TRY_LINE = "Try `iscsistart --help' for more information.\n"
_MAX = {
    # bytes (open-iscsi AUTH_STR_MAX_LEN, TARGET_NAME_MAXLEN, NI_MAXHOST)
    "username": 256,
    "password": 256,
    "username_in": 256,
    "password_in": 256,
    "targetname": 255,
    "address": 1025,
}

OPTIONS = (
    ("config", "c", VALUE),
    ("initiatorname", "i", VALUE),
    ("targetname", "t", VALUE),
    ("tgpt", "g", VALUE),
    ("address", "a", VALUE),
    ("port", "p", VALUE),
    ("username", "u", VALUE),
    ("password", "w", VALUE),
    ("username_in", "U", VALUE),
    ("password_in", "W", VALUE),
    ("debug", "d", VALUE),
    ("fwparam_connect", "b", NO_VALUE),
    ("fwparam_network", "N", NO_VALUE),
    ("fwparam_print", "f", NO_VALUE),
    ("param", "P", VALUE),
    ("help", "h", NO_VALUE),
    ("version", "v", NO_VALUE),
)

_HELP = """\
Usage: iscsistart [OPTION]
Open-iSCSI initiator.
  -c, --config=[path]      set config file (default /etc/iscsi/iscsid.conf).
  -i, --initiatorname=name set InitiatorName to name (Required)
  -t, --targetname=name    set TargetName to name (Required)
  -g, --tgpt=N             set target portal group tag to N (Required)
  -a, --address=A.B.C.D    set IP address to A.B.C.D (Required)
  -p, --port=N             set port to N (Default 3260)
  -u, --username=N         set username to N (optional)
  -w, --password=N         set password to N (optional
  -U, --username_in=N      set incoming username to N (optional)
  -W, --password_in=N      set incoming password to N (optional)
  -d, --debug=debuglevel   print debugging information \n\
  -b, --fwparam_connect    create a session to the target using iBFT or OF
  -N, --fwparam_network    bring up the network as specified by iBFT or OF
  -f, --fwparam_print      print the iBFT or OF info to STDOUT \n\
  -P, --param=NAME=VALUE   set parameter with the name NAME to VALUE
  -h, --help               display this help and exit
  -v, --version            display version and exit
"""

_REQUIRED = (
    ("initiator_name", "InitiatorName"),
    ("tpgt", "Portal Group"),
    ("target_name", "TargetName"),
    ("address", "IP Address"),
)


class BootSettings:
    """What to log in to. Secrets are not part of repr().

    `entries`: targets of the boot firmware (-b); without any, the one of the command line.
    `params`: node record keys from -P in the order they apply: the first of the command line
    last, so that it wins over its repetitions (open-iscsi apply_params). `config_file`: -c.
    """

    __slots__ = (
        "address", "config_file", "debug", "entries", "initiator_name", "params", "password",
        "password_in", "port", "target_name", "tpgt", "username", "username_in",
    )  # fmt: skip

    def __init__(self, config_file: str) -> None:
        self.config_file = config_file
        self.entries: list[BootEntry] = []
        self.initiator_name = ""
        self.target_name = ""
        self.address = ""
        self.port = ISCSI_PORT
        self.tpgt = UNKNOWN_TPGT
        self.username = ""
        self.password = ""
        self.username_in = ""
        self.password_in = ""
        self.params: list[tuple[str, str]] = []
        self.debug = 0

    def __repr__(self) -> str:
        return f"BootSettings({self.target_name!r}, {self.address!r}, {self.port}, {self.tpgt})"


def main(argv: Sequence[str] | None = None, out: Output | None = None) -> int:
    """Run the command; returns the exit status."""
    out = out or Output(program=PROGRAM)
    try:
        status = _run(sys.argv if argv is None else argv, Env.from_environ(), out)
    except Done as done:
        status = done.status
    except PyIscsiError as error:
        status = out.report_error(error)
    except KeyboardInterrupt:
        status = ExitCode.GENERIC
    return out.finish(status)


def _run(argv: Sequence[str], env: Env, out: Output) -> int:
    settings = _read(argv, env, out)
    for attribute, what in _REQUIRED:
        if not settings.entries and getattr(settings, attribute) in ("", UNKNOWN_TPGT):
            out.err(f"{what} not set. Exiting iscsistart")
            return ExitCode.INVALID
    _check_params(settings, out)
    from pyiscsi.daemon import boot

    return boot.run(settings, env)


def _read(argv: Sequence[str], env: Env, out: Output) -> BootSettings:
    settings = BootSettings(env.config_file)
    posix = "POSIXLY_CORRECT" in os.environ
    for token in scan(argv[1:], OPTIONS, posix=posix):
        if token.letter == PROBLEM:
            program = shown_program(argv[0], os.environ.get("PATH"))
            out.raw_err(f"{program}: {token.problem}\n{_TRY_LINE}")
            raise Done(ExitCode.INVALID)
        if token.letter in _VALUES:
            attribute, convert = _VALUES[token.letter]
            _check_length(_LIMITED.get(token.letter, ""), token.value, out)
            setattr(settings, attribute, convert(token.value))
        elif token.letter in _CHAP:
            _check_length(_CHAP[token.letter], token.value, out)
            setattr(settings, _CHAP[token.letter], token.value)
        elif token.letter == "P":
            settings.params.insert(0, _param(token.value, out))
        else:
            _IMMEDIATE[token.letter](settings, env, out)
    return settings


def _check_length(name: str, value: str, out: Output) -> None:
    size = len(value.encode("utf-8", "surrogateescape"))
    if size > _MAX.get(name, size):
        shown = "********" if name.startswith("password") else value
        out.out(f"{PROGRAM}: invalid {name} {shown}. Max {name} length is {_MAX[name]}.")
        raise Done(ExitCode.INVALID)


def _param(text: str, out: Output) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not value:
        out.err(f"Invalid --param {name}. Missing value.")
        raise Done(ExitCode.INVALID)
    return name, value


def _check_params(settings: BootSettings, out: Output) -> None:
    """Refuse what no node record has, before anything is connected."""
    if not settings.params:
        return
    from pyiscsi.records.record import Record
    from pyiscsi.records.schema import NODE

    trial = Record(NODE)
    for name, value in settings.params:
        try:
            trial.set(name, value)
        except PyIscsiError as error:
            out.report_error(error)
            raise Done(ExitCode.GENERIC) from error


def _version(_settings: BootSettings, _env: Env, out: Output) -> None:
    out.out(f"{PROGRAM} version {INTERFACE_VERSION}")
    raise Done(ExitCode.SUCCESS)


def _help(_settings: BootSettings, _env: Env, out: Output) -> None:
    out.out_lines(_HELP.splitlines())
    raise Done(ExitCode.SUCCESS)


def _entries(env: Env, out: Output, missing: str) -> list[BootEntry]:
    """The targets of the firmware; ends the program with the line `missing` if there are none."""
    from pyiscsi.firmware import find
    from pyiscsi.sysfs.tree import SysfsTree

    found = find.entries(env, SysfsTree(env.sysfs_root), out.notices)
    if not found:
        out.out(missing)
        raise Done(ExitCode.NO_OBJECTS_FOUND)
    return found


def _connect(settings: BootSettings, env: Env, out: Output) -> None:
    """-b: the targets, once there is one that was booted from, and the name used with it."""
    from pyiscsi.firmware import find
    from pyiscsi.sysfs.tree import SysfsTree

    name = find.boot_initiator(env, SysfsTree(env.sysfs_root))
    if name is None:
        out.out("Could not get boot entry.")
        raise Done(ExitCode.NO_OBJECTS_FOUND)
    settings.initiator_name = name
    settings.entries = _entries(env, out, "Could not setup fw entries.")


def _network(_settings: BootSettings, env: Env, out: Output) -> None:
    from pyiscsi.ops import boot_network
    from pyiscsi.sysfs.tree import SysfsTree

    entries = _entries(env, out, "Could not setup fw entries.")
    report = boot_network.Report(out.out, out.err)
    works = boot_network.set_up(env, SysfsTree(env.sysfs_root), entries, report)
    raise Done(ExitCode.SUCCESS if works else ExitCode.GENERIC)


def _print(_settings: BootSettings, env: Env, out: Output) -> None:
    from pyiscsi.firmware import node
    from pyiscsi.printers.firmware import entry_pairs
    from pyiscsi.printers.record import record_lines
    from pyiscsi.sysfs.tree import SysfsTree

    tree = SysfsTree(env.sysfs_root)
    for entry in _entries(env, out, "Could not get list of targets from firmware."):
        transport = node.transport_name(entry, tree, out.notices)
        out.out_lines(record_lines(INTERFACE_VERSION, entry_pairs(entry, transport)))
    raise Done(ExitCode.SUCCESS)


_VALUES: dict[str, tuple[str, Callable[[str], object]]] = {
    "c": ("config_file", str),
    "i": ("initiator_name", str),
    "t": ("target_name", str),
    "g": ("tpgt", leading_int),
    "a": ("address", str),
    "p": ("port", leading_int),
    "d": ("debug", leading_int),
}
_LIMITED = {"t": "targetname", "a": "address"}
_CHAP = {"u": "username", "w": "password", "U": "username_in", "W": "password_in"}
_IMMEDIATE: dict[str, Callable[[BootSettings, Env, Output], None]] = {
    "b": _connect,
    "N": _network,
    "f": _print,
    "v": _version,
    "h": _help,
}

if __name__ == "__main__":
    sys.exit(main())
