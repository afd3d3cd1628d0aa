"""The gateway of a node, and how it comes to hear of what happens in Redis."""

from contextlib import AsyncExitStack

from obscura.gateway.ack_batcher import AckBatcher
from obscura.gateway.gap_recovery import GapRecovery
from obscura.gateway.hub import Hub
from obscura.gateway.options import SocketContext, SocketOptions
from obscura.gateway.server import Gateway
from obscura.gateway.socket_limits import SocketLimits
from obscura.node.services import Services
from obscura.observability.metrics.delivery import ACKS_WAITING
from obscura.observability.metrics.gateway import SOCKETS_LIMIT
from obscura.redis_client.client import RedisClient
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.events import EventDecoder


def build_hub(redis: RedisClient, events: EventDecoder, services: Services, running: AsyncExitStack) -> Hub:
    """Build the hub, and have events and gaps told to it from now on.

    Args:
        events: What the Redis client tells them to.
        running: Is given what ends a recovery that is under way.
    """
    hub = Hub(
        subscribe=lambda address_id: redis.events.subscribe(keyspace.events(address_id)),
        unsubscribe=lambda address_id: redis.events.unsubscribe(keyspace.events(address_id)),
    )
    sessions = services.sessions
    gap_recovery = GapRecovery(hub, sessions.reload_ended, sessions.ended, services.keys.replaced_among)
    running.push_async_callback(gap_recovery.stop)
    events.hand_to(hub.dispatch, sessions.ended.add, gap_recovery.on_gap)
    return hub


def build_acks(settings: Settings, services: Services) -> AckBatcher:
    """Build what gathers the acks of all sockets; the caller starts it."""
    acks = AckBatcher.from_settings(settings, services.messages.acknowledge)
    ACKS_WAITING.set_function(lambda: acks.waiting)
    return acks


def build_gateway(settings: Settings, hub: Hub, acks: AckBatcher, services: Services) -> Gateway:
    """Build what lets sockets in."""
    limits = SocketLimits.from_settings(settings)
    SOCKETS_LIMIT.set_function(lambda: limits.in_all_now)
    context = SocketContext(SocketOptions.from_settings(settings), services.messages, services.keys, acks)
    return Gateway(hub, context, services.sessions, limits)
