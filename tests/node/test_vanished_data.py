"""Data that vanish, or are replaced, under nodes that run, and in the directory of a node."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from redis import Redis

from obscura.errors import StartupError
from obscura.node.node import Node
from obscura.node.own_redis import ensure_redis
from obscura.settings.model import Settings
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.inspection import metric
from tests.support.outages import is_refusal
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

MARK = "obscura:data:0"


@pytest.fixture
async def node(start_node: StartNode, own_redis: RedisServer) -> Node:
    return await start_node(redis_url=own_redis.url)


@pytest.fixture
def ready(node: Node, session: aiohttp.ClientSession) -> Callable:
    management = Api(session, node.management_port)

    async def ready() -> tuple[int, dict[str, str]]:
        answer = await management.call("GET", "/readyz")
        return answer.status, answer.json

    return ready


def flush(redis: Redis) -> None:
    redis.flushall()


def replace(redis: Redis) -> None:
    redis.flushall()
    redis.hset(MARK, mapping={"id": "another", "generation": 7})


def take_back(redis: Redis) -> None:
    redis.hincrby(MARK, "generation", -1)


@pytest.mark.parametrize(
    ("harm", "reason"), [(flush, "have vanished"), (replace, "other data"), (take_back, "of an earlier time")]
)
async def test_other_data_than_before_are_not_used(
    node: Node, ready: Callable, own_redis: RedisServer, session: aiohttp.ClientSession, harm: Callable, reason: str
) -> None:
    """Not ready, with the reason; no client is told that its account or session is gone; data put back go on."""
    api = Api(session, node.api_port)
    alice, bob = await api.register(), await api.register()
    assert (await ready())[0] == 200
    with own_redis.client as redis:
        mark = redis.hgetall(MARK)
        harm(redis)
        status, parts = await ready()
        assert (status, parts["database"]) == (503, "error")
        assert reason in parts["reason"]
        assert metric("obscura_redis_requirement_unmet", requirement="data") == 1
        assert is_refusal(await alice.send(bob, b"to whom?"))
        assert is_refusal(await api.login("nobody", "a password of nobody"))
        redis.hset(MARK, mapping=mark)

    async def is_well() -> bool:
        return bool((await ready())[0] == 200)

    await eventually(is_well)


async def test_an_empty_replacement_is_found_at_the_connect(
    node: Node, ready: Callable, own_redis: RedisServer, session: aiohttp.ClientSession, start_node: StartNode
) -> None:
    """As an empty replica that was promoted. A node that starts takes what there is."""
    own_redis.stop()
    shutil.rmtree(own_redis.path.parent / "appendonlydir", ignore_errors=True)
    (own_redis.path.parent / "appendonly.aof").unlink(missing_ok=True)
    own_redis.start()

    async def is_told() -> bool:
        return "have vanished" in (await ready())[1].get("reason", "")

    await eventually(is_told)
    restarted = await start_node(redis_url=own_redis.url)
    assert (await Api(session, restarted.management_port).call("GET", "/readyz")).status == 200


async def test_nodes_on_one_redis_agree_on_the_mark(
    node: Node, ready: Callable, own_redis: RedisServer, start_node: StartNode
) -> None:
    """And a node of the release before makes none."""
    with own_redis.client as redis:
        before = redis.hgetall(MARK)
        await start_node(redis_url=own_redis.url)
        assert redis.hgetall(MARK) == before
    assert (await ready())[0] == 200


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as parent:
        yield Path(parent) / "data"


async def run_once(data_dir: Path) -> None:
    async with AsyncExitStack() as running:
        await ensure_redis(Settings(data_dir=data_dir), running)


def files_of(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.glob("**/appendonly*") if path.is_file()]


async def test_a_directory_that_lost_its_file_is_refused(data_dir: Path) -> None:
    """It says how to go on without, and then does."""
    await run_once(data_dir)
    await run_once(data_dir)
    for path in files_of(data_dir):
        path.unlink()
    with pytest.raises(StartupError, match=r"has no data, though this directory had some: .* or remove .*data_mark"):
        await run_once(data_dir)
    (data_dir / "data_mark").unlink()
    await run_once(data_dir)


async def test_a_directory_with_an_older_file_is_refused(data_dir: Path) -> None:
    """Such as one from a backup, beside what was not put back."""
    await run_once(data_dir)
    older = data_dir.with_name("older")
    shutil.copytree(data_dir, older)
    await run_once(data_dir)
    for path in files_of(older):
        (data_dir / path.relative_to(older)).write_bytes(path.read_bytes())
    with pytest.raises(StartupError, match="data of an earlier time than this directory"):
        await run_once(data_dir)


async def test_a_directory_with_the_file_of_another_is_refused(data_dir: Path) -> None:
    """Whatever its generation."""
    await run_once(data_dir)
    other = data_dir.with_name("other")
    await run_once(other)
    for path in files_of(other):
        (data_dir / path.relative_to(other)).write_bytes(path.read_bytes())
    with pytest.raises(StartupError, match="the data of another directory"):
        await run_once(data_dir)


async def test_a_directory_without_its_mark_is_taken(data_dir: Path) -> None:
    """As one that the release before has written."""
    await run_once(data_dir)
    (data_dir / "data_mark").unlink()
    await run_once(data_dir)
    assert (data_dir / "data_mark").read_text().endswith(" 2\n")


async def test_a_damaged_mark_is_told(data_dir: Path) -> None:
    """With the way out."""
    await run_once(data_dir)
    (data_dir / "data_mark").write_text("")
    with pytest.raises(StartupError, match="data_mark is damaged"):
        await run_once(data_dir)
