"""`obscura inspect`: what it shows of real nodes, and what it ends."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest

from obscura.inspect.command import inspect
from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import PASSWORD, Api, User
from tests.support.commands import Run, run_inspect
from tests.support.redis import RedisServer

PREVIOUS_CALL = "kept for a day"  # an idempotency key


Inspect = Callable[..., Awaitable[Run]]


@pytest.fixture
def run(redis_server: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inspect:
    """Run the command on the Redis of the tests, in a thread; ``typed`` is what the operator types."""

    async def run(*words: str, typed: str = "", redis_url: str = redis_server.url) -> Run:
        monkeypatch.setattr(sys, "stdin", StringIO(typed))
        environ = {"OBSCURA_REDIS_URL": redis_url, "OBSCURA_JWT_SECRET": JWT_SECRET}
        capsys.readouterr()
        exit_code = await asyncio.to_thread(inspect, words, environ)
        return Run(exit_code, *capsys.readouterr())

    return run


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
async def alice(api: Api) -> User:
    """A user with two messages waiting, a second session, and a sender's idempotency key."""
    alice, bob = await api.register(pre_keys=7), await api.register()
    await alice.another_session()
    answer = await bob.send(alice, b"confidential", headers={"Idempotency-Key": PREVIOUS_CALL})
    assert answer.status == 201, answer
    await bob.deliver(alice, b"and more")
    return alice


def keys_of(redis: RedisServer, user: User) -> set[str]:
    with redis.client as client:
        return set(client.scan_iter(keyspace.account_pattern(UUID(user.id)), count=1000))


async def test_a_user_is_found_by_name_and_by_id(run: Inspect, alice: User) -> None:
    """Both show who it is and how much there is of them."""
    about = (await run("user", alice.name, "--json")).json
    assert (await run("user", alice.id, "--json")).json == about
    assert about.pop("created_at").startswith("20")
    assert about == {
        "id": alice.id,
        "username": alice.name,
        "confirmed": True,
        "registration_id": alice.device.registration_id,
        "signed_pre_key_id": 1,
        "one_time_pre_keys": 7,
        "waiting_messages": 2,
        "sessions": 2,
    }
    assert f"username           {alice.name}\n" in (await run("user", alice.name)).output


async def test_an_inbox_is_measured(run: Inspect, alice: User) -> None:
    """How many messages, how many bytes, since when; of an empty one, nothing."""
    about = (await run("inbox", alice.id, "--json")).json
    assert about["user_id"] == alice.id
    assert about["messages"] == 2
    assert about["total_bytes"] == len(b"confidential" + b"and more") + 2 * 4
    assert about["oldest_at"] <= about["newest_at"]
    bob = await alice.api.register()
    empty = (await run("inbox", bob.id, "--json")).json
    assert empty == {"user_id": bob.id, "messages": 0, "total_bytes": 0, "oldest_at": None, "newest_at": None}


async def test_sessions_are_listed(run: Inspect, alice: User) -> None:
    """Each that is alive, with its login, its last refresh and its end."""
    assert (await alice.api.refresh(alice.refresh_token)).status == 200
    sessions = {session["id"]: session for session in (await run("sessions", alice.id, "--json")).json}
    assert len(sessions) == 2
    own = sessions.pop(alice.session_id)
    assert own["created_at"] <= own["refreshed_at"] < own["expires_at"]
    (other,) = sessions.values()
    assert other["refreshed_at"] is None


@pytest.mark.parametrize("command", ["user", "inbox", "sessions"])
@pytest.mark.parametrize("form", ["--json", ""])
async def test_nothing_secret_is_shown(
    run: Inspect, alice: User, redis_server: RedisServer, command: str, form: str
) -> None:
    """No hash, no digest, no key, no body."""
    await alice.api.refresh(alice.refresh_token)
    output = (await run(command, alice.name, *filter(None, [form]))).output
    with redis_server.client as client:
        account = client.hgetall(keyspace.account(UUID(alice.id)))
        session = client.hgetall(keyspace.session(UUID(alice.id), UUID(alice.session_id)))
    hidden = [account[name] for name in account if name.endswith(("_key", "_signature", "_hash"))]
    hidden += [session["token"], *(name.partition(":")[2] for name in session if ":" in name), "confidential"]
    assert len(hidden) >= 6
    assert [value for value in hidden if value in output] == []


async def test_connected_nodes_are_listed(run: Inspect, start_node: StartNode, own_redis: RedisServer) -> None:
    """Each with its two connections, and whether it listens; not the command's own connection."""
    assert (await run("nodes", redis_url=own_redis.url)).output == "none\n"
    for _ in range(2):
        await start_node(redis_url=own_redis.url)
    nodes = (await run("nodes", "--json", redis_url=own_redis.url)).json
    assert [(node["connections"], node["listening"]) for node in nodes] == [(2, True)] * 2
    assert len({node["id"] for node in nodes}) == 2
    assert [(node["ttl_days"], node["max_inbox_size"]) for node in nodes] == [(30, 1000)] * 2


