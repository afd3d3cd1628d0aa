"""The errors of services in the words of this contract: with the names of its fields and headers."""

from collections.abc import Iterator
from contextlib import contextmanager

from obscura.errors import (
    BadRequest,
    BrokenRule,
    IdempotencyKeyReused,
    MalformedIdempotencyKey,
    RegistrationIdMissing,
    RequestError,
    SignedPreKeyNotNewer,
    SignedPreKeyReused,
    TooManyPreKeys,
    Unprocessable,
    WrongPreKeySignature,
)


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Raise what a service refuses as an error whose text tells the client which field or header is at fault."""
    try:
        yield
    except (BrokenRule, IdempotencyKeyReused) as error:
        raise worded(error) from error


def worded(error: BrokenRule | IdempotencyKeyReused) -> RequestError:
    """The error of the same status with the text that the client reads."""
    match error:
        case TooManyPreKeys():
            text = f"oneTimePreKeys has more than {error.max_count} keys"
        case WrongPreKeySignature():
            text = "signedPreKey.signature is not a signature of the key by identityKey"
        case SignedPreKeyNotNewer():
            text = "signedPreKey.keyId is not greater than the stored one"
        case SignedPreKeyReused():
            text = "signedPreKey.publicKey is stored under another keyId"
        case RegistrationIdMissing():
            text = "registrationId is missing: a new identityKey needs it"
        case MalformedIdempotencyKey():
            text = f"Idempotency-Key is not 1 to {error.max_length} printable ASCII characters"
        case IdempotencyKeyReused():
            return Unprocessable("Idempotency-Key was used for another message")
        case _:
            text = str(error)
    return BadRequest(text)
