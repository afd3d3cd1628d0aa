"""The slots of a Redis Cluster: which one a command is for, and what the servers say about their owners.

redis.io/docs/reference/cluster-spec. No I/O.
"""

from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from obscura.redis_client.endpoints import Address
from obscura.redis_client.transport import Argument

SLOTS = REDIS_CLUSTER_HASH_SLOTS

_FIRST_KEY = {"EVALSHA": 3, "EVAL": 3}  # in other commands it is the first argument
_NO_KEY = frozenset({"PING", "TIME", "INFO"})


class Redirection(NamedTuple):
    """A refusal that says where to go. TRYAGAIN says: here, but not yet."""

    kind: str
    address: Address | None


class Owners(NamedTuple):
    """Which master owns each slot, by number."""

    masters: tuple[Address, ...]
    by_slot: list[Address | None]


def slot_of_key(key: str) -> int:
    """The slot of a key or channel: of what stands between its braces, if it has some."""
    return key_slot(key.encode())


def slot_of(command: tuple[Argument, ...]) -> int:
    """The slot of the key or channel that a command is about; any if it has none."""
    name = str(command[0])
    if name in _NO_KEY:
        return 0
    key = command[_FIRST_KEY.get(name, 1)]
    return slot_of_key(key.decode() if isinstance(key, bytes) else str(key))


def parse_redirection(error: str, asked: Address | None) -> Redirection | None:
    """``MOVED 3999 127.0.0.1:6381``, ``ASK …`` or ``TRYAGAIN …``, as ``asked`` said; None for any other error."""
    kind, _, rest = error.partition(" ")
    if kind == "TRYAGAIN":
        return Redirection(kind, None)
    if kind not in {"MOVED", "ASK"}:
        return None
    host, _, port = rest.partition(" ")[2].rpartition(":")
    if not host and asked is not None:
        host = asked.host
    return Redirection(kind, Address(host.strip("[]"), int(port)))


def parse_owners(reply: list[Any], asked: Address) -> Owners:
    """Read a reply to CLUSTER SLOTS. A master without a host is the one that was ``asked``."""
    by_slot: list[Address | None] = [None] * SLOTS
    masters: dict[Address, None] = {}  # in the order of their slots
    for first, last, (host, port, *_), *_ in reply:
        address = Address(host.decode() if host and host != b"?" else asked.host, port)
        masters[address] = None
        by_slot[first : last + 1] = [address] * (last + 1 - first)
    return Owners(tuple(masters), by_slot)
