"""The events connection: what it hears, in which order, and what it does when it does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.pubsub import Callbacks
from obscura.redis_client.subscriber import Subscriber
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, RedisTransport
from obscura.store import keyspace
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

SUBSCRIBER = b"SUBSCRIBE"


class Node:
    """A node reduced to its two connections; notes what it is told."""

    def __init__(self, url: str, name: str | None = None) -> None:
        endpoint = StaticEndpoint(url, "obscura:test")
        probe = keyspace.probe(name or str(uuid4()))
        self.heard: list[tuple[str, bytes]] = []
        self.gaps = 0
        self.commands = CommandConnection(endpoint)
        self.events = Subscriber(endpoint, self.commands.call, lambda: probe, Callbacks(self._on_event, self._on_gap))

    async def start(self, *channels: str) -> "Node":
        await self.commands.start()
        await self.events.start(set(channels))
        return self

    async def stop(self) -> None:
        await self.events.stop()
        await self.commands.stop()

    async def publish(self, channel: str, *payloads: bytes) -> None:
        for payload in payloads:
            await self.commands.call("PUBLISH", channel, payload)

    def _on_event(self, channel: str, payload: bytes) -> None:
        self.heard.append((channel, payload))

    def _on_gap(self, _channels: Collection[str]) -> None:
        self.gaps += 1


MakeNode = Callable[[str], Node]
Connect = Callable[[StaticEndpoint], Awaitable[RedisTransport]]


@pytest.fixture
async def make_node() -> AsyncIterator[MakeNode]:
    """Makes nodes on a Redis; all are stopped at the end."""
    async with AsyncExitStack() as running:

        def make(url: str) -> Node:
            node = Node(url)
            running.push_async_callback(node.stop)
            return node

        yield make


@pytest.fixture
async def node(make_node: MakeNode, redis_server: RedisServer) -> Node:
    return await make_node(redis_server.url).start()


def channel() -> str:
    return f"test:{uuid4()}"


async def test_what_is_published_after_a_subscription_is_heard_in_order(node: Node) -> None:
    """Every message from then on, and none of other channels."""
    mine, others = channel(), channel()
    await node.publish(mine, b"too early")
    await node.events.subscribe(mine)
    payloads = [b"%d" % number for number in range(500)]
    for payload in payloads:
        await node.publish(mine, payload)
        await node.publish(others, payload)
    await eventually(lambda: len(node.heard) >= 500)
    assert node.heard == [(mine, payload) for payload in payloads]


async def test_a_subscription_made_twice_hears_once(node: Node) -> None:
    """And one UNSUBSCRIBE ends it."""
    mine, other = channel(), channel()
    await asyncio.gather(*(node.events.subscribe(mine) for _ in range(10)), node.events.subscribe(other))
    await node.publish(mine, b"once")
    node.events.unsubscribe(mine)
    await node.events.subscribe(other)
    await node.publish(mine, b"too late")
    await node.publish(other, b"end")
    await eventually(lambda: (other, b"end") in node.heard)
    assert node.heard == [(mine, b"once"), (other, b"end")]


async def test_after_a_gap_all_channels_are_subscribed_again(node: Node, redis_server: RedisServer) -> None:
    """Those of the start, those made later, not those given up; however many there are."""
    channels = [channel() for _ in range(1_700)]
    await asyncio.gather(*(node.events.subscribe(name) for name in channels))
    given_up = channel()
    await node.events.subscribe(given_up)
    node.events.unsubscribe(given_up)
    for gaps in (1, 2):
        with redis_server.client as client:
            client.client_kill_filter(_type="pubsub", skipme=False)
        await eventually(lambda gaps=gaps: node.gaps == gaps)
    assert node.events.is_healthy
    node.heard.clear()
    for name in [*channels[::100], given_up, channels[-1]]:
        await node.publish(name, b"hello")
    await eventually(lambda: (channels[-1], b"hello") in node.heard)
    assert node.heard == [(name, b"hello") for name in [*channels[::100], channels[-1]]]


async def test_a_subscriber_that_is_up_but_dead_is_noticed(make_node: MakeNode, redis_server: RedisServer) -> None:
    """The node misses its own probe, is not healthy, opens another connection and hears again."""
    async with Proxy(redis_server.path) as proxy:
        node = await make_node(proxy.redis_url).start()
        mine = channel()
        await node.events.subscribe(mine)
        proxy.blackhole(SUBSCRIBER)
        proxy.is_silent = True
        await eventually(lambda: not node.events.is_healthy)
        with pytest.raises(StoreUnavailable):
            await node.events.subscribe(channel())
        assert node.gaps == 0
        proxy.is_silent = False
        await eventually(lambda: node.events.is_healthy)
        assert node.gaps == 1
        await node.publish(mine, b"hello")
        await eventually(lambda: (mine, b"hello") in node.heard)
        await node.stop()


async def hangs_up(endpoint: StaticEndpoint) -> RedisTransport:
    """A connection that is over before anybody has it, as when Redis goes away at that moment."""
    transport = await StaticEndpoint.connect(endpoint)
    transport.close()
    await eventually(lambda: transport._transport is None)
    return transport


async def goes_wrong(_: StaticEndpoint) -> RedisTransport:
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize("trouble", [hangs_up, goes_wrong])
async def test_no_trouble_with_a_new_connection_leaves_a_node_deaf(
    node: Node,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[StaticEndpoint], Awaitable[RedisTransport]],
) -> None:
    """Events and commands are tried again, whatever went wrong the first times."""
    troubles = 0

    async def connect(endpoint: StaticEndpoint) -> RedisTransport:
        nonlocal troubles
        troubles += 1
        return await (trouble(endpoint) if troubles <= 4 else StaticEndpoint.connect(endpoint))

    endpoint = node.commands._endpoint
    monkeypatch.setattr(endpoint, "connect", lambda: connect(endpoint), raising=False)
    with redis_server.client as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: troubles > 4)
    await eventually(lambda: node.gaps == 1 and node.events.is_healthy)
    assert await node.commands.call("PING") == b"PONG"


async def test_a_failed_subscription_takes_nothing_from_others(make_node: MakeNode, redis_server: RedisServer) -> None:
    """One that gave up waiting does not undo that of another, confirmed a moment later."""
    clock = asyncio.get_running_loop().time
    async with Proxy(redis_server.path) as proxy:
        node = await make_node(proxy.redis_url).start()
        mine = channel()
        (subscriber,) = proxy.matching(SUBSCRIBER)
        started = clock()
        proxy.delay_secs = REPLY_TIMEOUT_SECS + 0.5
        first = asyncio.create_task(node.events.subscribe(mine))
        await eventually(lambda: mine.encode() in subscriber.said)
        proxy.delay_secs = 0
        await eventually(lambda: clock() > started + 1)  # late enough to be confirmed in time
        second = asyncio.create_task(node.events.subscribe(mine))
        with pytest.raises(StoreUnavailable):
            await first
        await second
        await node.publish(mine, b"hello")
        await eventually(lambda: (mine, b"hello") in node.heard)
        await node.stop()


async def test_a_refused_subscription_is_unavailable(make_node: MakeNode, own_redis: RedisServer) -> None:
    """A Redis user without the right to a channel: an error, not a hang, and no end of the supervision."""
    with own_redis.client as client:
        client.execute_command("ACL", "SETUSER", "default", "resetchannels", "&obscura:node:*", "&test:allowed")
    node = await make_node(own_redis.url).start()
    with pytest.raises(StoreUnavailable):
        await node.events.subscribe("test:forbidden")
    node.events.unsubscribe("test:forbidden")
    await eventually(lambda: node.gaps == 1 and node.events.is_healthy)
    await node.events.subscribe("test:allowed")
    await node.publish("test:allowed", b"hello")
    await eventually(lambda: ("test:allowed", b"hello") in node.heard)


async def test_subscriptions_come_and_go_while_it_reconnects(node: Node, redis_server: RedisServer) -> None:
    """Whatever the order of events: what a caller holds is subscribed, what it gave up is not."""
    channels = [channel() for _ in range(1_200)]
    await asyncio.gather(*(node.events.subscribe(name) for name in channels))
    with redis_server.client as client:
        for turn in range(3):
            client.client_kill_filter(_type="pubsub", skipme=False)
            for name in channels[turn::6]:
                node.events.unsubscribe(name)
                await asyncio.sleep(0)  # the reconnect goes on
            await eventually(lambda turn=turn: node.gaps > turn and node.events.is_healthy)
        held = {name for number, name in enumerate(channels) if number % 6 > 2}
        subscribed = {name for name, count in client.pubsub_numsub(*channels) if count}
    assert subscribed == held


@pytest.mark.parametrize("reconnects", [False, True], ids=["while all is well", "while it reconnects"])
async def test_a_stop_leaves_nothing_behind(redis_server: RedisServer, reconnects: bool) -> None:
    """No task and no connection."""
    tasks_before = asyncio.all_tasks()
    async with Proxy(redis_server.path) as proxy:
        node = await Node(proxy.redis_url).start()
        if reconnects:
            proxy.is_silent = True
            proxy.reset(SUBSCRIBER)
            await eventually(lambda: not node.events.is_healthy)
        await node.stop()
        await eventually(lambda: not proxy.connections)
    assert asyncio.all_tasks() == tasks_before


async def test_events_come_back_over_a_network_as_slow_as_commands_bear(
    make_node: MakeNode, redis_server: RedisServer
) -> None:
    """A round trip of 0.8 s: each step of subscribing again has the time of a reply, for hundreds of channels too."""
    channels = [f"obscura:test:{uuid4()}:{number}" for number in range(1200)]
    async with Proxy(redis_server.path) as proxy:
        node = await make_node(proxy.redis_url).start(*channels)
        proxy.delay_secs = 0.4
        proxy.reset()
        await eventually(lambda: node.commands.is_connected and node.gaps == 1)
        await node.publish(channels[-1], b"heard")
        await eventually(lambda: (channels[-1], b"heard") in node.heard)
        await node.stop()
