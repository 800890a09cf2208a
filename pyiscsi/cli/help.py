"""The text of `iscsiadm -h`, and click commands of the option tables for completion.

click is imported only when the command is built: importing it costs several interpreter starts.
"""

from __future__ import annotations

from pyiscsi.cli.getopt import NO_VALUE
from pyiscsi.cli.options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import click
    from click.shell_completion import CompletionItem

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

_COMMON = "[-hV] [-d debug_level] [-P printlevel]"
_STARTUP = "all,manual,automatic,onboot"
_PAIR = "[-n name] [-v value]"
_OPERATION = f"[[-o operation ] {_PAIR}]"

USAGE = (
    f"iscsiadm -m discoverydb {_COMMON} [-t type -p ip:port -I ifaceN ... [-Dl]] | "
    f"[[-p ip:port -t type] [-o operation] {_PAIR} [-lD]] ",
    f"iscsiadm -m discovery {_COMMON} [-t type -p ip:port -I ifaceN ... [-l]] | "
    "[[-p ip:port] [-l | -D]] [-W]",
    f"iscsiadm -m node {_COMMON} [-L {_STARTUP}] [-W] [-U {_STARTUP}] [-S] "
    f"[[-T targetname -p ip:port -I ifaceN] [-l | -u | -R | -s]] {_OPERATION}",
    f"iscsiadm -m session {_COMMON} [-r sessionid | sysfsdir [-R | -u | -s] "
    f"[-o operation] {_PAIR}]",
    f"iscsiadm -m iface {_COMMON} [-I ifacename | -H hostno|MAC] {_OPERATION} "
    "[-C ping [-a ip] [-b packetsize] [-c count] [-i interval]]",
    f"iscsiadm -m fw [-d debug_level] [-l] [-W] [{_PAIR}]",
    "iscsiadm -m host [-P printlevel] [-H hostno|MAC] [[-C chap [-x chap_tbl_idx]] | "
    "[-C flashnode [-A portal_type] [-x flashnode_idx]] | [-C stats]] "
    f"[[-o operation] {_PAIR}] ",
    "iscsiadm -k priority",
)
"""open-iscsi's own lines; the first and the seventh end in a blank there too."""


def click_command(
    name: str = "iscsiadm",
    rows: Sequence[tuple[Any, ...]] = OPTIONS,
    *,
    repeatable: str = "Ionv",
    complete: Complete | None = None,
) -> click.Command:
    """A program as click sees it: for shell completion and a readable option list.

    Rows begin with long name, letter and kind; modes, metavar and help may follow. `complete`
    knows the values. Never used to read a command line; cli/getopt.py does that.
    """
    import click

    options: list[click.Parameter] = []
    for long, letter, kind, *more in rows:
        _, metavar, text = more or ((), "", "")
        flag = kind == NO_VALUE
        options.append(
            click.Option(
                [f"-{letter}", *([f"--{long}"] if long else [])],
                is_flag=flag,
                metavar=None if flag else metavar,
                multiple=letter in repeatable and not flag,
                help=text or None,
                shell_complete=None if flag else complete,
            )
        )
    return click.Command(name, params=options, add_help_option=False)
