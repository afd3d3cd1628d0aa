"""Scripts are run by name, wherever Redis has them from."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import hiredis
import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.commands import Standalone
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.scripts import Scripts, script_folder
from tests.support.inspection import metric
from tests.support.redis import RedisServer

SCRIPT = "leases_take"  # KEYS: the lease; ARGV: a token, and milliseconds


@pytest.fixture
async def commands(redis_server: RedisServer) -> AsyncIterator[Standalone]:
    commands = Standalone(StaticEndpoint(redis_server.url, "obscura:test"))
    await commands.start()
    yield commands
    await commands.stop()


def key() -> str:
    return f"obscura:test:{uuid4()}"


async def test_a_script_is_loaded_when_redis_does_not_have_it(commands: Standalone, redis_server: RedisServer) -> None:
    """As after SCRIPT FLUSH and on a new server; after that its digest is enough."""
    scripts, name = Scripts(commands), key()
    with redis_server.client as client:
        client.script_flush()
    loaded = metric("obscura_redis_scripts_loaded_total")
    for _ in range(3):
        await scripts.run(SCRIPT, [name], ["token", 60_000])
    assert metric("obscura_redis_scripts_loaded_total") == loaded + 1
    with redis_server.client as client:
        assert client.get(name) == "token"


async def test_a_script_is_timed_and_its_errors_are_counted(commands: Standalone) -> None:
    """By its name; an error is the caller's to handle, and nothing is run again."""
    scripts = Scripts(commands)
    times = metric("obscura_redis_operation_duration_seconds_count", operation=SCRIPT)
    errors = metric("obscura_redis_errors_total", operation=SCRIPT)
    await scripts.run(SCRIPT, [key()], ["token", 60_000])
    with pytest.raises(hiredis.ReplyError):
        await scripts.run(SCRIPT, [key()], ["token", "no number"])
    await commands.stop()
    with pytest.raises(StoreUnavailable):
        await scripts.run(SCRIPT, [key()], ["token", 60_000])
    assert metric("obscura_redis_operation_duration_seconds_count", operation=SCRIPT) == times + 3
    assert metric("obscura_redis_errors_total", operation=SCRIPT) == errors + 2


class Recorder:
    """Takes the place of Redis; notes which of the two calls a script takes."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def call(self, *_: Any) -> None:
        self.calls.append("call")

    async def call_replicated(self, *_: Any) -> None:
        self.calls.append("call_replicated")


async def test_what_may_not_be_lost_waits_for_replicas() -> None:
    """As the header of each script says, and no other."""
    for file in script_folder().iterdir():
        recorder = Recorder()
        await Scripts(recorder).run(file.name.removesuffix(".lua"), [])  # type: ignore[arg-type]
        expected = "call_replicated" if "\n-- Replicated: yes" in file.read_text() else "call"
        assert recorder.calls == [expected], file.name


async def test_an_unknown_script_is_a_mistake_of_the_program(commands: Standalone) -> None:
    """It is no reason to ask Redis."""
    with pytest.raises(KeyError):
        await Scripts(commands).run("no_such_script", [])
