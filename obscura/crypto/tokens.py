"""Access tokens, which are checked without a look at the store, and refresh tokens, which live in it."""

import base64
import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from typing import Self
from uuid import UUID

import jwt
import orjson

from obscura import errors

_ALGORITHM = "HS256"
SKEW_ALLOWANCE_SECS = 60
"""So far the clocks of two nodes may be apart: no token is from further ahead, and an ended session stays
listed for so much longer than its last token."""

_MIN_SECRET_BYTES = 32
_MAX_TOKEN_CHARS = 4096
_MAX_REMEMBERED_TOKENS = 20_000
# PyJWT's own check of claims goes by the system's clock; this half of it checks none.
_SIGNATURES = jwt.PyJWS([_ALGORITHM])

# From here on an expiry can spare its fraction of a second.
_WHOLE_SECONDS_FROM_SECS = 10.0

_REFRESH_FAMILY_BYTES = 16
_REFRESH_SECRET_BYTES = 32
_CHECKSUM_BYTES = 5
_REFRESH_TEXT_CHARS = 92
_SESSION_LABEL = b"obscura session of a refresh token family 1"
_CHECKSUM_LABEL = b"obscura refresh token checksum 1"
_SUCCESSOR_LABEL = b"obscura refresh token successor 1"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new access token; ``expires_at``, in unix seconds, is its ``exp`` without a fraction."""

    token: str = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says.

    Attributes:
        expires_at: Exactly its ``exp``, in unix seconds.
        believed_from: Before this second it is from too far ahead.
    """

    user_id: UUID
    session_id: UUID
    expires_at: float
    believed_from: float = field(default=0.0, compare=False)
    user: str = field(init=False, compare=False)
    """The user id in text: it goes into Redis with each message."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "user", str(self.user_id))


class AccessTokens:
    """Issues and verifies access tokens: JWT, HS256, claims ``sub``, ``sid``, ``iat`` and ``exp``.

    Whether the session of a token has ended is not known here.

    Args:
        secrets: The first signs, all verify, so that one can follow another without logouts.
        ttl_secs: How long a token lives; a fraction is allowed.
        now: The clock, in unix seconds, by which tokens expire; also what stamps them, if nothing else is said.

    Raises:
        ValueError: No secret, one under 32 bytes, or one that is a public key by mistake.
    """

    def __init__(self, secrets: Sequence[bytes | str], ttl_secs: float, now: Callable[[], float] = time.time) -> None:
        if not secrets:
            raise ValueError("At least one token secret is needed")
        self._secrets = [_checked_secret(secret) for secret in secrets]
        self._ttl_secs = ttl_secs
        self._now = now
        # Each request brings its token: looking it up costs a fiftieth of checking its signature.
        self._remembered: OrderedDict[str, AccessClaims] = OrderedDict()

    def issue(self, user_id: UUID, session_id: UUID, now: float | None = None) -> IssuedToken:
        """Sign a token that expires ``ttl_secs`` from ``now``, never later.

        Times are whole seconds, rounded down, as not every client can read others. Only a
        lifetime under 10 s keeps its fraction, as rounding might take all of it.
        """
        now = self._now() if now is None else now
        expires_at = now + self._ttl_secs
        if self._ttl_secs >= _WHOLE_SECONDS_FROM_SECS:
            expires_at = math.floor(expires_at)
        claims = {"sub": str(user_id), "sid": str(session_id), "iat": math.floor(now), "exp": expires_at}
        token = jwt.encode(claims, self._secrets[0], algorithm=_ALGORITHM)
        return IssuedToken(token, math.floor(expires_at))

    def verify(self, token: str) -> AccessClaims:
        """Return what ``token`` says if one of the secrets signed it and it has not expired.

        It is dead at its ``exp``, without leeway, and not yet alive while that lies more than
        ``ttl_secs`` and a minute ahead, or its ``iat`` more than a minute: it was made under
        another setting, or by a clock that was wrong, and might outlive what is known of its
        session. Claims besides the four are ignored, so that a newer node may add one.

        Raises:
            Unauthorized: Anything else; the text does not say what is wrong.
        """
        claims = self._remembered.get(token)
        if claims is None and len(token) <= _MAX_TOKEN_CHARS:
            claims = self._read(token)
            if claims is not None:
                self._remember(token, claims)
        # RFC 7519 section 4.1.4: dead on its expiry, too.
        if claims is None or not claims.believed_from <= self._now() < claims.expires_at:
            self._remembered.pop(token, None)
            raise errors.Unauthorized("Invalid or expired access token")
        return claims

    def _read(self, token: str) -> AccessClaims | None:
        for secret in self._secrets:
            try:  # with our algorithm alone, whatever the token's header says (RFC 8725 section 3.1)
                return _access_claims(_SIGNATURES.decode(token, secret, algorithms=[_ALGORITHM]), self._ttl_secs)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                return None
        return None

    def _remember(self, token: str, claims: AccessClaims) -> None:
        """Keep a token, in place of those before it that have expired, or of the oldest if there are too many."""
        now = self._now()
        while self._remembered and next(iter(self._remembered.values())).expires_at <= now:
            self._remembered.popitem(last=False)
        self._remembered[token] = claims
        if len(self._remembered) > _MAX_REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)


def _checked_secret(secret: bytes | str) -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < _MIN_SECRET_BYTES:
        raise ValueError(f"A token secret needs at least {_MIN_SECRET_BYTES} bytes, not {len(key)}")
    try:
        # PyJWT refuses what looks like a public key whenever it is used: rather now than at each login.
        jwt.encode({}, key, algorithm=_ALGORITHM)
    except jwt.InvalidKeyError as error:
        raise ValueError("A token secret must not be a public key, a certificate or a JWK") from error
    return key


def _access_claims(payload: bytes, ttl_secs: float) -> AccessClaims | None:
    """Read signed claims of a token that should live ``ttl_secs``; None if one is missing or mistyped.

    Raises:
        ValueError: Not JSON, or an id that is no UUID.
    """
    match orjson.loads(payload):
        case {"iat": bool()} | {"exp": bool()}:  # which Python takes for integers
            return None
        case {
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": int() | float() as issued_at,
            "exp": int() | float() as expires_at,
        }:
            believed_from = max(expires_at - ttl_secs, issued_at) - SKEW_ALLOWANCE_SECS
            return AccessClaims(UUID(user_id), UUID(session_id), expires_at, believed_from)
    return None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token: single use, opaque to clients, known to Redis only by its digest.

    A token that is not the current one of its session ends it, so nobody may be able to
    make one up. The session is therefore named by its family, which only its refresh
    tokens hold; the session id, which access tokens show to every proxy's log, is a hash
    of that. And a token that was damaged fails its checksum: it is none.

    Digests need no comparison in constant time: the time tells how far two hashes agree,
    and nobody can steer the hash of a secret of 256 bits that they do not know.

    Attributes:
        user_id: Whose account to look at; proves nothing.
        family: 16 random bytes that all tokens of one session share.
        secret: 32 random bytes, the proof.
    """

    user_id: UUID
    family: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, user_id: UUID) -> Self:
        """Make the first token of a new session."""
        return cls(user_id, token_bytes(_REFRESH_FAMILY_BYTES), token_bytes(_REFRESH_SECRET_BYTES))

    def following(self) -> Self:
        """Make a token of the same session with a fresh secret."""
        return replace(self, secret=token_bytes(_REFRESH_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `text` wrote; None for anything else, another spelling of it included."""
        if len(text) != _REFRESH_TEXT_CHARS:
            return None
        try:
            raw = base64.urlsafe_b64decode(text)
            token = cls(UUID(bytes=raw[:16]), raw[16:32], raw[32:64])
        except ValueError:
            return None
        # The decoder skips foreign characters and padding: such a text does not come back, nor does a damaged one.
        return token if token.text == text else None

    @property
    def session_id(self) -> UUID:
        """The login it belongs to, as access tokens and Redis name it."""
        return UUID(bytes=hashlib.sha256(_SESSION_LABEL + self.family).digest()[:16], version=4)

    @property
    def text(self) -> str:
        """What the client gets: 92 characters of URL-safe base64."""
        raw = self.user_id.bytes + self.family + self.secret
        checksum = hashlib.sha256(_CHECKSUM_LABEL + raw).digest()[:_CHECKSUM_BYTES]
        return base64.urlsafe_b64encode(raw + checksum).decode("ascii")

    @property
    def digest(self) -> str:
        """What Redis stores: SHA-256 of the text, in lowercase hex."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()


def successor(token: RefreshToken, key: bytes) -> RefreshToken:
    """Return the token that follows ``token``, always the same one for the same ``key``.

    Only for the setting under which a client that lost a response may present its old
    token again within the grace window: any node gives it the same successor, and still
    Redis holds no token. Otherwise use `RefreshToken.following`, because here one token
    and ``key`` together give away every later token of the session.

    Args:
        token: The token that was presented, its digest checked.
        key: A secret of the server, without which no holder of a token can work out the next.
    """
    return replace(token, secret=hmac.digest(key, token.secret + _SUCCESSOR_LABEL, "sha256"))
