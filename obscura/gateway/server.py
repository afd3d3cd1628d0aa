"""The gateway of a node: lets sockets in, and says goodbye to all of them."""

import asyncio
import logging
from uuid import UUID

from aiohttp import web

from obscura.errors import BadRequest, StoreUnavailable, Unauthorized, Unavailable
from obscura.gateway.hub import CLOSE_GOING_AWAY, CLOSE_TRY_LATER, Hub
from obscura.gateway.outbound import Outbound
from obscura.gateway.session import Session, SocketServices
from obscura.services.sessions import Sessions
from obscura.telemetry import SOCKETS

log = logging.getLogger(__name__)

_MAX_FRAME_BYTES = 65_536
_CLOSE_TIMEOUT_SECS = 2.0


class Gateway:
    """Args:
    max_sockets: Beyond it a socket is told at once to try another node.
    """

    def __init__(self, hub: Hub, services: SocketServices, sessions: Sessions, max_sockets: int) -> None:
        self._hub = hub
        self._services = services
        self._sessions = sessions
        self._max_sockets = max_sockets
        self._leaving = False

    async def serve(self, request: web.Request, user_id: UUID, session_id: UUID) -> web.WebSocketResponse:
        """Upgrade a request and run the socket to its end.

        Raises:
            BadRequest: The request asks for no WebSocket.
            Unauthorized: The session has ended.
            Unavailable: The node is cut off from Redis or from its events, or is leaving.
        """
        if self._leaving:
            raise Unavailable("the node is leaving")
        socket = _new_socket()
        if not socket.can_prepare(request):
            raise BadRequest("This is a WebSocket endpoint: the request is not a valid upgrade")
        rules = self._services.rules
        out = Outbound(request, rules.outbound_size, rules.write_timeout_secs)
        session = Session(user_id, session_id, out, self._services)
        if self._hub.size >= self._max_sockets:
            session.close(CLOSE_TRY_LATER, "too many connections")
        # What this user acked on a socket of this node just before is not to be delivered again.
        if not await self._services.acks.flush(user_id):
            raise StoreUnavailable
        await self._hub.join(session)
        SOCKETS.inc()
        try:
            # Asked after joining: a session that ends from here on is closed by the event.
            if not await self._sessions.is_alive(user_id, session_id):
                raise Unauthorized("The session has ended")
            await socket.prepare(request)
            await session.serve(socket)
        finally:
            SOCKETS.dec()
            self._hub.leave(session)
        return socket

    async def leave(self, timeout_secs: float) -> None:
        """Let nobody in any more, say goodbye to all, and wait for their last acks, but not for ever."""
        self._leaving = True
        try:
            async with asyncio.timeout(timeout_secs):
                await self._hub.close_all(CLOSE_GOING_AWAY, "Server shutting down")
                await self._services.acks.stop()
        except TimeoutError:
            log.warning("sockets or acks were left when the time for leaving was over")


def _new_socket() -> web.WebSocketResponse:
    return web.WebSocketResponse(
        # The closing handshake and pongs are the session's: acks that come before the peer's
        # answer still count, and a pong does not wait for a slow reader.
        autoclose=False,
        autoping=False,
        timeout=_CLOSE_TIMEOUT_SECS,
        compress=False,
        decode_text=False,
        max_msg_size=_MAX_FRAME_BYTES + 1,  # aiohttp refuses from this size on
    )
