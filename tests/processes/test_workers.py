"""A node of several processes: one port, one management port, one set of limits, one end."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from obscura.tasks import end_tasks
from tests.conftest import JWT_SECRET
from tests.support.client import Answer, Api, Socket, User
from tests.support.commands import OBSCURA, run
from tests.support.inspection import inbox_of
from tests.support.limits import forwarded_for, is_refused, new_address
from tests.support.node_process import NodeProcess, serve
from tests.support.outages import killed
from tests.support.processes import about, children_of, is_running, server_of, workers_of
from tests.support.redis import RedisServer
from tests.support.waiting import DEADLINE_SECS, eventually

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc"),
]

SLOW = 0.01  # per second: no token comes back during a test
HANG_SECS = 60.0  # 20 until a hung worker is killed, and a start on a busy machine
TRIES = 40  # connections after which each of two workers has surely had some

StartServed = Callable[..., Awaitable[NodeProcess]]


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
async def start(redis_server: RedisServer, short_dir: Path) -> AsyncIterator[StartServed]:
    """Starts a node of two processes; keyword arguments are settings."""
    async with AsyncExitStack() as running:

        async def start(**settings: Any) -> NodeProcess:
            values = {"redis_url": redis_server.url, "jwt_secret": JWT_SECRET, "workers": 2, **settings}
            return await running.enter_async_context(serve(short_dir, **values))

        yield start


@pytest.fixture
async def fresh() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that makes a connection for each request, so that any worker may get it."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(20)) as session:
        yield session
    await asyncio.sleep(0)


async def worker_of(socket: Socket, served: NodeProcess) -> int:
    """Which worker has a socket."""
    port = socket.connection.get_extra_info("sockname")[1]
    pids = workers_of(served.pid)
    return await eventually(lambda: server_of(port, served.api_port, pids)) or 0


async def sockets_on_both(user: User, served: NodeProcess) -> tuple[Socket, Socket]:
    """A socket on each of the two workers."""
    by_worker: dict[int, Socket] = {}
    for _ in range(TRIES):
        socket = await user.connect()
        by_worker.setdefault(await worker_of(socket, served), socket)
        if len(by_worker) == 2:
            break
    assert by_worker.keys() == workers_of(served.pid)
    first, second = by_worker.values()
    return first, second


async def figures(management: Api) -> dict[str, float]:
    """The node's metrics, by name and the values of the labels."""
    text = (await management.call("GET", "/metrics")).body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {" ".join([one.name, *one.labels.values()]): one.value for one in samples}


async def says(management: Api, status: str, workers: str) -> Answer | None:
    """The answer of /readyz once it is this."""
    answer = await management.call("GET", "/readyz")
    return answer if (answer.json["status"], answer.json["workers"]) == (status, workers) else None


@pytest.mark.parametrize("redis", ["external", "embedded"])
async def test_several_processes_serve_one_port(start: StartServed, fresh: aiohttp.ClientSession, redis: str) -> None:
    """Connections come to all of them, and what one is told the other delivers; one management port for all."""
    served = await start(**({} if redis == "external" else {"redis_url": None, "jwt_secret": None}))
    api, management = Api(fresh, served.api_port), Api(fresh, served.management_port)
    alice, bob = await api.register(), await api.register()
    sockets = await sockets_on_both(bob, served)
    await alice.deliver(bob, *(b"%d" % number for number in range(10)))
    for socket in sockets:
        contents = [envelope.message.content for envelope in await socket.envelopes(10)]
        assert contents == [b"%d" % number for number in range(10)]
    ready = await management.call("GET", "/readyz")
    assert (ready.status, ready.json) == (
        200,
        {"status": "ok", "database": "ok", "storage": "ok", "events": "ok", "clock": "ok", "workers": "2 of 2"},
    )
    seen = await figures(management)
    assert seen["obscura_messages_sent_total"] == 10
    assert seen["obscura_gateway_sockets"] >= 2
    assert served.terminate() is None
    assert await served.exit_code() == 0


