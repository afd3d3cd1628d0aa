"""Lost, late and doubled events cost latency, never a message; and a node knows when it is deaf."""

import asyncio
import signal
from collections.abc import Callable

import aiohttp
import pytest
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.model.message_ids import MessageIds
from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.gateway.sockets import Connect
from tests.support.client import Answer, Api, Socket, User
from tests.support.inspection import inbox_of, metric, uuid_of
from tests.support.proxy import Proxy
from tests.support.raw_socket import CLOSE, RawSocket
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

Readiness = Callable[[Node], "asyncio.Future[Answer]"]

SUBSCRIBER = b"SUBSCRIBE"


@pytest.fixture
def readiness(session: aiohttp.ClientSession) -> Readiness:
    """Asks a node's /readyz."""
    return lambda node: asyncio.ensure_future(Api(session, node.management_port).call("GET", "/readyz"))


async def until_ready(readiness: Readiness, *nodes: Node) -> None:
    async def all_are_ready() -> bool:
        return all([(await readiness(node)).status == 200 for node in nodes])

    await eventually(all_are_ready)


async def until_deaf(readiness: Readiness, *nodes: Node) -> list[Answer]:
    """Wait until all say so, and return their answers."""

    async def all_say_so() -> list[Answer]:
        answers = [await readiness(node) for node in nodes]
        return answers if all(answer.json["events"] == "error" for answer in answers) else []

    answers = await eventually(all_say_so)
    assert {answer.status for answer in answers} == {503}
    return answers


async def until_sent(sender: User, recipient: User, content: bytes) -> None:
    """Send until it is a 201: each attempt before may have been stored, too."""

    async def is_stored() -> bool:
        return (await sender.send(recipient, content)).status == 201

    await eventually(is_stored)


async def contents_until(socket: Socket, last: bytes) -> list[bytes]:
    return [*await socket.is_silent_until(last), last]


