"""What a token says, to who does not check it."""

import jwt
import pytest

from obscura.client.tokens import claims_of

pytestmark = pytest.mark.libraries


def test_the_claims_are_those_that_were_signed() -> None:
    """Of any length: base64 without its padding."""
    for length in range(4):
        claims = {"sub": "a" * length, "sid": "b"}
        assert claims_of(jwt.encode(claims, "a secret of no use that is long enough", algorithm="HS256")) == claims


@pytest.mark.parametrize("text", ["", "a.b", "a.!.c", "a.W10.c"])
def test_what_is_no_token_is_noticed(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  it may be base64's, JSON's or our own
        claims_of(text)
