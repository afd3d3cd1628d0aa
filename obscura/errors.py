"""Every error the server answers or stops with, as one tree.

ObscuraError
    RequestError                   the client's doing: a 4xx with one public sentence
        BadRequest 400
            BrokenRule             the request is well formed, and breaks a rule of the domain:
                TooManyPreKeys · WrongPreKeySignature · SignedPreKeyNotNewer · SignedPreKeyReused
                RegistrationIdMissing · MalformedIdempotencyKey
        Unauthorized 401
        Forbidden 403
        NotFound 404
        RequestTimeout 408
        Conflict 409
        PayloadTooLarge 413
        UnsupportedMediaType 415
        RangeNotSatisfiable 416    says where the end is
        Unprocessable 422
            IdempotencyKeyReused   for another message
        TooManyRequests 429        says when to come back
    Unavailable 503                our doing: says when to come back
        StoreUnavailable           no reply from Redis; the command may or may not have run
            RedisRefusal           Redis refuses for a reason that passes: says which
            UnfitRedis             Redis would lose what it is given, or has lost it
        BlobStoreUnavailable       the attachments' store is away or fails
            StorageFull            it has no more room for attachments
        TooFewOpenFiles            the process may not open as many connections as are asked for
        TooManyLogins              more passwords are to be hashed than there are threads for
    StartupError                   stops `obscura serve` with one sentence and exit code 1
        SettingsError              a wrong or unknown setting
    WorkerUnresponsive             a process of this node does not answer the one that speaks for it

`http/request_handling.py` alone turns them into responses. A status is the class's; the
text is what the client reads, so nothing internal goes into it. Services name no field
and no header of any contract: what needs such a name in its text is a class of its own,
and carries the values that the text needs. `api/json/errors.py` has the words.
"""


class ObscuraError(Exception):
    """Base of all errors raised on purpose."""


class RequestError(ObscuraError):
    """The request cannot be served as sent. ``str(error)`` is shown to the client."""

    status = 400
    retry_after_secs: int | None = None


class BadRequest(RequestError):
    """A malformed body, path or header. The text names the field."""


class BrokenRule(BadRequest):
    """A well-formed request that a rule of the domain does not allow; ``str(error)`` is in the domain's words."""


class TooManyPreKeys(BrokenRule):
    """An upload has more one-time pre-keys than an account may have.

    Attributes:
        max_count: How many it may have.
    """

    def __init__(self, max_count: int) -> None:
        super().__init__(f"more than {max_count} one-time pre-keys")
        self.max_count = max_count


class WrongPreKeySignature(BrokenRule):
    """The signature of the signed pre-key is not the identity key's."""


class SignedPreKeyNotNewer(BrokenRule):
    """The id of the signed pre-key is not greater than that of the stored one."""


class SignedPreKeyReused(BrokenRule):
    """The signed pre-key is the stored one under another id."""


class RegistrationIdMissing(BrokenRule):
    """The identity key is a new one, and no registration id came with it."""


class MalformedIdempotencyKey(BrokenRule):
    """An idempotency key is empty, too long or not printable ASCII.

    Attributes:
        max_length: How many characters it may have.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(f"an idempotency key of other than 1 to {max_length} printable ASCII characters")
        self.max_length = max_length


class Unauthorized(RequestError):
    """Missing, wrong, expired or ended credentials; never a fault of ours.

    Clients throw their session away on a 401, so a failure to check one is
    `StoreUnavailable`, not this.
    """

    status = 401


class Forbidden(RequestError):
    """A page of an origin that is not listed. Not for credentials: see `Unauthorized`."""

    status = 403


class NotFound(RequestError):
    """The user or thing named in the path does not exist."""

    status = 404


class RequestTimeout(RequestError):
    """The body stopped coming."""

    status = 408


class Conflict(RequestError):
    """The name is taken."""

    status = 409


class PayloadTooLarge(RequestError):
    """The body is over its limit."""

    status = 413


class UnsupportedMediaType(RequestError):
    """The body is declared to be something this route does not read."""

    status = 415


class RangeNotSatisfiable(RequestError):
    """The range lies beyond the end.

    Attributes:
        total_bytes: Where the end is.
    """

    status = 416

    def __init__(self, message: str, total_bytes: int) -> None:
        super().__init__(message)
        self.total_bytes = total_bytes


class Unprocessable(RequestError):
    """The request is understood, and contradicts an earlier one."""

    status = 422


class IdempotencyKeyReused(Unprocessable):
    """The idempotency key was used before, for another message."""


class TooManyRequests(RequestError):
    """A limit was reached.

    Attributes:
        retry_after_secs: Whole seconds until a retry can succeed, at least 1.
    """

    status = 429

    def __init__(self, message: str, retry_after_secs: int) -> None:
        super().__init__(message)
        self.retry_after_secs = max(1, retry_after_secs)


class Unavailable(ObscuraError):
    """The server cannot do this now; the client may try again.

    ``str(error)`` goes to the log; the client reads `public_text`.

    Attributes:
        retry_after_secs: Whole seconds after which a retry makes sense.
        cause: What is at fault, in the metrics.
    """

    status = 503
    cause = "other"
    public_text = "Service temporarily unavailable, try again later"

    def __init__(self, message: str = "", retry_after_secs: int = 1) -> None:
        super().__init__(message)
        self.retry_after_secs: int | None = retry_after_secs


class StoreUnavailable(Unavailable):
    """Redis gave no reply in time, or refused for a reason that passes.

    Unless the text says otherwise the command may have run: do not repeat it
    blindly.
    """

    cause = "redis"


class RedisRefusal(StoreUnavailable):
    """Redis answered, and did not run the command.

    Attributes:
        code: The first word of its error, such as OOM.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnfitRedis(StoreUnavailable):
    """Redis answers and is not to be used; ``str(error)`` is one sentence for the operator."""


class BlobStoreUnavailable(Unavailable):
    """The store of attachments cannot be reached, is full, or fails."""

    cause = "storage"


class StorageFull(BlobStoreUnavailable):
    """There is no more room that attachments may take. It does not come back within seconds."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_secs=60)


class TooFewOpenFiles(Unavailable):
    """The process has no room for another connection, or for another socket. Nothing was done."""

    cause = "open files"


class TooManyLogins(Unavailable):
    """Every thread for passwords is taken, and every place in the queue for them. Nothing was done."""

    cause = "password queue"


class StartupError(ObscuraError):
    """The server cannot start. ``str(error)`` is one sentence for the operator."""


class SettingsError(StartupError):
    """One or more settings are wrong or unknown; the text names each."""


class WorkerUnresponsive(ObscuraError):
    """A worker process does not answer in time, or has ended."""
