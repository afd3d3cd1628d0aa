"""The two kinds of pub/sub of Redis, and whom a subscriber tells what it hears."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from obscura.redis_client.slot_map import slot_of_key


@dataclass(frozen=True, slots=True)
class Verbs:
    """The commands of one kind of pub/sub, and how its replies begin."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: bytes
    subscribed: bytes
    unsubscribed: bytes
    channels_per_command: int


CLASSIC = Verbs("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", b"message", b"subscribe", b"unsubscribe", 500)
SHARDED = Verbs("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage", b"ssubscribe", b"sunsubscribe", 1)
"""Of a Cluster: the channels of one command must share a slot, and a server drops those of a slot it gives away."""


def concerns(refusal: str, channel: str) -> bool:
    """Whether a refusal may be that of a channel: ``MOVED 3999 host:port`` names the slot, CLUSTERDOWN none."""
    kind, _, rest = refusal.partition(" ")
    return kind != "MOVED" or int(rest.partition(" ")[0]) == slot_of_key(channel)


OnEvent = Callable[[str, bytes], None]
OnGap = Callable[[Collection[str]], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Whom a subscriber tells, from the event loop; none may block.

    Attributes:
        on_event: Called with the channel and the payload of every message of a
            subscribed channel, in the order Redis published them per channel.
        on_gap: Called after a gap, when all channels are subscribed again, with those
            that were before.
        on_dropped: Called with a channel that the server has stopped sending, as it
            does in a Cluster with one that it does not own any more; the probe's too.
    """

    on_event: OnEvent
    on_gap: OnGap
    on_dropped: Callable[[str], None] = lambda _: None
