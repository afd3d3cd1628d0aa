import base64
import hashlib
import json
import random
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import pytest

from obscura import errors
from obscura.crypto.tokens import AccessTokens, RefreshToken, successor

pytestmark = pytest.mark.libraries

USER = UUID("6f0f6f5e-3a45-4a40-9b0f-2f2f1d6d2c11")
SESSION = UUID("0d4cf5a2-93d9-4a3b-8a35-1a9c0ea7f6b2")
FAMILY = bytes(range(16))
SECRET = b"first secret, of thirty-two bytes"
OTHER_SECRET = b"other secret, of thirty-two bytes"
START = 1_700_000_000.0
PUBLIC_KEY_AS_SECRET = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA\n-----END PUBLIC KEY-----"


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def tokens(clock: Clock, ttl_secs: float = 900, secret: bytes = SECRET) -> AccessTokens:
    return AccessTokens([secret], ttl_secs, clock)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def good_claims() -> dict[str, Any]:
    return {"sub": str(USER), "sid": str(SESSION), "iat": int(START), "exp": int(START) + 900}


def assert_refused(access_tokens: AccessTokens, token: str) -> None:
    with pytest.raises(errors.Unauthorized, match=r"^Invalid or expired access token$"):
        access_tokens.verify(token)


def segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def refresh_token(seed: int = 1) -> RefreshToken:
    return RefreshToken(USER, FAMILY, random.Random(seed).randbytes(32))


def test_a_token_says_whose_it_is() -> None:
    """Verifying what was issued gives the same user, session and expiry."""
    access_tokens = tokens(Clock())
    issued = access_tokens.issue(USER, SESSION)
    claims = access_tokens.verify(issued.token)
    assert (claims.user_id, claims.session_id, claims.expires_at) == (USER, SESSION, issued.expires_at)


def test_a_token_has_exactly_four_claims() -> None:
    """Nothing but subject, session and two times leaves the server, signed with HS256."""
    token = tokens(Clock()).issue(USER, SESSION).token
    assert claims_of(token) == good_claims()
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_a_token_in_a_log_line_stays_secret() -> None:
    """The text of an issued token is not part of its representation."""
    issued = tokens(Clock()).issue(USER, SESSION)
    assert issued.token not in repr(issued)


@pytest.mark.parametrize("verified_before", [True, False])
def test_a_token_dies_at_its_expiry(verified_before: bool) -> None:
    """Without leeway: alive just before ``exp``, dead at it, whether remembered or new."""
    clock = Clock()
    access_tokens = tokens(clock)
    issued = access_tokens.issue(USER, SESSION)
    if verified_before:
        access_tokens.verify(issued.token)
    clock.now = issued.expires_at
    assert_refused(access_tokens, issued.token)
    clock.now = issued.expires_at - 0.001
    access_tokens.verify(issued.token)


@pytest.mark.parametrize("ttl_secs", [10, 10.5, 900])
def test_times_are_whole_seconds_no_later_than_promised(ttl_secs: float) -> None:
    """Claims are integers rounded down, and the announced expiry is the claim."""
    issued = tokens(Clock(START + 0.9), ttl_secs).issue(USER, SESSION)
    claims = claims_of(issued.token)
    assert type(claims["exp"]) is type(claims["iat"]) is int
    assert claims["iat"] == START
    assert START + 0.9 + ttl_secs - 1 < claims["exp"] <= START + 0.9 + ttl_secs
    assert issued.expires_at == claims["exp"]


def test_a_lifetime_under_a_second_lasts_that_long() -> None:
    """A short lifetime is kept to the fraction; the announced expiry is its whole part."""
    clock = Clock(START + 0.5)
    access_tokens = tokens(clock, ttl_secs=0.25)
    issued = access_tokens.issue(USER, SESSION)
    assert issued.expires_at == START
    clock.now = START + 0.74
    assert access_tokens.verify(issued.token).expires_at == START + 0.75
    clock.now = START + 0.75
    assert_refused(access_tokens, issued.token)


def test_the_first_secret_signs_while_all_verify() -> None:
    """A secret put in front rotates: old tokens live on, and new ones need the new secret."""
    clock = Clock()
    old, new = tokens(clock, secret=OTHER_SECRET), tokens(clock)
    both = AccessTokens([SECRET, OTHER_SECRET], 900, clock)
    assert both.verify(old.issue(USER, SESSION).token).user_id == USER
    issued = both.issue(USER, SESSION).token
    assert new.verify(issued).user_id == USER
    assert_refused(old, issued)


def test_a_token_of_another_secret_is_refused() -> None:
    """A signature by any other secret counts for nothing."""
    clock = Clock()
    assert_refused(tokens(clock), tokens(clock, secret=OTHER_SECRET).issue(USER, SESSION).token)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "none"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    """Only HS256 counts, even when the right secret signed."""
    secret = "" if algorithm == "none" else SECRET.decode() * 2
    token = jwt.encode(good_claims(), secret, algorithm=algorithm)
    assert_refused(AccessTokens([SECRET * 2], 900, Clock()), token)


