"""Accounts and the names that lead to them.

An account and its name lie in different Cluster slots, so no step covers both. The
order of the steps makes a crash harmless: `claim`, `create`, `confirm`,
`make_permanent`. Until the end both the claim and the account expire by themselves.
"""

from dataclasses import dataclass
from uuid import UUID

import orjson

from obscura.model.keys import DeviceKeys
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.store.device_keys import ONE_TIME_DIGEST_FIELD, device_fields, one_time_digest, one_time_pairs
from obscura.store.key_kinds import Life

_CLAIM_MS = 30_000
_UNCONFIRMED_ACCOUNT_MS = 3_600_000
_KEYS_PER_SCAN = 1000
_NO_EXPIRY = -1  # PTTL's answer for a key that lives for ever


@dataclass(frozen=True, slots=True)
class UsernameClaim:
    """Whose a name is. Unconfirmed: a registration is under way, or died a moment ago."""

    user_id: UUID
    confirmed: bool


@dataclass(frozen=True, slots=True)
class PasswordRecord:
    """What a login is checked against."""

    user_id: UUID
    password_hash: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What tells whether a registration of a taken name is the one that made its account.

    Attributes:
        identity: The identity key in force, base64.
    """

    password: PasswordRecord
    identity: str


class AccountStore:
    """Accounts with their password hashes, and the names that are claimed for them."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def claim_on(self, username: str) -> UsernameClaim | None:
        """Who holds a name, or is about to. None: it is free. Safe to repeat.

        An account is written before its name is confirmed: so if the claim is confirmed and there is
        no account, it is gone for good.
        """
        user_id: bytes | None = await self._commands.call("GET", keyspace.username(username))
        ttl_ms: int = await self._commands.call("PTTL", keyspace.username(username))
        return None if user_id is None else UsernameClaim(UUID(user_id.decode()), ttl_ms == _NO_EXPIRY)

    async def exists(self, user_id: UUID) -> bool:
        """Whether there is such an account, be it permanent or not. Safe to repeat."""
        return bool(await self._commands.call("EXISTS", keyspace.account(user_id)))

    async def claim(self, username: str, user_id: UUID) -> bool:
        """Reserve a free name for 30 s. Of several at once exactly one gets True. A repeat gets False."""
        reply = await self._commands.call("SET", keyspace.username(username), str(user_id), "NX", "PX", _CLAIM_MS)
        return reply is not None

    async def create(self, user_id: UUID, username: str, password_hash: str, created_ms: int, keys: DeviceKeys) -> None:
        """Write the account, for an hour unless `make_permanent` follows. Safe to repeat."""
        fields = ["username", username, "password_hash", password_hash, "created_at", str(created_ms)]
        fields += [*device_fields(keys), ONE_TIME_DIGEST_FIELD, one_time_digest(keys.one_time)]
        await self._scripts.run(
            "accounts_create",
            keys=[keyspace.account(user_id), keyspace.one_time_keys(user_id), keyspace.one_time_order(user_id)],
            args=[orjson.dumps(fields), one_time_pairs(keys.one_time), _UNCONFIRMED_ACCOUNT_MS],
        )

    async def confirm(self, username: str, user_id: UUID) -> bool:
        """Make a claim permanent. False: it had expired, the name may be another's. Safe to repeat."""
        keys = [keyspace.username(username)]
        return bool(await self._scripts.run("usernames_confirm", keys=keys, args=[str(user_id)]))

    async def make_permanent(self, user_id: UUID) -> bool:
        """Make an account permanent. False: there is none. Safe to repeat."""
        return bool(await self._scripts.run("accounts_keep", keys=_lasting_keys(user_id)))

    async def release(self, username: str, user_id: UUID) -> bool:
        """Free a confirmed name whose account is gone. False: it is not that account's. Safe to repeat."""
        keys = [keyspace.username(username)]
        return bool(await self._scripts.run("usernames_release", keys=keys, args=[str(user_id)]))

    async def discard(self, user_id: UUID) -> None:
        """Remove an account that was never confirmed. Safe to repeat."""
        await self._commands.call("DEL", *_lasting_keys(user_id))

    async def password_of(self, user_id: UUID) -> PasswordRecord | None:
        """The hash that a login is checked against. Safe to repeat.

        None: there is no such account, as when its registration never finished.
        """
        reply: bytes | None = await self._commands.call("HGET", keyspace.account(user_id), "password_hash")
        return None if reply is None else PasswordRecord(user_id, reply.decode())

    async def registration_of(self, user_id: UUID) -> Registration | None:
        """What a registration sent again is compared with. None: there is no such account. Safe to repeat."""
        password_hash, identity = await self._commands.call(
            "HMGET", keyspace.account(user_id), "password_hash", "identity_key"
        )
        if password_hash is None or identity is None:
            return None
        return Registration(PasswordRecord(user_id, password_hash.decode()), identity.decode())

    async def rehash(self, verified: PasswordRecord, password_hash: str) -> None:
        """Replace the hash that was just verified, unless it changed meanwhile. Safe to repeat."""
        keys = [keyspace.account(verified.user_id)]
        await self._scripts.run("accounts_rehash", keys=keys, args=[verified.password_hash, password_hash])

    async def username_of(self, user_id: UUID) -> str | None:
        """The name of an account. None: there is no such account. Safe to repeat."""
        reply: bytes | None = await self._commands.call("HGET", keyspace.account(user_id), "username")
        return None if reply is None else reply.decode()

    async def delete(self, user_id: UUID) -> bool:
        """Remove an account with its keys and its inbox, for good.

        False: it has a session; end it first. True if there is no account, too. Safe to repeat.
        """
        sessions = keyspace.sessions(user_id)
        keys = [sessions, *(key for key in keyspace.KINDS.keys_of_account(user_id) if key != sessions)]
        return bool(await self._scripts.run("accounts_delete", keys=keys) == b"deleted")

    async def delete_remnants(self, user_id: UUID) -> int:
        """Remove every key there is of an account that is gone; returns how many. Looks at all keys. Safe to repeat."""
        pattern, cursor, removed = keyspace.account_pattern(user_id), b"0", 0
        while True:
            cursor, found = await self._commands.call("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_PER_SCAN)
            if found:
                removed += await self._commands.call("UNLINK", *found)
            if cursor == b"0":
                return removed


def _lasting_keys(user_id: UUID) -> list[str]:
    """Those that a confirmed account has for good, the account itself first."""
    return keyspace.KINDS.keys_of_account(user_id, Life.REMOVED)
