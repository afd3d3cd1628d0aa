"""The janitors of a node: what each cleans up, how often, and under which keys nodes take turns."""

from contextlib import AsyncExitStack

from obscura.node.services import Services
from obscura.redis_client.client import RedisClient
from obscura.services.janitor import Janitor, SweepRecord
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease


def start_janitors(settings: Settings, redis: RedisClient, services: Services, running: AsyncExitStack) -> None:
    """Start one of each kind; ``running`` is given what stops them again."""
    messages = Janitor(
        Lease(redis.scripts, keyspace.MESSAGE_JANITOR),
        services.messages.sweep,
        SweepRecord("messages", LastRun(redis.commands, keyspace.MESSAGE_JANITOR_DONE)),
        settings.messaging_cleanup_interval_secs,
    )
    attachments = Janitor(
        Lease(redis.scripts, keyspace.ATTACHMENT_JANITOR),
        services.attachments.sweep,
        SweepRecord("attachments", LastRun(redis.commands, keyspace.ATTACHMENT_JANITOR_DONE)),
        settings.storage_cleanup_interval_secs,
    )
    for janitor in (messages, attachments):
        running.push_async_callback(janitor.stop)
    messages.start(at_once=True)  # inboxes that were written under a shorter TTL would not outlive an interval
    attachments.start()
