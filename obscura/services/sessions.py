"""Sessions: tokens handed out, checked, exchanged and ended."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from obscura.crypto.tokens import AccessClaims, AccessTokens, RefreshToken, successor
from obscura.errors import Unauthorized
from obscura.store.sessions import Rotation, SessionStore
from obscura.telemetry import REFRESH_REUSED
from obscura.wire import Tokens

log = logging.getLogger(__name__)

RACE_WINDOW_MS = 10_000  # a token presented again within this is a race of two tabs, later it is theft (RFC 9700)
_SKEW_ALLOWANCE_SECS = 60  # an ended session stays listed this long beyond its last token, for slow clocks


@dataclass(frozen=True, slots=True)
class SessionRules:
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


class EndedSessions:
    """This node's copy of the shared list of ended sessions: what access tokens are refused by.

    Filled by `replace` at the start and after every gap in the events, and by `add` in
    between, so a check costs no round trip.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._until: dict[UUID, int] = {}
        self._next_sweep = 0.0

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._until

    def add(self, session_ids: Sequence[UUID], until_secs: int) -> None:
        """Enter sessions; entries that no longer matter are dropped on the way."""
        self._until.update(dict.fromkeys(session_ids, until_secs))
        now = self._now()
        if now > self._next_sweep:
            self._next_sweep = now + _SKEW_ALLOWANCE_SECS
            self._until = {known: until for known, until in self._until.items() if until >= now}

    def replace(self, listed: Mapping[UUID, int]) -> None:
        """Take over the whole list. Entries made meanwhile are kept: ending is for good."""
        self._until.update(listed)


class Sessions:
    """What a session is worth at this moment, on every node alike."""

    def __init__(
        self, store: SessionStore, tokens: AccessTokens, rules: SessionRules, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._rules = rules
        self._now = now
        self.ended = EndedSessions(now)

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
        """Whether the session exists in the store, whatever this node has heard."""
        return await self._store.is_alive(user_id, session_id)

    async def start(self, user_id: UUID) -> Tokens:
        """Log an account in.

        Raises:
            Unauthorized: The account is gone.
        """
        session_id = uuid4()
        refresh = RefreshToken.new(user_id, session_id)
        if not await self._store.create(user_id, session_id, refresh.digest, self._rules.refresh_ttl_ms):
            raise Unauthorized("The account is gone")
        await self._end_surplus(user_id)
        return self._issue(refresh)

    async def refresh(self, text: str) -> Tokens:
        """Exchange a refresh token for its successor and a new access token; the old one is dead at once.

        Raises:
            Unauthorized: Unknown, ended, or exchanged before; in the last case, and
                more than 10 s later, the whole session is ended (RFC 9700 section 4.14.2).
        """
        presented = RefreshToken.parse(text)
        if presented is None:
            raise Unauthorized("Invalid refresh token")
        following = self._successor(presented)
        user_id, session_id = presented.user_id, presented.session_id
        rotation = await self._store.refresh(
            user_id, session_id, (presented.digest, following.digest), self._rules.refresh_ttl_ms, RACE_WINDOW_MS
        )
        if rotation in (Rotation.ROTATED, Rotation.RETRIED):
            return self._issue(following)
        if rotation is Rotation.REUSED:
            REFRESH_REUSED.inc()
            log.warning("a refresh token was used again; its session is ended")
            await self.end(user_id, session_id)
        raise Unauthorized("Invalid refresh token")

    async def logout(self, claims: AccessClaims, text: str) -> None:
        """End the session a refresh token belongs to; one that ended already is fine.

        Raises:
            Unauthorized: The token is not one of the caller's.
        """
        token = RefreshToken.parse(text)
        if token is None or token.user_id != claims.user_id:
            raise Unauthorized("Invalid refresh token")
        await self.end(token.user_id, token.session_id)

    async def end(self, user_id: UUID, session_id: UUID) -> None:
        """End a session: its refresh token, its access tokens on every node, its sockets."""
        await self.mark_ended([session_id])
        await self._store.end(user_id, session_id)

    async def others_of(self, claims: AccessClaims) -> list[UUID]:
        """The account's sessions beside the caller's own."""
        return [known for known in await self._store.all_of(claims.user_id) if known != claims.session_id]

    async def mark_ended(self, session_ids: Sequence[UUID]) -> None:
        """Have every node refuse the access tokens of these sessions."""
        until_secs = int(self._now() + self._rules.access_ttl_secs) + _SKEW_ALLOWANCE_SECS
        if session_ids:
            await self._store.mark_ended(session_ids, until_secs)
            self.ended.add(session_ids, until_secs)

    def note_ended(self, payload: bytes) -> None:
        """Hear of sessions ended by any node: the message of the shared channel."""
        until_secs, *session_ids = payload.decode().split(" ")
        self.ended.add([UUID(session_id) for session_id in session_ids], int(until_secs))

    async def reload_ended(self) -> None:
        """Read the shared list again, after a gap in the events."""
        listed = await self._store.ended_since(int(self._now()))
        self.ended.replace({UUID(session_id): until for session_id, until in listed.items()})

    async def _end_surplus(self, user_id: UUID) -> None:
        known = await self._store.all_of(user_id)
        for session_id in known[: -self._rules.max_per_account]:
            await self.end(user_id, session_id)

    def _successor(self, presented: RefreshToken) -> RefreshToken:
        if self._rules.retry_key is None:
            return RefreshToken.new(presented.user_id, presented.session_id)
        return successor(presented, self._rules.retry_key)

    def _issue(self, refresh: RefreshToken) -> Tokens:
        issued = self._tokens.issue(refresh.user_id, refresh.session_id)
        return Tokens(issued.token, refresh.text, issued.expires_at)


def retry_key(jwt_secret: str) -> bytes:
    """The key that refresh-token successors are derived with, separate from the one that signs JWTs."""
    return hashlib.sha256(b"obscura refresh-token successor\0" + jwt_secret.encode()).digest()
