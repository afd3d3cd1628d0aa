"""Which sessions have ended, as far as this node has heard."""

from collections.abc import Mapping
from uuid import UUID

from obscura.clock import SharedClock

_SWEEP_PERIOD_SECS = 60.0


class EndedSessions:
    """This node's copy of the shared list of ended sessions: what access tokens are refused by.

    Filled from the list at the start and after every gap in the events, and from events
    in between, so a check costs no round trip. Ending is for good: an entry leaves only
    when it no longer matters, whichever clock is set meanwhile.

    Args:
        clock: Redis's, which the entries go by.
        least_secs: So long an entry is kept in any case, as tokens of this node may live.
    """

    def __init__(self, clock: SharedClock, least_secs: float) -> None:
        self._clock = clock
        self._least_secs = least_secs
        self._kept: dict[UUID, tuple[int, float]] = {}  # until which second, and until which age of this process
        self._next_sweep = clock.elapsed() + _SWEEP_PERIOD_SECS

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._kept

    def add(self, entries: Mapping[UUID, int]) -> None:
        """Enter sessions, each with the unix second after which it can be forgotten. May be repeated.

        Now and then those are dropped whose second has passed and that are old enough besides:
        the age protects them from a clock that was ahead for a while, the second from one that was set back.
        """
        now_secs, elapsed = self._clock(), self._clock.elapsed()
        for session_id, until_secs in entries.items():
            self._kept[session_id] = until_secs, elapsed + max(until_secs - now_secs, self._least_secs)
        if elapsed >= self._next_sweep:
            self._next_sweep = elapsed + _SWEEP_PERIOD_SECS
            self._kept = {
                session_id: (until_secs, age)
                for session_id, (until_secs, age) in self._kept.items()
                if now_secs <= until_secs or elapsed <= age
            }
