"""Sessions: tokens handed out, checked, exchanged and ended."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from obscura.clock import SharedClock
from obscura.crypto.tokens import SKEW_ALLOWANCE_SECS, AccessClaims, AccessTokens, RefreshToken, successor
from obscura.errors import StoreUnavailable, Unauthorized, Unavailable
from obscura.model.accounts import Tokens
from obscura.observability.metrics.accounts import (
    REFRESH_RACED,
    REFRESH_REUSED,
    SESSIONS_ENDED,
    SESSIONS_REFRESHED,
    SESSIONS_STARTED,
)
from obscura.services.ended_sessions import EndedSessions
from obscura.services.uncertain_rotations import UncertainRotations
from obscura.settings.model import Settings
from obscura.store.sessions import EndedList, Exchange, Lifetimes, ListedFor, Rotation, SessionStore

log = logging.getLogger(__name__)

RACE_WINDOW_MS = 10_000  # a token presented again within this is a race of two tabs, later it is theft (RFC 9700)
_RACES = {Rotation.RETRIED: "retried", Rotation.RACED: "refused"}  # what became of a token that came twice
_DAY_MS = 86_400_000
_UNKNOWN_LIFE_SECS = 86_400  # of a token of which nobody noted when it expires; by default it is 15 minutes


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Settings of sessions.

    Attributes:
        access_ttl_secs: Life of an access token.
        refresh_ttl_ms: Life of a refresh token; a refresh starts it anew.
        max_per_account: Beyond it a login ends the session that expires first.
        retry_key: With it, a retry with the token just exchanged gets the same successor.
    """

    access_ttl_secs: float
    refresh_ttl_ms: int
    max_per_account: int
    retry_key: bytes | None

    @classmethod
    def from_settings(cls, settings: Settings, jwt_secret: str) -> "SessionOptions":
        """Of a node whose access tokens are signed with ``jwt_secret``."""
        return cls(
            access_ttl_secs=settings.access_token_ttl_secs,
            refresh_ttl_ms=int(settings.refresh_token_ttl_days * _DAY_MS),
            max_per_account=settings.max_sessions_per_account,
            retry_key=_retry_key(jwt_secret) if settings.refresh_token_retry else None,
        )


