"""The gateway of a node: lets sockets in, and says goodbye to all of them."""

import asyncio
import logging
import math
from contextlib import suppress
from time import perf_counter
from uuid import UUID

from aiohttp import web

from obscura.errors import BadRequest, StoreUnavailable, TooManyRequests, Unauthorized, Unavailable
from obscura.gateway.close_codes import GOING_AWAY, TRY_LATER
from obscura.gateway.draining import close_gradually
from obscura.gateway.hub import Hub
from obscura.gateway.options import SocketContext
from obscura.gateway.socket import GatewaySocket
from obscura.gateway.socket_limits import ClientAddressCounts, SocketLimits
from obscura.gateway.socket_writer import SocketWriter
from obscura.observability.metrics.gateway import SOCKET_SECONDS, SOCKETS
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.services.sessions import Sessions
from obscura.settings.limits import ACCOUNT_SOCKETS, ADDRESS_SOCKETS, SocketLimitRow

log = logging.getLogger(__name__)

_MAX_FRAME_BYTES = 65_536
_ADMISSION_TIMEOUT_SECS = 1.9  # a request is refused within 2 s when Redis is away

# Of the time for leaving: for the acks that wait, then until the sockets must have answered the
# goodbye. The rest is for the last acks.
_ACKS_SHARE, _CLOSE_SHARE = 0.2, 0.7


_LIFETIMES = SOCKET_SECONDS.labels()


class Gateway:
    """Lets the sockets of one node in."""

    def __init__(self, hub: Hub, services: SocketContext, sessions: Sessions, limits: SocketLimits) -> None:
        self._hub = hub
        self._services = services
        self._sessions = sessions
        self._limits = limits
        self._client_addresses = ClientAddressCounts()
        self._is_leaving = False

    async def serve(self, request: web.Request, user_id: UUID, session_id: UUID, client: str) -> web.WebSocketResponse:
        """Upgrade a request and run the socket to its end.

        Args:
            client: The address that asks, as limits count it.

        Raises:
            BadRequest: The request asks for no WebSocket.
            Unauthorized: The session has ended.
            TooManyRequests: The account or the address has too many sockets here.
            Unavailable: The node is cut off from Redis or from its events, or is leaving.
            ConnectionError: The client has gone.
        """
        socket = _Socket()
        if not _is_upgrade(socket, request):
            raise BadRequest("This is a WebSocket endpoint: the request is not a valid upgrade")
        options = self._services.options
        out = SocketWriter(request, options.outbound_size, options.write_timeout_secs)
        session = GatewaySocket(user_id, session_id, out, self._services)
        if self._client_addresses.of(client) >= self._limits.per_client_address:
            raise self._too_many(ADDRESS_SOCKETS)
        self._client_addresses.add(client)
        is_listed = False
        began = perf_counter()
        try:
            is_listed = await self._admit_in_time(session)
            if is_listed:
                SOCKETS.inc()
            else:
                session.close(TRY_LATER)
            await socket.prepare(request)
            socket.headers.clear()  # a kilobyte that nobody asks for again
            await session.serve(socket)
        finally:
            self._client_addresses.remove(client)
            if is_listed:
                SOCKETS.dec()
                _LIFETIMES.observe(perf_counter() - began)
                self._hub.leave(session)
        return socket

    async def drain(self, secs: float) -> None:
        """Let nobody in any more and say goodbye to one after another over this time, serving the others meanwhile.

        For the whole of it, even if nobody is left: it is the time in which balancers notice.
        """
        self._is_leaving = True
        if secs > 0:
            await close_gradually(self._hub.listeners, self._services.acks.flush, secs)

    async def shutdown(self, timeout_secs: float) -> None:
        """Let nobody in any more, say goodbye to all, and wait for their last acks, but not for ever."""
        self._is_leaving = True
        acks = self._services.acks
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

    def _too_many(self, limit: SocketLimitRow) -> TooManyRequests:
        """The refusal of a socket; one whose client went away without a word is gone when it says to come back."""
        RATE_LIMITED.labels(limit.tier).inc()
        options = self._services.options
        dead_socket_secs = math.ceil(options.ping_interval_secs + options.ping_timeout_secs)
        return TooManyRequests(limit.refusal, dead_socket_secs)

    async def _admit_in_time(self, session: GatewaySocket) -> bool:
        try:
            async with asyncio.timeout(_ADMISSION_TIMEOUT_SECS):
                return await self._admit(session)
        except TimeoutError as error:
            raise StoreUnavailable("Redis is too slow to let a socket in") from error

    async def _admit(self, session: GatewaySocket) -> bool:
        """List a session, for the caller to take off again. False: there is no room."""
        # What this user acked on a socket of this node just before is not to be delivered again.
        if not await self._services.acks.flush(session.address_id):
            raise StoreUnavailable("acks of this user cannot be written")
        if self._is_leaving:
            raise Unavailable("the node is leaving")
        if self._hub.count_of(session.address_id) >= self._limits.per_account:
            raise self._too_many(ACCOUNT_SOCKETS)
        if self._hub.size >= self._limits.in_all:
            return False
        await self._hub.join(session)
        try:
            # Asked after joining: a session that ends from here on is closed by the event.
            while not await self._confirm_session(session):
                pass
        except BaseException:
            self._hub.leave(session)
            raise
        return True

    async def _confirm_session(self, session: GatewaySocket) -> bool:
        """Make sure that a session exists. False: it was told to end meanwhile, so ask again.

        What it was told before it is asked may be old news, as of the takeover that this
        very session made before it came: then it exists all the same.

        Raises:
            Unauthorized: It has ended.
        """
        session.clear_pending_close()
        if not await self._sessions.is_alive(session.address_id, session.session_id):
            raise Unauthorized("The session has ended")
        return not session.has_pending_close


class _Socket(web.WebSocketResponse):
    """aiohttp's, less its closing handshake and its pongs, which are the session's.

    So acks that come before the peer's answer to a close frame still count, nothing is
    sent behind one, and a pong does not wait for a slow reader.
    """

    def __init__(self) -> None:
        super().__init__(
            autoclose=False,
            autoping=False,
            compress=False,
            decode_text=False,
            max_msg_size=_MAX_FRAME_BYTES + 1,  # aiohttp refuses from this size on
        )

    async def close(self, **_: object) -> bool:
        return False


def _is_upgrade(socket: web.WebSocketResponse, request: web.Request) -> bool:
    try:
        return bool(socket.can_prepare(request))
    except ValueError:
        return False  # a key that is not even ASCII