async def test_a_killed_worker_is_replaced(start: StartServed, fresh: aiohttp.ClientSession) -> None:
    """Not ready meanwhile, the other one serves; no count goes back."""
    served = await start()
    api, management = Api(fresh, served.api_port), Api(fresh, served.management_port)
    alice, bob = await api.register(), await api.register()
    sockets = await sockets_on_both(bob, served)
    await asyncio.gather(*(alice.send(bob, b"x") for _ in range(TRIES)))
    before = await figures(management)
    assert before["obscura_messages_sent_total"] == TRIES

    victim = await worker_of(sockets[0], served)
    os.kill(victim, signal.SIGKILL)
    answer = await eventually(lambda: says(management, "error", "1 of 2"))
    assert (answer.status, answer.json["database"]) == (503, "ok")
    await eventually(lambda: victim not in workers_of(served.pid))  # until then its port may be open, and resets
    await alice.deliver(bob, b"meanwhile")
    assert await sockets[1].is_silent_until(b"meanwhile")  # what came before
    after = await figures(management)
    counts = {name for name in before if re.search(r"_(total|count|sum|bucket)\b", name)}
    assert {name for name in counts if after[name] < before[name]} == set()

    assert (await eventually(lambda: says(management, "ok", "2 of 2"))).status == 200
    await sockets_on_both(bob, served)
    after = await figures(management)
    assert after["obscura_messages_sent_total"] == TRIES + 1
    assert after["obscura_worker_restarts_total"] == 1


async def test_workers_that_cannot_start_again_are_tried_until_they_can(
    start: StartServed, session: aiohttp.ClientSession, own_redis: RedisServer
) -> None:
    """While Redis is away a dead worker is not replaced, nor the node ready; when it is back so is the worker."""
    served = await start(redis_url=own_redis.url)
    management = Api(session, served.management_port)
    with killed(own_redis):
        os.kill(min(workers_of(served.pid)), signal.SIGKILL)

        async def restarts() -> bool:
            return (await figures(management))["obscura_worker_restarts_total"] >= 2

        await eventually(restarts)
        answer = await management.call("GET", "/readyz")
        assert (answer.status, answer.json["workers"], answer.json["database"]) == (503, "1 of 2", "error")
        assert (await management.call("GET", "/livez")).status == 200
    await eventually(lambda: says(management, "ok", "2 of 2"))


async def test_a_worker_that_does_not_answer_is_none(start: StartServed, session: aiohttp.ClientSession) -> None:
    """The node is not ready while one of its processes hangs, and says its last known figures."""
    served = await start(health_db_timeout_ms=100, storage_health_timeout_ms=100)
    management = Api(session, served.management_port)
    before = await figures(management)
    hung = min(workers_of(served.pid))
    os.kill(hung, signal.SIGSTOP)
    try:
        assert (await eventually(lambda: says(management, "error", "1 of 2"))).status == 503
        assert (await figures(management)).keys() >= before.keys()
    finally:
        os.kill(hung, signal.SIGCONT)
    await eventually(lambda: says(management, "ok", "2 of 2"))
    assert hung in workers_of(served.pid)


async def test_a_worker_that_hangs_for_long_is_replaced(start: StartServed, fresh: aiohttp.ClientSession) -> None:
    """One that neither ends nor answers is killed; the others serve, and no count goes back."""
    served = await start()
    api, management = Api(fresh, served.api_port), Api(fresh, served.management_port)
    alice, bob = await api.register(), await api.register()
    sockets = await sockets_on_both(bob, served)
    await asyncio.gather(*(alice.send(bob, b"x") for _ in range(TRIES)))
    assert (await figures(management))["obscura_messages_sent_total"] == TRIES

    hung, other = [await worker_of(socket, served) for socket in sockets]
    os.kill(hung, signal.SIGSTOP)
    await eventually(lambda: not is_running(hung), HANG_SECS)
    assert (await eventually(lambda: says(management, "ok", "2 of 2"), HANG_SECS)).status == 200
    assert other in workers_of(served.pid)
    await sockets_on_both(bob, served)
    after = await figures(management)
    assert after["obscura_messages_sent_total"] == TRIES
    assert (after["obscura_worker_restarts_total"], after["obscura_worker_hangs_total"]) == (1, 1)


@pytest.mark.parametrize("redis", ["external", "embedded"])
async def test_a_killed_supervisor_leaves_nobody(start: StartServed, redis: str) -> None:
    """Neither a worker nor its own Redis."""
    served = await start(**({} if redis == "external" else {"redis_url": None, "jwt_secret": None}))
    children = children_of(served.pid)
    assert len(children) == (2 if redis == "external" else 3)
    served.kill()
    await eventually(lambda: not any(is_running(pid) for pid in children))


