"""Ways in which Redis goes away for a while, and a client that waits for it to come back."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tests.support.client import Answer
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """Redis takes connections and commands, and answers none before the end."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextmanager
def killed(server: RedisServer) -> Iterator[None]:
    """Redis is gone, and comes back on its data."""
    server.kill()
    yield
    server.start()


def make_durable(server: RedisServer) -> None:
    """Have Redis keep what it acknowledged when it is killed, as the embedded one does.

    By default it may hold a write back while it waits for the disk.
    """
    with server.client as client:
        client.config_set("appendfsync", "always")


def is_refusal(answer: Answer) -> bool:
    """A 503 as clients need it: it says in JSON that something is wrong, and when to come back."""
    return answer.status == 503 and answer.error != "" and int(answer.headers["Retry-After"]) >= 1


async def retry_on_503(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Make a call again and again, as clients do, for as long as it is refused with 503."""

    async def answered() -> Answer | None:
        answer = await call()
        return None if answer.status == 503 else answer

    answer = await eventually(answered)
    assert answer is not None
    return answer
