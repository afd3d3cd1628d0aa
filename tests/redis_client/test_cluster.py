"""A Cluster: every command where its key lies, whatever becomes of the servers; events go on meanwhile.

Where channels are subscribed is tested in test_cluster_subscriber.py.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from uuid import uuid4

import hiredis
import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client import connection, replication
from obscura.redis_client.addresses import Address
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.slot_map import slot_of_key
from tests.support.groups import EventRecorder, Migration, id_of, listening, owner_of, repair, started
from tests.support.inspection import metric
from tests.support.redis7 import ClusterRedis, RedisProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.groups

SLOTS_MOVED = 100
RECOVERY_SECS = 20.0
TWO_KEYS = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GETSET', KEYS[2], ARGV[1]) or ''"


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[ClusterRedis]:
    with started(ClusterRedis()) as cluster:
        yield cluster


def channel() -> str:
    return f"test:{{{uuid4()}}}:events"


async def test_every_command_goes_where_its_key_lies(redis_cluster: ClusterRedis) -> None:
    """Keys of all slots, scripts with several keys, and commands without any."""
    async with listening(redis_cluster.url) as recorder:
        call = recorder.commands.call
        keys = [f"test:{uuid4()}" for _ in range(300)]
        assert await asyncio.gather(*(call("SET", key, key) for key in keys)) == [b"OK"] * 300
        assert await asyncio.gather(*(call("GET", key) for key in keys)) == [key.encode() for key in keys]
        tag = f"test:{{{uuid4()}}}"
        assert await call("EVAL", TWO_KEYS, 2, f"{tag}:a", f"{tag}:b", "value") == b""
        assert await call("GET", f"{tag}:b") == b"value"
        assert await call("PING") == b"PONG"
        assert len(await call("TIME")) == 2
        assert len(recorder.commands.masters) == 3
        with pytest.raises(hiredis.ReplyError, match="WRONGTYPE"):
            await call("LPUSH", keys[0], "x")


async def test_every_answer_belongs_to_its_request_though_others_are_cancelled(
    redis_cluster: ClusterRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 of 10,000 calls are cancelled at random points; half of all wait for a replica."""
    # On a busy machine neither servers nor replicas are quick, and whose answer is whose does not depend on it.
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECS", 30.0)
    monkeypatch.setattr(replication, "_WAIT_MS", 20_000)
    async with listening(redis_cluster.url, replicas=1) as recorder:
        chance = random.Random(11)

        async def echo(number: int) -> None:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)  # begin in different ticks
            text = f"{number} " * chance.choice([1, 20, 500])
            call = chance.choice([recorder.commands.call, recorder.commands.call_replicated])
            key = f"test:echo:{number % 500}"
            assert await call("EVAL", "redis.call('SET', KEYS[1], 1) return ARGV[1]", 1, key, text) == text.encode()

        async def cancel(task: asyncio.Task[None]) -> None:
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)  # some before they were sent, some with their reply under way
            task.cancel()

        cancelled, right = 0, 0
        for turn in range(5):  # not all at once: a busy machine answers each in time
            tasks = [asyncio.create_task(echo(turn * 2_000 + number)) for number in range(2_000)]
            await asyncio.gather(*(cancel(task) for task in tasks[::2]))
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled += sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
            right += outcomes[1::2].count(None)
        assert right == 5_000
        assert cancelled > 2_500


async def test_a_command_finds_its_key_while_its_slot_is_moved(redis_cluster: ClusterRedis) -> None:
    """ASK for what has moved already and for what is new, TRYAGAIN until all of several keys are there, then MOVED."""
    tag = f"test:{{{uuid4()}}}"
    first, second, other = f"{tag}:1", f"{tag}:2", f"{tag}:3"
    async with listening(redis_cluster.url) as recorder:
        call = recorder.commands.call
        await call("EVAL", TWO_KEYS, 2, first, second, "old")
        migration = Migration(redis_cluster, first)
        migration.begin()
        migration.move(first)
        assert await call("GET", first) == b"old"
        assert await call("SET", other, "new") == b"OK"
        waiting = asyncio.create_task(call("EVAL", TWO_KEYS, 2, first, second, "new"))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        migration.move(second, other)
        assert await waiting == b"old"
        migration.end()
        assert await call("GET", other) == b"new"
        with migration.target.client() as client:
            assert [client.get(key) for key in (first, second, other)] == ["new"] * 3


