"""What a command says where the driver of a transport cannot be loaded."""

from __future__ import annotations

from pyiscsi.transports import traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.cli.report import Output
    from pyiscsi.errors import PyIscsiError

_KMOD_PREFIX = "Could not insert module "


def explain_missing(error: PyIscsiError, out: Output) -> None:
    """What libkmod prints by itself in the original when a module does not exist."""
    first = str(error).split("\n", 1)[0]
    if not first.startswith(_KMOD_PREFIX) or not first.endswith(" -2"):
        return
    name = first.removeprefix(_KMOD_PREFIX).partition(". Kmod")[0]
    out.raw_err(
        "libkmod: ERROR ../libkmod/libkmod-module.c:895 kmod_module_insert_module: "
        f"could not find module by name='{traits(name).module}'\n"
    )
