"""Acks gathered and written: by count, by time, on demand, and again when the store was away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from obscura.errors import StoreUnavailable
from obscura.gateway.ack_batcher import AckBatcher
from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId
from tests.support.waiting import eventually

USER, OTHER = uuid4(), uuid4()
NEVER_SECS = 3600.0


class Store:
    """Where acks are written to; may be away, and may hold a write up."""

    def __init__(self) -> None:
        self.writes: list[tuple[UUID, list[EntryId]]] = []
        self.error: Exception | None = None
        self.begun = 0
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, user_id: UUID, acks: Sequence[Ack]) -> None:
        self.begun += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.writes.append((user_id, [entry for entry, _ in acks]))

    def written(self, user_id: UUID = USER) -> list[EntryId]:
        return [entry for writer, entries in self.writes if writer == user_id for entry in entries]


@pytest.fixture
def store() -> Store:
    return Store()


MakeAcks = Callable[[int, float], AckBatcher]


@pytest.fixture
async def make_acks(store: Store) -> AsyncIterator[MakeAcks]:
    """Makes acks with a batch size and an interval; all are stopped at the end."""
    made: list[AckBatcher] = []

    def make(batch_size: int, interval_secs: float) -> AckBatcher:
        acks = AckBatcher(store.write, batch_size, interval_secs)
        acks.start()
        made.append(acks)
        return acks

    yield make
    store.error = None
    store.open.set()
    for acks in made:
        await acks.stop()


def entries(count: int) -> list[EntryId]:
    return [EntryId(1, number) for number in range(count)]


async def test_a_full_batch_is_written_at_once(make_acks: MakeAcks, store: Store) -> None:
    """One less waits; each user's batch is its own."""
    acks = make_acks(3, NEVER_SECS)
    for entry in entries(2):
        acks.add(USER, Ack(entry, None))
        acks.add(OTHER, Ack(entry, None))
    acks.add(USER, Ack(EntryId(2, 0), None))
    await eventually(lambda: store.writes)
    assert store.writes == [(USER, [*entries(2), EntryId(2, 0)])]


async def test_what_waits_is_written_by_time(make_acks: MakeAcks, store: Store) -> None:
    """All users' acks, interval after interval."""
    acks = make_acks(1000, 0.01)
    for number in range(3):
        acks.add(USER, Ack(EntryId(number, 0), None))
        acks.add(OTHER, Ack(EntryId(number, 0), None))
        await eventually(lambda number=number: len(store.written()) == len(store.written(OTHER)) == number + 1)


async def test_an_ack_added_twice_is_written_once(make_acks: MakeAcks, store: Store) -> None:
    """A set, not a list: a client that repeats itself costs nothing."""
    acks = make_acks(1000, NEVER_SECS)
    assert [acks.add(USER, Ack(EntryId(1, 0), None)) for _ in range(3)] == [1, 1, 1]
    assert await acks.flush(USER)
    assert store.written() == [EntryId(1, 0)]


async def test_a_flush_writes_all_that_was_added_before(make_acks: MakeAcks, store: Store) -> None:
    """Also what was added while an earlier write was under way."""
    acks = make_acks(2, NEVER_SECS)
    store.open.clear()
    for entry in entries(2):
        acks.add(USER, Ack(entry, None))
    await eventually(lambda: store.begun)
    acks.add(USER, Ack(EntryId(2, 0), None))
    flushing = asyncio.create_task(acks.flush(USER))
    store.open.set()
    assert await flushing
    assert store.written() == [*entries(2), EntryId(2, 0)]


async def test_a_flush_is_not_delayed_by_what_is_added_later(make_acks: MakeAcks, store: Store) -> None:
    """A client that acks without end does not keep its own next socket outside."""
    acks = make_acks(1, NEVER_SECS)
    stop = asyncio.Event()

    async def ack_without_end() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            acks.add(USER, Ack(EntryId(2, number), None))
            await asyncio.sleep(0)

    flooding = asyncio.create_task(ack_without_end())
    acks.add(USER, Ack(EntryId(1, 0), None))
    assert await acks.flush(USER)
    assert EntryId(1, 0) in store.written()
    assert not flooding.done()
    stop.set()
    await flooding


async def test_a_flush_of_nothing_is_true(make_acks: MakeAcks, store: Store) -> None:
    """There is nothing that could fail."""
    store.error = StoreUnavailable("away")
    assert await make_acks(1, NEVER_SECS).flush(USER)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a bug")], ids=["away", "broken"])
async def test_acks_that_could_not_be_written_stay(make_acks: MakeAcks, store: Store, error: Exception) -> None:
    """A flush says so, and they are written when the store is back."""
    acks = make_acks(1000, 0.01)
    acks.add(USER, Ack(EntryId(1, 0), None))
    store.error = error
    assert not await acks.flush(USER)
    assert not await acks.flush_all()
    store.error = None
    await eventually(lambda: store.written() == [EntryId(1, 0)])


async def test_many_are_written_in_portions(make_acks: MakeAcks, store: Store) -> None:
    """Each a bounded amount of Redis's time, together all, in order."""
    acks = make_acks(10_000, NEVER_SECS)
    for entry in reversed(entries(1200)):
        acks.add(USER, Ack(entry, None))
    assert await acks.flush(USER)
    assert [len(written) for _, written in store.writes] == [500, 500, 200]
    assert store.written() == entries(1200)


async def test_a_stop_waits_for_a_store_that_is_away(make_acks: MakeAcks, store: Store) -> None:
    """It tries again until all is written."""
    acks = make_acks(1000, NEVER_SECS)
    acks.add(USER, Ack(EntryId(1, 0), None))
    acks.add(OTHER, Ack(EntryId(1, 0), None))
    store.error = StoreUnavailable("away")
    stopping = asyncio.create_task(acks.stop())
    assert not await acks.flush(USER)
    store.error = None
    await stopping
    assert store.written() == store.written(OTHER) == [EntryId(1, 0)]


async def test_a_stop_that_is_cancelled_leaves_no_task(make_acks: MakeAcks, store: Store) -> None:
    """The deadline is the caller's; nothing goes on behind its back."""
    tasks_before = asyncio.all_tasks()
    acks = make_acks(1, 0.01)
    store.open.clear()
    acks.add(USER, Ack(EntryId(1, 0), None))
    stopping = asyncio.create_task(acks.stop())
    await eventually(lambda: store.begun)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert asyncio.all_tasks() == tasks_before
