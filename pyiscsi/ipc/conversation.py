"""What a command does with iscsid, ours or open-iscsi's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from pyiscsi.ipc.messages import Message


class Conversation:
    """Requests to a daemon; they may be awaited in any order."""

    def send(
        self,
        op: str,
        args: Message | None = None,
        timeout: float | None = None,
        on_event: Callable[[Message], None] | None = None,
    ) -> int:
        """Send a request and return its id. Raises IpcError."""
        raise NotImplementedError

    def wait(self, request_id: int, timeout: float | None = None) -> Message:
        """The result of a request. Raises DaemonError, IpcError.

        `timeout`: seconds; None: for as long as the daemon shows that it lives.
        """
        raise NotImplementedError

    def request(
        self, op: str, args: Message | None = None, timeout: float | None = None
    ) -> Message:
        """Send and wait; `timeout` bounds both."""
        return self.wait(self.send(op, args, timeout), timeout)

    def close(self) -> None:
        """Leave; the daemon carries on with what it was asked to do."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
