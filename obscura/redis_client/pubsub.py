"""The two kinds of pub/sub of Redis, and who is told what a subscriber hears."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from obscura.redis_client.slot_map import slot_of_key


@dataclass(frozen=True, slots=True)
class PubSubCommands:
    """The commands of one kind of pub/sub, and how its replies begin."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: bytes
    subscribed: bytes
    unsubscribed: bytes
    channels_per_command: int


CLASSIC = PubSubCommands("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", b"message", b"subscribe", b"unsubscribe", 500)
SHARDED = PubSubCommands("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage", b"ssubscribe", b"sunsubscribe", 1)
"""Of a Cluster: the channels of one command must share a slot. When a slot moves to another master, the old one ends
the subscriptions to its channels, and says so."""


def refers_to_channel(refusal: str, channel: str) -> bool:
    """Whether a refusal may be that of a channel: ``MOVED 3999 host:port`` names the slot, CLUSTERDOWN none."""
    kind, _, rest = refusal.partition(" ")
    return kind != "MOVED" or int(rest.partition(" ")[0]) == slot_of_key(channel)


class ProbeChannel(Protocol):
    """Names the channels on which a node sends itself probes, and which nobody else uses."""

    def __call__(self, number: int | None = None) -> str:
        """The channel at a single server; in a Cluster one of many, tried until one belongs to the right master."""


OnEvent = Callable[[str, bytes], None]
OnGap = Callable[[Collection[str]], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who is told, from the event loop; none may block.

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
