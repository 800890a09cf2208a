"""Sending several requests to iscsid before the first answer is awaited."""

from __future__ import annotations

from pyiscsi.errors import DaemonError, ExitCode, IpcError, PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.ipc.conversation import Conversation
    from pyiscsi.ops.context import Context


class Pending:
    """A request on its way: the connection it was sent on and its id there."""

    __slots__ = ("client", "request_id")

    def __init__(self, client: Conversation, request_id: int) -> None:
        self.client = client
        self.request_id = request_id


def send(context: Context, op: str, args: dict[str, object]) -> Pending:
    """Send one request. Raises IpcError, after which the next request uses a new connection.

    A daemon of another release is no matter of this one request: PyIscsiError.
    """
    try:
        client = context.client()
        return Pending(client, client.send(op, args))
    except IpcError as error:
        context.drop_client()
        if error.exit_code == ExitCode.INVALID_REQUEST:
            raise PyIscsiError(str(error), error.exit_code) from error
        raise


def answer(pending: Pending) -> dict[str, object]:
    """The answer, however long it takes. Raises DaemonError or IpcError."""
    return pending.client.wait(pending.request_id)


def extra_lines(error: PyIscsiError) -> tuple[str, ...]:
    """Lines to print before the fixed text of the error's status."""
    if isinstance(error, DaemonError):
        return error.messages
    return tuple(str(error).split("\n")) if error.args and error.args[0] else ()
