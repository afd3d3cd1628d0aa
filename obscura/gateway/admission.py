"""Who is let in: sockets of sessions that exist, as long as there is room.

Of an account with too many sockets the newest wins. A phone that changes networks leaves sockets
behind that nobody told of their end; they are the ones that have been silent for longest.
"""

import asyncio
import math
from dataclasses import dataclass
from uuid import UUID

from obscura.errors import StoreUnavailable, TooFewOpenFiles, TooManyRequests, Unauthorized, Unavailable
from obscura.gateway.ack_batcher import AckBatcher
from obscura.gateway.close_codes import NEWER_SOCKET
from obscura.gateway.hub import Hub
from obscura.gateway.options import SocketOptions
from obscura.gateway.socket import GatewaySocket
from obscura.gateway.socket_limits import ClientAddressCounts, SocketLimits
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.runtime import room_for_sockets
from obscura.services.sessions import Sessions
from obscura.settings.limits import ADDRESS_SOCKETS

_NO_ROOM_SECS = 30  # another node may have room at once; here somebody has to leave
_TIMEOUT_SECS = 1.9  # a request is refused within 2 s when Redis is away


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a socket, as the api has made sure.

    Attributes:
        user_id: Owns the session.
        address_id: Owns the inbox; an API without devices has one for each user, of the same id.
        session_id: The login.
        client_address: As limits count it.
    """

    user_id: UUID
    address_id: UUID
    session_id: UUID
    client_address: str


class Admission:
    """Counts and lists the sockets of a node.

    Args:
        options: From which follows when the place of a socket is free whose client went away without a word.
    """

    def __init__(
        self, hub: Hub, acks: AckBatcher, sessions: Sessions, limits: SocketLimits, options: SocketOptions
    ) -> None:
        self._hub = hub
        self._acks = acks
        self._sessions = sessions
        self._limits = limits
        self._client_addresses = ClientAddressCounts()
        self._dead_socket_secs = math.ceil(options.ping_interval_secs + options.ping_timeout_secs)
        self._is_over = False

    def end(self) -> None:
        """Let nobody in any more."""
        self._is_over = True

    def enter(self, caller: Caller) -> None:
        """Count a request for its client address until `leave`.

        Raises:
            TooManyRequests: The address has too many sockets here.
            TooFewOpenFiles: The rest of what the process may open is kept for other requests.
        """
        if self._client_addresses.of(caller.client_address) >= self._limits.per_client_address:
            RATE_LIMITED.labels(ADDRESS_SOCKETS.tier).inc()
            # By then those of clients that vanished are gone.
            raise TooManyRequests(ADDRESS_SOCKETS.refusal, self._dead_socket_secs)
        # All that are here count, those on their way in or out too, for each has its file.
        if self._client_addresses.in_all >= room_for_sockets():
            raise TooFewOpenFiles("open files are too few for another socket", _NO_ROOM_SECS)
        self._client_addresses.add(caller.client_address)

    def leave(self, caller: Caller) -> None:
        """A request that entered is over."""
        self._client_addresses.remove(caller.client_address)

    async def admit(self, socket: GatewaySocket, caller: Caller) -> bool:
        """Have the hub list a socket, for the caller to take off again. False: there is no room.

        If it is one too many of its account, the one that has been silent for longest is closed.

        Raises:
            Unauthorized: The session has ended.
            Unavailable: The node is cut off from Redis or from its events, or is leaving.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_SECS):
                return await self._admit(socket, caller)
        except TimeoutError as error:
            raise StoreUnavailable("Redis is too slow to let a socket in") from error

    async def _admit(self, socket: GatewaySocket, caller: Caller) -> bool:
        # What was acked on another socket of this inbox just before is not to be delivered again.
        if not await self._acks.flush(caller.address_id):
            raise StoreUnavailable("acks of this user cannot be written")
        if self._is_over:
            raise Unavailable("the node is leaving")
        if self._hub.size >= self._limits.in_all:
            return False
        await self._hub.join(socket)
        try:
            # Asked after joining: a socket whose session ends from here on is closed by the event.
            while not await self._confirm_session(socket, caller):
                pass
        except BaseException:
            self._hub.leave(socket)
            raise
        self._close_surplus(socket)
        return True

    def _close_surplus(self, newest: GatewaySocket) -> None:
        """Close the sockets that are too many of an account, the one that has been silent for longest first.

        Those that are closing do not count: their closing handshake takes two seconds at the most.
        """
        listed = self._hub.listeners_of(newest.address_id)
        # One that is closing was one too many itself, of several that came at once.
        if len(listed) <= self._limits.per_account or newest.is_closing:
            return
        others = [other for other in listed if other is not newest and not other.is_closing]
        others.sort(key=lambda other: other.heard_at)
        for other in others[: max(0, len(others) + 1 - self._limits.per_account)]:
            other.close(NEWER_SOCKET)

    async def _confirm_session(self, socket: GatewaySocket, caller: Caller) -> bool:
        """Make sure that the session of a socket exists. False: the socket was closed meanwhile, so ask again.

        A close from before the question may be for something older, such as the takeover that this
        very session made before it asked for the socket. Then the session exists all the same.

        Raises:
            Unauthorized: It has ended.
        """
        socket.clear_pending_close()
        if not await self._sessions.is_alive(caller.user_id, caller.session_id):
            raise Unauthorized("The session has ended")
        return not socket.has_pending_close
