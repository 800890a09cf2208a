"""The scripted target as an asyncio server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.framer import Framer, RawPdu
from pyiscsi.proto.pdu import (
    RESERVED_TAG,
    AnyPdu,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Reject,
    TextRequest,
    TextResponse,
    decode,
    next_serial,
)
from pyiscsi.proto.text import encode_text
from tests.integration.target.login import TargetLogin
from tests.integration.target.script import Script

_FIRST_STAT_SN = 0x01020304
_SEGMENT_MAX = 65536


class ScriptedTarget:
    """`async with ScriptedTarget(script) as target:` listens on `target.address:target.port`.

    `requests` holds every decoded request, connection after connection; `connections` counts
    them. `seen` is an asyncio.Condition-free way to wait: `await target.wait_for_requests(n)`.
    """

    def __init__(
        self, script: Script | None = None, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.script = script or Script()
        self.address = address
        self.port = port
        self.requests: list[AnyPdu] = []
        self.connections = 0
        self.ended = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> ScriptedTarget:
        self._server = await asyncio.start_server(self._accept, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for_requests(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_ends(self, count: int) -> None:
        """Wait until that many connections are over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended >= count)

    async def note(self, request: AnyPdu) -> None:
        async with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
        """What serves the newest connection, number `connections`."""
        return Connection(self, self.script, reader, writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.connection(reader, writer).serve()
        except (ConnectionError, RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            async with self._changed:
                self.ended += 1
                self._changed.notify_all()


class Connection:
    """One connection of a target, served as the script says."""

    def __init__(
        self,
        target: ScriptedTarget,
        script: Script,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._target = target
        self._script = script
        self._faults = script.faults
        self._reader = reader
        self._writer = writer
        self._number = target.connections
        self._framer = Framer(_SEGMENT_MAX)
        self._login = TargetLogin(script)
        self._held: list[LoginResponse] = []
        self._stat_sn = _FIRST_STAT_SN
        self._cmd_sn = 0
        self._step = 0
        self._text = b""

    async def serve(self) -> None:
        if self._number <= self._faults.fail_connections:
            return
        while (request := await self._receive()) is not None:
            self._step += 1
            await self._target.note(request)
            if self._script.on_request:
                self._script.on_request(self._step, request)
            if self._step == self._faults.drop_at:
                return
            if self._faults.silent_from and self._step >= self._faults.silent_from:
                continue
            if self._step in self._faults.raw:
                await self._write(self._faults.raw[self._step])
                continue
            await self._answer(request)
            if self._is_last(request):
                return

    def _is_last(self, request: Any) -> bool:
        """Whether the connection ends with the answer to this."""
        return isinstance(request, LogoutRequest)

    async def _receive(self) -> Any:
        """The next request, decoded; None at the end of the stream."""
        while (raw := self._framer.next_pdu()) is None:
            received = await self._reader.read(65536)
            if not received:
                return None
            self._framer.feed(received)
        return self._decode(raw)

    def _decode(self, raw: RawPdu) -> Any:
        return decode(raw.header, raw.data)

    async def _answer(self, request: Any) -> None:
        handlers: dict[type, Any] = {
            LoginRequest: self._answer_login,
            TextRequest: self._answer_text,
            LogoutRequest: self._answer_logout,
            NopOut: self._answer_nop,
        }
        handler = handlers.get(type(request), self._refuse)
        response = handler(request)
        response = dataclasses.replace(response, **self._faults.overrides.get(self._step, {}))
        final = isinstance(response, LoginResponse) and response.transit and response.nsg == 3
        header, data = response.encode()
        await self._write(self._framer.encode(header, data))
        self._stat_sn = next_serial(self._stat_sn)
        if final:
            digests = self._login.digests
            self._framer.use_digests(
                header=digests["HeaderDigest"] == "CRC32C",
                data=digests["DataDigest"] == "CRC32C",
            )
            self._enter_full_feature_phase()

    def _enter_full_feature_phase(self) -> None:
        """The login is over: for targets that go on."""

    async def _write(self, data: bytes) -> None:
        size = 1 if self._faults.byte_by_byte else len(data)
        for start in range(0, len(data), size or 1):
            self._writer.write(data[start : start + size])
            await self._writer.drain()

    def _numbers(self, request: Any) -> dict[str, Any]:
        return {
            "initiator_task_tag": request.initiator_task_tag,
            "stat_sn": self._stat_sn,
            "exp_cmd_sn": request.cmd_sn,
            "max_cmd_sn": (request.cmd_sn + 8) & 0xFFFFFFFF,
        }

    def _redirect(self) -> tuple[int, str | None] | None:
        if self._faults.redirect_for_ever:
            return self._faults.redirect_for_ever
        if self._number <= len(self._faults.redirects):
            return self._faults.redirects[self._number - 1]
        return None

    def _answer_login(self, request: LoginRequest) -> LoginResponse:
        base = LoginResponse(
            transit=False, csg=request.csg, nsg=0, isid=request.isid, **self._numbers(request)
        )
        if self._held:
            return dataclasses.replace(self._held.pop(0), stat_sn=self._stat_sn)
        if redirect := self._redirect():
            detail, address = redirect
            pairs = [("TargetAddress", address.format(port=self._target.port))] if address else []
            return dataclasses.replace(
                base, status_class=1, status_detail=detail, data=encode_text(pairs)
            )
        if self._step in self._faults.status:
            status = self._faults.status[self._step]
            return dataclasses.replace(base, status_class=status[0], status_detail=status[1])
        (status_class, status_detail), transit, pairs = self._login.answer(request)
        pairs += self._faults.extra_pairs.get(self._step, ())
        whole = dataclasses.replace(
            base,
            transit=transit,
            nsg=request.nsg if transit else 0,
            tsih=1 if transit and request.nsg == 3 else 0,
            status_class=status_class,
            status_detail=status_detail,
            data=encode_text(pairs),
        )
        return self._in_parts(whole)

    def _in_parts(self, whole: LoginResponse) -> LoginResponse:
        size = self._faults.login_part
        if not size or len(whole.data) <= size:
            return whole
        parts = [whole.data[i : i + size] for i in range(0, len(whole.data), size)]
        unfinished = dataclasses.replace(whole, transit=False, nsg=0, cont=True)
        self._held = [dataclasses.replace(unfinished, data=part) for part in parts[:-1]]
        self._held.append(dataclasses.replace(whole, data=parts[-1]))
        return self._held.pop(0)

    def _answer_text(self, request: TextRequest) -> TextResponse:
        if request.target_transfer_tag == RESERVED_TAG:
            self._text = self._script.text
        part = self._text[: self._script.text_part]
        self._text = self._text[self._script.text_part :]
        if self._faults.endless_text:
            self._text = self._script.text
        final = not self._text
        return TextResponse(
            final=final,
            target_transfer_tag=RESERVED_TAG if final else 0x1234,
            data=part,
            **self._numbers(request),
        )

    def _answer_logout(self, request: LogoutRequest) -> LogoutResponse:
        return LogoutResponse(**self._numbers(request))

    def _answer_nop(self, request: NopOut) -> NopIn:
        return NopIn(data=request.data, **self._numbers(request))

    def _refuse(self, request: AnyPdu) -> Reject:
        header, _ = request.encode()
        return Reject(reason=5, stat_sn=self._stat_sn, data=header)
