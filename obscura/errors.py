"""Every error the server answers or stops with, as one tree.

ObscuraError
    RequestError           the client's doing: a 4xx with one public sentence
        BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404
        RequestTimeout 408 · Conflict 409 · PayloadTooLarge 413
        UnsupportedMediaType 415 · Unprocessable 422
        TooManyRequests 429 (says when to come back)
    Unavailable 503        our doing: says when to come back
        StoreUnavailable   no reply from Redis; the command may or may not have run
        TooManyLogins      more passwords are to be hashed than there are threads for
        BlobStoreUnavailable (in `blobs`)   the attachments' store is away or fails
    StartupError           stops `obscura serve` with one sentence and exit code 1
        SettingsError      a wrong or unknown setting
    WorkerUnresponsive (in `processes`)   a process of this node does not answer the one that speaks for it

`http/request_handling.py` is the only place that turns them into responses. A status is
the class's; the text is what the client reads, so nothing internal goes into it.
"""


class ObscuraError(Exception):
    """Base of all errors raised on purpose."""


class RequestError(ObscuraError):
    """The request cannot be served as sent. ``str(error)`` is shown to the client."""

    status = 400
    retry_after_secs: int | None = None


class BadRequest(RequestError):
    """A malformed body, path or header. The text names the field."""


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
    """An Idempotency-Key was used again with another body."""

    status = 422


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


class TooManyLogins(Unavailable):
    """Every thread for passwords is taken, and every place in the queue for them. Nothing was done."""

    cause = "password queue"


class StartupError(ObscuraError):
    """The server cannot start. ``str(error)`` is one sentence for the operator."""


class SettingsError(StartupError):
    """One or more settings are wrong or unknown; the text names each."""
