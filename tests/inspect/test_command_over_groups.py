"""`obscura inspect` over Sentinel and over a Cluster: what it shows of two nodes, and what it ends."""

import re
from collections.abc import Iterator
from functools import partial

import aiohttp
import pytest

from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api
from tests.support.commands import run_inspect
from tests.support.groups import started
from tests.support.redis7 import ClusterRedis, SentinelRedis

pytestmark = [pytest.mark.groups, pytest.mark.timeout(150)]

MASTERS = {"sentinel": 1, "cluster": 3}


@pytest.fixture(scope="module", params=MASTERS)
def group(request: pytest.FixtureRequest) -> Iterator[SentinelRedis | ClusterRedis]:
    with started(SentinelRedis() if request.param == "sentinel" else ClusterRedis()) as group:
        yield group


@pytest.fixture
def masters(request: pytest.FixtureRequest) -> int:
    return MASTERS[request.node.callspec.params["group"]]


@pytest.fixture
async def api(group: SentinelRedis | ClusterRedis, start_node: StartNode, session: aiohttp.ClientSession) -> Api:
    """Calls to the second of two nodes."""
    nodes = [await start_node(redis_url=group.url) for _ in range(2)]
    return Api(session, nodes[1].api_port)


async def test_an_operator_sees_all_of_it(group: SentinelRedis | ClusterRedis, masters: int, api: Api) -> None:
    """Users of whichever master, by name and by id, their inboxes and sessions, each node once, and the sums."""
    inspect = partial(run_inspect, redis_url=group.url, jwt_secret=JWT_SECRET)
    users = [await api.register(pre_keys=7) for _ in range(6)]
    for number, user in enumerate(users):
        await users[0].deliver(user, *[b"hello"] * number)
    for number, user in enumerate(users[:3]):
        about = (await inspect("user", user.name if number else user.id, "--json")).json
        assert (about["id"], about["username"], about["one_time_pre_keys"]) == (user.id, user.name, 7)
        assert (await inspect("inbox", user.id, "--json")).json["messages"] == number
    assert [one["id"] for one in (await inspect("sessions", users[0].name, "--json")).json] == [users[0].session_id]
    assert (await users[5].logout()).status in {200, 204}
    nodes = (await inspect("nodes", "--json")).json
    assert [node["listening"] for node in nodes] == [True, True]
    stats = (await inspect("stats", "--json")).json
    assert (stats["masters"], stats["nodes"], stats["ended_sessions"]) == (masters, 2, 1)
    assert (stats["accounts"], stats["accounts_counted"]) == (6, True)


async def test_an_operator_ends_sessions_and_accounts(group: SentinelRedis | ClusterRedis, api: Api) -> None:
    """Their sockets close wherever they are, and a name that is freed can be had again."""
    inspect = partial(run_inspect, redis_url=group.url, jwt_secret=JWT_SECRET)
    alice, bob = await api.register(), await api.register()
    first = await bob.connect()
    ended = (await inspect("end-sessions", bob.name, "--yes", "--json")).json
    assert ended == {"user_id": bob.id, "username": bob.name, "sessions_ended": 1}
    assert await first.close_code() == 4003
    assert (await api.login(bob.name)).status == 200
    second = await alice.connect()
    assert (await inspect("delete-user", alice.id, "--yes", "--json")).json["deleted"] is True
    assert await second.close_code() == 4003
    assert (await inspect("user", alice.name)).refusal == f"there is no user {alice.name!r}"
    assert (await (await bob.another_session()).send(alice, b"too late")).status == 404
    assert (await api.register(alice.name)).id != alice.id


async def test_a_group_that_is_not_there_is_one_sentence(group: SentinelRedis | ClusterRedis) -> None:
    """An operator who mistypes the addresses is told so, and waits for nothing."""
    nowhere = re.sub(r":\d+", ":1", group.url)
    assert (await run_inspect("stats", redis_url=nowhere, jwt_secret=JWT_SECRET)).refusal.startswith(
        "Redis is not available"
    )
