"""Looking at sessions: which ones a command means, and what iscsid knows about them."""

from __future__ import annotations

from pyiscsi.errors import DaemonError, IpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiscsi.names import Pattern
    from pyiscsi.ops.context import Context
    from pyiscsi.sysfs.devices import Device
    from pyiscsi.sysfs.sessions import Session

    States = dict[int, tuple[str, str]]

UNKNOWN_STATE = "Unknown"
_STATES_TIMEOUT_S = 60.0


def all_sessions(context: Context) -> list[Session]:
    """Every session, in the order of their names as text."""
    from pyiscsi.sysfs.sessions import sessions

    return sessions(context.tree)


def one_session(context: Context, sid: int) -> Session:
    """Raises SysfsError (22) when there is no such session."""
    from pyiscsi.sysfs.sessions import session

    return session(context.tree, sid)


def matching(context: Context, pattern: Pattern | None) -> list[Session]:
    """Sessions -T, -p and -I select; all of them without a pattern."""
    found = all_sessions(context)
    if not pattern:
        return found
    from pyiscsi.sysfs.sessions import matches

    return [session for session in found if matches(session, pattern)]


def name_ifaces(context: Context, found: Sequence[Session]) -> None:
    """Give sessions of an adapter's firmware, which names no iface, the adapter's first one."""
    nameless = [one for one in found if one.is_flash and one.raw_ifacename is None]
    if not nameless:
        return
    from pyiscsi.ops.host_ifaces import set_up

    context.notices.extend(set_up(context))
    names: dict[str, str] = {}
    for record in context.ifaces.records():
        names.setdefault(record["iface.hwaddress"].lower(), record["iface.iscsi_ifacename"])
    for session in nameless:
        name = names.get((session.hwaddress or "").lower())
        if session.hwaddress and name:
            session.__dict__["raw_ifacename"] = name


def states(context: Context, found: Sequence[Session]) -> States:
    """Connection and internal state by sid, in one request; nothing for those iscsid cannot tell.

    Works without iscsid: the reason goes to the context's notices.
    """
    try:
        answer = context.client().request(
            "session_info", {"sids": [session.sid for session in found]}, _STATES_TIMEOUT_S
        )
    except (IpcError, DaemonError) as error:
        context.drop_client()
        context.notices.extend(str(error).split("\n"))
        return {}
    told = answer.get("sessions")
    known: States = {}
    for session in found:
        words = told.get(str(session.sid)) if isinstance(told, dict) else None
        if isinstance(words, dict):
            known[session.sid] = (_word(words, "connection"), _word(words, "internal"))
    return known


def _word(words: dict[str, object], name: str) -> str:
    value = words.get(name)
    return value if isinstance(value, str) and value else UNKNOWN_STATE


def devices_of(context: Context, found: Sequence[Session]) -> dict[int, list[Device]]:
    """SCSI devices by sid."""
    from pyiscsi.sysfs.devices import devices

    return {session.sid: devices(context.tree, session) for session in found}


def host_states(context: Context, found: Sequence[Session]) -> dict[int, str | None]:
    """The SCSI layer's word for each session's host, by sid."""
    from pyiscsi.sysfs.devices import host_state

    return {session.sid: host_state(context.tree, session.host_no) for session in found}


def version_lines(context: Context) -> list[str]:
    """The two lines above the fullest listings: the kernel's transport class, and our own."""
    from pyiscsi import INTERFACE_VERSION

    kernel = context.tree.read("module/scsi_transport_iscsi/version")
    lines = [f"version {INTERFACE_VERSION}"]
    return [f"iSCSI Transport Class version {kernel}", *lines] if kernel else lines
