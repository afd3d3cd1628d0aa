"""Through Sentinel: the master of the moment, and nobody else."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from obscura.errors import StartupError, StoreUnavailable
from obscura.redis_client.sentinel import SentinelEndpoint
from tests.support.groups import EventRecorder, listening, started
from tests.support.inspection import metric
from tests.support.ports import free_port
from tests.support.redis7 import MASTER_NAME, RedisProcess, SentinelProcess, SentinelRedis
from tests.support.waiting import eventually

pytestmark = [pytest.mark.groups, pytest.mark.timeout(150)]

RECOVERY_SECS = 60.0


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelRedis]:
    with started(SentinelRedis()) as group:
        yield group


def channel() -> str:
    return f"test:{uuid4()}"


def port_of(recorder: EventRecorder) -> int:
    """Where its commands go."""
    (master,) = recorder.commands.masters
    transport = master._transport
    assert transport is not None
    assert transport._transport is not None
    return int(transport._transport.get_extra_info("peername")[1])


async def recovered(recorder: EventRecorder, name: str) -> None:
    await eventually(recorder.is_well, RECOVERY_SECS)
    await eventually(lambda: recorder.hears(name), RECOVERY_SECS)


async def repair(group: SentinelRedis) -> None:
    """Wait until there is one master with two replicas, and the Sentinels agree on it."""

    def is_whole() -> bool:
        named = set()
        for sentinel in group.sentinels:
            with sentinel.client() as client:
                named.add(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1])
        with group.master.client() as client:
            state = client.info("replication")
        return len(named) == 1 and state["role"] == "master" and state["connected_slaves"] == 2

    await eventually(is_whole, RECOVERY_SECS)


@pytest.mark.usefixtures("patience")
async def test_commands_and_events_go_to_the_master(group: SentinelRedis) -> None:
    """Found by name, over all Sentinels."""
    mine = channel()
    async with listening(group.url, mine, replicas=2) as recorder:
        assert port_of(recorder) == group.master.port
        assert await recorder.commands.call_replicated("SET", mine, "x") == b"OK"
        assert await recorder.hears(mine)


async def test_a_killed_master_is_replaced(group: SentinelRedis) -> None:
    """Calls meanwhile fail in time; then all works at the promoted one, without a restart, and the gap is told."""
    mine = channel()
    async with listening(group.url, mine) as recorder:
        await recorder.commands.call("SCRIPT", "FLUSH")
        victim = group.master
        victim.kill()
        try:
            async with asyncio.timeout(4):
                with pytest.raises(StoreUnavailable):
                    await recorder.commands.call("PING")
            await eventually(lambda: not recorder.events.is_healthy)
            await recovered(recorder, mine)
            await eventually(lambda: is_at_the_master(recorder, group))
            assert has_moved(recorder, victim)
            assert mine in recorder.gaps[-1]
            assert await recorder.database.scripts.run("leases_take", [mine], ["token", 1_000]) == 1
        finally:
            await victim.start()
            await repair(group)


async def test_an_old_master_that_lives_on_is_left(group: SentinelRedis) -> None:
    """After a manual failover: commands and events move, also those of a node that only reads."""
    mine = channel()
    async with listening(group.url, mine) as recorder:
        old, switches = group.master, metric("obscura_redis_master_switches_total")
        await group.fail_over(old)
        await eventually(lambda: has_moved(recorder, old), RECOVERY_SECS)
        await recovered(recorder, mine)
        assert await recorder.commands.call("SET", mine, "x") == b"OK"
        assert metric("obscura_redis_master_switches_total") > switches
        await repair(group)


def is_at_the_master(recorder: EventRecorder, group: SentinelRedis) -> bool:
    with suppress(AssertionError):
        return port_of(recorder) == group.master.port
    return False


def has_moved(recorder: EventRecorder, old: RedisProcess) -> bool:
    with suppress(AssertionError):
        return port_of(recorder) != old.port
    return False


async def test_a_master_that_hangs_is_left(group: SentinelRedis) -> None:
    """One that takes connections and answers nothing; it comes back as a replica, and is not believed."""
    mine = channel()
    async with listening(group.url, mine) as recorder:
        victim = group.master
        victim.pause()
        try:
            await eventually(lambda: has_moved(recorder, victim), RECOVERY_SECS)
            await recovered(recorder, mine)
        finally:
            victim.resume()
        await repair(group)
        await eventually(lambda: is_at_the_master(recorder, group))
        assert has_moved(recorder, victim)


async def test_one_sentinel_is_enough(group: SentinelRedis) -> None:
    """Those that are down, hang, or do not know the service are passed over; with none it is unavailable."""
    gone, hanging, stranger, good = f"127.0.0.1:{free_port()}", group.sentinels[0], group.servers[0], group.sentinels[2]
    ports = f"{gone},127.0.0.1:{hanging.port},127.0.0.1:{stranger.port}"
    master = group.master
    hanging.pause()
    try:
        async with listening(f"redis+sentinel://{ports},127.0.0.1:{good.port}/{MASTER_NAME}") as recorder:
            assert port_of(recorder) == master.port
        await refuses(f"redis+sentinel://{ports}/{MASTER_NAME}", "none of 3 Sentinels")
    finally:
        hanging.resume()


async def refuses(url: str, reason: str) -> None:
    master = SentinelEndpoint(url, "obscura:test")
    async with asyncio.timeout(4):
        with pytest.raises(StoreUnavailable, match=reason):
            await master.connect()
    await master.close()


async def test_a_sentinel_that_lags_is_not_believed(group: SentinelRedis) -> None:
    """It still names a server that was demoted: a newer configuration counts, and without one the server is refused."""
    with group.master.client() as client:
        replica = group.of_port(int(client.info("replication")["slave0"]["port"]))
    async with SentinelProcess(group.master, 2, 60_000) as liar:
        liar_url = f"127.0.0.1:{liar.port}"
        with liar.client() as client:
            client.execute_command("SENTINEL", "REMOVE", MASTER_NAME)
            client.execute_command("SENTINEL", "MONITOR", MASTER_NAME, "127.0.0.1", replica.port, 2)
        # It follows the replica to its master within a second or two; until then:
        with suppress(AssertionError):
            await eventually(lambda: names(liar) != replica.port, 0.01)
        if names(liar) == replica.port:
            await refuses(f"redis+sentinel://{liar_url}/{MASTER_NAME}", "none any more")
        with_others = group.url.replace("redis+sentinel://", f"redis+sentinel://{liar_url},")
        async with listening(with_others) as recorder:
            assert is_at_the_master(recorder, group)


def names(sentinel: SentinelProcess) -> int:
    with sentinel.client() as client:
        return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1])


async def test_a_service_that_nobody_knows_is_refused_at_the_start(group: SentinelRedis) -> None:
    """A wrong name is told at once, not tried for ever."""
    with pytest.raises(StartupError, match="none of 3 Sentinels names a master"):
        async with listening(group.url.replace(f"/{MASTER_NAME}", "/wrong")):
            pass


async def test_a_stop_leaves_nothing_behind(group: SentinelRedis) -> None:
    """No task and no connection, to the servers or to the Sentinels."""
    before = asyncio.all_tasks()
    async with listening(group.url, channel(), replicas=1) as recorder:
        await eventually(lambda: any(sentinel._transport for sentinel in sentinels_of(recorder)))
    assert asyncio.all_tasks() == before
    for process in [*group.servers, *group.sentinels]:
        await eventually(lambda process=process: not is_connected_to(process))


def sentinels_of(recorder: EventRecorder) -> list[Any]:
    assert recorder.database._sentinel is not None
    return recorder.database._sentinel._sentinels


def is_connected_to(process: RedisProcess) -> bool:
    with process.client() as client:
        return any(row["name"].startswith("obscura") for row in client.client_list())
