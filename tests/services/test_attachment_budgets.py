"""How many bytes of attachments an account may store in a day, and all of them at a time."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable

import pytest

from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api, User
from tests.support.inspection import metric, uuid_of
from tests.support.limits import is_refused
from tests.support.outages import is_refusal
from tests.support.redis import RedisServer

MIB = 2**20
DAY_SECS = 86_400

ConnectApi = Callable[[Node], Api]


async def chunked(size_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, size_bytes, 50_000):
        yield bytes(min(50_000, size_bytes - start))


async def upload(user: User, size_bytes: int, is_chunked: bool = False) -> Answer:
    data = chunked(size_bytes) if is_chunked else io.BytesIO(bytes(size_bytes))
    return await user.api.call("POST", "/v1/attachments", token=user.token, data=data)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_account_stores_as_much_in_a_day_as_it_may(
    start_node: StartNode, connect_api: ConnectApi, is_chunked: bool
) -> None:
    """To the byte, whether or not a length is declared; over two nodes; others are not concerned."""
    quota = {"storage_daily_bytes_per_account": 3 * MIB}
    first, second = [connect_api(await start_node(**quota)) for _ in range(2)]
    user, other = await first.register(), await first.register()
    refused = metric("obscura_rate_limited_total", tier="attachment_bytes")
    assert (await upload(user, 2 * MIB, is_chunked)).status == 201
    assert is_refused(too_much := await upload(user.at(second), MIB + 1, is_chunked))
    assert DAY_SECS - 60 < int(too_much.headers["Retry-After"]) <= DAY_SECS
    assert (await upload(user.at(second), MIB, is_chunked)).status == 201
    assert is_refused(await upload(user, 1, is_chunked))
    assert (await upload(user, 0, is_chunked)).status == 201
    assert metric("obscura_rate_limited_total", tier="attachment_bytes") == refused + 2
    assert (await upload(other, 3 * MIB, is_chunked)).status == 201
    assert (await user.send(other, b"hello")).status == 201


async def test_uploads_at_once_get_no_byte_twice(start_node: StartNode, connect_api: ConnectApi) -> None:
    """Of 12 that would fit alone as many are stored as fit together."""
    user = await connect_api(await start_node(storage_daily_bytes_per_account=5 * MIB)).register()
    answers = await asyncio.gather(*(upload(user, MIB) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [201] * 5 + [429] * 7


async def test_an_upload_that_fails_costs_nothing(
    start_node: StartNode, connect_api: ConnectApi, own_redis: RedisServer
) -> None:
    """One that is too large after all, or that its client breaks off, leaves the day as it was."""
    settings = {"storage_max_size_bytes": MIB, "storage_daily_bytes_per_account": MIB, "redis_url": own_redis.url}
    user = await connect_api(await start_node(**settings)).register()
    for _ in range(3):
        assert (await upload(user, MIB + 1, is_chunked=True)).status in {400, 429}
    with own_redis.client as client:
        assert client.get(keyspace.attachment_bytes(uuid_of(user))) == "0"
        assert client.hgetall(keyspace.ATTACHMENT_TOTALS) == {}
    assert (await upload(user, MIB)).status == 201


async def test_all_attachments_together_stay_under_their_cap(
    start_node: StartNode, connect_api: ConnectApi, own_redis: RedisServer
) -> None:
    """Past it uploads are 503 for everybody and /readyz says so, until some expire; messages and downloads go on."""
    node = await start_node(storage_max_total_bytes=3 * MIB, redis_url=own_redis.url)
    users = [await connect_api(node).register() for _ in range(3)]
    stored = [await upload(user, MIB) for user in users]
    assert [answer.status for answer in stored] == [201, 201, 201]
    for user in users:
        for is_chunked in (False, True):
            assert is_refusal(await upload(user, 1, is_chunked))
    assert (await node.readiness())["storage"] == "error"
    assert (await node.readiness())["status"] == "degraded"
    path = f"/v1/attachments/{stored[0].json['id']}"
    assert len((await users[1].api.call("GET", path, token=users[1].token)).body) == MIB
    assert (await users[0].send(users[1], b"hello")).status == 201
    with own_redis.client as client:
        ((until, total),) = client.hgetall(keyspace.ATTACHMENT_TOTALS).items()
        assert int(total) == 3 * MIB
        client.delete(keyspace.ATTACHMENT_TOTALS)
        client.hset(keyspace.ATTACHMENT_TOTALS, mapping={"1000": 2 * MIB, until: MIB})  # two have expired
    assert (await node.readiness())["storage"] == "ok"
    assert (await upload(users[0], 2 * MIB)).status == 201
    assert is_refusal(await upload(users[0], 1))


async def test_what_an_older_node_stored_is_in_nobodys_way(
    start_node: StartNode, connect_api: ConnectApi, own_redis: RedisServer
) -> None:
    """It wrote no counts: its attachments can be read, and the next upload counts from there."""
    node = await start_node(storage_max_total_bytes=3 * MIB, redis_url=own_redis.url)
    user = await connect_api(node).register()
    stored = await upload(user, MIB)
    with own_redis.client as client:
        client.delete(keyspace.ATTACHMENT_TOTALS, keyspace.attachment_bytes(uuid_of(user)))
    path = f"/v1/attachments/{stored.json['id']}"
    assert (await user.api.call("GET", path, token=user.token)).status == 200
    assert (await upload(user, 3 * MIB)).status == 201
