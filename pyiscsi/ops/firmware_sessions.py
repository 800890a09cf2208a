"""Sessions that an adapter's firmware made by itself: only the adapter can end them.

iscsid knows nothing of them; the command asks the kernel (open-iscsi usr/iscsiadm.c,
iscsi_logout_flashnode_sid).
"""

from __future__ import annotations

from pyiscsi.errors import Busy, ExitCode
from pyiscsi.ops import adapter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.ops.context import Context
    from pyiscsi.sysfs.sessions import Session

_IN_USE = "Session is actively in use for mounted storage, and iscsid.safe_logout is configured."


def log_out(context: Context, session: Session) -> None:
    """Raises Busy (28, iscsid.safe_logout), PyIscsiError (10) with the kernel's reason."""
    from pyiscsi.transport.numbers import UEvent
    from pyiscsi.transport.uevent import Refused

    if _is_in_use(context, session):
        raise Busy(_IN_USE)
    with adapter.find(context, session.host_no or 0) as host:
        try:
            host.ask(UEvent.LOGOUT_FLASHNODE_SID, {"sid": session.sid})
        except Refused as error:
            raise adapter.failed(error, code=ExitCode.LOGOUT) from error


def _is_in_use(context: Context, session: Session) -> bool:
    from pyiscsi.records.config import read_scalar
    from pyiscsi.sysfs.mounts import holders_in_use

    safely, _ = read_scalar(context.env.config_file, "iscsid.safe_logout")
    return safely == "Yes" and bool(holders_in_use(context.tree, session, context.env.proc_root))
