"""Parts of a node that follow from its settings and its Redis: janitors."""

from collections.abc import Awaitable, Callable

from obscura.redis_client.client import RedisClient
from obscura.services.janitor import Janitor, SweepRecord
from obscura.store import keyspace
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease

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
