"""Parts of a node that follow from its settings and its Redis: limits, janitors."""

from collections.abc import Awaitable, Callable

from obscura.redis_client.client import RedisClient
from obscura.services.janitor import Janitor, SweepRecord
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease
from obscura.store.rate_limits import Bucket

_MINUTE_SECS = 60
_JANITOR_KEYS = {
    "messages": (keyspace.MESSAGE_JANITOR, keyspace.MESSAGE_JANITOR_DONE),
    "attachments": (keyspace.ATTACHMENT_JANITOR, keyspace.ATTACHMENT_JANITOR_DONE),
}


def make_janitor(
    kind: str, database: RedisClient, sweep: Callable[[], Awaitable[None]], interval_secs: float
) -> Janitor:
    """The clean-up of one kind, "messages" or "attachments"; the caller starts and stops it."""
    lease_key, done_key = _JANITOR_KEYS[kind]
    record = SweepRecord(kind, LastRun(database.commands, done_key))
    return Janitor(Lease(database.scripts, lease_key), sweep, record, interval_secs)


def login_bucket(settings: Settings) -> Bucket:
    """Failed logins, per name."""
    per_second = settings.login_rate_limit_per_minute / _MINUTE_SECS
    return Bucket("login", per_second, settings.login_rate_limit_burst, "Too many failed logins to this name")


def bundle_bucket(settings: Settings) -> Bucket:
    """Bundle fetches, per target and client."""
    per_second = settings.bundle_rate_limit_per_minute / _MINUTE_SECS
    return Bucket("bundle", per_second, settings.bundle_rate_limit_burst, "Too many requests for the keys of this user")