class Sessions:
    """Starts, refreshes, checks and ends sessions; what it says of one holds on every node.

    Attributes:
        ended: Those that have ended, as far as this node has heard.
    """

    def __init__(self, store: SessionStore, tokens: AccessTokens, options: SessionOptions, clock: SharedClock) -> None:
        self._store = store
        self._tokens = tokens
        self._options = options
        self._clock = clock
        self._uncertain_rotations = UncertainRotations(undo=self._rotate)
        self._lives = Lifetimes(options.refresh_ttl_ms, math.ceil(options.access_ttl_secs * 1000))
        self.ended = EndedSessions(clock, options.access_ttl_secs + SKEW_ALLOWANCE_SECS)

    def authenticate(self, token: str) -> AccessClaims:
        """Whose access token this is. No round trip.

        Raises:
            Unauthorized: Not ours, expired, or of a session that ended.
        """
        claims = self._tokens.verify(token)
        if claims.session_id in self.ended:
            raise Unauthorized("The session has ended")
        return claims

    async def is_alive(self, user_id: UUID, session_id: UUID) -> bool:
        """Whether the session exists in the store, whatever this node has heard. May be repeated."""
        return await self._store.is_alive(user_id, session_id)

    async def start(self, user_id: UUID, by: str) -> Tokens:
        """Log an account in.

        Args:
            by: "registration" or "login", for the metrics.

        Raises:
            Unavailable: Redis is away, or lost the account just now.
        """
        refresh = RefreshToken.new(user_id)
        session_id = refresh.session_id
        issued_ms = await self._store.create(user_id, session_id, refresh.digest, self._lives)
        if issued_ms is None:
            raise Unavailable("the account is gone")
        SESSIONS_STARTED.labels(by).inc()
        await self._end_surplus(user_id, session_id)
        return self._issue(refresh, issued_ms)

    async def refresh(self, text: str) -> Tokens:
        """Exchange a refresh token for its successor and a new access token; the old one is dead at once.

        Raises:
            Unauthorized: Unknown, ended, or exchanged before; in the last case, and
                more than 10 s later, the whole session is ended (RFC 9700 section 4.14.2).
            Unavailable: Redis is away. The same token may be presented again when it is back.
        """
        presented = RefreshToken.parse(text)
        if presented is None:
            raise Unauthorized("Invalid refresh token")
        user_id, session_id = presented.user_id, presented.session_id
        if session_id in self.ended:
            # Its access tokens would be refused; a crash may have kept the rest from being removed.
            await self._store.end(user_id, session_id)
            raise Unauthorized("Invalid refresh token")
        following = self._successor(presented)
        rotation, issued_ms = await self._exchange(presented, following)
        if rotation in _RACES:
            REFRESH_RACED.labels(_RACES[rotation]).inc()
        if rotation in (Rotation.ROTATED, Rotation.RETRIED):
            SESSIONS_REFRESHED.inc()
            return self._issue(following, issued_ms)
        if rotation is Rotation.REUSED:
            REFRESH_REUSED.inc()
            SESSIONS_ENDED.labels("token reused").inc()
            log.warning("a refresh token was used again; its session is ended")
            await self.end(user_id, [session_id])
        raise Unauthorized("Invalid refresh token")

    async def logout(self, claims: AccessClaims, text: str) -> None:
        """End the session that a refresh token belongs to, be it its current token or an earlier one. May be repeated.

        Raises:
            Unauthorized: The token is not one of the caller's.
        """
        token = RefreshToken.parse(text)
        if token is None or token.user_id != claims.user_id:
            raise Unauthorized("Invalid refresh token")
        # Only the account's own: a made-up token is not to get into the list.
        if token.session_id in await self._store.ids_of(token.user_id):
            await self.end(token.user_id, [token.session_id])
            SESSIONS_ENDED.labels("logout").inc()

    async def end(self, user_id: UUID, session_ids: Sequence[UUID]) -> None:
        """End sessions of an account: refresh tokens, access tokens on every node, sockets.

        Raises:
            StoreUnavailable: They may have ended, and then for good.
        """
        if not session_ids:
            return
        # First listed for as long as the refresh token lives, which may have been given longer than one is
        # today: if a crash keeps it from being removed, the session does not come back when the list forgets it.
        expiries = await self._store.expiries_of(user_id)
        last_ms = max(expiries.get(session_id, 0) for session_id in session_ids)
        # Whoever else has listed a session is ending it, too, or has.
        await self._enter(session_ids, self._options.refresh_ttl_ms / 1000, last_ms, is_guess=True)
        last_tokens_ms = {session_id: await self._store.end(user_id, session_id) for session_id in session_ids}
        with suppress(StoreUnavailable):  # listed for longer than needed, they are ended all the same
            await self.mark_ended(last_tokens_ms)

    async def others_of(self, claims: AccessClaims) -> list[UUID]:
        """The account's sessions beside the caller's own."""
        return [known for known in await self._store.ids_of(claims.user_id) if known != claims.session_id]

    async def mark_ended(self, last_tokens_ms: Mapping[UUID, int]) -> None:
        """Have every node refuse the access tokens of these sessions, until the last has expired.

        Args:
            last_tokens_ms: When that will be for each, as `SessionStore.end` has said.
        """
        life_secs = self._options.access_ttl_secs
        known = [session_id for session_id, ms in last_tokens_ms.items() if ms > 0]
        await self._enter(known, life_secs, max(last_tokens_ms.values(), default=0))
        life_secs = max(life_secs, _UNKNOWN_LIFE_SECS)
        await self._enter([session_id for session_id, ms in last_tokens_ms.items() if ms < 0], life_secs, 0)
        # Whoever removed these has entered them, unless it died before.
        gone = [session_id for session_id, ms in last_tokens_ms.items() if ms == 0]
        await self._enter(gone, life_secs, 0, is_guess=True)

    async def reload_ended(self) -> None:
        """Read the shared list: at the start, and after a gap in the events. May be repeated."""
        asked_at = self._clock.elapsed()
        self._learn(await self._store.ended(), asked_at)

    async def stop(self) -> None:
        """Give up on exchanges that could not be undone so far. Safe to repeat."""
        await self._uncertain_rotations.stop()

    async def _enter(
        self, session_ids: Sequence[UUID], life_secs: float, last_ms: int, *, is_guess: bool = False
    ) -> None:
        if session_ids:
            listed_for = ListedFor(math.ceil(life_secs), math.ceil(last_ms / 1000), SKEW_ALLOWANCE_SECS, is_guess)
            asked_at = self._clock.elapsed()
            self._learn(await self._store.mark_ended(session_ids, listed_for), asked_at)

    def _learn(self, listed: EndedList, asked_at: float) -> None:
        self._clock.hear(listed.now_ms / 1000, asked_at)
        self.ended.add(listed.until_secs)

    async def _end_surplus(self, user_id: UUID, latest: UUID) -> None:
        others = [known for known in await self._store.ids_of(user_id) if known != latest]
        surplus = others[: max(0, len(others) + 1 - self._options.max_per_account)]
        await self.end(user_id, surplus)
        SESSIONS_ENDED.labels("too many").inc(len(surplus))

    async def _exchange(self, presented: RefreshToken, following: RefreshToken) -> Exchange:
        if presented.digest in self._uncertain_rotations:
            raise StoreUnavailable("an exchange of the same token is still to be taken back")
        try:
            return await self._rotate(presented, following)
        except StoreUnavailable:
            if self._options.retry_key is None:  # else it gets the successor, which an earlier retry may have got
                self._uncertain_rotations.add(presented, following)
            raise

    async def _rotate(self, presented: RefreshToken, following: RefreshToken) -> Exchange:
        digests = (presented.digest, following.digest)
        ids = presented.user_id, presented.session_id
        return await self._store.refresh(*ids, digests, self._lives, RACE_WINDOW_MS)

    def _successor(self, presented: RefreshToken) -> RefreshToken:
        if self._options.retry_key is None:
            return presented.following()
        return successor(presented, self._options.retry_key)

    def _issue(self, refresh: RefreshToken, issued_ms: int) -> Tokens:
        self._clock.hear_at_least(issued_ms / 1000)
        # By the very time that Redis noted, so that no token outlives what the session says of it.
        issued = self._tokens.issue(refresh.user_id, refresh.session_id, issued_ms / 1000)
        return Tokens(issued.token, refresh.text, issued.expires_at)


def _retry_key(jwt_secret: str) -> bytes:
    """The key that refresh-token successors are derived with, separate from the one that signs JWTs."""
    return hashlib.sha256(b"obscura refresh-token successor\0" + jwt_secret.encode()).digest()
