"""What a login presents, and what it is answered with."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login presents."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A login or refresh answered. `expires_at` is in seconds since the epoch."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: int
