"""After a gap in the events: learn which sessions ended meanwhile, and have sockets read their inboxes again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Iterable
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.gateway.hub import Hub
from obscura.tasks import end_tasks

_RETRY_SECS = 0.2


class GapRecovery:
    """Makes up for what events would have told. Gaps reported during one run are handled together by the next.

    Args:
        hub: Whose sockets are told.
        reload_ended: Brings the list of ended sessions up to date.
        ended: That list.
        replaced_among: Tells which of the sessions of an address were ended by another device.
    """

    def __init__(
        self,
        hub: Hub,
        reload_ended: Callable[[], Awaitable[None]],
        ended: Container[UUID],
        replaced_among: Callable[[UUID, Collection[UUID]], Awaitable[set[UUID]]],
    ) -> None:
        self._hub = hub
        self._reload_ended = reload_ended
        self._ended = ended
        self._replaced_among = replaced_among
        self._address_ids: set[UUID] = set()
        self._is_due = False
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None

    def on_gap(self, address_ids: Iterable[UUID]) -> None:
        """Events of these addresses, or word of ended sessions, may have been missed. Returns at once."""
        self._address_ids.update(address_ids)
        self._is_due = True
        if not self._is_stopped and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; gaps that are reported from now on are passed over."""
        self._is_stopped = True
        await end_tasks(self._task)

    async def _run(self) -> None:
        while self._is_due:
            self._is_due = False
            address_ids, self._address_ids = self._address_ids, set()
            try:
                await self._reload_ended()
                replaced = await self._replaced(address_ids)
            except StoreUnavailable:
                self.on_gap(address_ids)
                await asyncio.sleep(_RETRY_SECS)
            else:
                self._hub.resync_after_gap(address_ids, self._ended, replaced)

    async def _replaced(self, address_ids: Iterable[UUID]) -> set[UUID]:
        """Those of the ended sessions with sockets here that a takeover has ended: its event was missed."""
        questions = []
        for address_id in address_ids:
            ended = {one.session_id for one in self._hub.listeners_of(address_id) if one.session_id in self._ended}
            if ended:
                questions.append(self._replaced_among(address_id, ended))
        return set().union(*await asyncio.gather(*questions))