@pytest.mark.parametrize("claim", ["sub", "sid", "iat", "exp"])
@pytest.mark.parametrize("value", [None, "", "soon", True, [], {}, {"x": 1}, [1]])
def test_a_mistyped_claim_is_refused(claim: str, value: Any) -> None:
    """A signed token must have ids that are UUIDs, and times that are numbers."""
    assert_refused(tokens(Clock()), jwt.encode(good_claims() | {claim: value}, SECRET))


@pytest.mark.parametrize("claim", ["sub", "sid", "iat", "exp"])
def test_a_missing_claim_is_refused(claim: str) -> None:
    """All four claims are needed."""
    claims = good_claims()
    del claims[claim]
    assert_refused(tokens(Clock()), jwt.encode(claims, SECRET))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**400])
def test_an_odd_expiry_is_refused(value: float) -> None:
    """No number makes a token immortal."""
    assert_refused(tokens(Clock()), jwt.encode(good_claims() | {"exp": value}, SECRET))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 2000])
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    """The signature alone does not make a token."""
    assert_refused(tokens(Clock()), jwt.PyJWS().encode(payload, SECRET, algorithm="HS256"))


def test_further_claims_are_ignored() -> None:
    """A newer node may add a claim without logging everybody out on the older ones."""
    token = jwt.encode(good_claims() | {"aud": "x", "nbf": 2 * START, "jti": "7", "new": 1}, SECRET)
    assert tokens(Clock()).verify(token).user_id == USER


@pytest.mark.parametrize("position", range(3))
def test_a_tampered_token_is_refused(position: int) -> None:
    """A change in the header, the claims or the signature is noticed."""
    access_tokens = tokens(Clock())
    segments = access_tokens.issue(USER, SESSION).token.split(".")
    flipped = "B" if segments[position][5] != "B" else "C"
    segments[position] = segments[position][:5] + flipped + segments[position][6:]
    assert_refused(access_tokens, ".".join(segments))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a" * 300,
        "\0",
        "é.é.é",
        "\ud800.e30.e30",
        segment(b"[" * 2900) + ".e30.e30",
        segment(b"9" * 2900) + ".e30.e30",
        segment(json.dumps({"alg": ["HS256"]}).encode()) + ".e30.e30",
        segment(json.dumps({"alg": "HS256", "crit": ["x"]}).encode()) + ".e30.e30",
        segment(json.dumps({"alg": "HS256", "b64": False, "crit": ["b64"]}).encode()) + "..e30",
    ],
    ids=lambda token: ascii(token)[:30],
)
def test_junk_is_refused(token: str) -> None:
    """Whatever text a header holds, the answer is Unauthorized."""
    assert_refused(tokens(Clock()), token)


def test_a_huge_token_is_refused() -> None:
    """Over 4 KiB even a right signature is not looked at."""
    access_tokens = tokens(Clock())
    largest = jwt.encode(good_claims() | {"pad": "x" * 2800}, SECRET)
    assert len(largest) < 4096
    access_tokens.verify(largest)
    assert_refused(access_tokens, jwt.encode(good_claims() | {"pad": "x" * 3000}, SECRET))


def test_a_verified_token_is_remembered() -> None:
    """The second look at a token gives the very same claims, without a second signature check."""
    access_tokens = tokens(Clock())
    token = access_tokens.issue(USER, SESSION).token
    assert access_tokens.verify(token) is access_tokens.verify(token)


def test_what_has_expired_makes_room() -> None:
    """Tokens that nobody shows any more take no memory for longer than they live."""
    clock = Clock()
    access_tokens = tokens(clock, ttl_secs=100)
    for second in range(1_000):
        clock.now = START + second
        access_tokens.verify(access_tokens.issue(USER, SESSION).token)
    assert len(access_tokens._remembered) == 100


def test_the_memory_of_tokens_is_bounded() -> None:
    """After 20,000 newer tokens the oldest is verified afresh, and the newest is not."""
    clock = Clock()
    access_tokens = tokens(clock, ttl_secs=100_000)
    oldest, newest = access_tokens.issue(USER, SESSION).token, ""
    claims = access_tokens.verify(oldest)
    for second in range(1, 20_001):
        clock.now = START + second
        newest = access_tokens.issue(USER, SESSION).token
        access_tokens.verify(newest)
    again = access_tokens.verify(oldest)
    assert again == claims
    assert again is not claims
    assert access_tokens.verify(newest) is access_tokens.verify(newest)


