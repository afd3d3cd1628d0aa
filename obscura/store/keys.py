"""Pre-keys: handed out one by one, refilled, and replaced as a whole at a takeover."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

import orjson

from obscura.model.keys import Bundle, DeviceKeys, KeyUpload, SignedPreKey
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.store.device_keys import (
    BUNDLE_FIELDS,
    ONE_TIME_DIGEST_FIELD,
    device_fields,
    one_time_digest,
    one_time_pairs,
    parse_bundle,
    signed_pre_key_fields,
)


class UploadOutcome(Enum):
    """What became of an upload of keys.

    STALE: what it was checked against has changed. OLD: the signed pre-key is not newer
    than the stored one. REUSED: it is the stored one under another id. UNSIGNED: it is a new one
    without a signature. ENDED: the session that makes it is over.
    """

    STORED = b"stored"
    STALE = b"stale"
    OLD = b"old"
    REUSED = b"reused"
    UNSIGNED = b"unsigned"
    ENDED = b"ended"


@dataclass(frozen=True, slots=True)
class FetchedBundle:
    """A bundle that was handed out.

    Attributes:
        is_low: It left fewer one-time keys than the threshold, for the first time.
        is_withheld: It has no one-time key, though some are left: they are the reserve.
    """

    bundle: Bundle
    is_low: bool
    is_withheld: bool


class KeyStore:
    """The public keys of the device at each address."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def take_bundle(self, address_id: UUID, threshold: int, reserve: int) -> FetchedBundle | None:
        """Hand out the bundle of an address, using up its oldest one-time pre-key.

        Atomic across nodes: no one-time key is returned twice, the last ``reserve`` are not
        touched, and a bundle is of one identity. The owner's nodes are told when one-time keys
        become fewer than ``threshold``, fewer still, and when none is left. None: there is no such address.

        Raises:
            StoreUnavailable: No reply. A key may be gone, so do not repeat the call.
        """
        reply = await self._scripts.run(
            "keys_take",
            keys=[
                keyspace.account(address_id),
                keyspace.one_time_keys(address_id),
                keyspace.one_time_order(address_id),
                keyspace.events(address_id),
                keyspace.told_of_no_keys(address_id),
            ],
            args=[threshold, self._commands.publish, reserve, *BUNDLE_FIELDS],
        )
        if not reply:
            return None
        device, one_time, is_low, is_withheld = reply
        return FetchedBundle(parse_bundle(device, one_time), bool(is_low), bool(is_withheld))

    async def count(self, address_id: UUID) -> int:
        """How many one-time pre-keys are left. Safe to repeat."""
        return int(await self._commands.call("ZCARD", keyspace.one_time_order(address_id)))

    async def identity_of(self, address_id: UUID) -> str | None:
        """The identity key in force, base64. None: there is no such address. Safe to repeat."""
        reply: bytes | None = await self._commands.call("HGET", keyspace.account(address_id), "identity_key")
        return None if reply is None else reply.decode()

    async def refill(self, address_id: UUID, identity: str, upload: KeyUpload, max_keys: int) -> UploadOutcome:
        """Replace the signed pre-key and add one-time keys, if ``identity`` is still in force.

        The stored signed pre-key with one-time keys stays as it is, its signature too. Key ids already
        stored are kept; over ``max_keys`` the oldest go. Safe to repeat with one-time keys: those that
        were handed out meanwhile are not stored again. Without any a repeat answers OLD.
        """
        signed = upload.signed
        reply = await self._scripts.run(
            "keys_refill",
            keys=[
                keyspace.account(address_id),
                keyspace.one_time_keys(address_id),
                keyspace.one_time_order(address_id),
            ],
            args=[
                identity,
                signed.key_id,
                signed.public_key.base64,
                orjson.dumps(signed_pre_key_fields(signed) if isinstance(signed, SignedPreKey) else []),
                one_time_pairs(upload.one_time),
                one_time_digest(upload.one_time),
                max_keys,
            ],
        )
        return UploadOutcome(reply)

    async def begin_takeover(self, user_id: UUID, kept: UUID, others: Sequence[UUID]) -> dict[UUID, int] | None:
        """End ``others``, before they are entered in the list of ended sessions and `takeover` is called.

        Of several sessions that begin at once only one gets on: it is told of each of the others
        when its last access token expires, as by `SessionStore.end`. None: the session ``kept``
        is over itself, so it may end no other. Safe to repeat.
        """
        keys = [keyspace.session(user_id, session_id) for session_id in (kept, *others)]
        reply: list[int] | None = await self._scripts.run("keys_takeover_begin", keys)
        return None if reply is None else dict(zip(others, reply, strict=True))

    async def takeover(
        self, address_id: UUID, expected: str, keys: DeviceKeys, kept: UUID, ended: Sequence[UUID]
    ) -> UploadOutcome:
        """Replace the device: new keys in, old keys and inbox gone, sessions in ``ended`` unlisted.

        STALE unless ``expected`` is still the identity and no session exists beside
        ``kept`` and ``ended``; ENDED if ``kept`` is over. Not repeatable: a repeat
        answers STALE.
        """
        user_id = address_id  # an account has one address, of its own id
        reply = await self._scripts.run(
            "keys_takeover",
            keys=[
                keyspace.account(address_id),
                keyspace.one_time_keys(address_id),
                keyspace.one_time_order(address_id),
                keyspace.inbox(address_id),
                keyspace.sessions(user_id),
                keyspace.session(user_id, kept),
                keyspace.events(address_id),
                keyspace.replaced_sessions(user_id),
            ],
            args=[
                expected,
                orjson.dumps([*device_fields(keys), ONE_TIME_DIGEST_FIELD, one_time_digest(keys.one_time)]),
                one_time_pairs(keys.one_time),
                self._commands.publish,
                str(kept),
                *(str(session_id) for session_id in ended),
            ],
        )
        return UploadOutcome(reply)

    async def replaced_among(self, address_id: UUID, session_ids: Collection[UUID]) -> set[UUID]:
        """Which of some sessions a takeover has ended in the last day. Safe to repeat."""
        reply = await self._commands.call("ZRANGE", keyspace.replaced_sessions(address_id), 0, -1)
        return {UUID(session_id.decode()) for session_id in reply}.intersection(session_ids)
