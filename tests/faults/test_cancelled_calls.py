"""The command connection under cancellation: a reply is never given to another call."""

import asyncio
from random import Random

from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import StaticEndpoint
from tests.support.redis import RedisServer

CANCELLED = 10_000
_AT_ONCE = 200
_LATEST_SECS = 0.002  # by then most of so many have their reply


async def test_every_reply_belongs_to_its_call_when_others_are_cancelled(redis_server: RedisServer) -> None:
    """10,000 calls are cancelled at random moments; each of the others gets back what it said."""
    random = Random(1)
    connection = CommandConnection(StaticEndpoint(redis_server.url, "obscura:test"))
    await connection.start()
    answered = cancelled = number = 0
    try:
        while cancelled < CANCELLED:
            numbers = range(number, number := number + _AT_ONCE)
            replies = await _call_and_cancel(connection, random, numbers)
            cancelled += replies.count(None)
            answered += _AT_ONCE - replies.count(None)
            assert all(reply in (None, b"%d" % said) for said, reply in zip(numbers, replies, strict=True))
        assert await connection.call("ECHO", "the end") == b"the end"
    finally:
        await connection.stop()
    assert answered > CANCELLED / 10


async def _call_and_cancel(connection: CommandConnection, random: Random, numbers: range) -> list[bytes | None]:
    """Have each number said, and cancel most of the calls at any moment; the replies, None for a cancelled call."""
    loop = asyncio.get_running_loop()

    async def call(number: int) -> bytes:
        if number % 3 == 0:  # a reply of another shape
            return bytes((await connection.call("EVAL", "return {ARGV[1]}", 0, number))[0])
        return bytes(await connection.call("ECHO", number))

    tasks = [asyncio.create_task(call(number)) for number in numbers]
    for task in random.sample(tasks, 3 * len(tasks) // 4):
        loop.call_later(random.uniform(0, _LATEST_SECS), task.cancel)
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, asyncio.CancelledError):
            raise reply
    return [reply if isinstance(reply, bytes) else None for reply in replies]
