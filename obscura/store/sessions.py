"""Sessions: a refresh token each, and the shared list of those that ended.

Every node refuses the access tokens of the sessions in that list. A session is first
entered there and then removed from its account: a crash in between ends it too early,
never too late.
"""

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.redis_client.transport import Argument
from obscura.store import keyspace


class Rotation(Enum):
    """What became of a refresh token that was presented; see lua/sessions_refresh.lua."""

    ROTATED = b"rotated"
    RETRIED = b"retried"
    RACED = b"raced"
    REUSED = b"reused"
    UNKNOWN = b"unknown"


class SessionStore:
    """The sessions of each account, and the list of ended ones that all nodes share."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def create(self, user_id: UUID, session_id: UUID, token_digest: str, ttl_ms: int) -> bool:
        """Start a session. False: the account is gone. Safe to repeat."""
        reply = await self._scripts.run(
            "sessions_create",
            keys=[keyspace.account(user_id), keyspace.sessions(user_id), keyspace.session(user_id, session_id)],
            args=[str(session_id), token_digest, ttl_ms],
        )
        return bool(reply)

    async def refresh(
        self, user_id: UUID, session_id: UUID, digests: tuple[str, str], ttl_ms: int, race_ms: int
    ) -> Rotation:
        """Exchange the first of ``digests`` (presented) for the second (successor), atomically.

        Safe to repeat at once: of an exchange that happened a repeat answers RETRIED.

        Raises:
            StoreUnavailable: No reply. The exchange may have happened, or happen later.
        """
        reply = await self._scripts.run(
            "sessions_refresh",
            keys=[keyspace.session(user_id, session_id), keyspace.sessions(user_id)],
            args=[str(session_id), *digests, ttl_ms, race_ms],
        )
        return Rotation(reply)

    async def is_alive(self, user_id: UUID, session_id: UUID) -> bool:
        """Whether the session exists at this moment, whatever the list of ended ones says yet. Safe to repeat."""
        return bool(await self._commands.call("EXISTS", keyspace.session(user_id, session_id)))

    async def ids_of(self, user_id: UUID) -> list[UUID]:
        """The account's sessions, the one that expires first first. Safe to repeat."""
        reply = await self._commands.call("ZRANGE", keyspace.sessions(user_id), 0, -1)
        return [UUID(session_id.decode()) for session_id in reply]

    async def mark_ended(self, session_ids: Sequence[UUID], until_secs: int) -> None:
        """Enter sessions in the shared list until the second given, be they in it already or not. Safe to repeat."""
        ended = keyspace.ENDED_SESSIONS
        args: list[Argument] = [until_secs, self._commands.publish, *(str(session_id) for session_id in session_ids)]
        await self._scripts.run("sessions_mark_ended", keys=[ended, ended], args=args)

    async def end(self, user_id: UUID, session_id: UUID) -> None:
        """Remove a session after `mark_ended`; that there is none is fine. Safe to repeat."""
        await self._scripts.run(
            "sessions_end",
            keys=[keyspace.session(user_id, session_id), keyspace.sessions(user_id), keyspace.events(user_id)],
            args=[str(session_id), self._commands.publish],
        )

    async def ended_since(self, now_secs: int) -> dict[UUID, int]:
        """The shared list: each session with the unix second after which it can be forgotten. Safe to repeat."""
        reply = await self._commands.call("ZRANGE", keyspace.ENDED_SESSIONS, now_secs, "+inf", "BYSCORE", "WITHSCORES")
        listed = zip(reply[::2], reply[1::2], strict=True)
        return {UUID(session_id.decode()): int(float(until)) for session_id, until in listed}