@pytest.mark.parametrize(
    "secrets",
    [[], [b""], [b"x" * 31], ["x" * 31], [SECRET, b"short"], [PUBLIC_KEY_AS_SECRET]],
    ids=["none", "empty", "31 bytes", "31 characters", "second short", "public key"],
)
def test_a_bad_secret_stops_the_start(secrets: list[bytes | str]) -> None:
    """Without strong secrets there is no object that could sign."""
    with pytest.raises(ValueError, match="secret"):
        AccessTokens(secrets, 900)


@pytest.mark.parametrize("secret", [b"\xff" * 32, "x" * 32, "é" * 16])
def test_a_secret_of_32_bytes_is_enough(secret: bytes | str) -> None:
    """The length counts in bytes, of UTF-8 where the secret is a text."""
    access_tokens = AccessTokens([secret], 900, Clock())
    assert access_tokens.verify(access_tokens.issue(USER, SESSION).token).session_id == SESSION


def test_the_clock_of_the_system_is_the_default() -> None:
    """Without a clock, tokens are stamped with the current time."""
    before = int(time.time())
    assert before + 900 <= AccessTokens([SECRET], 900).issue(USER, SESSION).expires_at <= time.time() + 900


def test_a_refresh_token_survives_its_text() -> None:
    """Parsing the text gives an equal token; the text is safe in URLs."""
    for seed in range(50):
        token = refresh_token(seed)
        assert RefreshToken.parse(token.text) == token
        assert len(token.text) == 92
        assert token.text.startswith(segment(USER.bytes + FAMILY + token.secret)[:85])


def test_new_refresh_tokens_differ() -> None:
    """Each has a secret of its own, of 32 bytes, and each session a family of 16."""
    issued = [RefreshToken.new(USER) for _ in range(100)]
    assert len({token.secret for token in issued}) == len({token.family for token in issued}) == 100
    assert {(len(token.secret), len(token.family)) for token in issued} == {(32, 16)}
    assert len({token.session_id for token in issued}) == 100


def test_a_following_refresh_token_is_of_the_same_session() -> None:
    """Only the secret is another."""
    token = refresh_token()
    following = token.following()
    assert following.secret != token.secret
    assert (following.user_id, following.session_id) == (token.user_id, token.session_id)
    assert RefreshToken.parse(following.text) == following


def test_a_session_id_does_not_give_away_its_family() -> None:
    """What an access token shows is not enough to make a refresh token of its session up."""
    token = refresh_token()
    assert token.session_id.bytes not in base64.urlsafe_b64decode(token.text)
    assert RefreshToken(USER, token.session_id.bytes, token.secret).session_id != token.session_id


@pytest.mark.parametrize("position", range(0, 92, 7))
def test_a_damaged_refresh_token_is_none(position: int) -> None:
    """A character that was changed anywhere is noticed, so that damage is not taken for theft."""
    text = refresh_token().text
    for other in "A_0":
        damaged = text[:position] + other + text[position + 1 :]
        assert damaged == text or RefreshToken.parse(damaged) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text + "==",
        lambda text: text[:-1] + "=",
        lambda text: text[:-2] + "==",
        lambda text: text[:-1] + "\n",
        lambda text: " " + text[1:],
        lambda text: "+" + text[1:],
        lambda text: "/" + text[1:],
        lambda text: "é" + text[1:],
        lambda text: "\ud800" + text[1:],
        lambda text: text[:-1] + chr(ord(text[-1]) + 1),
    ],
)
def test_a_refresh_token_has_one_spelling(change: Callable[[str], str]) -> None:
    """Padding, white space or the other alphabet make it no token."""
    text = RefreshToken(USER, FAMILY, bytes(32)).text
    assert RefreshToken.parse(change(text)) is None


def test_the_digest_is_the_hash_of_the_text() -> None:
    """Redis stores SHA-256 in lowercase hex, as any tool computes it from the text."""
    token = refresh_token()
    assert token.digest == hashlib.sha256(token.text.encode()).hexdigest()


def test_a_refresh_token_in_a_log_line_stays_secret() -> None:
    """Neither text, family nor secret is part of its representation."""
    token = refresh_token()
    assert token.text not in repr(token)
    assert repr(token.secret) not in repr(token)
    assert repr(token.family) not in repr(token)


def test_a_retry_gets_the_same_successor() -> None:
    """The successor depends on token plus key alone, so that any node gives the same."""
    token = refresh_token()
    following = successor(token, SECRET)
    assert following == successor(RefreshToken.parse(token.text) or refresh_token(2), SECRET)
    assert (following.user_id, following.session_id) == (USER, token.session_id)
    assert RefreshToken.parse(following.text) == following


def test_successors_differ_by_token_or_key() -> None:
    """Another key or another token gives another secret, and a chain does not repeat."""
    token = refresh_token()
    chain = [token]
    for _ in range(20):
        chain.append(successor(chain[-1], SECRET))
    others = [successor(token, OTHER_SECRET), successor(refresh_token(2), SECRET)]
    assert len({each.secret for each in chain + others}) == 23
