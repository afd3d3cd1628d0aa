"""Why Redis cannot be reached, told once in an outage and not at every attempt."""

import logging

from obscura.errors import UnfitRedis

log = logging.getLogger(__name__)

_MAX_REASONS = 20  # that one outage has; a server that words each anew does not fill the log


class OutageLog:
    """Tells each reason once, from the first failure of any connection until all of them stand again."""

    def __init__(self) -> None:
        self._down: set[object] = set()
        self._told: set[str] = set()

    def on_failure(self, connection: object, error: Exception) -> None:
        """An attempt has failed, for a reason that may be a new one."""
        self._down.add(connection)
        reason = str(error)
        if reason in self._told or len(self._told) >= _MAX_REASONS:
            return
        self._told.add(reason)
        if isinstance(error, UnfitRedis):
            log.error("Redis is not used: it would lose data, or has lost it", extra={"reason": reason})
        else:
            log.warning("no connection to Redis", extra={"reason": reason})

    def on_success(self, connection: object) -> None:
        """A connection stands, or is not wanted any more."""
        self._down.discard(connection)
        if not self._down:
            self._told.clear()