async def test_every_socket_is_told_to_leave(
    start: StartServed, fresh: aiohttp.ClientSession, redis_server: RedisServer
) -> None:
    """One after another over the drain time, 1001 to each; all that was acked is written, and the exit code is 0."""
    served = await start(drain_secs=3, ws_ack_batch_size=10_000, ws_ack_flush_interval_ms=3_600_000)
    api, management = Api(fresh, served.api_port), Api(fresh, served.management_port)
    alice = await api.register()
    users = [await api.register() for _ in range(20)]
    sockets = [await user.connect() for user in users]
    assert {await worker_of(socket, served) for socket in sockets} == workers_of(served.pid)
    for user, socket in zip(users, sockets, strict=True):
        await alice.deliver(user, b"1")
        await socket.ack(await socket.envelope())

    served.terminate()
    goodbyes = [asyncio.create_task(socket.close_code()) for socket in sockets]
    await asyncio.wait(goodbyes, return_when=asyncio.FIRST_COMPLETED)
    assert (await management.call("GET", "/readyz")).json["status"] == "draining"
    assert await users[0].try_connect() == 503
    assert not all(goodbye.done() for goodbye in goodbyes)  # whose turn has not come
    assert set(await asyncio.gather(*goodbyes)) == {1001}
    assert await served.exit_code() == 0
    assert not any(inbox_of(redis_server, user) for user in users)


async def test_the_limit_of_sockets_holds_for_all_workers(start: StartServed, fresh: aiohttp.ClientSession) -> None:
    """Not one more than the setting says, on whichever worker; whoever is too many is told 1013."""
    served = await start(max_sockets=5)
    user = await Api(fresh, served.api_port).register(pre_keys=1)  # so that the first word to a socket is a status
    sockets = [await user.connect() for _ in range(TRIES)]
    codes = [await close_code_or_none(socket) for socket in sockets]
    assert (codes.count(None), codes.count(1013)) == (5, TRIES - 5)


async def close_code_or_none(socket: Socket) -> int | None:
    """The code with which a socket was closed at once; None of one that is served."""
    async with asyncio.timeout(DEADLINE_SECS):
        first = await socket.connection.receive()
    return int(first.data) if first.type is aiohttp.WSMsgType.CLOSE else None


async def test_two_sockets_of_an_account_push_each_other_out_on_one_worker_alone(
    start: StartServed, fresh: aiohttp.ClientSession
) -> None:
    """The limit of an account is for each worker: of many sockets the newest on each of the two is served."""
    served = await start(max_sockets_per_account=1)
    user = await Api(fresh, served.api_port).register()
    sockets = [await user.connect() for _ in range(TRIES)]
    goodbyes = [asyncio.create_task(socket.close_code()) for socket in sockets]
    await eventually(lambda: sum(goodbye.done() for goodbye in goodbyes) == TRIES - 2)
    assert {goodbye.result() for goodbye in goodbyes if goodbye.done()} == {4002}
    assert not goodbyes[-1].done()
    await end_tasks(*goodbyes)


async def test_the_standard_limit_holds_for_all_workers(start: StartServed, fresh: aiohttp.ClientSession) -> None:
    """A client that asks all of them gets the burst of the node and no more."""
    served = await start(rate_limit_per_second=SLOW, rate_limit_burst=5)
    api, address = Api(fresh, served.api_port), forwarded_for(new_address())
    answers = [await api.call("GET", "/openapi.yaml", headers=address) for _ in range(TRIES)]
    assert sum(answer.status == 200 for answer in answers) == 5
    assert sum(is_refused(answer) for answer in answers) == TRIES - 5


@pytest.mark.real_start
async def test_no_secret_shows_in_a_process(start: StartServed) -> None:
    """Workers have neither settings nor secrets in their command line and their environment."""
    password = "hush-hush-hush"
    served = await start(storage_secret_key=password)
    for pid in workers_of(served.pid):
        for name in ("cmdline", "environ"):
            assert not any(word in about(pid, name) for word in (JWT_SECRET, password, "OBSCURA_", "redis.sock")), name


@pytest.mark.real_start
async def test_inspect_works_beside_a_node_of_several_processes(start: StartServed, short_dir: Path) -> None:
    """It finds the embedded Redis, and each process on it."""
    await start(redis_url=None, jwt_secret=None)
    seen = await run(*OBSCURA, "inspect", "nodes", "--json", "--data-dir", str(short_dir))
    assert seen.exit_code == 0
    assert len(set(re.findall(r'"([0-9a-f-]{36})"', seen.output))) == 2


async def test_a_taken_port_is_not_shared_with_another_node(start: StartServed, short_dir: Path) -> None:
    """Two nodes on one port would each get half of the clients of the other."""
    served = await start()
    refused = await run(
        *(*OBSCURA, "serve", "--workers", "2", "--host", "127.0.0.1", "--mgmt-port", "0"),
        *("--port", str(served.api_port), "--data-dir", str(short_dir / "other")),
    )
    assert refused.exit_code == 1
    assert refused.errors == f"obscura: cannot listen on 127.0.0.1 port {served.api_port}: address already in use\n"
