"""The sockets of this process by the address whose inbox they deliver: what events are handed to.

No I/O of its own. A socket is listed before the events of its address are subscribed to, so
no event is missed between the two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Protocol
from uuid import UUID

from obscura.gateway.close_codes import DEVICE_REPLACED, SESSION_REVOKED, CloseReason
from obscura.model.events import Event, MessageStored, PreKeysLow, SessionEnded, TakenOver
from obscura.observability.metrics.gateway import RESCANS


class Listener(Protocol):
    """What a socket shows to the hub. Every call returns at once."""

    @property
    def address_id(self) -> UUID:
        """Whose inbox it delivers."""

    @property
    def session_id(self) -> UUID:
        """The login it was opened with."""

    @property
    def heard_at(self) -> float:
        """When its peer was last heard, by the event loop's clock."""

    @property
    def is_closing(self) -> bool:
        """Whether either side has begun to close it."""

    def push(self, message: MessageStored) -> None:
        """A message was stored."""

    def push_pre_key_status(self, count: int) -> None:
        """One-time pre-keys became few."""

    def resync(self) -> None:
        """Events may have been missed: read again what they would have told."""

    def close(self, reason: CloseReason) -> None:
        """Send a close frame, and end when the peer has answered."""

    def abort(self) -> None:
        """End without waiting for the peer."""


class Hub:
    """Lists sockets, and tells them what happens to their addresses.

    Args:
        subscribe: Returns once every later event of an address is dispatched here. Called for
            each socket, so that none waits for another's.
        unsubscribe: The address has no socket here any more, or never came to have one.
    """

    def __init__(self, subscribe: Callable[[UUID], Awaitable[None]], unsubscribe: Callable[[UUID], None]) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._by_address: dict[UUID, list[Listener]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.size = 0

    async def join(self, listener: Listener) -> None:
        """List a socket; when this returns no later event passes it by.

        Raises:
            StoreUnavailable: The node is cut off from its events. The socket is not listed.
        """
        self._by_address.setdefault(listener.address_id, []).append(listener)
        self.size += 1
        self._empty.clear()
        try:
            await self._subscribe(listener.address_id)
        except BaseException:
            self.leave(listener)
            raise

    def leave(self, listener: Listener) -> None:
        """List a socket no more."""
        listeners = self._by_address[listener.address_id]
        listeners.remove(listener)
        self.size -= 1
        if self.size == 0:
            self._empty.set()
        if not listeners:
            del self._by_address[listener.address_id]
            self._unsubscribe(listener.address_id)

    def listeners_of(self, address_id: UUID) -> list[Listener]:
        """The sockets of an address that are listed."""
        return list(self._by_address.get(address_id, ()))

    def dispatch(self, address_id: UUID, event: Event) -> None:
        """Hand one event of an address to its sockets, in the order of their connecting."""
        for listener in tuple(self._by_address.get(address_id, ())):
            match event:
                case MessageStored():
                    listener.push(event)
                case PreKeysLow(count):
                    listener.push_pre_key_status(count)
                case TakenOver():
                    listener.close(DEVICE_REPLACED)
                case SessionEnded(session_id):
                    if listener.session_id == session_id:
                        listener.close(SESSION_REVOKED)

    def resync_after_gap(
        self, address_ids: Iterable[UUID], ended: Container[UUID], replaced: Container[UUID] = ()
    ) -> None:
        """After a gap in the events of these addresses: close the sockets of ended sessions, have the others resync.

        Args:
            replaced: Those of the ended sessions that a takeover has ended.
        """
        for listener in [one for address_id in address_ids for one in self._by_address.get(address_id, ())]:
            if listener.session_id in ended:
                listener.close(DEVICE_REPLACED if listener.session_id in replaced else SESSION_REVOKED)
            else:
                listener.resync()
                RESCANS.inc()

    async def close_all(self, reason: CloseReason) -> None:
        """Close every socket and wait until all have left."""
        for listener in self.listeners:
            listener.close(reason)
        await self._empty.wait()

    async def abort_all(self) -> None:
        """Drop every connection that is left and wait until the sockets have ended."""
        for listener in self.listeners:
            listener.abort()
        await self._empty.wait()

    @property
    def listeners(self) -> list[Listener]:
        """All that are listed."""
        return [listener for listeners in self._by_address.values() for listener in listeners]