async def test_redirections_are_counted_by_kind(redis_cluster: ClusterRedis) -> None:
    """ASK and TRYAGAIN while a slot is on its way, MOVED and the new owner when it is there."""
    tag = f"test:{{{uuid4()}}}"
    first, second = f"{tag}:1", f"{tag}:2"

    def redirections() -> dict[str, float]:
        return {kind: metric("obscura_redis_redirections_total", kind=kind) for kind in ("ASK", "TRYAGAIN", "MOVED")}

    async with listening(redis_cluster.url) as recorder:
        call = recorder.commands.call
        await call("EVAL", TWO_KEYS, 2, first, second, "old")
        before, changes = redirections(), metric("obscura_redis_slot_changes_total")
        migration = Migration(redis_cluster, first)
        migration.begin()
        migration.move(first)
        await call("GET", first)
        assert redirections() == {**before, "ASK": before["ASK"] + 1}
        waiting = asyncio.create_task(call("EVAL", TWO_KEYS, 2, first, second, "new"))
        await eventually(lambda: redirections()["TRYAGAIN"] > before["TRYAGAIN"])
        migration.move(second)
        await waiting
        assert redirections()["MOVED"] == before["MOVED"]
        migration.end()
        await call("GET", first)
        assert redirections()["MOVED"] == before["MOVED"] + 1
        await eventually(lambda: metric("obscura_redis_slot_changes_total") == changes + 1)


async def test_a_slot_that_stays_half_moved_is_unavailable(redis_cluster: ClusterRedis) -> None:
    """A script whose keys lie apart is not tried for ever, nor refused as wrong."""
    tag = f"test:{{{uuid4()}}}"
    async with listening(redis_cluster.url) as recorder:
        await recorder.commands.call("EVAL", TWO_KEYS, 2, f"{tag}:1", f"{tag}:2", "old")
        migration = Migration(redis_cluster, tag)
        migration.begin()
        migration.move(f"{tag}:1")
        async with asyncio.timeout(4):
            with pytest.raises(StoreUnavailable):
                await recorder.commands.call("EVAL", TWO_KEYS, 2, f"{tag}:1", f"{tag}:2", "new")
        migration.move(f"{tag}:2")
        migration.end()
        assert await recorder.commands.call("GET", f"{tag}:1") == b"old"


class Load:
    """Scripts with two keys, and events, in slots of one master; it counts errors and goes on."""

    def __init__(self, recorder: EventRecorder, tags: list[str]) -> None:
        self._ear = recorder
        self.channels = [f"{tag}:events" for tag in tags]
        self._tags = tags
        self.done = 0
        self.failures: list[BaseException] = []
        self.published: dict[str, list[tuple[bytes, int]]] = {name: [] for name in self.channels}  # and gaps before
        self._is_over = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._is_over = True
        await self._task

    async def _run(self) -> None:
        await asyncio.gather(*(self._work(tag) for tag in self._tags))

    async def _work(self, tag: str) -> None:
        for number in itertools.count():
            if self._is_over:
                return
            try:
                await self._ear.commands.call("EVAL", TWO_KEYS, 2, f"{tag}:1", f"{tag}:2", str(number))
                gaps = len(self._ear.gaps)
                await self._ear.publish(f"{tag}:events", str(number))
            except (StoreUnavailable, hiredis.ReplyError) as error:
                self.failures.append(error)
            else:
                self.published[f"{tag}:events"].append((b"%d" % number, gaps))
                self.done += 1
            await asyncio.sleep(0.005)

    def lost(self) -> list[tuple[str, bytes]]:
        """Events that were neither heard nor covered by a later gap that names their channel."""
        heard = set(self._ear.heard)
        return [
            (name, payload)
            for name, events in self.published.items()
            for payload, gaps in events
            if (name, payload) not in heard and not any(name in gap for gap in self._ear.gaps[gaps:])
        ]


