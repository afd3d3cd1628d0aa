"""Many persons who write to each other at a steady rate, and what they saw."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import Random

from tests.faults.account import WITHHELD, Endpoint, Environment
from tests.faults.client import Person
from tests.faults.history import History, Sent
from tests.support.waiting import eventually

SIZE = 24
RATE_PER_SEC = 500
DRAIN_SECS = 60.0
_FOR_EVER_SECS = 1e9
_KEYS_PER_SEC = 10.0


class Crowd:
    """Persons with an account each, made once; each round has a history of its own.

    Attributes:
        rate_per_sec: Messages that are sent while `at_work`; what was missed while nobody could store is not made up.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], random: Random, size: int = SIZE, rate_per_sec: float = RATE_PER_SEC
    ):
        self.environment = Environment(endpoints, random)
        self.people = [Person(self.environment) for _ in range(size)]
        self.rate_per_sec = rate_per_sec
        self._numbers = itertools.count(1)

    @property
    def history(self) -> History:
        return self.environment.history

    async def register(self) -> None:
        await asyncio.gather(*(person.register() for person in self.people))

    async def leave(self) -> None:
        await asyncio.gather(*(person.leave() for person in self.people))

    def message(self, sender: Person, recipient: Person, *, keyed: bool = True) -> Sent:
        """A message that is yet to be sent, with a number that no other has."""
        return Sent(next(self._numbers), sender.id, recipient.id, keyed)

    def move_to(self, endpoints: Sequence[Endpoint]) -> None:
        """From now on everybody comes in by these."""
        self.environment.endpoints = endpoints
        for person in self.people:
            person.endpoint = self.environment.random.choice(endpoints)

    @asynccontextmanager
    async def round(self) -> AsyncIterator[History]:
        """A new history, with everybody connected; afterwards everybody has seen all and is gone."""
        sessions = self.history.sessions
        self.environment.history = History(next(self._numbers), sessions=sessions)
        for person in self.people:
            person.inbox.clear()
            person.connect()
        await eventually(lambda: all(person.socket_life for person in self.people), DRAIN_SECS)
        try:
            yield self.history
            await self.drain()
        finally:
            await asyncio.gather(*(person.disconnect() for person in self.people))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Everybody writes to everybody, until the end of the block; then each finishes the message at hand."""
        over = asyncio.Event()
        period_secs = len(self.people) / self.rate_per_sec
        async with asyncio.TaskGroup() as tasks:
            for person in self.people:
                tasks.create_task(self._write(person, period_secs, over))
            tasks.create_task(self._take_keys(over))
            try:
                yield
            finally:
                over.set()

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Nobody closes a socket without need: only the relay can bring a message that waits."""
        churn_secs, self.environment.churn_secs = self.environment.churn_secs, _FOR_EVER_SECS
        try:
            yield
        finally:
            self.environment.churn_secs = churn_secs

    async def all_is_seen(self, deadline_secs: float) -> bool:
        """Whether every message with a 201 is seen by then, with nothing sent and nobody reconnecting."""
        inboxes = {person.id: person.inbox for person in self.people}
        waiting = [message for message in self.history.sent.values() if message.is_stored]

        def is_over() -> bool:
            waiting[:] = [message for message in waiting if message.number not in inboxes[message.recipient]]
            return not waiting

        try:
            return await eventually(is_over, deadline_secs)
        except AssertionError:
            return False

    async def drain(self) -> None:
        """Wait until everybody has seen all that was sent to them, and then has acked it."""
        self.environment.withheld = 0
        try:
            await self._mark()
            await asyncio.gather(*(person.reconnect() for person in self.people))
            await self._mark()
        finally:
            self.environment.withheld = WITHHELD

    async def _mark(self) -> None:
        """Send everybody one more message and wait for it: what was stored before it comes before it."""
        numbers = {}
        async with asyncio.TaskGroup() as tasks:
            for person, other in zip(self.people, [*self.people[1:], self.people[0]], strict=True):
                numbers[other] = message = self.message(person, other)
                tasks.create_task(person.send(message))
        await eventually(lambda: all(message.number in person.inbox for person, message in numbers.items()), DRAIN_SECS)

    async def _write(self, person: Person, period_secs: float, over: asyncio.Event) -> None:
        environment = self.environment
        due = environment.now() + environment.random.uniform(0, period_secs)
        keyed = environment.random.random() < 0.5
        while not await _is_set_at(over, due - environment.now()):
            recipient = environment.random.choice(self.people)
            await person.send(self.message(person, recipient, keyed=keyed))
            keyed = not keyed
            due = max(due + period_secs, environment.now() - 10 * period_secs)

    async def _take_keys(self, over: asyncio.Event) -> None:
        random = self.environment.random
        while not await _is_set_at(over, random.expovariate(_KEYS_PER_SEC)):
            await random.choice(self.people).take_key_of(random.choice(self.people))


async def _is_set_at(event: asyncio.Event, delay_secs: float) -> bool:
    """Whether an event was set by then."""
    if delay_secs <= 0:
        await asyncio.sleep(0)
        return event.is_set()
    try:
        async with asyncio.timeout(delay_secs):
            await event.wait()
    except TimeoutError:
        return False
    return True
