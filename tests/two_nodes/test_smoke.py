from tests.support.client import Api


async def test_a_message_sent_on_one_node_reaches_a_socket_on_the_other(two_apis: tuple[Api, Api]) -> None:
    """Live delivery crosses nodes, and an ack ends it."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    socket = await bob.connect()
    await alice.deliver(bob, b"hello")
    envelope = await socket.envelope()
    assert envelope.message.content == b"hello"
    assert envelope.source_user_id == alice.id
    await socket.ack(envelope)
    await socket.close()
    again = await bob.connect()
    await alice.deliver(bob, b"next")
    assert await again.is_silent_until(b"next") == []
