"""A small HTTP/1.1 client: prebuilt requests in, one answer at a time out, over kept connections.

It does what a load generator needs and no more, since what it costs is taken from the
machine that it measures: no header is parsed but those that say where an answer ends.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, cast

from obscura.bench.errors import ExchangeError
from obscura.client.target import Target

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; `ExchangeError` if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ExchangeError("answer is no JSON object")
        return value

    def expect(self, status: int) -> "Reply":
        """Itself; `ExchangeError` if the status is another one."""
        if self.status != status:
            raise ExchangeError(f"HTTP {self.status}")
        return self


@dataclass(slots=True)
class Traffic:
    """Bytes of the application that went each way, heads and frames included."""

    sent: int = 0
    received: int = 0


def head(method: str, path: str, target: Target, size: int, token: str | None = None, kind: str = "") -> bytes:
    """The head of a request whose body has ``size`` bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.authority}", f"Content-Length: {size}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if kind:
        lines.append(f"Content-Type: {kind}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class HttpConnection(asyncio.Protocol):
    """A kept connection to one node, for one request at a time; opens itself again after it was closed."""

    def __init__(self, target: Target, traffic: Traffic, timeout_secs: float) -> None:
        self.target = target
        self._traffic = traffic
        self._timeout_secs = timeout_secs
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._buffer = bytearray()

    async def exchange(self, request: bytes) -> Reply:
        """Send a request and read the answer.

        Raises:
            ExchangeError: The connection could not be made or was lost, or nothing came in time.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await self._connect()
        assert self._transport is not None
        assert self._answer is None, "one request at a time"
        answer: asyncio.Future[Reply] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(self._timeout_secs, self._fail, "timeout")
        self._transport.write(request)
        self._traffic.sent += len(request)
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_secs):
                await self.target.connect(lambda: self)
        except TimeoutError:
            raise ExchangeError("timeout") from None
        except OSError as error:
            raise ExchangeError(f"no connection: {error.strerror or error}") from None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._buffer.clear()

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        self._buffer += data
        try:
            reply = self._parse()
        except ValueError:
            self._fail("answer is no HTTP")
            return
        if reply is not None:
            self._finish(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ExchangeError("connection lost"))

    def _finish(self, reply: Reply) -> None:
        if self._answer is None or self._answer.done():
            self._fail("answer to no request")
        else:
            self._answer.set_result(reply)

    def _fail(self, kind: str) -> None:
        """Give up the connection: what comes next on it would be the answer to something else."""
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ExchangeError(kind))

    def _parse(self) -> Reply | None:
        """The answer, once all of it is there; `ValueError` if it is none."""
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise ValueError("the head does not end")
            return None
        head, start = bytes(self._buffer[: end + 2]), end + len(_HEAD_END)
        if not head.startswith(b"HTTP/1."):
            raise ValueError("that is no HTTP/1")
        status = int(head[9:12])
        if 100 <= status < 200:
            del self._buffer[:start]
            return self._parse()
        body = self._body(head, start)
        if body is None:
            return None
        if _CLOSES.search(head):
            self.close()
        return Reply(status, body)

    def _body(self, head: bytes, start: int) -> bytes | None:
        if _CHUNKED.search(head):
            return self._chunked(start)
        found = _LENGTH.search(head)
        end = start + (int(found[1]) if found else 0)
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return body

    def _chunked(self, start: int) -> bytes | None:
        """The chunks joined (RFC 9112 section 7.1), once the last is there; trailers are not expected."""
        body = bytearray()
        while (line_end := self._buffer.find(b"\r\n", start)) >= 0:
            size = int(self._buffer[start:line_end].partition(b";")[0], 16)
            start = line_end + 2 + size + 2
            if len(self._buffer) < start:
                return None
            if size == 0:
                del self._buffer[:start]
                return bytes(body)
            body += self._buffer[start - 2 - size : start - 2]
        return None
