"""Registration and login."""

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from uuid import UUID, uuid4

from obscura.crypto.passwords import Passwords
from obscura.errors import BadRequest, Conflict, TooManyRequests, Unauthorized, Unavailable
from obscura.model.accounts import Credentials, Tokens
from obscura.model.keys import DeviceKeys
from obscura.observability.metrics.accounts import PASSWORDS_REFUSED
from obscura.services.keys import check_device
from obscura.services.sessions import Sessions
from obscura.store.accounts import AccountStore, PasswordRecord, Registration
from obscura.store.rate_limits import RateLimit

_MAX_USERNAME_LENGTH = 50  # code points
_MIN_PASSWORD_LENGTH = 12  # code points
_MAX_PASSWORD_BYTES = 1024

_UNDER_WAY_SECS = 1.0  # from the claim of a name to its account, if Redis answers at once

_NAME_TAKEN = "Username already exists"


class Accounts:
    """Accounts are made here and logged in to; everything else about them has a service of its own.

    Args:
        failures: Limits how often a login to one name may fail.
    """

    def __init__(
        self,
        store: AccountStore,
        sessions: Sessions,
        passwords: Passwords,
        failures: RateLimit,
        max_pre_keys: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._passwords = passwords
        self._failures = failures
        self._max_pre_keys = max_pre_keys
        self._now = now

    async def register(self, credentials: Credentials, keys: DeviceKeys) -> Tokens:
        """Make an account and log it in.

        Of several registrations of a name at once exactly one succeeds. A failure at any
        point leaves either a working account or, within a minute, a free name. So a client whose
        answer was lost repeats the call: with the same name, password and identity key it is
        logged in to the account that it has made, whose keys stay those of the first call.

        Raises:
            BadRequest: The name, the password or the keys break a rule.
            Conflict: The name is another's.
            Unavailable: Too many password hashes are waiting, or Redis is away.
        """
        _check_username(credentials.username)
        _check_password(credentials.password)
        check_device(keys, self._max_pre_keys)
        if not await self._is_free(credentials.username):
            return await self._answer_again(credentials, keys)
        with _refusals_counted():
            password_hash = await self._passwords.hash(credentials.password)
        user_id = uuid4()
        if not await self._store.claim(credentials.username, user_id):
            return await self._answer_again(credentials, keys)
        await self._store.create(user_id, credentials.username, password_hash, int(self._now() * 1000), keys)
        if not await self._make_permanent(credentials.username, user_id):
            await self._store.discard(user_id)
            raise Unavailable("a registration took longer than its claim to the name lasts")
        return await self._sessions.start(user_id, "registration")

    async def login(self, credentials: Credentials) -> Tokens:
        """Check a password and start a session.

        An unknown name takes the same steps and the same time as a wrong password. Every login
        is counted as a failure before its password is checked, and the count is taken back when it
        succeeds: so guesses made at the same moment are all counted.

        Raises:
            Unauthorized: Unknown name or wrong password; the two look the same.
            TooManyRequests: Too many logins to this name have failed; then the right
                password is not looked at either.
            Unavailable: Too many logins are waiting, or Redis is away.
        """
        async with self._counted_as_failure(credentials.username):
            verified = await self._verified(credentials)
        await self._rehash_if_outdated(verified, credentials.password)
        return await self._sessions.start(verified.user_id, "login")

    async def _verified(self, credentials: Credentials) -> PasswordRecord:
        """The password record of a name, if the password is the right one."""
        claim = await self._store.claim_on(credentials.username)
        stored = await self._store.password_of(claim.user_id if claim else uuid4())
        return await self._check(credentials, stored)

    async def _check(self, credentials: Credentials, stored: PasswordRecord | None) -> PasswordRecord:
        with _refusals_counted():
            matches = await self._passwords.verify(credentials.password, stored.password_hash if stored else None)
        # A registration may have died before its last steps; whoever can log in has an account for good.
        if stored is None or not matches or not await self._make_permanent(credentials.username, stored.user_id):
            raise Unauthorized("Invalid username or password")
        return stored

    @asynccontextmanager
    async def _counted_as_failure(self, username: str) -> AsyncIterator[None]:
        """Count what is done in here as a failed login, unless it ends well or is no fault of the client."""
        await self._failures.take(username)
        try:
            yield
        except Unavailable:
            with suppress(Unavailable):
                await self._failures.refund(username)
            raise
        await self._failures.refund(username)

    async def _answer_again(self, credentials: Credentials, keys: DeviceKeys) -> Tokens:
        """Answer the registration of a taken name like the first, if it is that one sent again.

        It guesses at a password like a login, and counts like one if the identity key is right: anybody can
        have that key. A wrong one takes as long, so that nobody learns which name it belongs to.

        Raises:
            Conflict: It is not; or too many logins to the name have failed to tell.
        """
        first = await self._registration_under(credentials.username)
        stored = first.password if first is not None and first.identity == keys.identity.base64 else None
        try:
            async with nullcontext() if stored is None else self._counted_as_failure(credentials.username):
                verified = await self._check(credentials, stored)
        except (Unauthorized, TooManyRequests) as error:
            raise Conflict(_NAME_TAKEN) from error
        return await self._sessions.start(verified.user_id, "registration")

    async def _registration_under(self, username: str) -> Registration | None:
        """The account under a name; one that is being made at this moment is waited for."""
        deadline = time.monotonic() + _UNDER_WAY_SECS
        while (claim := await self._store.claim_on(username)) is not None:
            registration = await self._store.registration_of(claim.user_id)
            if registration is not None or claim.confirmed or time.monotonic() > deadline:
                return registration
            await asyncio.sleep(_UNDER_WAY_SECS / 20)
        return None

    async def _is_free(self, username: str) -> bool:
        claim = await self._store.claim_on(username)
        if claim is None:
            return True
        # Unconfirmed, it is a registration under way, and expires by itself. A confirmed name without an
        # account, asked for in this order, is one whose registration died before the last step.
        if not claim.confirmed or await self._store.exists(claim.user_id):
            return False
        return await self._store.release(username, claim.user_id)

    async def _make_permanent(self, username: str, user_id: UUID) -> bool:
        """Make a name and its account permanent, in this order. False: one of them has expired."""
        return await self._store.confirm(username, user_id) and await self._store.make_permanent(user_id)

    async def _rehash_if_outdated(self, verified: PasswordRecord, password: str) -> None:
        if self._passwords.needs_rehash(verified.password_hash):
            with suppress(Unavailable):  # too many are waiting: the next login will do
                await self._store.rehash(verified, await self._passwords.hash(password))


@contextmanager
def _refusals_counted() -> Iterator[None]:
    try:
        yield
    except Unavailable:
        PASSWORDS_REFUSED.inc()
        raise


def _check_username(username: str) -> None:
    if not 1 <= len(username) <= _MAX_USERNAME_LENGTH:
        raise BadRequest(f"username must have 1 to {_MAX_USERNAME_LENGTH} characters")
    if any(unicodedata.category(character) == "Cc" for character in username):
        raise BadRequest("username must not have control characters")


def _check_password(password: str) -> None:
    if len(password) < _MIN_PASSWORD_LENGTH:
        raise BadRequest(f"password must have at least {_MIN_PASSWORD_LENGTH} characters")
    if len(password.encode()) > _MAX_PASSWORD_BYTES:
        raise BadRequest(f"password must have at most {_MAX_PASSWORD_BYTES} bytes")
