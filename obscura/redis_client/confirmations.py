"""The replies that Redis owes a subscriber, matched with who waits for them. No I/O."""

import asyncio
from collections import deque
from typing import NamedTuple

from obscura.errors import StoreUnavailable
from obscura.redis_client.pubsub import refers_to_channel


class WrongMaster(StoreUnavailable):
    """The channel belongs to another master of the Cluster, or to none for now."""


class _Expected(NamedTuple):
    """A reply that is due; nobody waits for that to an UNSUBSCRIBE."""

    channel: str
    waiter: asyncio.Future[None] | None


class Confirmations:
    """What is expected, in the order of the commands: so Redis replies.

    Waiters are settled from the event loop. One that was cancelled keeps its place.
    """

    def __init__(self) -> None:
        self._expected: deque[_Expected] = deque()
        self._loop = asyncio.get_running_loop()

    def expect(self, *channels: str) -> asyncio.Future[None]:
        """Expect the confirmations of subscriptions, a SUBSCRIBE with ``channels`` being sent.

        The future is that of the last one, which stands for all.
        """
        waiters: list[asyncio.Future[None]] = [self._loop.create_future() for _ in channels]
        self._expected.extend(map(_Expected, channels, waiters))
        return waiters[-1]

    def expect_end(self, channel: str) -> None:
        """Expect the reply to an UNSUBSCRIBE."""
        self._expected.append(_Expected(channel, None))

    def on_subscribed(self, channel: str) -> None:
        while self._expected:
            expected = self._expected.popleft()
            if expected.waiter is not None and expected.channel == channel:
                settle(expected.waiter)
                return
            # Its reply was taken for another's, as may happen when a slot goes while an UNSUBSCRIBE is on its way.
            settle(expected.waiter, StoreUnavailable("no confirmation of the subscription"))

    def on_unsubscribed(self, channel: str) -> bool:
        """Whether that replies to an UNSUBSCRIBE. If not, the server has dropped the channel of its own accord."""
        if self._expected and self._expected[0] == _Expected(channel, None):
            self._expected.popleft()
            return True
        return False

    def on_wrong_master(self, refusal: str) -> str | None:
        """Tell the waiter whose subscription was refused, and return the channel; None: no subscription was."""
        if not self._expected or not refers_to_channel(refusal, self._expected[0].channel):
            # It replies to an UNSUBSCRIBE of a channel that the server had dropped just before: the notice
            # of that came first, and was taken for this reply.
            return None
        channel, waiter = self._expected.popleft()
        if waiter is None:
            return None
        settle(waiter, WrongMaster("the channel is another server's by now"))
        return channel

    def fail_all(self, error: StoreUnavailable) -> None:
        """The connection is gone: nothing is owed any more."""
        for _, waiter in self._expected:
            settle(waiter, error)
        self._expected.clear()


def settle(waiter: asyncio.Future[None] | None, error: StoreUnavailable | None = None) -> None:
    """Let a waiter go on, or fail. Does nothing if there is none, or if it gave up."""
    if waiter is None or waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
        waiter.exception()  # of the waiters of one command only the last is awaited
