"""What every socket of a node goes by, and what all of them share."""

import asyncio
from dataclasses import dataclass

from obscura.gateway.acks import AckBatcher
from obscura.services.keys import Keys
from obscura.services.messages import Messages


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Settings of every socket. `max_unwritten_acks` bounds what a client can make a node remember."""

    page_size: int
    outbound_size: int
    write_timeout_secs: float
    ping_interval_secs: float
    ping_timeout_secs: float
    max_unwritten_acks: int


@dataclass(frozen=True, slots=True)
class SocketContext:
    """What every socket of a node shares. `reads` bounds the inbox pages in memory at a time."""

    rules: SocketOptions
    messages: Messages
    keys: Keys
    acks: AckBatcher
    reads: asyncio.Semaphore
