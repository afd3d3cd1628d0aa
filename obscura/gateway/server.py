"""The gateway of a node: runs its sockets, and closes all of them in the end."""

import asyncio
import logging
from contextlib import suppress
from time import perf_counter

from aiohttp import web

from obscura.errors import BadRequest
from obscura.gateway.admission import Admission, Caller
from obscura.gateway.close_codes import GOING_AWAY, TRY_LATER
from obscura.gateway.draining import close_gradually
from obscura.gateway.formats.frame_format import MakeFormat
from obscura.gateway.hub import Hub
from obscura.gateway.options import SocketContext
from obscura.gateway.socket import GatewaySocket
from obscura.gateway.socket_limits import SocketLimits
from obscura.gateway.socket_writer import SocketWriter
from obscura.gateway.websocket import WebSocket
from obscura.observability.metrics.gateway import SOCKET_SECONDS, SOCKETS
from obscura.services.sessions import Sessions

log = logging.getLogger(__name__)

# Of the time for a shutdown: for the acks that wait, then until the sockets must have answered
# the close. The rest is for the last acks.
_ACKS_SHARE, _CLOSE_SHARE = 0.2, 0.7

_LIFETIMES = SOCKET_SECONDS.labels()


class Gateway:
    """The sockets of one node."""

    def __init__(self, hub: Hub, context: SocketContext, sessions: Sessions, limits: SocketLimits) -> None:
        self._hub = hub
        self._context = context
        self._admission = Admission(hub, context.acks, sessions, limits, context.options)

    async def serve(self, request: web.Request, caller: Caller, make_format: MakeFormat) -> web.WebSocketResponse:
        """Upgrade a request and run the socket to its end.

        Args:
            make_format: Makes the socket's frame format, which it keeps.

        Raises:
            BadRequest: The request asks for no WebSocket.
            Unauthorized: The session has ended.
            TooManyRequests: The client address has too many sockets here.
            TooFewOpenFiles: The process may not open another.
            Unavailable: The node is cut off from Redis or from its events, or is leaving.
            ConnectionError: The client has gone.
        """
        websocket = WebSocket()
        if not websocket.is_asked_for_by(request):
            raise BadRequest("This is a WebSocket endpoint: the request is not a valid upgrade")
        options, address_id = self._context.options, caller.address_id
        writer = SocketWriter(request, options.outbound_size, options.write_timeout_secs)
        socket = GatewaySocket(address_id, caller.session_id, make_format(address_id), writer, self._context)
        self._admission.enter(caller)
        is_listed = False
        began = perf_counter()
        try:
            is_listed = await self._admission.admit(socket, caller)
            if is_listed:
                SOCKETS.inc()
            else:
                socket.close(TRY_LATER)
            await websocket.prepare(request)
            websocket.headers.clear()  # a kilobyte that nobody asks for again
            await socket.serve(websocket)
        finally:
            self._admission.leave(caller)
            if is_listed:
                SOCKETS.dec()
                _LIFETIMES.observe(perf_counter() - began)
                self._hub.leave(socket)
        return websocket

    async def drain(self, secs: float) -> None:
        """Let nobody in any more and close one socket after another over this time, serving the others meanwhile.

        For the whole of it, even if nobody is left: it is the time in which balancers notice.
        """
        self._admission.end()
        if secs > 0:
            await close_gradually(self._hub.listeners, self._context.acks.flush, secs)

    async def shutdown(self, timeout_secs: float) -> None:
        """Let nobody in any more, close all sockets, and wait for their last acks, but not for ever."""
        self._admission.end()
        acks = self._context.acks
        begin = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            # First, since who is told to leave may be at another node in no time, and would get them again.
            async with asyncio.timeout_at(begin + timeout_secs * _ACKS_SHARE):
                await acks.flush_all()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(begin + timeout_secs * _CLOSE_SHARE):
                await self._hub.close_all(GOING_AWAY)
        try:
            async with asyncio.timeout_at(begin + timeout_secs):
                await self._hub.abort_all()
                await acks.stop()
        except TimeoutError:
            log.warning("sockets or acks were left when the time for leaving was over")