async def test_the_whole_is_counted(
    run: Inspect, start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer
) -> None:
    """Accounts, ended sessions, inboxes to look after, and the state of Redis."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    users = [await api.register() for _ in range(3)]
    await users[0].deliver(users[1], b"one")
    assert (await users[2].logout()).status in {200, 204}
    stats = (await run("stats", "--json", redis_url=own_redis.url)).json
    assert (stats["accounts"], stats["accounts_counted"], stats["nodes"]) == (3, True, 1)
    assert stats["ended_sessions"] == 1
    assert stats["inboxes_due"] == 0
    assert stats["memory_bytes"] > 0
    assert stats["memory_limit_bytes"] is None
    assert stats["append_only_file"].startswith("on, last write ok")


async def assert_logged_out(user: User) -> None:
    """Neither token of the user is worth anything."""
    assert (await user.upload({})).status == 401
    assert (await user.api.refresh(user.refresh_token)).status == 401


async def test_sessions_end_at_once(run: Inspect, alice: User) -> None:
    """All tokens are dead, sockets close with 4003, and nobody else is touched; the account goes on."""
    bob = await alice.api.register()
    socket, other = await alice.connect(), await bob.connect()
    ended = (await run("end-sessions", alice.id, "--yes", "--json")).json
    assert ended == {"user_id": alice.id, "username": alice.name, "sessions_ended": 2}
    assert await socket.close_code() == 4003
    await assert_logged_out(alice)
    assert (await run("sessions", alice.id)).output == "none\n"
    await bob.deliver(bob, b"to himself")
    assert (await other.envelope()).message.content == b"to himself"
    assert (await alice.api.login(alice.name)).status == 200


async def test_a_deleted_user_is_gone(run: Inspect, alice: User, redis_server: RedisServer) -> None:
    """Sockets close, tokens are dead, no key is left, nobody can write to them, and the name is free."""
    bob, socket = await alice.api.register(), await alice.connect()
    assert keys_of(redis_server, alice)
    deleted = (await run("delete-user", alice.name, "--yes", "--json")).json
    assert deleted == {"user_id": alice.id, "username": alice.name, "deleted": True}
    assert await socket.close_code() == 4003
    await assert_logged_out(alice)
    assert (await alice.api.login(alice.name)).status == 401
    assert (await bob.send(alice, b"too late")).status == 404
    assert keys_of(redis_server, alice) == set()
    with redis_server.client as client:
        assert client.zscore(keyspace.INBOX_EXPIRY, alice.id) is None
        assert client.exists(keyspace.username(alice.name)) == 0
    assert (await alice.api.register(alice.name)).id != alice.id


async def test_a_deletion_that_died_is_finished_by_the_same_command(
    run: Inspect, alice: User, redis_server: RedisServer
) -> None:
    """An account is gone and its name is not: the name still finds what is left, and is freed."""
    with redis_server.client as client:
        client.delete(keyspace.account(UUID(alice.id)))
        assert len(keys_of(redis_server, alice)) > 1
        assert (await run("user", alice.name)).refusal == f"there is no user {alice.name!r}"
        assert (await run("delete-user", alice.name, "--yes")).exit_code == 0
        assert keys_of(redis_server, alice) == set()
        assert client.exists(keyspace.username(alice.name)) == 0


async def test_a_login_at_the_same_time_leaves_nothing(run: Inspect, alice: User, redis_server: RedisServer) -> None:
    """Whoever logs in while the account goes has no session of a user who does not exist."""
    logins = [asyncio.create_task(alice.api.login(alice.name)) for _ in range(20)]
    await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
    assert (await run("delete-user", alice.id, "--yes")).exit_code == 0
    answers = await asyncio.gather(*logins)
    assert {answer.status for answer in answers} <= {200, 401, 503}
    assert keys_of(redis_server, alice) == set()
    for answer in answers:
        if answer.status == 200:
            assert (await alice.api.call("POST", "/v1/keys", token=answer.json["token"], json={})).status == 401


@pytest.mark.parametrize("command", ["end-sessions", "delete-user"])
@pytest.mark.parametrize("typed", ["", "yes\n", "someone else\n"])
async def test_nothing_ends_without_the_name(run: Inspect, alice: User, command: str, typed: str) -> None:
    """What is about to happen is said, and anything but the user's name leaves all as it was."""
    refused = await run(command, alice.id, typed=typed)
    assert refused.exit_code == 1
    assert alice.name in refused.errors
    assert refused.errors.endswith("obscura: nothing was changed\n")
    assert (await alice.upload({})).status == 400
    assert (await run("sessions", alice.id, "--json")).json


