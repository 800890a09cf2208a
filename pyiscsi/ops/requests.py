"""Sending several requests to iscsid before the first answer is awaited."""

from __future__ import annotations

from pyiscsi.errors import DaemonError, IpcError, PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.ipc.either import AnyClient
    from pyiscsi.ops.context import Context


class Pending:
    """A request on its way: the connection it was sent on and its id there."""

    __slots__ = ("client", "request_id")

    def __init__(self, client: AnyClient, request_id: int) -> None:
        self.client = client
        self.request_id = request_id


def send(context: Context, op: str, args: dict[str, object]) -> Pending:
    """Send one request. Raises IpcError, after which the next request uses a new connection."""
    try:
        client = context.client()
        return Pending(client, client.send(op, args))
    except IpcError:
        context.drop_client()
        raise


def answer(pending: Pending) -> dict[str, object]:
    """The answer, however long it takes. Raises DaemonError or IpcError."""
    return pending.client.wait(pending.request_id)


def extra_lines(error: PyIscsiError) -> tuple[str, ...]:
    """Lines to print before the fixed text of the error's status."""
    if isinstance(error, DaemonError):
        return error.messages
    return tuple(str(error).split("\n")) if error.args and error.args[0] else ()
