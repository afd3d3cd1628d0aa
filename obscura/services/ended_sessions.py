"""Which sessions have ended, as far as this node has heard."""

import time
from collections.abc import Callable, Mapping
from uuid import UUID

SKEW_ALLOWANCE_SECS = 60
"""So much longer than its last token an ended session stays listed, for slow clocks."""


class EndedSessions:
    """This node's copy of the shared list of ended sessions: what access tokens are refused by.

    Filled from the list at the start and after every gap in the events, and from events
    in between, so a check costs no round trip. Ending is for good: an entry leaves only
    when it no longer matters.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._until_secs: dict[UUID, int] = {}
        self._next_sweep_secs = 0.0

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._until_secs

    def add(self, entries: Mapping[UUID, int]) -> None:
        """Enter sessions, each with the unix second after which it can be forgotten. May be repeated.

        Now and then those whose second has passed are dropped.
        """
        self._until_secs.update(entries)
        now_secs = self._now()
        if now_secs > self._next_sweep_secs:
            self._next_sweep_secs = now_secs + SKEW_ALLOWANCE_SECS
            self._until_secs = {known: until for known, until in self._until_secs.items() if until >= now_secs}
