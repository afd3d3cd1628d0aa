"""Exchanges of refresh tokens that Redis did not answer."""

import asyncio
from collections.abc import Awaitable, Callable

from obscura.crypto.tokens import RefreshToken
from obscura.errors import StoreUnavailable
from obscura.observability.metrics.accounts import REFRESH_UNANSWERED
from obscura.tasks import end_tasks

_MAX_REMEMBERED = 10_000  # by one node
_RETRY_SECS = 0.05  # between attempts to undo one while Redis is away


class UncertainRotations:
    """Exchanges of which nobody knows whether they happened. Each is undone as soon as Redis answers again.

    An exchange may have happened, and a Redis that was slow may make it yet. But its client
    has only the old token to come back with.

    Args:
        undo: Exchanges the successor for the token that was presented. Nobody was given the
            successor, and nothing happens if the exchange was never made. May raise
            `StoreUnavailable`.
    """

    def __init__(self, undo: Callable[[RefreshToken, RefreshToken], Awaitable[object]]) -> None:
        self._undo = undo
        self._by_digest: dict[str, tuple[RefreshToken, RefreshToken]] = {}  # successor and presented
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, digest: str) -> bool:
        """Whether the exchange of the token with this digest is still to be undone."""
        return digest in self._by_digest

    def add(self, presented: RefreshToken, following: RefreshToken) -> None:
        """Have an exchange undone in the background. Beyond 10,000 it is given up on."""
        if len(self._by_digest) < _MAX_REMEMBERED:
            self._by_digest.setdefault(presented.digest, (following, presented))
        else:
            REFRESH_UNANSWERED.labels("given up").inc()
        if self._task is None:
            self._task = asyncio.create_task(self._undo_all())

    async def stop(self) -> None:
        """Give up on what could not be undone so far. Safe to repeat."""
        await end_tasks(self._task)

    async def _undo_all(self) -> None:
        try:
            while self._by_digest:
                digest, (following, presented) = next(iter(self._by_digest.items()))
                try:
                    await self._undo(following, presented)
                except StoreUnavailable:
                    await asyncio.sleep(_RETRY_SECS)
                else:
                    del self._by_digest[digest]
                    REFRESH_UNANSWERED.labels("taken back").inc()
        finally:
            self._task = None
