"""What this server stands on in aiohttp without a promise of its documentation.

A failure here after an upgrade says what has changed; obscura/http/aiohttp_internals.py has to follow.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import _ErrInfo
from aiohttp.web_request import BaseRequest

pytestmark = pytest.mark.libraries

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Connection(web.RequestHandler):
    """aiohttp's, with a list of what it calls."""

    __slots__ = ("calls",)

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self.calls: list[str] = []

    async def finish_response(self, request: Any, resp: Any, start_time: Any) -> tuple[web.StreamResponse, bool]:
        self.calls.append("finish_response")
        return await super().finish_response(request, resp, start_time)

    def handle_error(self, request: Any, status: int = 500, exc: Any = None, message: Any = None) -> Any:
        self.calls.append(f"handle_error {status} {type(exc).__name__}")
        return web.Response(status=status, text="handled")


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[tuple[list[Connection], Callable[..., Any]]]:
    """A bare server of aiohttp's: its connections, and what opens one."""
    server = web.Server(handler)
    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection(server, loop=asyncio.get_running_loop(), access_log=None, **options))
        return made[-1]

    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []

    async def connect(data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writers.append(writer)
        writer.write(data)
        return reader, writer

    yield made, connect
    for writer in writers:
        writer.close()
    listener.close()
    await server.shutdown(0.1)


async def ok(_request: BaseRequest) -> web.Response:
    return web.Response(text="ok")


async def head_of(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(2):
        return (await reader.readuntil(b"\r\n\r\n")).decode()


async def test_a_request_waits_in_messages_while_another_is_handled() -> None:
    """`_messages` holds what has been parsed and not begun, as pairs of a message and its body."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: BaseRequest) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response()

    async with serving(wait) as (made, connect):
        reader, writer = await connect(GET)
        await begun.wait()
        assert len(made[0]._messages) == 0, "the request being handled is still in RequestHandler._messages"
        writer.write(GET)
        while not made[0]._messages:  # noqa: ASYNC110  there is nothing to wait for
            await asyncio.sleep(0.001)
        message, payload = made[0]._messages[0]
        assert isinstance(message, RawRequestMessage), "RequestHandler._messages has other entries than before"
        assert payload.is_eof()
        go_on.set()
        assert await head_of(reader)


async def test_what_is_no_http_is_the_last_of_the_messages() -> None:
    """As an `_ErrInfo` with the error that carries a traceback, and then comes to `handle_error` as a 400."""
    seen: list[object] = []

    class Broken(Connection):
        __slots__ = ()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            seen.extend(message for message, _ in self._messages)

    server = web.Server(ok)
    loop = asyncio.get_running_loop()
    made = [Broken(server, loop=loop, access_log=None)]
    listener = await loop.create_server(lambda: made[0], "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(b"hello\r\n\r\n")
    assert "400" in await head_of(reader)
    assert [type(one) for one in seen] == [_ErrInfo], "broken framing is no _ErrInfo in RequestHandler._messages"
    assert isinstance(seen[0].exc, Exception)  # type: ignore[attr-defined]
    assert made[0].calls[0].startswith("handle_error 400"), "broken framing does not come to handle_error"
    writer.close()
    listener.close()
    await server.shutdown(0.1)


async def test_an_error_of_the_handler_comes_to_handle_error() -> None:
    """And what that returns is sent by `finish_response`, once."""

    async def fail(_request: BaseRequest) -> web.Response:
        raise LookupError

    async with serving(fail) as (made, connect):
        reader, _ = await connect(GET)
        assert "500" in await head_of(reader)
        assert made[0].calls == ["handle_error 500 LookupError", "finish_response"]


async def test_the_factory_of_a_server_makes_each_request() -> None:
    """`request_factory` and `request_handler` are looked up when a connection is made, and called with five and one."""
    given: list[tuple[object, ...]] = []
    server = web.Server(ok)
    make, handle = server.request_factory, server.request_handler

    def note(*arguments: Any) -> BaseRequest:
        given.append(arguments)
        return make(*arguments)

    async def shout(request: BaseRequest) -> web.StreamResponse:
        await handle(request)
        return web.Response(status=299)

    server.request_factory, server.request_handler = note, shout
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server, loop=loop, access_log=None), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(b"GET http://host/path HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "299" in await head_of(reader), "Server.request_handler is not what connections call"
    message, payload, connection, stream, task = given[0]
    assert isinstance(message, RawRequestMessage)
    assert isinstance(payload, StreamReader)
    assert isinstance(connection, Connection), "the third argument of the request factory is not the connection"
    assert isinstance(stream, AbstractStreamWriter)
    assert isinstance(task, asyncio.Task)
    writer.close()
    listener.close()
    await server.shutdown(0.1)
    assert message.url.absolute
    assert str(message._replace(url=message.url.relative()).url) == "/path", "RawRequestMessage._replace is gone"


async def test_a_body_that_is_given_an_error_raises_it_in_its_reader() -> None:
    """`StreamReader.set_exception` wakes who reads."""
    errors: list[Exception] = []
    begun = asyncio.Event()
    requests: list[BaseRequest] = []

    async def read(request: BaseRequest) -> web.Response:
        requests.append(request)
        begun.set()
        try:
            await request.content.read(4)
        except web.RequestPayloadError as error:
            errors.append(error)
        return web.Response()

    async with serving(read) as (_, connect):
        await connect(POST)
        await begun.wait()
        requests[0].content.set_exception(web.RequestPayloadError("broken"))
        async with asyncio.timeout(2):
            while not errors:  # noqa: ASYNC110  there is nothing to wait for
                await asyncio.sleep(0.001)


async def test_the_bytes_of_a_body_that_have_come_are_counted() -> None:
    """`StreamReader.total_bytes`: none before the body begins."""
    counts: list[int] = []

    async def read(request: BaseRequest) -> web.Response:
        counts.append(request.content.total_bytes)
        await request.content.read()
        counts.append(request.content.total_bytes)
        return web.Response()

    async with serving(read) as (_, connect):
        reader, writer = await connect(POST)
        await asyncio.sleep(0.05)
        writer.write(b"body")
        await head_of(reader)
        assert counts == [0, 4], "StreamReader.total_bytes does not count what has come"


async def test_the_bytes_of_an_answer_that_were_written_are_counted() -> None:
    """`output_size` is 0 until the first byte of an answer, whatever was written to the transport itself."""
    sizes: list[int] = []

    async def answer(request: BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        sizes.append(request.writer.output_size)
        response = web.StreamResponse()
        response.content_length = 2
        await response.prepare(request)
        await response.write(b"ok")
        sizes.append(request.writer.output_size)
        return response

    async with serving(answer) as (_, connect):
        reader, _ = await connect(GET)
        assert "100 Continue" in await head_of(reader), "request.transport is not the connection's"
        assert "200 OK" in await head_of(reader)
        assert sizes[0] == 0, "output_size counts what did not pass the writer"
        assert sizes[1] > 0, "output_size does not count an answer"


async def test_an_answer_is_asked_for_three_things() -> None:
    """`prepare`, `write_eof` and then `keep_alive`, so an answer with its own may write what it likes."""
    calls: list[str] = []

    class Own(web.StreamResponse):
        async def prepare(self, request: Any) -> None:
            calls.append("prepare")
            self.transport = request.transport

        async def write_eof(self, data: bytes = b"") -> None:
            calls.append("write_eof")
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        @property
        def keep_alive(self) -> bool:
            calls.append("keep_alive")
            return True

    async def answer(_request: BaseRequest) -> web.StreamResponse:
        return Own()

    async with serving(answer) as (_, connect):
        reader, writer = await connect(GET)
        assert "204" in await head_of(reader)
        writer.write(GET)  # the connection is kept
        assert "204" in await head_of(reader)
        assert calls[:4] == ["prepare", "write_eof", "keep_alive", "prepare"]


async def test_an_answer_that_is_forced_closed_says_so() -> None:
    """`force_close` makes `keep_alive` False, and the connection ends behind the answer."""

    async def answer(_request: BaseRequest) -> web.StreamResponse:
        response = web.Response()
        assert response.keep_alive is None
        response.force_close()
        assert response.keep_alive is False
        return response

    async with serving(answer) as (_, connect):
        reader, _ = await connect(GET)
        assert "Connection: close" in await head_of(reader)
        assert await reader.read() == b""


async def test_a_connection_without_a_request_is_closed_after_the_keep_alive_time() -> None:
    """The time runs from the start of the connection, not only from its first answer."""
    async with serving(ok, keepalive_timeout=0.05) as (_, connect):
        reader, _ = await connect()
        try:
            async with asyncio.timeout(2):
                assert await reader.read() == b""
        except TimeoutError:
            pytest.fail("a client that sends nothing is not closed any more: HttpServer needs a timer of its own")


async def test_frames_may_be_written_past_a_socket_of_aiohttp() -> None:
    """What gateway/socket_writer.py does: to `request.transport`, with `request.writer.drain` to wait."""

    class Socket(web.WebSocketResponse):
        async def close(self, **_: object) -> bool:  # type: ignore[override]
            return False

    async def answer(request: Any) -> web.StreamResponse:
        socket = Socket(autoclose=False, autoping=False, compress=False)
        await socket.prepare(request)
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"\x82\x02hi")
        await request.writer.drain()
        message = await socket.receive()
        assert message.type is web.WSMsgType.CLOSE, "a close frame does not reach who receives"
        transport.write(b"\x88\x00")
        transport.close()
        return socket

    handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    get = f"GET / HTTP/1.1\r\nHost: x\r\n{handshake}{'A' * 22}==\r\n\r\n"
    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.write(get.encode())
    assert "101" in await head_of(reader)
    assert await reader.readexactly(4) == b"\x82\x02hi", "a frame written to the transport does not come first"
    writer.write(b"\x88\x80\x00\x00\x00\x00")
    assert await reader.read() == b"\x88\x00", "aiohttp sends a close frame of its own"
    writer.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("finish_response", ["self", "request", "resp", "start_time"]),
        ("handle_error", ["self", "request", "status", "exc", "message"]),
        ("data_received", ["self", "data"]),
        ("eof_received", ["self"]),
        ("set_parser", ["self", "parser", "data_received_cb"]),
        ("force_close", ["self"]),
    ],
)
def test_what_is_overridden_has_the_same_parameters(method: str, parameters: list[str]) -> None:
    """aiohttp calls them by place or by name."""
    assert list(inspect.signature(getattr(web.RequestHandler, method)).parameters) == parameters


def test_what_connections_are_made_with_is_known() -> None:
    """The options that HttpServer gives."""
    known = inspect.signature(web.RequestHandler).parameters.keys()
    options = ("loop", "access_log", "auto_decompress", "keepalive_timeout", "read_bufsize")
    assert {*options, "max_line_size", "max_field_size"} <= known
