"""What an operator may end: the sessions of an account, and the account.

The steps of a deletion come in an order in which a crash at any point does no harm, and
the same call once more finishes what was begun:

1. the sessions end, in the shared list first: a crash leaves an account that can log in
2. the account goes in one step, unless somebody logged in since: then once more from 1
3. keys that are left go; nothing reads them, and all of them would expire
4. the name is freed: last, since by the name an operator finds the account again; if a
   crash comes before, the next registration of the name frees it
"""

import secrets
from typing import Self
from uuid import UUID

from obscura.clock import SharedClock
from obscura.crypto.tokens import AccessTokens
from obscura.errors import Unavailable
from obscura.services.sessions import SessionOptions, Sessions
from obscura.settings.model import Settings
from obscura.store.accounts import AccountStore
from obscura.store.messages import MessageStore
from obscura.store.sessions import SessionStore

_ATTEMPTS = 20


class AccountAdministration:
    """Ends what an operator tells it to end."""

    def __init__(
        self, accounts: AccountStore, session_store: SessionStore, messages: MessageStore, sessions: Sessions
    ) -> None:
        self._accounts = accounts
        self._session_store = session_store
        self._messages = messages
        self._sessions = sessions

    @classmethod
    def from_settings(
        cls, settings: Settings, accounts: AccountStore, session_store: SessionStore, messages: MessageStore
    ) -> Self:
        """Make one for a process that serves nobody."""
        # Sessions are only ended here: no token is signed or checked, so any secret does.
        secret = secrets.token_hex()
        tokens = AccessTokens([secret], settings.access_token_ttl_secs)
        sessions = Sessions(session_store, tokens, SessionOptions.from_settings(settings, secret), SharedClock())
        return cls(accounts, session_store, messages, sessions)

    async def end_sessions(self, user_id: UUID) -> int:
        """End every session of an account, with its sockets and access tokens; returns how many there were.

        Raises:
            StoreUnavailable: Some may have ended, and then for good.
        """
        session_ids = await self._session_store.ids_of(user_id)
        await self._sessions.end(user_id, session_ids)
        return len(session_ids)

    async def delete_account(self, user_id: UUID, username: str | None) -> None:
        """End all sessions, remove every key of the account and free its name, if it is known. Safe to repeat.

        Raises:
            Unavailable: Redis is away, or somebody logs in again and again. It may be done in part.
        """
        for _ in range(_ATTEMPTS):
            await self.end_sessions(user_id)
            if await self._accounts.delete(user_id):
                break
        else:
            raise Unavailable("the account is being logged in to all the time")
        await self._accounts.delete_remnants(user_id)
        await self._messages.cancel_expiry(user_id)
        if username is not None:
            await self._accounts.release(username, user_id)
