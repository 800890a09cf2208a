"""The iscsi-gen-initiatorname command: give this machine its initiator name.

Sources and refusals are those of open-iscsi's utils/iscsi-gen-initiatorname.sh. The name file is
read as iscsid reads it, never run, and replaced as a whole.
"""

from __future__ import annotations

import os
import sys

from pyiscsi.cli import getopts, iscsi_iname
from pyiscsi.cli.getopt import NO_VALUE, VALUE
from pyiscsi.cli.report import Output
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "iscsi-gen-initiatorname"
DEFAULT_PREFIX = "iqn.1996-04.de.suse:01"

OPTIONS = (
    ("", "h", NO_VALUE),
    ("", "f", NO_VALUE),
    ("", "p", VALUE),
)

USAGE = f"""\
Usage: {PROGRAM} [OPTIONS] -- generate an iSCSI initiatorname
Where OPTIONS are from:
   -h          print usage and exit
   -f          overwrite existing InitiatorName, if any
   -p IQN-PRE  set prefix for generated IQN (default {DEFAULT_PREFIX})
"""

_KERNEL_WORD = "rd.initiatorname="
_IBFT_NAME = "firmware/ibft/initiator/initiator-name"
_READ_ONLY = "Please ensure the filesystem is read/write."

_FROM_KERNEL = """\
## It was on the kernel's command line. To change it, change it there and
## run iscsi-gen-initiatorname -f.
"""
_FROM_IBFT = """\
## It comes from the boot firmware (iBFT). To change it, change it there and
## run iscsi-gen-initiatorname -f.
"""
_GENERATED = """\
## It was made at random. Targets decide by it who may use which disk, so
## change it only together with their access lists, and give no two machines
## the same.
"""
_FILE = """\
##
## {path}
##
## iSCSI name of this machine. iscsid cannot discover or log in without it.
{origin}##
InitiatorName={name}
"""


class _Refused(Exception):
    """Nothing is done; the text goes to stderr. `usage`: the options are shown too."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


def main(argv: Sequence[str] | None = None, out: Output | None = None) -> int:
    """Run the command; returns the exit status: 0 when a name was written or -h asked for, or 1."""
    out = out or Output(program=PROGRAM)
    words = sys.argv if argv is None else argv
    env = Env.from_environ()
    status = ExitCode.GENERIC
    try:
        wish = _read(words)
        if wish is None:
            out.out_lines(USAGE.splitlines())
        else:
            _generate(*wish, env)
        status = ExitCode.SUCCESS
    except getopts.BadOption as error:
        out.raw_err(f"{words[0]}: {error}\n")
        out.out_lines(USAGE.splitlines())
    except _Refused as error:
        out.raw_err(f"{error}\n")
        if error.usage:
            out.out_lines(USAGE.splitlines())
    except (PyIscsiError, OSError) as error:
        out.err(str(error))
    return out.finish(status)


def _read(words: Sequence[str]) -> tuple[str, bool] | None:
    """Prefix, and whether a name may be replaced; None when only the usage is wanted."""
    prefix, force = DEFAULT_PREFIX, False
    rest: list[str] = []
    for token in getopts.read(words[1:], OPTIONS, rest):
        if token.letter == "h":
            return None
        if token.letter == "f":
            force = True
        else:
            prefix = token.value or DEFAULT_PREFIX
    if rest:
        raise _Refused(f"Error: Invalid argument(s): {' '.join(rest)}", usage=True)
    if os.geteuid():
        raise _Refused("Error: You must be root to run this command", usage=True)
    if iscsi_iname.is_too_long(prefix):
        raise _Refused("Error: prefix too long", usage=True)
    return prefix, force


def _generate(prefix: str, force: bool, env: Env) -> None:
    path = env.initiatorname_file
    if not force and _present(path):
        raise _Refused(
            "Error: you cannot overwrite the current InitiatorName unless 'force' is set.",
            usage=True,
        )
    _check_writable(path)
    name, origin = _choose(_of_kernel(env), _of_firmware(env), prefix)
    from pyiscsi.records.files import FILE_MODE, replace

    text = _FILE.format(path=path, origin=origin, name=name)
    replace(os.path.dirname(path), path, text.encode("utf-8", "surrogateescape"))
    os.chmod(path, FILE_MODE)


def _present(path: str) -> bool:
    from pyiscsi.records.config import read_scalar

    return read_scalar(path, "InitiatorName")[0] is not None


def _check_writable(path: str) -> None:
    directory = os.path.dirname(path)
    if os.path.exists(path):
        if not os.access(path, os.W_OK):
            what = f"cannot update InitiatorName, write protected: {path}"
            raise _Refused(f"Error: {what}\n{_READ_ONLY}")
    elif not os.access(directory, os.W_OK):
        raise _Refused(f"Error: no write permission in directory: {directory}\n{_READ_ONLY}")


def _choose(kernel: str, firmware: str, prefix: str) -> tuple[str, str]:
    """The name to write, and the lines that say where it is from."""
    if kernel and firmware and kernel != firmware:
        raise _Refused(
            f"Error: Kernel cmdline Initiator Name: {kernel}\n"
            f"  does not match iBFT Initiator Name: {firmware}\n"
            "Please ensure they both match, or remove the kernel parameter, then\n"
            f"  run '{PROGRAM} [-f]' to update iSCSI InitiatorName"
        )
    if kernel:
        return kernel, _FROM_KERNEL
    if firmware:
        return firmware, _FROM_IBFT
    return iscsi_iname.new_name(prefix), _GENERATED


def _of_kernel(env: Env) -> str:
    """The last rd.initiatorname= of the kernel's command line, "" without one."""
    found = ""
    for word in _first_line(f"{env.proc_root}/cmdline").split():
        if word.startswith(_KERNEL_WORD):
            found = word.removeprefix(_KERNEL_WORD)
    return found


def _of_firmware(env: Env) -> str:
    return _first_line(f"{env.sysfs_root}/{_IBFT_NAME}").strip()


def _first_line(path: str) -> str:
    """Nothing for a file that is not there or cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.readline()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
