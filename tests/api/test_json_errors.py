"""Every error of a service that needs the contract's words gets them, and keeps its status."""

import pytest

from obscura import errors
from obscura.api.json.errors import errors_in_words, worded

Refused = errors.BrokenRule | errors.IdempotencyKeyReused
TYPED = [*errors.BrokenRule.__subclasses__(), errors.IdempotencyKeyReused]


def made(
    kind: type[Refused],
) -> Refused:
    """An error of a kind, with what it carries."""
    is_limit = kind in {errors.TooManyPreKeys, errors.MalformedIdempotencyKey}
    return kind(7) if is_limit else kind("in the domain's words")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TYPED)
def test_an_error_is_told_in_the_names_of_fields_and_headers(
    kind: type[Refused],
) -> None:
    """None of them reaches a client in the words of the domain."""
    error = made(kind)
    assert worded(error).status == error.status
    assert any(name in str(worded(error)) for name in ("PreKey", "registrationId", "Idempotency-Key"))
    assert str(worded(error)) != str(error)


def test_a_limit_is_named() -> None:
    """What an error carries is in its text."""
    assert str(worded(errors.TooManyPreKeys(100))) == "oneTimePreKeys has more than 100 keys"
    assert "1 to 64 printable ASCII" in str(worded(errors.MalformedIdempotencyKey(64)))


def test_other_errors_pass_as_they_are() -> None:
    """Only what has no words yet is given some."""
    with pytest.raises(errors.NotFound, match="nobody"), errors_in_words():
        raise errors.NotFound("nobody")
