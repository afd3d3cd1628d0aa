"""The sockets of this process by user: what the events of an account are handed to.

No I/O of its own. A session is listed before its user's events are subscribed to, so
none is missed between the two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Protocol
from uuid import UUID

from obscura.model.events import Event, MessageStored, PreKeysLow, SessionEnded, TakenOver
from obscura.observability.metrics.gateway import RESCANS

CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL_ERROR = 1011
CLOSE_TRY_LATER = 1013
CLOSE_DEVICE_REPLACED = 4001
CLOSE_SESSION_REVOKED = 4003


class Listener(Protocol):
    """What a session shows to the hub. Every call returns at once."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def session_id(self) -> UUID: ...

    def push(self, message: MessageStored) -> None:
        """A message was stored."""

    def push_pre_key_status(self, count: int) -> None:
        """One-time pre-keys became few."""

    def resync(self) -> None:
        """Events may have been missed: read again what they would have told."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and end."""

    def abort(self) -> None:
        """End without waiting for the peer."""


class Hub:
    """Args:
    subscribe: Returns once every later event of a user is dispatched here. Called for
        each socket, so that none waits for another's.
    unsubscribe: The user has no socket here any more, or never came to have one.
    """

    def __init__(self, subscribe: Callable[[UUID], Awaitable[None]], unsubscribe: Callable[[UUID], None]) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._by_user: dict[UUID, list[Listener]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.size = 0

    async def join(self, listener: Listener) -> None:
        """List a session; when this returns no later event passes it by.

        Raises:
            StoreUnavailable: The node is cut off from its events. The session is not listed.
        """
        self._by_user.setdefault(listener.user_id, []).append(listener)
        self.size += 1
        self._empty.clear()
        try:
            await self._subscribe(listener.user_id)
        except BaseException:
            self.leave(listener)
            raise

    def leave(self, listener: Listener) -> None:
        listeners = self._by_user[listener.user_id]
        listeners.remove(listener)
        self.size -= 1
        if self.size == 0:
            self._empty.set()
        if not listeners:
            del self._by_user[listener.user_id]
            self._unsubscribe(listener.user_id)

    def count_of(self, user_id: UUID) -> int:
        """How many sessions of an account are listed."""
        return len(self._by_user.get(user_id, ()))

    def dispatch(self, user_id: UUID, event: Event) -> None:
        """Hand one event of an account to its sessions, in the order of their connecting."""
        for listener in tuple(self._by_user.get(user_id, ())):
            match event:
                case MessageStored():
                    listener.push(event)
                case PreKeysLow(count):
                    listener.push_pre_key_status(count)
                case TakenOver():
                    listener.close(CLOSE_DEVICE_REPLACED, "device replaced")
                case SessionEnded(session_id):
                    if listener.session_id == session_id:
                        listener.close(CLOSE_SESSION_REVOKED, "session revoked")

    def resync_after_gap(self, users: Iterable[UUID], ended: Container[UUID]) -> None:
        """After a gap in the events of some users: close the sessions that ended, have the others read again."""
        for listener in [listener for user_id in users for listener in self._by_user.get(user_id, ())]:
            if listener.session_id in ended:
                listener.close(CLOSE_SESSION_REVOKED, "session revoked")
            else:
                listener.resync()
                RESCANS.inc()

    async def close_all(self, code: int, reason: str) -> None:
        """Close every session and wait until all have left."""
        for listener in self.listeners:
            listener.close(code, reason)
        await self._empty.wait()

    async def abort_all(self) -> None:
        """Drop every connection that is left and wait until the sessions have ended."""
        for listener in self.listeners:
            listener.abort()
        await self._empty.wait()

    @property
    def listeners(self) -> list[Listener]:
        """All that are listed."""
        return [listener for listeners in self._by_user.values() for listener in listeners]