def tags_on(server: RedisProcess, cluster: ClusterRedis, count: int) -> list[str]:
    """Hash tags whose slots are the first ones of a master: those that a reshard takes first."""
    with server.client() as client:
        reply = client.execute_command("CLUSTER NODES")
    ranges = next(state["slots"] for address, state in reply.items() if address == f"127.0.0.1:{server.port}")
    first = min(int(bounds[0]) for bounds in ranges)
    tags = (f"test:{{{number}}}" for number in itertools.count())
    return list(itertools.islice((tag for tag in tags if first <= slot_of_key(tag) < first + SLOTS_MOVED), count))


async def reshard(cluster: ClusterRedis, source: RedisProcess, target: RedisProcess, slots: int) -> None:
    arguments = ["--cluster-from", id_of(source), "--cluster-to", id_of(target), "--cluster-slots", str(slots)]
    await cluster.cli("reshard", f"127.0.0.1:{source.port}", *arguments)


async def test_a_reshard_under_load_fails_nothing(redis_cluster: ClusterRedis) -> None:
    """A new master joins, is given slots in use, and leaves again: no call fails, no event is lost unnoticed."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-allow-replica-migration", "no")
    async with RedisProcess(*options) as newcomer, listening(redis_cluster.url) as recorder:
        old = redis_cluster.masters[0]
        await redis_cluster.cli("add-node", f"127.0.0.1:{newcomer.port}", f"127.0.0.1:{old.port}")
        redis_cluster._processes.append(newcomer)
        try:
            await eventually(lambda: newcomer in redis_cluster.masters)
            await eventually(lambda: knows_all(redis_cluster))
            load = Load(recorder, tags_on(old, redis_cluster, 20))
            await asyncio.gather(*map(recorder.events.subscribe, load.channels))
            await reshard(redis_cluster, old, newcomer, SLOTS_MOVED)
            address = Address("127.0.0.1", newcomer.port)
            cluster = recorder.commands
            assert isinstance(cluster, Cluster)
            await eventually(lambda: address in cluster.master_addresses)
            done = load.done
            await eventually(lambda: load.done > done + 100)
            await eventually(recorder.is_well)

            await reshard(redis_cluster, newcomer, old, SLOTS_MOVED)
            await eventually(lambda: address not in cluster.master_addresses)
            done = load.done
            await eventually(lambda: load.done > done + 100)
            for name in load.channels[:3]:
                await eventually(lambda name=name: recorder.hears(name))
            await load.stop()
            assert load.failures == []
            assert await eventually(lambda: not load.lost())
            await eventually(recorder.is_well)
        finally:
            redis_cluster._processes.remove(newcomer)
            await redis_cluster.cli("del-node", f"127.0.0.1:{old.port}", id_of(newcomer))


def knows_all(cluster: ClusterRedis) -> bool:
    """Whether every server has heard of every other, and sees all slots served."""
    states = []
    for server in cluster._processes:
        with server.client() as client:
            states.append(client.cluster("INFO"))
    known = str(len(states))
    return all(state["cluster_known_nodes"] == known and state["cluster_state"] == "ok" for state in states)


async def recovered(recorder: EventRecorder, names: list[str]) -> None:
    await eventually(recorder.is_well, RECOVERY_SECS)
    for name in names:
        await eventually(lambda name=name: recorder.hears(name))


async def test_a_killed_master_is_replaced(redis_cluster: ClusterRedis) -> None:
    """The promoted replica is found without a restart; calls meanwhile fail in time; the gap names its channels."""
    channels = [channel() for _ in range(30)]
    async with listening(redis_cluster.url, *channels) as recorder:
        victim = owner_of(redis_cluster, channels[0])
        orphaned = {name for name in channels if owner_of(redis_cluster, name) is victim}
        victim.kill()
        try:
            async with asyncio.timeout(4):
                with pytest.raises(StoreUnavailable):
                    await recorder.publish(channels[0], "nobody there")
            await eventually(lambda: not recorder.events.is_healthy)
            await recovered(recorder, channels)
            assert orphaned <= set().union(*recorder.gaps)
        finally:
            await victim.start()
            await repair(redis_cluster)


async def test_a_manual_failover_is_followed(redis_cluster: ClusterRedis) -> None:
    """The old master lives on as a replica: it is left, and its channels are heard at the new one."""
    channels = [channel() for _ in range(12)]
    async with listening(redis_cluster.url, *channels) as recorder:
        old = redis_cluster.masters[0]
        replica = next(server for server in redis_cluster.servers if is_replica_of(server, old))
        await redis_cluster.promote(replica)
        await eventually(lambda: old not in redis_cluster.masters)
        await eventually(lambda: Address("127.0.0.1", replica.port) in cluster_of(recorder).master_addresses)
        await recovered(recorder, channels)
        await eventually(lambda: not is_connected_to(old, recorder))
        await repair(redis_cluster)


def cluster_of(recorder: EventRecorder) -> Cluster:
    assert isinstance(recorder.commands, Cluster)
    return recorder.commands


def is_replica_of(server: RedisProcess, master: RedisProcess) -> bool:
    with server.client() as client:
        links = client.info("replication")
    return links["role"] == "slave" and links["master_port"] == master.port


def is_connected_to(server: RedisProcess, _ear: EventRecorder) -> bool:
    with server.client() as client:
        return any(row["name"] == "obscura:recorder" for row in client.client_list())


async def test_a_cluster_that_is_down_is_unavailable(redis_cluster: ClusterRedis) -> None:
    """CLUSTERDOWN is no fault of the command: calls and subscriptions fail in time, then all is well again."""
    mine, probe = channel(), f"test:{uuid4()}"
    async with listening(redis_cluster.url, mine) as recorder:
        owner = owner_of(redis_cluster, probe)
        with owner.client() as client:
            client.execute_command("CLUSTER DELSLOTS", slot_of_key(probe))
        try:

            async def is_refused() -> bool:
                with suppress(StoreUnavailable):
                    async with asyncio.timeout(4):
                        await recorder.commands.call("SET", probe, "x")
                    return False
                return True

            await eventually(is_refused)
        finally:
            with owner.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", slot_of_key(probe))
        await recovered(recorder, [mine])

        async def is_done() -> bool:
            with suppress(StoreUnavailable):  # until its master has heard that all slots have an owner again
                return bool(await recorder.commands.call("SET", probe, "x") == b"OK")
            return False

        assert await eventually(is_done)


@pytest.mark.parametrize("trouble", ["none", "a master is killed"])
async def test_a_stop_leaves_nothing_behind(redis_cluster: ClusterRedis, trouble: str) -> None:
    """No task and no connection, also in the middle of a failover; calls under way and later ones fail."""
    before = asyncio.all_tasks()
    recorder = EventRecorder(redis_cluster.url, replicas=1)
    await recorder.database.start(())
    await recorder.events.subscribe(channel())
    victim = redis_cluster.masters[0]
    calls: list[Awaitable[object]] = []
    if trouble == "a master is killed":
        victim.kill()
        calls = [asyncio.create_task(recorder.commands.call("GET", f"test:{number}")) for number in range(20)]
        await asyncio.sleep(0)
    await recorder.database.stop()
    await asyncio.gather(*calls, return_exceptions=True)
    with pytest.raises(StoreUnavailable):
        await recorder.commands.call("GET", "test")
    assert asyncio.all_tasks() == before
    if trouble != "none":
        await victim.start()
        await repair(redis_cluster)
    for server in redis_cluster.servers:
        await eventually(lambda server=server: not is_connected_to(server, recorder))
