"""How fast one socket is read: no faster than its client can have anything to say.

What is counted are acks, however many came in a frame, and frames without any.
"""

_PER_SEC = 1000.0


class ReadThrottle:
    """Counts what a client may send: an ack for each envelope it was sent, and a little more.

    Who sends more is read slowly from then on, so that its bytes wait in its own machine: else
    one socket that is flooded takes as much of the node as hundreds that are used.

    Args:
        most: How many may come at once, whatever was sent before: as many as an inbox can hold
            acks, since those may be of envelopes that came on an earlier socket.
        now: By the clock that all calls share, in seconds.
    """

    __slots__ = ("_left", "_most", "_seen_at")

    def __init__(self, most: int, now: float) -> None:
        self._most = self._left = float(most)
        self._seen_at = now

    def allow(self, envelopes: int) -> None:
        """So many envelopes were sent to the client: as many acks may come back."""
        self._left = min(self._most, self._left + envelopes)

    def pause_secs(self, read: int, now: float) -> float:
        """Count what was read; returns how long to read no more."""
        allowed = self._left + (now - self._seen_at) * _PER_SEC
        self._left = min(self._most, allowed) - read
        self._seen_at = now
        return max(0.0, -self._left / _PER_SEC)
