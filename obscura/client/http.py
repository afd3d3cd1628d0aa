"""A small HTTP/1.1 client: prebuilt requests in, one answer at a time out, over kept connections.

It does what a load generator needs and no more, since what it costs is taken from the machine
that it measures. httptools parses the answers: it takes a tenth less processor time for an
exchange than a parser in Python that looks for the end of an answer only.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httptools

from obscura.client.errors import ExchangeError, NotSentError
from obscura.client.target import Target

_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end; names of headers in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
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

    @property
    def retry_after_secs(self) -> float | None:
        """How long the server asks to wait; None if it does not say."""
        value = self.headers.get(b"retry-after")
        return None if value is None else float(value)


@dataclass(slots=True)
class Traffic:
    """Bytes of the application that went each way, heads and frames included."""

    sent: int = 0
    received: int = 0


def bearer(token: str) -> dict[str, str]:
    """The header that logs a request in."""
    return {"Authorization": f"Bearer {token}"}


def request_head(
    target: Target, method: str, path: str, size_bytes: int = 0, headers: Mapping[str, str] = _NO_HEADERS
) -> bytes:
    """The head of a request whose body has ``size_bytes``."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.authority}", f"Content-Length: {size_bytes}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def json_request(
    target: Target, method: str, path: str, body: object, headers: Mapping[str, str] = _NO_HEADERS
) -> bytes:
    """A whole request."""
    encoded = json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", **headers}
    return request_head(target, method, path, len(encoded), all_headers) + encoded


class HttpConnection:
    """A kept connection to one node, for one request at a time; opens itself again after it was closed."""

    def __init__(self, target: Target, traffic: Traffic, timeout_secs: float) -> None:
        self.target = target
        self._traffic = traffic
        self._timeout_secs = timeout_secs
        self._stream: _Stream | None = None

    async def exchange(self, request: bytes) -> Reply:
        """Send a request and read the answer. One that is cancelled costs the connection, and no more.

        Raises:
            NotSentError: The connection could not be made.
            ExchangeError: It was lost, or nothing came in time: nobody knows what became of the request.
        """
        stream = self._stream
        if stream is None or stream.is_closed:
            stream = self._stream = await self._connect()
        timer = asyncio.get_running_loop().call_later(self._timeout_secs, stream.fail, "timeout")
        try:
            return await stream.send(request)
        except asyncio.CancelledError:
            stream.close()  # else the next request would get the answer to this one
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the connection at once."""
        if self._stream is not None:
            self._stream.close()

    async def _connect(self) -> "_Stream":
        try:
            async with asyncio.timeout(self._timeout_secs):
                return await self.target.connect(lambda: _Stream(self._traffic))
        except TimeoutError:
            raise NotSentError("timeout") from None
        except OSError as error:
            raise NotSentError(f"no connection: {error.strerror or error}") from None


class _Stream(asyncio.Protocol):
    """One TCP connection, and the answer that is being read from it. httptools calls the methods ``on_…``."""

    def __init__(self, traffic: Traffic) -> None:
        self.is_closed = False
        self._traffic = traffic
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Write a request; the result is the answer to it."""
        assert self._transport is not None
        assert self._answer is None, "one request at a time"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        self._traffic.sent += len(request)
        return self._answer

    def fail(self, kind: str) -> None:
        """Give up the connection: what comes next on it would be the answer to something else."""
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ExchangeError(kind))

    def close(self) -> None:
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.fail("answer is no HTTP")

    def connection_lost(self, _error: Exception | None) -> None:
        self.fail("connection lost")

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        self._parts.clear()
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # RFC 9110 section 15.2: the final one follows
            return
        answer, self._answer = self._answer, None
        if answer is None:
            self.fail("answer to no request")
            return
        if not self._parser.should_keep_alive():
            self.close()
        if not answer.done():
            answer.set_result(Reply(status, self._headers, body))
