import asyncio
import secrets
from collections import Counter
from uuid import UUID

from redis import Redis

from obscura.client.device_keys import Device
from obscura.store import keyspace
from tests.support.client import Answer, Api
from tests.support.redis import RedisServer


async def register(api: Api, name: str) -> Answer:
    return await api.call("POST", "/v1/users", json=api.registration(name, Device(), 1))


def accounts_named(redis: "Redis", name: str) -> list[str]:
    return [key for key in redis.scan_iter("obscura:{*}:account", count=1000) if redis.hget(key, "username") == name]


async def test_of_registrations_of_one_name_at_once_exactly_one_succeeds(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """Of twenty over two nodes one gets 201, the others 409, and one account is stored."""
    name = f"user-{secrets.token_hex(8)}"
    answers = await asyncio.gather(*(register(two_apis[number % 2], name) for number in range(20)))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 19}
    assert {answer.error for answer in answers if answer.status == 409} == {"Username already exists"}
    with redis_server.client as redis:
        owner_id = redis.get(keyspace.username(name))
        assert owner_id is not None
        assert accounts_named(redis, name) == [keyspace.account(UUID(owner_id))]
    for api in two_apis:
        assert (await api.login(name)).status == 200


async def test_registrations_of_different_names_do_not_hinder_each_other(two_apis: tuple[Api, Api]) -> None:
    """Twenty at once over two nodes all get an account of their own."""
    names = [f"user-{secrets.token_hex(8)}" for _ in range(20)]
    answers = await asyncio.gather(*(register(two_apis[number % 2], name) for number, name in enumerate(names)))
    assert Counter(answer.status for answer in answers) == {201: 20}


async def test_an_account_is_known_on_every_node_at_once(two_apis: tuple[Api, Api]) -> None:
    """What one node answered with 201 is taken, and can be logged in to, on the other."""
    here, there = two_apis
    user = await here.register()
    assert (await register(there, user.name)).status == 409
    assert (await there.login(user.name)).status == 200
    assert (await user.at(there).send(user, b"hello")).status == 201
