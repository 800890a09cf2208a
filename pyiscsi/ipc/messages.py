"""What travels over the native socket: one JSON object for each line, versioned by a hello.

Both sides begin with `{"hello": {"protocol": 1, "program": ..., "version": ...}}`. Then come
requests `{"id", "op", "args", "timeout"}`, replies `{"id", "ok"}` or `{"id", "error"}`, and
progress `{"id", "event"}`. Text is ASCII JSON; undecodable bytes of names travel as surrogate
escapes and come out unchanged.

The module is loaded by commands, so it does without the json module, whose Python half takes as
long to load as the interpreter itself.
"""

from __future__ import annotations

from pyiscsi.errors import DaemonError, ExitCode, IpcError, PyIscsiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]
else:
    Message = dict

PROTOCOL = 1
"""Raised when a message changes so that the other side could misread it; additions do not."""

REQUEST_LINE_MAX = 1 << 20
"""Bytes of one request; the largest, a login with its node record, has about 8 KiB."""


class Malformed(IpcError):
    """A line is not a message of this protocol; the connection it came on ends."""

    exit_code = ExitCode.INVALID_REQUEST


def encode(message: Message) -> bytes:
    return _dumps(message).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """The object in one line. Raises Malformed for anything else, however deep or odd."""
    try:
        message = _loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed("message is not JSON") from error
    if not isinstance(message, dict):
        raise Malformed("message is not an object")
    return message


class _Scanning:
    """What the json module's C scanner wants to know: the choices of json.loads."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no place in a message")


def _dumps(message: Message) -> str:
    """json.dumps(), by the C half of the module alone where it is as we know it."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        make = make_encoder(
            None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True
        )
        return "".join(make(message, 0))
    except (ImportError, TypeError):
        import json

        return json.dumps(message, separators=(",", ":"))


def _loads(line: bytes) -> object:
    """json.loads(), by the C half of the module alone where nothing is odd about the line."""
    try:
        from _json import make_scanner

        text = line.decode("ascii").strip(" \t\n\r")
        message, end = make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]
        if end == len(text):
            return message
    except (ImportError, TypeError, AttributeError, ValueError, StopIteration):
        pass
    import json

    return json.loads(line)


def hello(program: str, version: str) -> Message:
    return {"hello": {"protocol": PROTOCOL, "program": program, "version": version}}


def check_hello(message: Message, program: str, version: str) -> str:
    """Accept the other side's first message: its program and version.

    Raises Malformed, or the DaemonError it carries. A protocol other than ours raises IpcError
    with status 16 naming both programs and versions.
    """
    if "error" in message:
        raise error_of(message)
    fields = message.get("hello")
    if not isinstance(fields, dict) or not isinstance(fields.get("protocol"), int):
        raise Malformed(
            f"{program} {version} speaks protocol {PROTOCOL}, in which the first message is a hello"
        )
    peer = f"{_printable(fields.get('program'))} {_printable(fields.get('version'))}"
    if fields["protocol"] != PROTOCOL:
        raise IpcError(
            f"{program} {version} speaks protocol {PROTOCOL}, {peer} speaks protocol "
            f"{fields['protocol']}; they must come from the same release",
            ExitCode.INVALID_REQUEST,
        )
    return peer


def _printable(value: object) -> str:
    text = str(value)[:64]
    return text if text.isprintable() else "?"


def request(request_id: int, op: str, args: Message, timeout: float | None) -> Message:
    return {"id": request_id, "op": op, "args": args, "timeout": timeout}


def reply(request_id: int, result: Message) -> Message:
    return {"id": request_id, "ok": result}


def event(request_id: int, progress: Message) -> Message:
    return {"id": request_id, "event": progress}


def error_reply(request_id: int | None, error: PyIscsiError) -> Message:
    messages = list(error.messages) if isinstance(error, DaemonError) else []
    return {
        "id": request_id,
        "error": {"code": error.exit_code, "text": str(error), "messages": messages},
    }


def error_of(message: Message) -> DaemonError:
    """The DaemonError a reply carries; a distorted one becomes status 18."""
    error = message.get("error")
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    messages = fields.get("messages")
    return DaemonError(
        str(fields.get("text", "")),
        code if isinstance(code, int) and code > 0 else ExitCode.DAEMON_COMMUNICATION,
        tuple(str(line) for line in messages) if isinstance(messages, list) else (),
    )
