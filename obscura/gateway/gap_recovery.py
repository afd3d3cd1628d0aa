"""After a gap in the events: which sessions ended meanwhile, and which inboxes are to be read again."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.gateway.hub import Hub

_RETRY_SECS = 0.2


class GapRecovery:
    """Gaps that come while one is being made up for are made up for with it.

    Args:
        hub: Whose sessions are told.
        reload_ended: Brings the list of ended sessions up to date.
        ended: That list.
    """

    def __init__(self, hub: Hub, reload_ended: Callable[[], Awaitable[None]], ended: Container[UUID]) -> None:
        self._hub = hub
        self._reload_ended = reload_ended
        self._ended = ended
        self._users: set[UUID] = set()
        self._is_due = False
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    def on_gap(self, users: Iterable[UUID]) -> None:
        """Events of these users, or word of ended sessions, may have been missed."""
        self._users.update(users)
        self._is_due = True
        if not self._is_over and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is missed from now on is nobody's to catch up with."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._is_due:
            self._is_due = False
            users, self._users = self._users, set()
            try:
                await self._reload_ended()
            except StoreUnavailable:
                self.on_gap(users)
                await asyncio.sleep(_RETRY_SECS)
            else:
                self._hub.resync_after_gap(users, self._ended)
