"""The iscsi-iname command: print a new initiator name."""

from __future__ import annotations

import os
import sys

from pyiscsi.cli.getopt import NO_VALUE, PROBLEM, VALUE, scan, shown_program
from pyiscsi.cli.report import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PREFIX = "iqn.2016-04.com.open-iscsi"
PREFIX_MAX = 210
"""Bytes: with a colon and twelve digits the name fits the 223 of RFC 7143 §4.2.7.1."""

_RANDOM_BYTES = 6

OPTIONS = (
    ("help", "h", NO_VALUE),
    ("prefix", "p", VALUE),
    ("generate-iname-prefix", "g", NO_VALUE),
)

_USAGE = f"""\
Usage: iscsi-iname [OPTIONS]
Where OPTIONS are from:
    -p/--prefix <prefix>          -- set IQN prefix [{DEFAULT_PREFIX}]
    -g/--generate-iname-prefix    -- generate the InitiatorName= prefix
where <prefix> has max length of {PREFIX_MAX}
"""


def main(argv: Sequence[str] | None = None, out: Output | None = None) -> int:
    """Run the command; returns the exit status."""
    out = out or Output(program="iscsi-iname")
    words = sys.argv if argv is None else argv
    others: list[str] = []
    posix = "POSIXLY_CORRECT" in os.environ
    prefix, start = DEFAULT_PREFIX, ""
    for token in scan(words[1:], OPTIONS, posix=posix, positionals=others):
        if token.letter == PROBLEM:
            program = shown_program(words[0], os.environ.get("PATH"))
            return _usage(out, f"{program}: {token.problem}")
        if token.letter == "h":
            out.raw_err(_USAGE)
            return out.finish(0)
        if token.letter == "g":
            start = "InitiatorName="
        elif is_too_long(token.value):
            return _usage(out, "error: prefix too long")
        else:
            prefix = token.value
    if others:
        return _usage(out, "unknown argument(s)")
    out.out(start + new_name(prefix))
    return out.finish(0)


def is_too_long(prefix: str) -> bool:
    """Whether a name that begins so could not be an iSCSI name."""
    return len(prefix.encode("utf-8", "surrogateescape")) > PREFIX_MAX


def new_name(prefix: str) -> str:
    """A name that no other initiator has."""
    return f"{prefix}:{_digits(os.urandom(_RANDOM_BYTES))}"


def _digits(random: bytes) -> str:
    """Each byte in hex without leading zeros, as the original prints them."""
    return "".join(f"{byte:x}" for byte in random)


def _usage(out: Output, complaint: str) -> int:
    out.raw_err(f"{complaint}\n{_USAGE}")
    return out.finish(1)


if __name__ == "__main__":
    sys.exit(main())