async def test_a_subscriber_that_is_killed_costs_no_message(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """CLIENT KILL TYPE pubsub, again and again in the middle of a flood: all arrive once and in order."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    socket = await bob.connect()
    gaps_before = metric("obscura_events_gaps_total")
    senders = [alice.at(two_apis[index % 2]) for index in range(8)]
    flooding = asyncio.gather(*(sender.deliver(bob, *[b"message"] * 60) for sender in senders))
    with redis_server.client as client:
        for _ in range(5):
            client.client_kill_filter(_type="pubsub", skipme=False)
            await asyncio.gather(*(alice.at(api).bundle_of(bob) for api in two_apis))
    received = [(await socket.envelope()).id for _ in range(480)]
    await flooding
    ids = MessageIds(uuid_of(bob))
    assert received == [ids.encode(entry).decode() for entry in inbox_of(redis_server, bob)]
    await eventually(lambda: metric("obscura_events_gaps_total") > gaps_before)


async def test_a_deaf_node_says_so_and_makes_up_for_what_it_missed(
    start_node: StartNode, connect_api: Connect, readiness: Readiness, redis_server: RedisServer
) -> None:
    """Its subscriber hangs: /readyz is 503; then every local inbox and the ended sessions are read again."""
    async with Proxy(redis_server.path) as proxy:
        deaf = await start_node(redis_url=proxy.redis_url)
        hearing, api = connect_api(await start_node()), connect_api(deaf)
        alice, bob, carol = await hearing.register(), await api.register(), await api.register()
        other = await bob.another_session()
        sockets, ended = [await bob.connect(), await carol.connect()], await RawSocket.open(api.port, other.token)
        proxy.blackhole(SUBSCRIBER)
        proxy.is_silent = True
        await alice.deliver(bob, b"missed")
        await alice.deliver(carol, b"missed")
        await other.at(hearing).logout()
        (answer,) = await until_deaf(readiness, deaf)
        assert answer.json["database"] == "ok"
        assert await carol.try_connect() == 503
        proxy.is_silent = False
        for socket in sockets:
            assert (await socket.envelope()).message.content == b"missed"
        assert (await ended.frames_until(CLOSE))[-1].close_code == 4003
        assert await other.try_connect() == 401
        await until_ready(readiness, deaf)
        await alice.deliver(bob, b"live")
        assert (await sockets[0].envelope()).message.content == b"live"
        await deaf.stop()


async def test_a_device_that_was_replaced_during_a_gap_is_told_so(
    start_node: StartNode, connect_api: Connect, readiness: Readiness, redis_server: RedisServer
) -> None:
    """4001, as its node would have said if it had heard: with 4003 its client would log in again, and take over."""
    async with Proxy(redis_server.path) as proxy:
        deaf = await start_node(redis_url=proxy.redis_url)
        hearing, api = connect_api(await start_node()), connect_api(deaf)
        bob = await api.register()
        other, logged_out = await bob.another_session(), await bob.another_session()
        sockets = [await user.at(api).connect() for user in (bob, logged_out)]
        proxy.blackhole(SUBSCRIBER)
        proxy.is_silent = True
        await logged_out.at(hearing).logout()
        answer = await other.at(hearing).upload(Device().takeover(1, one_time_keys(1, 30)))
        assert answer.status == 200
        await until_deaf(readiness, deaf)
        proxy.is_silent = False
        assert [await socket.close_code() for socket in sockets] == [4001, 4003]
        await until_ready(readiness, deaf)
        await deaf.stop()


async def test_what_a_failover_put_before_the_last_envelope_needs_no_reconnect(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """A new master lacks what was pushed last, and has an older message instead: that comes, and nothing else again."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    socket = await bob.connect()
    await alice.deliver(bob, b"kept", b"undone")
    await socket.envelopes(2)
    inbox, account = keyspace.inbox(uuid_of(bob)), keyspace.account(uuid_of(bob))
    with Redis(unix_socket_path=str(redis_server.path)) as client:
        (kept_id, kept), (_, undone) = client.xrange(inbox)
        client.delete(inbox)
        client.xadd(inbox, undone, f"{int(kept_id.split(b'-')[0]) - 1}-0")
        client.xadd(inbox, kept, kept_id)
        client.hset(account, "inbox_last", kept_id)
        client.client_kill_filter(_type="pubsub", skipme=False)
    async with asyncio.timeout(5):
        assert (await socket.envelope()).message.content == b"undone"
    await alice.deliver(bob, b"after")
    assert (await socket.envelope()).message.content == b"after"


async def test_the_device_that_took_over_stays_at_a_node_that_hears_of_it_late(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Its new socket is not closed by the takeover it made before it connected; the old one is."""
    async with Proxy(redis_server.path) as proxy:
        late = await start_node(redis_url=proxy.redis_url)
        hearing, api = connect_api(await start_node()), connect_api(late)
        alice, bob = await hearing.register(), await api.register()
        old = await bob.connect()
        proxy.delay_secs = 0.3
        answer = await bob.at(hearing).upload(Device().takeover(1, one_time_keys(1, 30)))
        assert answer.status == 200
        new = await bob.connect()
        proxy.delay_secs = 0
        assert await old.close_code() == 4001
        await alice.deliver(bob, b"for the new device")
        assert (await new.envelope()).message.content == b"for the new device"
        await late.stop()


async def test_a_single_lost_event_is_made_up_for_by_the_next(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """The next event names a predecessor that the socket has not seen: the inbox is read from there on."""
    async with Proxy(redis_server.path) as proxy:
        node = await start_node(redis_url=proxy.redis_url)
        api = connect_api(node)
        alice, bob = await api.register(), await api.register()
        socket = await bob.connect()
        await alice.deliver(bob, b"first")
        (subscriber,) = proxy.matching(SUBSCRIBER)
        subscriber.swallows_replies = True
        await alice.deliver(bob, b"lost")
        await eventually(lambda: b"lost" in subscriber.swallowed)
        subscriber.swallows_replies = False
        await alice.deliver(bob, b"next")
        assert await contents_until(socket, b"next") == [b"first", b"lost", b"next"]
        await node.stop()


async def test_doubled_and_late_events_deliver_nothing_again(api: Api, redis_server: RedisServer) -> None:
    """Events published a second time, in whatever order, are of messages that were pushed."""
    alice, bob = await api.register(), await api.register()
    socket = await bob.connect()
    channel = keyspace.events(uuid_of(bob))
    with Redis(unix_socket_path=str(redis_server.path)) as client, client.pubsub() as subscriber:
        subscriber.subscribe(channel)
        contents = [b"%d" % number for number in range(5)]
        await alice.deliver(bob, *contents)
        heard = [message["data"] for message in (subscriber.get_message(timeout=5) for _ in range(6)) if message]
        events = [event for event in heard if isinstance(event, bytes)]
        assert len(events) == 5
        for event in [*events, *reversed(events), b"", b"nonsense", b"message 1 2", b"message x-y 0-0 z\nbody"]:
            client.publish(channel, event)
    await alice.deliver(bob, b"the end")
    assert await contents_until(socket, b"the end") == [*contents, b"the end"]


async def test_sockets_outlive_a_redis_that_is_killed(
    start_node: StartNode, connect_api: Connect, readiness: Readiness, own_redis: RedisServer
) -> None:
    """Sends are refused meanwhile; afterwards the same sockets get everything, and nothing was restarted."""
    nodes = [await start_node(redis_url=own_redis.url) for _ in range(2)]
    first, second = (connect_api(node) for node in nodes)
    alice, bob = await first.register(), await second.register()
    sockets = [await bob.at(api).connect() for api in (first, second)]
    await alice.deliver(bob, b"before")
    own_redis.kill()
    await until_deaf(readiness, *nodes)
    refused = await alice.send(bob, b"refused")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    own_redis.start()
    await until_sent(alice, bob, b"after")
    for socket in sockets:
        assert await contents_until(socket, b"after") == [b"before", b"after"]
    await until_ready(readiness, *nodes)


async def test_a_flood_survives_a_redis_that_is_killed_in_its_middle(
    start_node: StartNode, connect_api: Connect, readiness: Readiness, own_redis: RedisServer
) -> None:
    """Each message that got its 201 arrives, once and in the order stored."""
    nodes = [await start_node(redis_url=own_redis.url) for _ in range(2)]
    apis = [connect_api(node) for node in nodes]
    alice, bob = await apis[0].register(), await apis[1].register()
    sockets = [await bob.at(api).connect() for api in apis]
    stored: list[bytes] = []

    async def send_many(index: int) -> None:
        for number in range(80):
            content = b"%d %d" % (index, number)
            if (await alice.at(apis[index % 2]).send(bob, content)).status == 201:
                stored.append(content)

    flooding = asyncio.gather(*(send_many(index) for index in range(8)))
    await eventually(lambda: len(stored) > 100)
    own_redis.kill()
    own_redis.start()
    await flooding
    await until_sent(alice, bob, b"the end")
    ids = MessageIds(uuid_of(bob))
    in_order = [ids.encode(entry).decode() for entry in inbox_of(own_redis, bob)]
    for socket in sockets:
        envelopes = await socket.envelopes(len(in_order))
        assert [envelope.id for envelope in envelopes] == in_order
        assert set(stored) <= {envelope.message.content for envelope in envelopes}


async def test_sockets_outlive_a_redis_that_hangs(
    start_node: StartNode, connect_api: Connect, readiness: Readiness, own_redis: RedisServer
) -> None:
    """Stopped and continued: sends and connects are refused meanwhile, and nothing that got its 201 is lost."""
    nodes = [await start_node(redis_url=own_redis.url) for _ in range(2)]
    first, second = (connect_api(node) for node in nodes)
    alice, bob = await first.register(), await second.register()
    sockets = [await bob.at(api).connect() for api in (first, second)]
    await alice.deliver(bob, b"before")
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    refused = await asyncio.gather(alice.send(bob, b"during"), bob.at(first).try_connect())
    assert (refused[0].status, refused[1]) == (503, 503)
    for answer in await until_deaf(readiness, *nodes):
        assert answer.json["database"] == "error"
    own_redis.process.send_signal(signal.SIGCONT)
    await until_sent(alice, bob, b"after")
    for socket in sockets:
        contents = await contents_until(socket, b"after")
        assert contents[0] == b"before"
        assert set(contents[1:-1]) <= {b"during", b"after"}  # Redis may have read them before it answered nobody
    await until_ready(readiness, *nodes)
