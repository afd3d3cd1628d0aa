"""The clean-up of attachments: everything that is due goes, once, and a store that fails is not pressed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis

from obscura.blobs.directory import DirectoryBlobs
from obscura.node.node import Node
from obscura.redis_client.client import RedisClient
from obscura.services.attachments import AttachmentOptions, Attachments
from obscura.store import keyspace
from obscura.store.attachment_budgets import AttachmentBudgets, ByteLimits
from obscura.store.attachments import Attachment, AttachmentStore
from tests.conftest import StartNode
from tests.support.client import Api, User
from tests.support.inspection import metric, more_calls
from tests.support.outages import killed, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

PATH = "/v1/attachments"
FAR_MS = 10**13
INTERVAL_SECS = 0.05


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    with own_redis.client as client:
        yield client


@pytest.fixture
def store(database: RedisClient) -> AttachmentStore:
    return AttachmentStore(database.commands, database.scripts)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[DirectoryBlobs]:
    """The directory that the nodes of a test use too."""
    blobs = DirectoryBlobs(tmp_path / "attachments")
    await blobs.start()
    yield blobs
    await blobs.stop()


@pytest.fixture
def start_user(start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer) -> Any:
    """Starts a node that cleans up all the time, and registers a user there."""

    async def start(**settings: Any) -> User:
        given = {"redis_url": own_redis.url, "storage_cleanup_interval_secs": INTERVAL_SECS}
        return await connect_api(await start_node(**given | settings)).register()

    return start


def files_under(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def upload(user: User) -> str:
    answer = await user.api.call("POST", PATH, token=user.token, data=b"bytes")
    assert answer.status == 201
    return str(answer.json["id"])


async def test_what_expires_is_removed(start_user: Any, redis: Redis, tmp_path: Path) -> None:
    """File, hash and entry of an attachment go once its time is over; others stay."""
    removed = metric("obscura_attachments_expired_total")
    user = await start_user(ttl_days=0.3 / 86_400)
    ids = [await upload(user) for _ in range(3)]
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, {ids[0]: FAR_MS})
    await eventually(lambda: redis.zrange(keyspace.ATTACHMENT_EXPIRY, 0, -1) == [ids[0]])
    assert files_under(tmp_path / "attachments") == [ids[0]]
    # Counted in the step after the one that was waited for.
    await eventually(lambda: metric("obscura_attachments_expired_total") == removed + 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
async def test_a_crash_between_any_two_steps_leaves_nothing(
    start_user: Any, redis: Redis, store: AttachmentStore, blobs: DirectoryBlobs, tmp_path: Path, steps: int
) -> None:
    """An upload that got so far and no further is gone after the next clean-up, and can never be read half."""
    attachment_id = uuid4()
    await store.begin(attachment_id, 1)
    if steps == 2:
        blobs_part = tmp_path / "attachments" / str(attachment_id)[:2]
        blobs_part.mkdir()
        (blobs_part / f"{attachment_id}.part").write_bytes(b"half of it")
    if steps > 2:
        await blobs.put(str(attachment_id), stream(b"all of it"))
    if steps > 3:
        redis.hset(keyspace.attachment(attachment_id), mapping={"size": 9, "expires_at": FAR_MS})
    user = await start_user()
    await eventually(lambda: not redis.exists(keyspace.ATTACHMENT_EXPIRY))
    assert files_under(tmp_path / "attachments") == []
    assert not redis.exists(keyspace.attachment(attachment_id))
    assert (await user.api.call("GET", f"{PATH}/{attachment_id}", token=user.token)).status == 404


async def test_an_upload_under_way_is_left_alone(start_user: Any, redis: Redis) -> None:
    """However often the clean-up comes by."""
    user = await start_user()
    going_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first"
        await going_on.wait()
        yield b"last"

    uploading = asyncio.create_task(user.api.call("POST", PATH, token=user.token, data=slowly()))
    await eventually(lambda: redis.exists(keyspace.ATTACHMENT_EXPIRY))
    await sweeps(redis, 3)
    going_on.set()
    attachment_id = (await uploading).json["id"]
    answer = await user.api.call("GET", f"{PATH}/{attachment_id}", token=user.token)
    assert (answer.status, answer.body) == (200, b"firstlast")


async def sweeps(redis: Redis, count: int) -> None:
    """Wait until the clean-ups have asked so many times more what is due."""
    await more_calls(redis, "zrangebyscore", count)


async def test_an_upload_that_was_cleaned_up_is_not_finished(store: AttachmentStore, redis: Redis) -> None:
    """Its uploader gets no 201 for bytes that are gone."""
    attachment_id = uuid4()
    await store.begin(attachment_id, 1)
    assert await store.claim_due(10) == [attachment_id]
    assert not await store.finish(attachment_id, 1, Attachment(5, FAR_MS))
    assert await store.find(attachment_id) is None


async def test_finishing_twice_is_finishing_once(store: AttachmentStore) -> None:
    """A repeat after a lost reply is fine."""
    attachment_id = uuid4()
    await store.begin(attachment_id, 1)
    for _ in range(2):
        assert await store.finish(attachment_id, 1, Attachment(5, FAR_MS))
    assert await store.find(attachment_id) == Attachment(5, FAR_MS)
    assert await store.claim_due(10) == []


async def test_any_amount_is_cleaned_up(start_user: Any, redis: Redis) -> None:
    """More than one batch in one sweep."""
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, {str(uuid4()): 1 for _ in range(250)})
    await start_user(storage_cleanup_batch_size=20)
    await eventually(lambda: not redis.exists(keyspace.ATTACHMENT_EXPIRY))


async def test_one_that_cannot_be_removed_keeps_no_other(start_user: Any, redis: Redis, tmp_path: Path) -> None:
    """It stays listed for later, while the rest goes with this sweep or the next."""
    stuck = "ab000000-0000-4000-8000-000000000000"
    (tmp_path / "attachments" / "ab" / stuck).mkdir(parents=True)  # a directory is not unlinked
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, {stuck: 1} | {str(uuid4()): 2 for _ in range(30)})
    await start_user(storage_cleanup_batch_size=10)
    await eventually(lambda: redis.zrange(keyspace.ATTACHMENT_EXPIRY, 0, -1) == [stuck])
    seconds, _ = redis.time()
    assert redis.zscore(keyspace.ATTACHMENT_EXPIRY, stuck) > (seconds + 30) * 1000


async def test_a_store_that_fails_is_not_pressed(
    start_user: Any, redis: Redis, tmp_path: Path, store: AttachmentStore
) -> None:
    """Each attachment is tried once a minute, not in a loop, and nothing is lost of what is due."""
    (tmp_path / "attachments").write_text("in the way")
    ids = [str(uuid4()) for _ in range(5)]
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, dict.fromkeys(ids, 1))
    user = await start_user()
    await sweeps(redis, 3)
    assert sorted(redis.zrange(keyspace.ATTACHMENT_EXPIRY, 0, -1)) == sorted(ids)
    assert await store.claim_due(10) == []
    assert (await user.send(user, b"messages flow")).status == 201
    (tmp_path / "attachments").unlink()
    (tmp_path / "attachments").mkdir()
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, dict.fromkeys(ids, 1))  # a minute later
    await eventually(lambda: not redis.exists(keyspace.ATTACHMENT_EXPIRY))


async def test_the_clean_up_outlives_an_outage_of_redis(start_user: Any, redis: Redis, own_redis: RedisServer) -> None:
    """When Redis is back it goes on."""
    user = await start_user()
    with killed(own_redis):
        assert (await user.send(user, b"refused")).status == 503
    await retry_on_503(lambda: user.send(user, b"flows again"))
    redis.zadd(keyspace.ATTACHMENT_EXPIRY, {str(uuid4()): 1})
    await eventually(lambda: not redis.exists(keyspace.ATTACHMENT_EXPIRY))


async def test_a_sweep_needs_no_node(
    database: RedisClient, store: AttachmentStore, blobs: DirectoryBlobs, redis: Redis
) -> None:
    """Sweeping twice finds nothing more to do."""
    budgets = AttachmentBudgets(database.commands, database.scripts, ByteLimits())
    attachments = Attachments(store, blobs, budgets, AttachmentOptions(max_bytes=100, ttl_ms=1, sweep_batch_size=10))
    stored = await attachments.upload(uuid4(), None, stream(b"gone in a moment"))
    assert isinstance(stored.id, UUID)
    await eventually(lambda: swept(attachments, redis))
    await attachments.sweep()


async def swept(attachments: Attachments, redis: Redis) -> bool:
    await attachments.sweep()
    return not redis.exists(keyspace.ATTACHMENT_EXPIRY)
