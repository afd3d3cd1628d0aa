"""The two kinds of pub/sub: which commands they have, and which refusal is whose."""

import pytest

from obscura.redis_client.pubsub import CLASSIC, SHARDED, refers_to_channel
from obscura.redis_client.slot_map import slot_of_key


def test_commands_and_replies_of_a_kind_have_the_same_names() -> None:
    """A reply begins with the command in lower case; a message with that of its kind."""
    for commands, letter in ((CLASSIC, ""), (SHARDED, "s")):
        assert commands.subscribed == commands.subscribe.lower().encode() == f"{letter}subscribe".encode()
        assert commands.unsubscribed == commands.unsubscribe.lower().encode() == f"{letter}unsubscribe".encode()
        assert commands.message == f"{letter}message".encode()
        assert commands.publish.lower() == f"{letter}publish"


@pytest.mark.parametrize(
    ("refusal", "refers"),
    [
        (f"MOVED {slot_of_key('{tag}')} 127.0.0.1:6381", True),
        (f"MOVED {slot_of_key('other')} 127.0.0.1:6381", False),
        ("CLUSTERDOWN Hash slot not served", True),
    ],
)
def test_a_refusal_names_the_slot_of_its_channel(refusal: str, refers: bool) -> None:
    """MOVED does; CLUSTERDOWN may be that of any."""
    assert refers_to_channel(refusal, "{tag}:events") == refers
