"""Fuzz targets for what comes from this machine: sockets, the kernel, files."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from pyiscsi.env import Env
from pyiscsi.errors import PyIscsiError
from pyiscsi.ipc import messages, structs, structs_layout
from pyiscsi.ipc.server import Limits, Operation, Server
from pyiscsi.records.record import Record
from pyiscsi.records.schema import IFACE, ISNS, NODE, SENDTARGETS, Kind
from pyiscsi.records.text import is_torn, render, tokenize
from pyiscsi.transport import uevent
from pyiscsi.transport.kernel import Kernel
from pyiscsi.transport.numbers import KEvent, UEvent
from tests.fuzz.mutations import damaged

KINDS: tuple[Kind, ...] = (NODE, IFACE, SENDTARGETS, ISNS)


# Records and iscsid.conf

CONFIGURATION = b"""# settings
node.startup = automatic
node.session.auth.password = a secret with blanks
node.session.timeo.replacement_timeout = 120
node.session.auth.chap_algs = SHA3-256,MD5
iscsid.safe_logout = Yes
discovery.sendtargets.reopen_max = 5
"""


def _record_files() -> list[bytes]:
    full = [render(Record(kind).to_map().items(), "2.1.8") for kind in KINDS]
    return [*full, CONFIGURATION, *(text.replace(b"\n", b"\r\n") for text in full)]


def record(kind_and_data: tuple[Kind, bytes]) -> None:
    """Any bytes are a record; one that was read and written once stays as it is."""
    kind, data = kind_and_data
    is_torn(data)
    first, _ = Record.parse(kind, data)
    assert "secret" not in repr(first)
    second = _rewritten(first)
    assert second.values.keys() == first.values.keys()
    assert _rewritten(second).to_map() == second.to_map()


def _rewritten(one: Record) -> Record:
    return Record.parse(one.kind, render(one.to_map().items(), one.fmt))[0]


def configuration(data: bytes) -> None:
    """Any bytes are an iscsid.conf."""
    found, _ = tokenize(data)
    Record(NODE).merge(found)


# The native socket

NATIVE = [
    messages.encode(messages.hello("iscsiadm", "1.0")),
    messages.encode(messages.request(1, "echo", {"record": {"node.name": "iqn.x"}}, 5.0)),
    messages.encode(messages.request(2, "refuse", {"sid": 1, "sids": [1, 2]}, None)),
    json.dumps({"id": 3, "op": "echo", "args": {"a": [[[[{}]]]]}}).encode() + b"\n",
]


def native_message(data: bytes) -> None:
    """One line is a message or malformed, whichever side reads it."""
    message = messages.decode(data)
    messages.error_of(message)
    messages.check_hello(message, "iscsid", "1.0")


async def _echo(args: messages.Message, report: object) -> messages.Message:
    return args


async def _refuse(args: messages.Message, report: object) -> messages.Message:
    raise PyIscsiError(f"refused: {sorted(args)}")


def native_server(data: bytes) -> None:
    """A server that was sent anything ends this connection cleanly and serves the next."""
    asyncio.run(_attack(data))


async def _attack(data: bytes) -> None:
    loop = asyncio.get_running_loop()
    problems: list[object] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    operations = {"echo": Operation(_echo), "refuse": Operation(_refuse)}
    limits = Limits(hello_s=5, line_s=5, write_s=5, idle_s=5, line_bytes=4096, in_flight=4)
    server = Server(operations, limits=limits)
    with _listener() as listener:
        address = listener.getsockname()
        await server.start(listener)
        await _say(address, data)
        answer = await _say(address, b"".join(NATIVE[:2]))
        await server.close()
    assert b'"ok"' in answer
    assert not problems, problems


@contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("")
        yield listener


async def _say(address: bytes, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


# open-iscsi's structs


def _requests() -> list[bytes]:
    values = Record(NODE).to_map()
    login = structs.Request(structs.Command.SESSION_LOGIN, record=values)
    short = structs.Request(structs.Command.SESSION_INFO, sid=3)
    layouts = structs_layout.LAYOUTS.values()
    return [structs.encode_request(each, layout) for layout in layouts for each in (login, short)]


def compatible_request(data: bytes) -> None:
    """A request is decoded or refused; one that was damaged inside still encodes again."""
    structs.decode_head(data)
    request = structs.decode_request(data)
    assert "password" not in repr(request)
    structs.encode_request(request, structs_layout.LAYOUTS[len(data)])


ANSWERS = [
    structs.encode_answer(1, 15),
    structs.encode_text(7, "iqn.2026-11.test:initiator"),
    structs.encode_states(6, "LOGGED IN", "NO CHANGE"),
    structs.encode_statistics(4, 1, {"txdata_octets": 5}, {"eh_abort_cnt": 1}),
]


def compatible_answer(data: bytes) -> None:
    """What a C daemon answers."""
    response = structs.Response(data)
    for read in ("text", "states", "counters", "custom"):
        try:
            getattr(response, read)
        except PyIscsiError:
            continue


# The kernel's events


def _events() -> list[bytes]:
    head = struct.Struct("=IiQ")
    kinds = [*KEvent, *UEvent]
    bodies = [head.pack(kind, 0, 7).ljust(uevent.UEVENT_BYTES, b"\x01") for kind in kinds]
    header = bytes((0x3F, 0x80, 0, 0, 0, 0, 0, 8)).ljust(48, b"\0")
    return [body + tail for body in bodies for tail in (b"", header + b"datadata", bytes(200))]


def kernel_event(kind_and_data: tuple[int, bytes]) -> None:
    """Whatever the netlink socket delivers is dealt with where it is read."""
    kind, data = kind_and_data
    kernel = Kernel(Env())
    kernel.queues.keep(0x01010101)
    kernel._on_message(kind, data)
    message = uevent.parse(data)
    uevent.event_fields(message)
    uevent.parse_statistics(message.payload)


TARGETS = {
    "record": (st.tuples(st.sampled_from(KINDS), damaged(_record_files())), record),
    "iscsid.conf": (damaged([CONFIGURATION]), configuration),
    "native-message": (damaged(NATIVE), native_message),
    "native-server": (damaged([b"".join(NATIVE), *NATIVE]), native_server),
    "compatible-request": (damaged(_requests(), 12), compatible_request),
    "compatible-answer": (damaged(ANSWERS, 12), compatible_answer),
    "kernel-event": (
        st.tuples(st.sampled_from((0, *UEvent)), damaged(_events(), 8)),
        kernel_event,
    ),
}
