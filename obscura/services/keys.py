"""Pre-keys: which upload is a refill and which a takeover, what is allowed, who gets which key."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from obscura.crypto.curve import PublicKey, verify
from obscura.crypto.tokens import AccessClaims
from obscura.errors import (
    NotFound,
    RegistrationIdMissing,
    SignedPreKeyNotNewer,
    SignedPreKeyReused,
    TooManyPreKeys,
    Unauthorized,
    Unavailable,
    WrongPreKeySignature,
)
from obscura.model.keys import Bundle, DeviceKeys, KeyUpload, ResentPreKey, SignedPreKey
from obscura.observability.metrics.accounts import (
    KEY_UPLOADS_RESTARTED,
    PRE_KEYS_EXHAUSTED,
    PRE_KEYS_LOW,
    PRE_KEYS_WITHHELD,
    SESSIONS_ENDED,
    TAKEOVERS,
)
from obscura.services.sessions import Sessions
from obscura.settings.model import Settings
from obscura.store.keys import KeyStore, UploadOutcome
from obscura.store.rate_limits import RateLimit

log = logging.getLogger(__name__)

_ATTEMPTS = 3  # when a takeover or a login comes in between the check and the write


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """How many one-time pre-keys there may be, and for whom.

    Attributes:
        max_pre_keys: An account may have.
        threshold: With fewer than this left, their owner is told.
        reserve: The last so many go to callers who are logged in. Whoever empties an account
            of its keys takes forward secrecy from the first messages to it (X3DH, section 4.7);
            for these keys that takes an account, which can be found and removed.
    """

    max_pre_keys: int
    threshold: int
    reserve: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "KeyOptions":
        return cls(settings.max_pre_keys, settings.pre_key_refill_threshold, settings.pre_key_reserve)


class Keys:
    """The public keys of devices: uploaded by their owners, handed out to those who want to write to them.

    Args:
        fetches: Limits how often one client is given the keys of one address.
        options: How many one-time pre-keys there may be, and for whom.
    """

    def __init__(self, store: KeyStore, sessions: Sessions, fetches: RateLimit, options: KeyOptions) -> None:
        self._store = store
        self._sessions = sessions
        self._fetches = fetches
        self._options = options
        self.threshold = options.threshold

    async def take_bundle(self, address_id: UUID, client: str, is_logged_in: bool) -> Bundle:
        """Hand out a bundle, using up one one-time pre-key; each is handed out once.

        When only the reserve is left, a caller who is not logged in gets the bundle without one.

        Args:
            client: The network address that asks, as limits count it.
            is_logged_in: Whether the caller has shown an access token that holds.

        Raises:
            NotFound: There is no such address.
            TooManyRequests: The client has had too many of this address's keys lately.
        """
        await self._fetches.take(f"{address_id} {client}")
        reserve = 0 if is_logged_in else self._options.reserve
        taken = await self._store.take_bundle(address_id, self.threshold, reserve)
        if taken is None:
            raise NotFound("User not found or no keys available")
        if taken.is_low:
            PRE_KEYS_LOW.inc()
        if taken.is_withheld:
            PRE_KEYS_WITHHELD.inc()
        elif taken.bundle.one_time is None:
            PRE_KEYS_EXHAUSTED.inc()
        return taken.bundle

    async def low_pre_key_count(self, address_id: UUID) -> int | None:
        """How many one-time pre-keys are left if that is fewer than the threshold, else None."""
        count = await self._store.count(address_id)
        return count if count < self.threshold else None

    async def replaced_among(self, address_id: UUID, session_ids: Collection[UUID]) -> set[UUID]:
        """Which of the sessions of an address another device has ended by a takeover. May be repeated."""
        return await self._store.replaced_among(address_id, session_ids)

    async def upload(self, claims: AccessClaims, upload: KeyUpload) -> None:
        """Refill the caller's keys, or take the account over if the identity is a new one.

        The stored signed pre-key sent again, with or without its signature, stays if one-time keys come
        with it: no published client makes a new one for a refill. An upload repeated adds nothing again.

        Raises:
            BrokenRule: The keys break one.
            Unauthorized: The session is over, or the account is gone.
            Unavailable: Redis is away, or others kept changing the account meanwhile.
        """
        _check_count(len(upload.one_time), self._options.max_pre_keys)
        for _ in range(_ATTEMPTS):
            match await self._try_upload(claims, upload):
                case UploadOutcome.STORED:
                    return
                case UploadOutcome.OLD:
                    raise SignedPreKeyNotNewer("the signed pre-key is not newer than the stored one")
                case UploadOutcome.REUSED:
                    raise SignedPreKeyReused("the stored signed pre-key has another id")
                case UploadOutcome.UNSIGNED:
                    raise WrongPreKeySignature("a new signed pre-key has no signature")
                case UploadOutcome.ENDED:
                    raise Unauthorized("The session has ended")
                case UploadOutcome.STALE:
                    KEY_UPLOADS_RESTARTED.inc()
        raise Unavailable("others kept changing the account during an upload of keys")

    async def _try_upload(self, claims: AccessClaims, upload: KeyUpload) -> UploadOutcome:
        address_id = claims.user_id  # an account has one address, of its own id
        stored = await self._store.identity_of(address_id)
        if stored is None:
            return UploadOutcome.ENDED  # with its account
        if upload.identity is None or upload.identity.base64 == stored:
            return await self._refill(address_id, stored, upload)
        if upload.registration_id is None:
            raise RegistrationIdMissing("a new identity key needs a registration id")
        if isinstance(upload.signed, ResentPreKey):
            raise WrongPreKeySignature("a new identity key needs a signed pre-key that it has signed")
        keys = DeviceKeys(upload.identity, upload.registration_id, upload.signed, upload.one_time)
        return await self._take_over(claims, stored, keys)

    async def _refill(self, address_id: UUID, identity: str, upload: KeyUpload) -> UploadOutcome:
        if isinstance(upload.signed, SignedPreKey):
            _check_signature(PublicKey.from_base64(identity), upload.signed)
        return await self._store.refill(address_id, identity, upload, self._options.max_pre_keys)

    async def _take_over(self, claims: AccessClaims, stored: str, keys: DeviceKeys) -> UploadOutcome:
        _check_signature(keys.identity, keys.signed)
        # In this order a crash in between ends the other sessions without a takeover, never the reverse.
        others = await self._sessions.others_of(claims)
        last_tokens_ms = await self._store.begin_takeover(claims.user_id, claims.session_id, others)
        if last_tokens_ms is None:
            return UploadOutcome.ENDED
        await self._sessions.mark_ended(last_tokens_ms)
        outcome = await self._store.takeover(claims.user_id, stored, keys, claims.session_id, others)
        if outcome is UploadOutcome.STORED:
            TAKEOVERS.inc()
            SESSIONS_ENDED.labels("takeover").inc(len(others))
            log.info("device replaced", extra={"sessions_ended": len(others)})
        return outcome


def check_device(keys: DeviceKeys, max_pre_keys: int) -> None:
    """Whether a new device's keys may be stored.

    Raises:
        TooManyPreKeys: More than ``max_pre_keys`` one-time pre-keys.
        WrongPreKeySignature: The signature is not the identity's.
    """
    _check_count(len(keys.one_time), max_pre_keys)
    _check_signature(keys.identity, keys.signed)


def _check_count(count: int, max_pre_keys: int) -> None:
    if count > max_pre_keys:
        raise TooManyPreKeys(max_pre_keys)


def _check_signature(identity: PublicKey, signed: SignedPreKey) -> None:
    if not verify(identity, signed.public_key, signed.signature):
        raise WrongPreKeySignature("the signed pre-key is not signed by the identity key")