@pytest.mark.parametrize("command", ["end-sessions", "delete-user"])
async def test_the_name_confirms(run: Inspect, alice: User, command: str) -> None:
    """Typed as it is, it lets the command go on."""
    assert (await run(command, alice.id, typed=f"{alice.name}\n")).exit_code == 0
    await assert_logged_out(alice)


@pytest.mark.parametrize("command", ["user", "inbox", "sessions", "end-sessions", "delete-user"])
@pytest.mark.parametrize("user", ["nobody at all", "6f1d9a52-3c1e-4d5b-9a70-0f4f6a2c8e11"])
async def test_an_unknown_user_is_one_sentence(run: Inspect, command: str, user: str) -> None:
    """By name or by id: exit code 1."""
    assert (await run(command, user, "--yes")).refusal == f"there is no user {user!r}"


@pytest.mark.parametrize("words", [(), ("usr", "alice"), ("user",), ("inbox", "--json"), ("delete-user", "--yes")])
async def test_what_is_no_command_is_answered_with_the_usage(run: Inspect, words: tuple[str, ...]) -> None:
    """On stderr, with the exit code of a usage error."""
    misused = await run(*words)
    assert (misused.exit_code, misused.output) == (2, "")
    assert misused.errors.startswith("usage: obscura inspect ")


async def test_help_is_no_error(run: Inspect) -> None:
    """It names every command."""
    helped = await run("--help")
    assert (helped.exit_code, helped.errors) == (0, "")
    for command in ("user", "inbox", "sessions", "nodes", "stats", "end-sessions", "delete-user"):
        assert f"  {command} " in helped.output


async def test_a_wrong_flag_is_refused(run: Inspect) -> None:
    """Flags are those of the settings, as with `obscura serve`."""
    assert (await run("stats", "--jsn")).refusal.startswith("--jsn is not a setting")
    assert "Redis is not available" in (await run("stats", "--redis-url", "unix:///nowhere/redis.sock")).refusal


async def test_the_own_redis_of_a_running_server_is_found(
    start_node: StartNode, connect_api: Callable[[Node], Api], short_dir: Path
) -> None:
    """With nothing but the data directory, while the server runs on it and keeps its lock."""
    api = connect_api(await start_node(redis_url=None, jwt_secret="", data_dir=short_dir))
    user = await api.register()
    assert (await run_inspect("user", user.name, "--json", data_dir=short_dir)).json["id"] == user.id
    assert (await run_inspect("delete-user", user.id, "--yes", data_dir=short_dir)).exit_code == 0
    assert (await api.login(user.name, PASSWORD)).status == 401


async def test_a_data_directory_without_a_server_is_left_alone(short_dir: Path) -> None:
    """One sentence names it; nothing is made there and nothing started."""
    folder = short_dir / "data"
    said = (await run_inspect("stats", data_dir=folder)).refusal
    assert said.startswith(f"no server answers in the data directory {folder}: start one there")
    assert not folder.exists()


async def test_a_name_that_looks_like_an_id_can_be_given(run: Inspect, alice: User) -> None:
    """What looks like an id is one; with --by a user is found who took somebody's id for a name."""
    namesake = await alice.api.register(alice.id)
    assert (await run("user", alice.id, "--json")).json["username"] == alice.name
    assert (await run("user", alice.id, "--by", "id", "--json")).json["username"] == alice.name
    assert (await run("user", alice.id, "--by", "name", "--json")).json["id"] == namesake.id
    assert (await run("delete-user", alice.id, "--by=name", "--yes", "--json")).json["user_id"] == namesake.id
    assert (await run("user", alice.id, "--by", "name")).refusal == f"there is no user {alice.id!r}"
    assert (await run("user", alice.id, "--json")).json["username"] == alice.name


async def test_a_name_is_no_id(run: Inspect, alice: User) -> None:
    """Asked for by id, a user's name finds nobody."""
    assert (await run("user", alice.name, "--by", "id")).refusal == f"there is no user {alice.name!r}"


@pytest.mark.parametrize("flags", [("--by",), ("--by", "address"), ("--by", "--json")])
async def test_a_wrong_way_to_find_a_user_is_answered_with_the_usage(run: Inspect, flags: tuple[str, ...]) -> None:
    """Nothing is guessed."""
    misused = await run("user", "alice", *flags)
    assert (misused.exit_code, misused.output) == (2, "")
    assert misused.errors.startswith("usage: obscura inspect ")
