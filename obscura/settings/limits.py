"""Every limit that a client can meet as a 429, one row each.

From a row follow the keys of its buckets, the value of its label in the metric and its refusal.
A new limit is a row here with its settings in the model, and the place that counts.
"""

from dataclasses import dataclass

from obscura.settings.model import Settings

_SECS_OF_RATE = {"per_second": 1, "per_minute": 60}


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """What the token buckets of one limit allow.

    Attributes:
        tier: The limit's name, in its keys and its metric.
        per_second: Tokens a bucket gains.
        burst: Tokens it holds.
        refusal: What a client reads that found it empty.
    """

    tier: str
    per_second: float
    burst: int
    refusal: str


@dataclass(frozen=True, slots=True)
class RateLimitRow:
    """How often something may be asked for.

    Attributes:
        tier: The limit's name.
        counts: What takes a token.
        per: What has a bucket of its own.
        where: Where buckets are kept, and so whether all nodes share them.
        without_redis: What becomes of a request that is to be counted while Redis is away.
        rate_setting: The name of the setting with the tokens that a bucket gains; it ends in their time.
        burst_setting: The name of the setting with the tokens that a bucket holds.
        refusal: What the client reads.
    """

    tier: str
    counts: str
    per: str
    where: str
    without_redis: str
    rate_setting: str
    burst_setting: str
    refusal: str

    def config(self, settings: Settings) -> RateLimitConfig:
        """What the settings allow."""
        secs = next(secs for unit, secs in _SECS_OF_RATE.items() if self.rate_setting.endswith(unit))
        per_second = getattr(settings, self.rate_setting) / secs
        return RateLimitConfig(self.tier, per_second, getattr(settings, self.burst_setting), self.refusal)


@dataclass(frozen=True, slots=True)
class SocketLimitRow:
    """How many sockets may be open at a time.

    Attributes:
        tier: The limit's name.
        per: Whose sockets are counted.
        setting: The name of the setting with their number.
        refusal: What the client reads.
    """

    tier: str
    per: str
    setting: str
    refusal: str


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """How much there may be in a day.

    Attributes:
        tier: The limit's name.
        counts: What is counted.
        per: What is counted by itself.
        where: Where it is counted, and so whether all nodes share it.
        without_redis: What becomes of a request that is to be counted while Redis is away.
        setting: The name of the setting with how much; 0: no limit.
        refusal: What the client reads.
    """

    tier: str
    counts: str
    per: str
    where: str
    without_redis: str
    setting: str
    refusal: str


STANDARD = RateLimitRow(
    tier="standard",
    counts="a request of any route without a tier of its own, and of none",
    per="client address",
    where="the memory of each process: it guards speed",
    without_redis="is counted all the same",
    rate_setting="rate_limit_per_second",
    burst_setting="rate_limit_burst",
    refusal="Too many requests",
)
AUTH = RateLimitRow(
    tier="auth",
    counts="a registration or a login, and a refresh or a logout that fails",
    per="client address",
    where="Redis, for all nodes: it guards passwords",
    without_redis="is answered 503",
    rate_setting="auth_rate_limit_per_second",
    burst_setting="auth_rate_limit_burst",
    refusal="Too many requests",
)
LOGIN = RateLimitRow(
    tier="login",
    counts="a login that fails, or a registration repeated with a wrong password",
    per="username",
    where="Redis, for all nodes: it guards passwords",
    without_redis="is answered 503",
    rate_setting="login_rate_limit_per_minute",
    burst_setting="login_rate_limit_burst",
    refusal="Too many failed logins to this name",
)
BUNDLE = RateLimitRow(
    tier="bundle",
    counts="a key bundle that is asked for",
    per="account and client address",
    where="Redis, for all nodes: it guards one-time pre-keys",
    without_redis="is answered 503",
    rate_setting="bundle_rate_limit_per_minute",
    burst_setting="bundle_rate_limit_burst",
    refusal="Too many requests for the keys of this user",
)
ADDRESS_SOCKETS = SocketLimitRow(
    tier="sockets_of_address",
    per="client address",
    setting="max_sockets_per_address",
    refusal="Too many connections of this address",
)
ATTACHMENT_BYTES = QuotaRow(
    tier="attachment_bytes",
    counts="the bytes of attachments stored in 24 hours",
    per="account",
    where="Redis, for all nodes: it guards the storage",
    without_redis="is answered 503",
    setting="storage_daily_bytes_per_account",
    refusal="Too many bytes of attachments in a day",
)

RATE_LIMITS = (STANDARD, AUTH, LOGIN, BUNDLE)
SOCKET_LIMITS = (ADDRESS_SOCKETS,)
QUOTAS = (ATTACHMENT_BYTES,)
TIERS = tuple(row.tier for row in (*RATE_LIMITS, *SOCKET_LIMITS, *QUOTAS))
