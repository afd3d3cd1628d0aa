"""Parts of a node that follow from its settings and its Redis: rules, limits, stores outside Redis, janitors."""

from collections.abc import Awaitable, Callable

from obscura.blobs import Blobs
from obscura.blobs.directory import DirectoryBlobs
from obscura.blobs.instrumented import InstrumentedBlobs
from obscura.blobs.s3 import S3Blobs, S3Bucket
from obscura.crypto.passwords import Passwords
from obscura.observability.metrics.accounts import PASSWORDS_RUNNING, PASSWORDS_WAITING
from obscura.redis_client.client import RedisClient
from obscura.services.janitor import Janitor, SweepRecord
from obscura.services.keys import KeyOptions
from obscura.services.sessions import SessionOptions, retry_key
from obscura.settings.division import default_threads
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease
from obscura.store.messages import Limits
from obscura.store.rate_limits import Bucket

_MINUTE_SECS = 60
_DAY_SECS = 86_400
_PASSWORDS_WAITING_PER_WORKER = 40  # about a second's work
_JANITOR_KEYS = {
    "messages": (keyspace.MESSAGE_JANITOR, keyspace.MESSAGE_JANITOR_DONE),
    "attachments": (keyspace.ATTACHMENT_JANITOR, keyspace.ATTACHMENT_JANITOR_DONE),
}


def session_rules(settings: Settings, jwt_secret: str) -> SessionOptions:
    """Lifetimes and number of sessions. ``jwt_secret`` is the one that signs."""
    return SessionOptions(
        settings.access_token_ttl_secs,
        int(settings.refresh_token_ttl_days * _DAY_SECS * 1000),
        settings.max_sessions_per_account,
        retry_key(jwt_secret) if settings.refresh_token_retry else None,
    )


def key_rules(settings: Settings) -> KeyOptions:
    """How many one-time pre-keys there may be, and for whom."""
    return KeyOptions(settings.max_pre_keys, settings.pre_key_refill_threshold, settings.pre_key_reserve)


def inbox_limits(settings: Settings) -> Limits:
    """What one inbox may hold."""
    return Limits(settings.max_inbox_size, settings.max_inbox_bytes, ttl_ms(settings))


def ttl_ms(settings: Settings) -> int:
    """How long messages and attachments are kept."""
    return int(settings.ttl_days * _DAY_SECS * 1000)


def make_blobs(settings: Settings) -> Blobs:
    """The store of attachments: a bucket if one is named, else a directory."""
    if settings.storage_bucket is None:
        return InstrumentedBlobs(DirectoryBlobs(settings.storage_dir or settings.data_dir / "attachments"))
    bucket = S3Bucket(
        settings.storage_bucket,
        settings.storage_region,
        settings.storage_endpoint,
        settings.storage_access_key,
        settings.storage_secret_key,
        settings.storage_force_path_style,
    )
    return InstrumentedBlobs(S3Blobs(bucket))


def make_passwords(settings: Settings) -> Passwords:
    """The threads that hash passwords; the caller closes them."""
    workers = settings.password_workers or default_threads()
    passwords = Passwords(workers, workers * _PASSWORDS_WAITING_PER_WORKER)
    PASSWORDS_WAITING.set_function(lambda: passwords.waiting)
    PASSWORDS_RUNNING.set_function(lambda: passwords.running)
    return passwords


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
