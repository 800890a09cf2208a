"""The pyiscsi-complete command: what a shell may offer for an unfinished command line.

    COMP_LINE=TEXT COMP_WORD=WORD pyiscsi-complete bash|zsh PROGRAM

run by the scripts in etc/bash-completion and etc/zsh. It is a program of its own, so that no shell
ever starts a command only to ask it for words. It reads, and does nothing else; whatever goes wrong
it prints nothing and ends with 0.

click makes items of the option tables and of what completion_values knows; the line is read by
cli/getopt.py, because click reads some lines differently.
"""

from __future__ import annotations

import os
import sys

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from pyiscsi.cli.completion_values import Line, Program, program, usable
from pyiscsi.cli.getopt import ATTACHED_VALUE, NO_VALUE
from pyiscsi.cli.help import click_command
from pyiscsi.env import Env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Item = CompletionItem[str]

_CURSOR = "\x01"
"""Marks where the line ends while it is split; no shell puts it into a line."""

_STARTERS = "mkVh"
"""What is offered of iscsiadm's options as long as there is no mode and nothing was typed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the words; always 0."""
    words = sys.argv if argv is None else argv
    try:
        text = _answer(*words[1:])
        with os.fdopen(os.dup(1), "wb") as stdout:
            stdout.write(text.encode("utf-8", "surrogateescape"))
    except (Exception, KeyboardInterrupt):
        return 0
    return 0


def _answer(shell: str, name: str) -> str:
    known = program(name)
    if known is None:
        return ""
    text: str = _SHELLS[shell](known, name).complete()
    return f"{text}\n" if text else ""


class _Shell(ShellComplete):
    """What the shells have in common: which words can stand at the end of a line."""

    def __init__(self, known: Program, name: str) -> None:
        command = click_command(
            name, known.rows, repeatable=known.repeatable, complete=self._values
        )
        super().__init__(command, {}, name, "COMP_LINE")
        self.known = known
        self.rows = [row[:3] for row in known.rows]
        self.line = Line((), self.rows, Env())

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        env = Env.from_environ()
        first = self.known.first
        posix = first is not None or "POSIXLY_CORRECT" in os.environ
        self.line = Line(args if first is None else args[1:], self.rows, env, posix=posix)
        if first is not None and not args:
            return _items(usable(first(self.line), incomplete))
        if self.line.awaited:
            return self._of_option(self.line.awaited, "", incomplete)
        if self.line.ended:
            return []
        if incomplete.startswith("--") and "=" in incomplete:
            long, _, value = incomplete[2:].partition("=")
            return self._of_option(self._letter(long), f"--{long}=", value)
        return self._attached(incomplete) or self._options(incomplete)

    def _letter(self, long: str) -> str:
        """The letter of a long option or of a unique beginning of one; "" for none."""
        names = {row[0]: row[1] for row in self.rows if row[0]}
        found = [names[name] for name in names if name.startswith(long)]
        return str(names.get(long) or (found[0] if len(found) == 1 else ""))

    def _attached(self, incomplete: str) -> list[Item]:
        """The value in `-Tiqn` or `-lTiqn`."""
        kinds = {row[1]: row[2] for row in self.rows}
        if incomplete.startswith("--"):
            return []
        for at, letter in enumerate(incomplete[1:], 2):
            if kinds.get(letter, NO_VALUE) != NO_VALUE:
                rest = incomplete[at:]
                return self._of_option(letter, incomplete[:at], rest) if rest else []
        return []

    def _of_option(self, letter: str, before: str, incomplete: str) -> list[Item]:
        path = self.known.files.get(letter)
        if path is not None and incomplete.startswith(path) and before[1:2] in ("", "-"):
            return [CompletionItem(incomplete, type="file")]
        option = next((one for one in self.cli.params if f"-{letter}" in one.opts), None)
        if option is None:
            return []
        found = option.shell_complete(self._context(), incomplete)
        return [CompletionItem(before + item.value, help=item.help) for item in found]

    def _values(self, _context: click.Context, option: click.Parameter, start: str) -> list[Item]:
        source = self.known.values.get(option.opts[0][1:])
        return _items(usable(source(self.line), start)) if source else []

    def _options(self, incomplete: str) -> list[Item]:
        """Options the mode allows and that are not there yet."""
        if incomplete and not incomplete.startswith("-"):
            return []
        offered = self._offered(nothing_typed=not incomplete.strip("-"))
        for option, row in zip(self.cli.params, self.rows, strict=True):
            if isinstance(option, click.Option):
                option.hidden = row[1] not in offered
        found = self.cli.shell_complete(self._context(), incomplete or "-")
        only_attached = {f"--{row[0]}" for row in self.rows if row[2] == ATTACHED_VALUE}
        for item in found:
            if item.value in only_attached:
                item.value += "="
        return found

    def _offered(self, *, nothing_typed: bool) -> set[str]:
        """Letters; only a table with modes leaves any out."""
        rows = self.known.rows
        mode = self.line.last("m") if len(rows[0]) > len(self.rows[0]) else ""
        if mode:
            return {row[1] for row in rows if mode in row[3]}
        if nothing_typed and self.prog_name == "iscsiadm":
            return set(_STARTERS)
        return {row[1] for row in rows}

    def _context(self) -> click.Context:
        context = click.Context(self.cli, resilient_parsing=True)
        there = self.line.letters()
        for option in self.cli.params:
            if option.name and option.opts[0][1:] in there:
                context.set_parameter_source(option.name, ParameterSource.COMMANDLINE)
        return context


def _items(values: Iterable[tuple[str, str]]) -> list[Item]:
    return [CompletionItem(value, help=text or None) for value, text in values]


class _Bash(_Shell):
    """COMP_LINE is the line up to the cursor. COMP_WORD is what readline will replace: the end of
    the last word, behind a colon or an equals sign if there is one.
    """

    name = "bash"
    typed = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_LINE"] + _CURSOR)
        self.typed = words[-1].removesuffix(_CURSOR)
        return words[1:-1], self.typed

    def format_completion(self, item: Item) -> str:
        replaced = os.environ.get("COMP_WORD", self.typed)
        kept = len(self.typed) - len(replaced) if self.typed.endswith(replaced) else 0
        return f"{item.type},{item.value[kept:]}"


class _Zsh(_Shell):
    """COMP_LINE is the words, one to a line, up to the cursor; zsh has taken off the quotes."""

    name = "zsh"

    def get_completion_args(self) -> tuple[list[str], str]:
        words = os.environ["COMP_LINE"].split("\n")
        return words[1:-1], words[-1]

    def format_completion(self, item: Item) -> str:
        return f"{item.type}\n{item.value}\n{item.help or ''}"


_SHELLS = {"bash": _Bash, "zsh": _Zsh}

if __name__ == "__main__":
    sys.exit(main())
