"""A listening port: aiohttp's server, with every answer in JSON and a stop that finishes what was begun."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import _ErrInfo
from aiohttp.web_request import BaseRequest

from obscura.http.bodies import BODY_STALL_SECS, check_expectation
from obscura.http.request_handling import (
    Express,
    answering,
    error_response,
    malformed,
    on_response_prepare,
)
from obscura.observability.metrics.http import SERVER_ERRORS
from obscura.observability.tracing import Tracing

log = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 16_384
_READ_AHEAD_BYTES = 65_536  # of a body, per connection: many uploads at once are to cost little memory
_CUT_OFF_SECS = 0.1  # for requests that outlast a stop, to take note
_OTHER_FILES = 200  # which the process has open beside its connections, or may need to
_FIRST_REQUEST_SECS = 0.05  # for connections made a moment before a stop, to bring their request


class HttpServer:
    """One listening port that answers by a route table, every error in JSON.

    Args:
        max_body_bytes: No body of any route is read beyond this.
        shutdown_timeout_secs: How long a stop waits for requests in flight.
        body_stall_secs: A body of which nothing comes for this long is given up.
        keep_alive_secs: A connection on which no whole head of a request comes for this long is closed.
        max_connections: Beyond it a new connection ends the one that has been idle for longest. None: as
            many as the limit of open files leaves room for.

    Attributes:
        tracing: Makes spans of the requests; to be set before `start`.
        express: A short way for some requests, while there are no traces; to be set before `start`.
    """

    tracing: Tracing | None = None
    express: Express | None = None

    def __init__(
        self,
        routes: Iterable[web.RouteDef],
        max_body_bytes: int,
        shutdown_timeout_secs: float,
        body_stall_secs: float = 30.0,
        keep_alive_secs: float = 75.0,
        max_connections: int | None = None,
    ) -> None:
        self.app = web.Application(client_max_size=max_body_bytes)
        self.app.add_routes(_checking_expectations(routes))
        self.app.on_response_prepare.append(on_response_prepare)
        self.app[BODY_STALL_SECS] = body_stall_secs
        self.port = 0
        self._shutdown_timeout_secs = shutdown_timeout_secs
        self._keep_alive_secs = keep_alive_secs
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=_CUT_OFF_SECS)
        self._connections = _Connections(_room() if max_connections is None else max_connections)
        self._listener: asyncio.Server | None = None
        self._make_protocol: Callable[[], web.RequestHandler] | None = None

    async def start(self, host: str, port: int, is_port_shared: bool = False) -> None:
        """Listen. The kernel spreads connections over all processes that share a port.

        Raises:
            OSError: The address is taken, or not ours.
        """
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        express = self.express if self.tracing is None else None
        server.request_handler = answering(server.request_handler, self.tracing, express)  # type: ignore[assignment]  # every one is a Request
        server.request_factory = _ignoring_host(server.request_factory)
        loop = asyncio.get_running_loop()

        def make_protocol() -> web.RequestHandler:
            return _RequestHandler(
                self._connections,
                server,
                loop=loop,
                access_log=None,  # its way to say no
                auto_decompress=False,
                keepalive_timeout=self._keep_alive_secs,
                read_bufsize=_READ_AHEAD_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )

        self._make_protocol = make_protocol
        self._listener = await loop.create_server(make_protocol, host, port, backlog=1024, reuse_port=is_port_shared)
        self.port = self._listener.sockets[0].getsockname()[1]

    def ask_to_leave(self) -> None:
        """From now on every answer says that its connection ends, so that the next request goes elsewhere."""
        self._connections.are_to_leave = True

    async def stop_accepting(self) -> None:
        """Let nobody in any more, but those who have knocked.

        A connection that the kernel has made and nobody has accepted is reset when its listener
        closes. A balancer has put a request on it by then and cannot tell whether it was served.
        """
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        doors = [door.dup() for door in listener.sockets]
        # asyncio's own loop forgets a connection that it accepted in the tick of the close.
        for door in listener.sockets:
            asyncio.get_running_loop().remove_reader(door.fileno())
        await asyncio.sleep(0)
        listener.close()
        for door in doors:
            await self._let_in(door)

    async def _let_in(self, door: socket.socket) -> None:
        assert self._make_protocol is not None
        accepted = []
        with door, suppress(OSError):  # nobody is left
            door.setblocking(False)
            while True:
                accepted.append(door.accept()[0])
        for connection in accepted:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)

    async def stop(self) -> None:
        """Finish the requests in flight and close every connection."""
        await self.stop_accepting()
        if self._connections.any_open:
            await asyncio.sleep(_FIRST_REQUEST_SECS)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout_secs):
                await self._connections.finish()
        await self._runner.cleanup()


class _Connections:
    """The open connections of a server.

    aiohttp's own way to stop reads nothing more from any of them, so a request whose body is
    still arriving would never get its answer.

    Connections cost their client nothing. So that those on which nobody asks for anything keep
    nobody out, they make room when there are too many: first the one that is idle for longest.
    """

    def __init__(self, most: float) -> None:
        self.are_to_leave = False
        self._most = most
        self._open: set[_RequestHandler] = set()
        self._idle: dict[_RequestHandler, None] = {}  # in the order in which they fell idle
        self._none = asyncio.Event()
        self._none.set()

    def add(self, connection: "_RequestHandler") -> None:
        self._open.add(connection)
        self._none.clear()
        self.note_idle(connection)
        if len(self._open) > self._most:
            longest = next(iter(self._idle))
            del self._idle[longest]  # it stays open for a moment, and is not to be chosen again
            longest.force_close()

    def note_idle(self, connection: "_RequestHandler") -> None:
        """It waits for a request."""
        if connection in self._open:
            self._idle[connection] = None

    def note_request(self, connection: "_RequestHandler") -> None:
        """It has one."""
        self._idle.pop(connection, None)

    def discard(self, connection: "_RequestHandler") -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if not self._open:
            self._none.set()

    @property
    def any_open(self) -> bool:
        return bool(self._open)

    async def finish(self) -> None:
        """Close each connection, behind the request it is serving, and wait until none is left."""
        for connection in tuple(self._open):
            connection.finish()
        await self._none.wait()


def _room() -> float:
    """How many connections a process may have, as far as its limit of open files goes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if limit == resource.RLIM_INFINITY else max(limit // 2, limit - _OTHER_FILES)


def _checking_expectations(routes: Iterable[web.RouteDef]) -> Iterator[web.RouteDef]:
    for route in routes:
        options = {**route.kwargs, "expect_handler": check_expectation}
        yield web.RouteDef(route.method, route.path, route.handler, options)


def _ignoring_host(factory: Callable[..., BaseRequest]) -> Callable[..., BaseRequest]:
    """Have ``GET http://host/path`` served as ``GET /path``; RFC 9112 section 3.2.2 asks for the former to be accepted.

    No route depends on the host, and aiohttp would decode it where nobody catches the error:
    the connection would hang.
    """

    def make_request(message: RawRequestMessage, *rest: object) -> BaseRequest:
        if message.url.absolute:
            message = message._replace(url=message.url.relative())
        return factory(message, *rest)

    return make_request


class _RequestHandler(web.RequestHandler):
    """aiohttp's, but what is no HTTP at all is answered in JSON too, and a stop waits for what was begun."""

    __slots__ = ("_connections", "_is_broken", "_is_finishing")

    def __init__(self, connections: _Connections, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._connections = connections
        self._is_broken = self._is_finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._connections.discard(self)

    def finish(self) -> None:
        """Close the connection, behind the answer to the request that is being served."""
        self._is_finishing = True
        if not self._request_in_progress and not self._messages:
            self.force_close()

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self._is_finishing or self._connections.are_to_leave:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if not self._messages:
            self._connections.note_idle(self)
        return finished

    def data_received(self, data: bytes) -> None:
        if self._is_broken:
            return  # aiohttp would find an error in each further piece, and keep a text of twice its size
        super().data_received(data)
        if not self._messages:
            return
        self._connections.note_request(self)
        if type(error := self._messages[-1][0]) is _ErrInfo:
            self._is_broken = True
            error.exc.__traceback__ = None  # a circle by way of aiohttp's frame, which holds the data
            # aiohttp will answer that in turn, but leaves a request whose body broke off waiting for ever.
            request = self._current_request
            if request is not None and not request.content.is_eof():
                request.content.set_exception(web.RequestPayloadError("broken framing"))

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # nobody is there to be answered
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is under way already")
        if status == 400:
            response = malformed()
        else:
            SERVER_ERRORS.labels("fault").inc()
            log.error("an error of the server's own", exc_info=exc)
            response = error_response(500, "Internal server error")
        response.force_close()
        return response
