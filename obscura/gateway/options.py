"""What every socket of a node goes by, and what all of them share."""

import asyncio
from dataclasses import dataclass, field

from obscura.gateway.ack_batcher import AckBatcher
from obscura.gateway.unacked_ends import UnackedEnds
from obscura.services.keys import Keys
from obscura.services.messages import Messages
from obscura.settings.model import Settings

_READS_AT_ONCE = 128  # inbox pages in memory, of 256 KiB each


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Settings of every socket.

    Attributes:
        page_size: Messages that are read from an inbox at a time.
        outbound_size: Live envelopes that may wait in a socket's transport.
        write_timeout_secs: A peer that takes nothing for this long is cut off.
        ping_interval_secs: Between two pings.
        ping_timeout_secs: A peer that is silent for this long after a ping is cut off.
        max_unwritten_acks: Bounds what a client can make a node remember.
    """

    page_size: int
    outbound_size: int
    write_timeout_secs: float
    ping_interval_secs: float
    ping_timeout_secs: float
    max_unwritten_acks: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "SocketOptions":
        """A node's settings, as its sockets go by them."""
        return cls(
            page_size=settings.batch_limit,
            outbound_size=settings.ws_outbound_buffer_size,
            write_timeout_secs=settings.ws_write_timeout_secs,
            ping_interval_secs=settings.ws_ping_interval_secs,
            ping_timeout_secs=settings.ws_ping_timeout_secs,
            max_unwritten_acks=2 * settings.max_inbox_size,
        )


@dataclass(frozen=True, slots=True)
class SocketContext:
    """What every socket of a process shares.

    Attributes:
        reads: Bounds the inbox pages that are read at a time.
        unacked_ends: Is told of connections that their peers ended.
    """

    options: SocketOptions
    messages: Messages
    keys: Keys
    acks: AckBatcher
    reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READS_AT_ONCE))
    unacked_ends: UnackedEnds = field(default_factory=UnackedEnds)
