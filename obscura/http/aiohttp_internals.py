"""Every inside of aiohttp that this server stands on: what its documentation does not promise.

`tests/http/test_aiohttp_internals.py` says in plain words which of them an upgrade has changed.

| relied on | for | aiohttp 4 (its unreleased web_protocol.py) |
| --- | --- | --- |
| `web.RequestHandler` subclassed, made by hand for `web.Server` | all below | has a type parameter; else as here |
| `Server.request_handler`, `.request_factory` replaced | ids and errors around all of aiohttp | as here |
| `RequestHandler._messages` | a stop waits for pipelined requests; broken framing is seen | as here |
| `_ErrInfo` | the same | a data class, with the same fields |
| `data_received`, `finish_response`, `handle_error` overridden | the same; JSON for what is no HTTP | as here |
| `eof_received`, `set_parser` overridden, `_payload_parser` | half-closed clients are answered | not known |
| `RequestHandler._request_handler` replaced | a connection too many is told so | as here |
| `RawRequestMessage._replace` | the absolute form of a request's target | not known |
| `StreamReader.set_exception` | a request whose body broke off ends | as here |
| `StreamReader.total_bytes` | whether a client waits for 100 Continue | not known |
| `writer.output_size` | no second answer into the middle of a first | as here |
| `prepare`, `write_eof`, `keep_alive` of an answer are all that is called | answers written in one piece | as here |
| keep-alive counts from the start of a connection | who sends nothing is closed | breaks: only from the first answer |
| `request.transport` written to, `request.writer.drain` | `gateway/socket_writer.py` | not known |
| `WebSocketResponse.close` overridden | `gateway/websocket.py` | not known |

In use elsewhere and gone or changed in 4, without harm: `HTTPException` is no answer any more (it is
only caught here), old-style middlewares end (`web.middleware` stays, and does nothing).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import _ErrInfo
from aiohttp.web_request import BaseRequest

from obscura.http.connections import Connections
from obscura.http.responses import add_headers

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def has_begun_answer(request: BaseRequest) -> bool:
    """Whether a byte of an answer has been written."""
    return request.writer.output_size > 0


def has_body_begun(request: BaseRequest) -> bool:
    """Whether a byte of the body has come."""
    return request.content.total_bytes > 0


def wrap_server(server: web.Server, wrap: Callable[[_Handler], _Handler]) -> None:
    """Have ``wrap`` around all that aiohttp does with a request, and the target of each read as RFC 9112 asks for.

    To be called before the first connection is made.
    """
    server.request_handler = wrap(server.request_handler)  # type: ignore[assignment]  # all are web.Request
    server.request_factory = _request_factory(server.request_factory)


class HttpConnection(web.RequestHandler):
    """One connection of a client.

    aiohttp's, but what is no HTTP at all is answered by ``answer_fault``, a stop waits for what was begun, and
    a client that says that it sends nothing more gets its answers before the connection ends.

    Args:
        connections: Where it is listed for as long as it is open.
        answer_fault: Makes the answer to what is not served: a status, 400, 500 or 503, and the error.
        options: Those of `web.RequestHandler`.
    """

    __slots__ = (
        "_answer_fault",
        "_connections",
        "_has_client_ended",
        "_is_answering",
        "_is_broken",
        "_is_closing",
        "request_in_handler",
    )

    def __init__(
        self,
        connections: Connections,
        answer_fault: Callable[[int, BaseException | None], web.Response],
        server: web.Server,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self._connections = connections
        self._answer_fault = answer_fault
        self._is_broken = self._is_closing = self._is_answering = self._has_client_ended = False
        self.request_in_handler: BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.request_in_handler = None
        self._connections.discard(self)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's never keeps a connection
        """The client sends nothing more. True: what it sent before that is answered first (RFC 9112 section 9.6)."""
        request, queued = self.request_in_handler, self._messages
        if queued and not queued[-1][1].is_eof():
            queued.pop()  # nobody will ever have the rest of that body
        is_whole = request is not None and self._payload_parser is None and request.content.is_eof()
        if not (is_whole or queued or self._is_answering):
            return False  # whoever leaves a socket without a close frame, or a request unfinished, is gone
        self._has_client_ended = True
        return True

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Frames are read from now on: a WebSocket was opened."""
        super().set_parser(parser, data_received_cb)
        if self._has_client_ended and self.transport is not None:
            self.transport.close()  # behind the answer to the handshake

    def refuse_requests(self) -> None:
        """Answer the first request that there are too many connections, and close behind that."""
        self._request_handler = self._refuse

    async def _refuse(self, _request: BaseRequest) -> web.StreamResponse:
        response = self._answer_fault(503, None)
        response.force_close()
        return response

    def close_after_response(self) -> None:
        """Close, behind the answer to the request that is being served, if there is one."""
        self._is_closing = True
        if self.request_in_handler is None and not self._is_answering and not self._messages:
            self.force_close()

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self.request_in_handler = None
        self._is_answering = True
        is_last = self._is_closing or (self._has_client_ended and not self._messages)
        if is_last or self._connections.is_keep_alive_disabled:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        self._is_answering = False
        if not self._messages:
            self._connections.mark_idle(self)
            if self._has_client_ended:
                self.close()
        return finished

    def data_received(self, data: bytes) -> None:
        if self._is_broken:
            return  # aiohttp would find an error in each further piece, and keep a text of twice its size
        super().data_received(data)
        if not self._messages:
            return
        self._connections.mark_busy(self)
        if type(error := self._messages[-1][0]) is _ErrInfo:
            self._is_broken = True
            error.exc.__traceback__ = None  # a circle by way of aiohttp's frame, which holds the data
            # aiohttp will answer that in turn, but leaves a request whose body broke off waiting for ever.
            request = self.request_in_handler
            if request is not None and not request.content.is_eof():
                request.content.set_exception(web.RequestPayloadError("broken framing"))

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        self.request_in_handler = None
        if isinstance(exc, ConnectionError):
            raise exc  # nobody is there to be answered
        if has_begun_answer(request):
            raise ConnectionError("the answer is under way already")
        response = self._answer_fault(status, exc)
        response.force_close()
        return response


class PrebuiltResponse(web.StreamResponse):
    """An answer without a body, whose head is written as it was made, in one piece.

    aiohttp's own way is taken where the connection is to close behind it.

    Args:
        head: The status line and all headers, each line with its end, and the empty line.
    """

    def __init__(self, status: int, head: str) -> None:
        super().__init__(status=status)
        self._head = head
        self._is_last = False
        self._transport: asyncio.Transport | None = None

    @property
    def keep_alive(self) -> bool:
        return not self._is_last

    def force_close(self) -> None:
        super().force_close()
        self._is_last = True

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        if self._is_last:
            self.content_length = 0
            add_headers(self)
            return await super().prepare(request)
        self._transport = request.transport
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        if self._is_last:
            await super().write_eof(data)
            return
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(self._head.encode())


def _request_factory(make: Callable[..., BaseRequest]) -> Callable[..., BaseRequest]:
    """Note each request with its connection, and have ``GET http://host/path`` served as ``GET /path``.

    RFC 9112 section 3.2.2 asks for the former to be accepted. No route depends on the host,
    and aiohttp would decode it where nobody catches the error: the connection would hang.
    """

    def make_request(
        message: RawRequestMessage,
        payload: StreamReader,
        connection: HttpConnection,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> BaseRequest:
        if message.url.absolute:
            message = message._replace(url=message.url.relative())
        request = connection.request_in_handler = make(message, payload, connection, writer, task)
        return request

    return make_request
