"""Inboxes read page by page: without a script where they are small, and with one where they are large."""

import random
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from obscura.model.message_ids import START, EntryId
from obscura.store import keyspace
from obscura.store.messages import Entry, InboxLimits, MessageStore, Page
from tests.support.groups import listening
from tests.support.redis import RedisServer

SENDER = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
DAY_MS = 86_400_000
MEBIBYTE = 2**20
PAGE_BYTES = 100_000


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[MessageStore]:
    async with listening(redis_server.url) as recorder:
        yield MessageStore(recorder.commands, recorder.database.scripts, InboxLimits(1_000_000, 64 * MEBIBYTE, DAY_MS))


@pytest.fixture
async def user_id(store: MessageStore) -> UUID:
    """An account without anything but its inbox."""
    user_id = uuid4()
    await store._commands.call("HSET", keyspace.account(user_id), "inbox_last", "0-0", "inbox_bytes", 0)
    return user_id


async def fill(store: MessageStore, user_id: UUID, *sizes: int) -> list[Entry]:
    """Store messages of these sizes; returns what a reader is to get."""
    entries = []
    for number, size in enumerate(sizes):
        body = b"%d " % number + b"x" * size
        await store.append(str(user_id), SENDER, body, None)
        ((entry_id, _),) = await store._commands.call("XREVRANGE", keyspace.inbox(user_id), "+", "-", "COUNT", 1)
        entries.append(Entry(EntryId.parse(entry_id), SENDER.encode(), body))
    return entries


async def pages_of(store: MessageStore, user_id: UUID, max_count: int = 100, after: EntryId = START) -> list[Page]:
    """All pages, to the first that says that it is the last."""
    pages = [await store.read(user_id, after, max_count, PAGE_BYTES)]
    while not pages[-1].complete:
        pages.append(await store.read(user_id, pages[-1].position, max_count, PAGE_BYTES))
    return pages


@pytest.mark.parametrize("seed", range(4))
async def test_pages_are_the_inbox_in_order(store: MessageStore, user_id: UUID, seed: int) -> None:
    """Each entry once, no page of more entries than asked for, nor longer by more than its last entry."""
    dice = random.Random(seed)
    largest = dice.choice([10, 1_000, 30_000, 200_000])
    entries = await fill(store, user_id, *(dice.randrange(largest) for _ in range(60)))
    max_count = dice.randint(1, 70)
    pages = await pages_of(store, user_id, max_count)
    assert [entry for page in pages for entry in page.entries] == entries
    assert pages[-1].position == entries[-1].id
    for page in pages:
        assert len(page.entries) <= max_count
        assert sum(len(entry.body) for entry in page.entries[:-1]) < PAGE_BYTES


@pytest.mark.parametrize("size", [10, MEBIBYTE])
async def test_a_page_that_is_exactly_full_is_not_the_last(store: MessageStore, user_id: UUID, size: int) -> None:
    """An empty one follows, which says that there is no more."""
    entries = await fill(store, user_id, size, 10)
    assert [len(page.entries) for page in await pages_of(store, user_id, 1)] == [1, 1, 0]
    assert (await store.read(user_id, entries[0].id, 2, PAGE_BYTES)) == Page(entries[1:], entries[1].id, complete=True)


@pytest.mark.parametrize("size", [10, MEBIBYTE])
async def test_what_was_acked_is_passed_over(store: MessageStore, user_id: UUID, size: int) -> None:
    """The position is that of the newest message, though it is not there any more."""
    entries = await fill(store, user_id, size, 10, 10)
    await store.acknowledge(user_id, [(entries[1].id, len(entries[1].body)), (entries[2].id, None)])
    pages = await pages_of(store, user_id)
    assert [entry for page in pages for entry in page.entries] == entries[:1]
    assert pages[-1].position == entries[2].id


@pytest.mark.parametrize("size", [10, MEBIBYTE])
async def test_a_cursor_beyond_the_end_is_put_back(store: MessageStore, user_id: UUID, size: int) -> None:
    """As after a failover that lost the end of the inbox."""
    (entry,) = await fill(store, user_id, size)
    page = await store.read(user_id, EntryId(200_000_000_000_000, 0), 100, PAGE_BYTES)
    assert page == Page([], entry.id, complete=True)


async def test_what_is_stored_after_the_survey_is_read_with_it(
    store: MessageStore, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two commands of a page another message comes: it is on the page, and the page ends with it."""
    entries = await fill(store, user_id, 10)
    survey = store._scripts.run

    async def survey_then_append(*args: object, **kwargs: object) -> object:
        surveyed = await survey(*args, **kwargs)
        monkeypatch.undo()
        entries.extend(await fill(store, user_id, 10))
        return surveyed

    monkeypatch.setattr(store._scripts, "run", survey_then_append)
    assert await store.read(user_id, START, 100, PAGE_BYTES) == Page(entries, entries[1].id, complete=True)


@pytest.mark.parametrize("size", [10, MEBIBYTE])
async def test_messages_after_a_clock_that_ran_ahead_have_their_true_time(
    store: MessageStore, user_id: UUID, size: int
) -> None:
    """Ids go on from the time that the clock showed, in an inbox of any size; the time is told beside them."""
    before_ms = int((await store._commands.call("TIME"))[0]) * 1000
    ahead_ms = before_ms + DAY_MS
    await store._commands.call("HSET", keyspace.account(user_id), "inbox_last", f"{ahead_ms}-5")
    await fill(store, user_id, size, 10)
    entries = [entry for page in await pages_of(store, user_id, 1) for entry in page.entries]
    after_ms = int((await store._commands.call("TIME"))[0]) * 1000 + 1000
    assert [entry.id for entry in entries] == [EntryId(ahead_ms, 6), EntryId(ahead_ms, 7)]
    for entry in entries:
        assert entry.sent_ms is not None
        assert before_ms <= entry.sent_ms <= after_ms
