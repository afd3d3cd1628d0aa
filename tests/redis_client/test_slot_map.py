"""Which slot a command is for, and what the servers of a Cluster say about who owns it."""

import pytest
from redis.crc import key_slot

from obscura.redis_client.addresses import Address
from obscura.redis_client.slot_map import SLOTS, Redirection, parse_redirection, parse_slot_map, slot_of
from obscura.redis_client.transport import Argument

ASKED = Address("10.0.0.1", 6379)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "key"), "key"),
        (("EXISTS", b"key"), "key"),
        (("ZADD", "{tag}:key", 1, "member"), "tag"),
        (("SPUBLISH", "channel", b"payload"), "channel"),
        (("EVALSHA", "digest", 2, "{tag}:one", "{tag}:two", "argument"), "tag"),
        (("EVAL", b"return 1", 1, "key"), "key"),
    ],
)
def test_a_command_is_for_the_slot_of_its_first_key(command: tuple[Argument, ...], key: str) -> None:
    """Of what stands in braces, if something does."""
    assert slot_of(command) == key_slot(key.encode())


@pytest.mark.parametrize("command", ["PING", "TIME", "INFO"])
def test_a_command_without_a_key_is_for_any_slot(command: str) -> None:
    """It has no argument to look at."""
    assert 0 <= slot_of((command,)) < SLOTS


@pytest.mark.parametrize(
    ("error", "redirection"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirection("MOVED", Address("127.0.0.1", 6381))),
        ("MOVED 3999 redis-2.example:6381", Redirection("MOVED", Address("redis-2.example", 6381))),
        ("MOVED 3999 2001:db8::2:6381", Redirection("MOVED", Address("2001:db8::2", 6381))),
        ("MOVED 3999 :6381", Redirection("MOVED", Address("10.0.0.1", 6381))),
        ("ASK 3999 127.0.0.1:6381", Redirection("ASK", Address("127.0.0.1", 6381))),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Redirection("TRYAGAIN", None)),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", None),
        ("CLUSTERDOWN Hash slot not served", None),
        ("NOSCRIPT No matching script.", None),
    ],
)
def test_a_refusal_that_says_where_to_go_is_understood(error: str, redirection: Redirection | None) -> None:
    """A host that is left out is the one that was asked."""
    assert parse_redirection(error, ASKED) == redirection


def test_the_owners_are_read_slot_by_slot() -> None:
    """Masters in the order of their slots, replicas left out, a slot that nobody owns left empty."""
    replica = [b"10.0.0.9", 6379, b"id", []]
    slot_map = parse_slot_map(
        [
            [0, 99, [b"10.0.0.2", 6380, b"id", []], replica],
            [100, 16_000, [None, 6379, b"id", []], replica],
            [16_001, 16_382, [b"", 6379, b"id", []]],
        ],
        ASKED,
    )
    assert slot_map.masters == (Address("10.0.0.2", 6380), ASKED)
    assert [slot_map.by_slot[slot] for slot in (0, 99, 100, 16_382)] == [slot_map.masters[0]] * 2 + [ASKED] * 2
    assert slot_map.by_slot[16_383] is None
