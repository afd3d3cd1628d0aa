"""A listening port: aiohttp's server, with every answer in JSON and a stop that finishes what was begun."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from obscura.http.aiohttp_internals import HttpConnection, wrap_server
from obscura.http.bodies import BODY_IDLE_TIMEOUT_SECS
from obscura.http.connections import Connections
from obscura.http.listener import Listener
from obscura.http.request_handling import (
    FastPath,
    malformed_request_response,
    on_response_prepare,
    refused_connection_response,
    wrap_handler,
)
from obscura.http.responses import server_fault_response
from obscura.http.route import Route
from obscura.observability.tracing import Tracing
from obscura.runtime import room_for_connections
from obscura.settings.model import Settings

_MAX_HEADER_BYTES = 16_384
_READ_AHEAD_BYTES = 65_536  # of a body, per connection: many uploads at once are to cost little memory
_CUT_OFF_SECS = 0.1  # for requests that outlast a stop, to take note
_FIRST_REQUEST_SECS = 0.05  # for connections made a moment before a stop, to bring their request


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a port is served.

    Attributes:
        max_body_bytes: No body of any route is read beyond this.
        stop_timeout_secs: How long a stop waits for requests in flight.
        body_idle_timeout_secs: A body of which nothing comes for this long is given up.
        keep_alive_secs: A connection on which no whole head of a request comes for this long is closed.
        max_connections: Beyond it a new connection ends the one that has been idle for longest. None: as
            many as the limit of open files leaves room for.
    """

    max_body_bytes: int
    stop_timeout_secs: float
    body_idle_timeout_secs: float = 30.0
    keep_alive_secs: float = 75.0
    max_connections: int | None = None

    @classmethod
    def from_settings(cls, settings: Settings, max_body_bytes: int) -> "ServerOptions":
        """Half of the time for a stop is the sockets', half is that of the other requests."""
        return cls(max_body_bytes, settings.shutdown_timeout_secs / 2)


class HttpServer:
    """One listening port that answers by a route table, every error in JSON.

    Attributes:
        app: Where handlers find what they need; to be filled before `start`.
        port: The port it listens on, after `start`.
        tracing: Makes spans of the requests; to be set before `start`.
        fast_path: A short way for some requests, not taken while there are traces; to be set before `start`.
    """

    tracing: Tracing | None = None
    fast_path: FastPath | None = None

    def __init__(self, routes: Iterable[Route], options: ServerOptions) -> None:
        self.app = web.Application(client_max_size=options.max_body_bytes)
        self.app.add_routes(routes)
        self.app.on_response_prepare.append(on_response_prepare)
        self.app[BODY_IDLE_TIMEOUT_SECS] = options.body_idle_timeout_secs
        self.port = 0
        self._options = options
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=_CUT_OFF_SECS)
        most = options.max_connections
        self._connections = Connections(room_for_connections if most is None else lambda: most)
        self._listener = Listener(self._make_connection)

    async def start(self, host: str, port: int, is_port_shared: bool = False) -> None:
        """Listen. The kernel spreads connections over all processes that share a port.

        Raises:
            OSError: The address is taken, or not ours.
        """
        await self._runner.setup()
        fast_path = self.fast_path if self.tracing is None else None
        wrap_server(self._server, lambda handler: wrap_handler(handler, self.tracing, fast_path))
        self.port = await self._listener.start(host, port, is_port_shared)

    def disable_keep_alive(self) -> None:
        """From now on every answer says that its connection ends, so that the next request goes elsewhere."""
        self._connections.is_keep_alive_disabled = True

    async def stop_accepting(self) -> None:
        """Accept the connections that clients have made already, and nothing after that. Safe to call again."""
        await self._listener.stop()

    async def stop(self) -> None:
        """Finish the requests in flight and close every connection."""
        await self.stop_accepting()
        if self._connections.any_open:
            await asyncio.sleep(_FIRST_REQUEST_SECS)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.stop_timeout_secs):
                await self._connections.close_after_responses()
        await self._runner.cleanup()

    @property
    def _server(self) -> web.Server:
        assert self._runner.server is not None  # from its setup on
        return self._runner.server

    def _make_connection(self) -> HttpConnection:
        return HttpConnection(
            self._connections,
            _answer_fault,
            self._server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # its way to say no
            auto_decompress=False,
            keepalive_timeout=self._options.keep_alive_secs,
            read_bufsize=_READ_AHEAD_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )


def _answer_fault(status: int, error: BaseException | None) -> web.Response:
    if status == 400:
        return malformed_request_response()
    if status == 503:
        return refused_connection_response()
    return server_fault_response("an error of the server's own", error)
