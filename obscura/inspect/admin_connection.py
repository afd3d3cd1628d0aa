"""An operator's connection to a relay: to its Redis, for the length of one question."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import NotFound, StartupError, StoreUnavailable
from obscura.redis_client.client import connect_to
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.services.administration import AccountAdministration
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.accounts import AccountStore
from obscura.store.inspection import Inspection
from obscura.store.messages import InboxLimits, MessageStore
from obscura.store.sessions import SessionStore

By = Literal["name", "id"]


@dataclass(frozen=True, slots=True)
class AccountRef:
    """The account a command is about. An account that is gone may have left its name."""

    user_id: UUID
    username: str | None
    exists: bool


class AdminConnection:
    """What can be asked of a relay, and what can be ended, without any node taking part.

    Attributes:
        inspection: Answers questions.
        administration: Ends sessions and deletes accounts.
    """

    def __init__(self, commands: CommandExecutor, settings: Settings) -> None:
        scripts = Scripts(commands)
        sessions = SessionStore(commands, scripts)
        messages = MessageStore(commands, scripts, InboxLimits.from_settings(settings))
        self._accounts = AccountStore(commands, scripts)
        self.inspection = Inspection(commands)
        self.administration = AccountAdministration.from_settings(settings, self._accounts, sessions, messages)

    async def find(self, user: str, by: By | None = None) -> AccountRef:
        """Find an account by name or id; what looks like an id is one, unless ``by`` says otherwise.

        Raises:
            NotFound: Nothing is known of it.
        """
        user_id = None if by == "name" else _parse_id(user)
        if user_id is not None:
            username = await self._accounts.username_of(user_id)
            if username is not None:
                return AccountRef(user_id, username, exists=True)
        elif by != "id" and _is_text(user):
            claim = await self._accounts.claim_on(user)
            if claim is not None:
                return AccountRef(claim.user_id, user, await self._accounts.exists(claim.user_id))
        raise _unknown(user)

    async def find_account(self, user: str, by: By | None = None) -> AccountRef:
        """Find an account that exists.

        Raises:
            NotFound: There is none, though its name may be known.
        """
        account = await self.find(user, by)
        if not account.exists:
            raise _unknown(user)
        return account


@asynccontextmanager
async def open_admin_connection(settings: Settings) -> AsyncIterator[AdminConnection]:
    """Connect to the Redis of these settings, without starting one or locking the data directory.

    Raises:
        StartupError: No Redis answers there.
    """
    commands = connect_to(settings.redis_url or EmbeddedRedis(settings.data_dir).url, keyspace.CLIENT_NAME)
    try:
        await commands.start()
    except StoreUnavailable as error:
        await commands.stop()
        if settings.redis_url is not None:
            raise StartupError(f"Redis is not available: {error}") from error
        raise StartupError(
            f"no server answers in the data directory {settings.data_dir.absolute()}: "
            f"start one there, or set OBSCURA_REDIS_URL ({error})"
        ) from error
    try:
        yield AdminConnection(commands, settings)
    finally:
        await commands.stop()


def _parse_id(text: str) -> UUID | None:
    try:
        user_id = UUID(text)
    except ValueError:
        return None
    return user_id if str(user_id) == text.lower() else None


def _is_text(word: str) -> bool:
    """Whether a word of the command line is UTF-8, as every username is."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(user: str) -> NotFound:
    return NotFound(f"there is no user {user!r}")
