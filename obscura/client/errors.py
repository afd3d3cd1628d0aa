"""Why a request or a socket failed.

ExchangeError         the text names the kind, and failures are counted by it
├── NotSentError      no connection came about: the server has seen nothing of the request
└── RefusedError      the server answered an upgrade with another status than 101
"""


class ExchangeError(Exception):
    """One request or socket failed; the text names the kind, and is counted by it."""


class NotSentError(ExchangeError):
    """No connection came about: the server has seen nothing of the request."""


class RefusedError(ExchangeError):
    """An upgrade was refused. ``retry_after_secs`` is what the answer asks for, None if nothing."""

    def __init__(self, status: int, retry_after_secs: float | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after_secs = retry_after_secs
