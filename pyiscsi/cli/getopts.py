"""Command lines of programs that are shell scripts elsewhere, read as bash's getopts reads them.

The first word that is no option ends the options. There are no long ones: `--x` is the option `-`.
"""

from __future__ import annotations

from pyiscsi.cli.getopt import PROBLEM, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiscsi.cli.getopt import OptionRow, Token


class BadOption(Exception):
    """An option the program does not have, or one without its value; the text is bash's."""


def read(words: Sequence[str], rows: Sequence[OptionRow], rest: list[str]) -> Iterator[Token]:
    """The options, one after the other; the words behind them go to `rest` at once.

    Raises BadOption when it comes to one that is wrong.
    """
    for token in scan(words, rows, posix=True, positionals=rest):
        if token.letter == PROBLEM:
            known = any(row[1] == token.offender for row in rows)
            what = "option requires an argument" if known else "illegal option"
            raise BadOption(f"{what} -- {token.offender or '-'}")
        yield token
