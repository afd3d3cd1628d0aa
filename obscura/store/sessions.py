"""Sessions: a refresh token each, and the shared list of those that ended.

Every node refuses the access tokens of the sessions in that list. A session is first
entered there and then removed from its account: a crash in between ends it too early,
never too late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
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


class Exchange(NamedTuple):
    """What became of a refresh token, and the ms from which the access token lives that goes with its successor."""

    rotation: Rotation
    issued_ms: int = 0


class EndedList(NamedTuple):
    """The shared list at a moment of Redis's clock: sessions with the second after which each can be forgotten."""

    now_ms: int
    until_secs: dict[UUID, int]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long the tokens of a session live, in milliseconds."""

    refresh_ms: int
    access_ms: int


@dataclass(frozen=True, slots=True)
class ListedFor:
    """How long sessions stay in the list of ended ones, by Redis's clock.

    Attributes:
        life_secs: From now on at least.
        last_secs: And until this unix second at least.
        spare_secs: And then a little longer.
        is_guess: A session that is listed already stays as it is: whoever entered it knew better.
    """

    life_secs: int
    last_secs: int
    spare_secs: int
    is_guess: bool = False


class SessionStore:
    """The sessions of each account, and the list of ended ones that all nodes share."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def create(self, user_id: UUID, session_id: UUID, token_digest: str, lives: Lifetimes) -> int | None:
        """Start a session; returns the ms from which its access token lives. None: no account. Safe to repeat."""
        reply: int = await self._scripts.run(
            "sessions_create",
            keys=[keyspace.account(user_id), keyspace.sessions(user_id), keyspace.session(user_id, session_id)],
            args=[str(session_id), token_digest, lives.refresh_ms, lives.access_ms],
        )
        return reply or None

    async def refresh(
        self, user_id: UUID, session_id: UUID, digests: tuple[str, str], lives: Lifetimes, race_ms: int
    ) -> Exchange:
        """Exchange the first of ``digests`` (presented) for the second (successor), atomically.

        Safe to repeat at once: of an exchange that happened a repeat answers RETRIED.

        Raises:
            StoreUnavailable: No reply. The exchange may have happened, or happen later.
        """
        reply = await self._scripts.run(
            "sessions_refresh",
            keys=[keyspace.session(user_id, session_id), keyspace.sessions(user_id)],
            args=[str(session_id), *digests, lives.refresh_ms, race_ms, lives.access_ms],
        )
        return Exchange(Rotation(reply[0]), *reply[1:])

    async def is_alive(self, user_id: UUID, session_id: UUID) -> bool:
        """Whether the session exists at this moment, whatever the list of ended ones says yet. Safe to repeat."""
        return bool(await self._commands.call("EXISTS", keyspace.session(user_id, session_id)))

    async def ids_of(self, user_id: UUID) -> list[UUID]:
        """The account's sessions, the one that expires first first. Safe to repeat."""
        return list(await self.expiries_of(user_id))

    async def expiries_of(self, user_id: UUID) -> dict[UUID, int]:
        """The account's sessions, and the ms when each expires, the one that does first first. Safe to repeat."""
        reply = await self._commands.call("ZRANGE", keyspace.sessions(user_id), 0, -1, "WITHSCORES")
        return _with_scores(reply)

    async def mark_ended(self, session_ids: Sequence[UUID], listed_for: ListedFor) -> EndedList:
        """Enter sessions in the shared list; returns their entries. Safe to repeat."""
        ended = keyspace.ENDED_SESSIONS
        args: list[Argument] = [listed_for.life_secs, listed_for.last_secs, listed_for.spare_secs]
        args += [int(listed_for.is_guess), self._commands.publish, *(str(session_id) for session_id in session_ids)]
        now_ms, reply = await self._scripts.run("sessions_mark_ended", keys=[ended, ended], args=args)
        return EndedList(now_ms, _with_scores(reply))

    async def end(self, user_id: UUID, session_id: UUID) -> int:
        """Remove a session after `mark_ended`; that there is none is fine. Safe to repeat.

        Returns when the last of its access tokens expires, in ms; 0 if there was no such
        session; -1 if it was begun by a version that did not note it.
        """
        reply: int = await self._scripts.run(
            "sessions_end",
            keys=[keyspace.session(user_id, session_id), keyspace.sessions(user_id), keyspace.events(user_id)],
            args=[str(session_id), self._commands.publish],
        )
        return reply

    async def ended(self) -> EndedList:
        """The whole shared list. Safe to repeat."""
        now_ms, reply = await self._scripts.run("sessions_list_ended", keys=[keyspace.ENDED_SESSIONS])
        return EndedList(now_ms, _with_scores(reply))


def _with_scores(reply: Sequence[bytes]) -> dict[UUID, int]:
    listed = zip(reply[::2], reply[1::2], strict=True)
    return {UUID(session_id.decode()): int(float(score)) for session_id, score in listed}
