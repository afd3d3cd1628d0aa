"""The slots of a Redis Cluster: which one a command is for, and which master the servers say owns it.

redis.io/docs/reference/cluster-spec. No I/O.
"""

from binascii import crc_hqx
from typing import Any, NamedTuple

from obscura.redis_client.addresses import Address
from obscura.redis_client.transport import Argument

SLOTS = 16_384

_FIRST_KEY = {"EVALSHA": 3, "EVAL": 3}  # in other commands it is the first argument
_NO_KEY = frozenset({"PING", "TIME", "INFO"})


class Redirection(NamedTuple):
    """A refusal that says where to go. TRYAGAIN says: here, but not yet."""

    kind: str
    address: Address | None


class SlotMap(NamedTuple):
    """Which master owns each slot, by number."""

    masters: tuple[Address, ...]
    by_slot: list[Address | None]


def slot_of_key(key: str) -> int:
    """The slot of a key or channel: of its hash tag, if it has one."""
    # Cluster specification, "Hash tags": from the first { to the first } behind it, unless nothing is in between.
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    hashed = tag if opened and closed and tag else key
    return crc_hqx(hashed.encode(), 0) % SLOTS  # CRC16 of the XMODEM kind, as its appendix A says


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


def parse_slot_map(reply: list[Any], asked: Address) -> SlotMap:
    """Read a reply to CLUSTER SLOTS. A master without a host is the one that was ``asked``."""
    by_slot: list[Address | None] = [None] * SLOTS
    masters: dict[Address, None] = {}  # in the order of their slots
    for first, last, (host, port, *_), *_ in reply:
        address = Address(host.decode() if host and host != b"?" else asked.host, port)
        masters[address] = None
        by_slot[first : last + 1] = [address] * (last + 1 - first)
    return SlotMap(tuple(masters), by_slot)
