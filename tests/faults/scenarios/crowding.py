"""No room left in Redis or in an inbox, and everybody coming back at once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import aiohttp
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.client.errors import ExchangeError
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import Envelope
from tests.faults import checker
from tests.faults.bystanders import abused
from tests.faults.history import History
from tests.faults.report import Findings
from tests.faults.scenarios.abuse import extra_node, fill, number_of, received
from tests.faults.testbed import Testbed
from tests.faults.websocket import GatewaySocket, status_of
from tests.support.client import Api, User
from tests.support.outages import is_refusal
from tests.support.waiting import eventually

_WAITING = 20

_MAX_BYTES = 2_000_000
_LARGE_BYTES = 50_000
_SENDERS = 4
_EACH = 50
_FLOOD_MB = 20.0

_RECONNECTS_PER_SEC = 1_000
_SOCKETS_EACH = 100
_PENDING = 3


async def redis_full(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """Redis at maxmemory under load: what would make it grow is refused, the rest goes on, nothing is lost."""
    assert testbed.redis is not None
    async with aiohttp.ClientSession() as session, testbed.crowd.round() as history, testbed.crowd.at_work():
        for _ in range(times):
            persons = await _Persons.register(Api(session, testbed.random.choice(testbed.nodes).port))
            await asyncio.sleep(testbed.random.uniform(0.3, 1))
            with testbed.redis.client() as client, _full(client):
                began = testbed.now
                await persons.do_all(client, found)
                await asyncio.sleep(max(0, began + length_secs - testbed.now))
                ended = testbed.now
            await eventually(persons.may_grow)
            refused = _refused_between(history, began, ended)
            found.worst("sends refused", refused)
            found.expect(refused > 0, "nothing was refused")
            found.faults += checker.accepted_between(history, began, ended)
            found.repetitions += 1
    found.read(history)
    found.faults += checker.cut(history)


@contextmanager
def _full(client: Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def _refused_between(history: History, began: float, ended: float) -> int:
    return sum(
        attempt.status == 503 and began < attempt.began and attempt.ended < ended
        for message in history.sent.values()
        for attempt in message.attempts
    )


@dataclass(frozen=True)
class _Persons:
    """Who does everything once while there is no room."""

    alice: User
    leaving: User
    replaced: User

    @classmethod
    async def register(cls, api: Api) -> Self:
        alice = await api.register()
        persons = cls(alice, await alice.another_session(), await alice.another_session())
        await alice.deliver(alice, *(b"%d" % number for number in range(_WAITING)))
        return persons

    async def do_all(self, client: Redis, found: Findings) -> None:
        alice = self.alice
        found.expect(is_refusal(await alice.send(alice, b"too much")), "a message was not refused")
        upload = await alice.api.call("POST", "/v1/attachments", token=alice.token, data=b"bytes")
        found.expect(is_refusal(upload), f"an upload was answered {upload.status}")
        numbers = [number_of(content) for content in await received(alice, _WAITING)]
        found.expect(numbers == list(range(_WAITING)), "what waited did not come")
        left = client.xlen(keyspace.inbox(alice.id))
        found.expect(left == 0, f"{left} acked messages are still there")
        refresh = await alice.api.refresh(alice.refresh_token)
        found.expect(refresh.status == 200, f"a refresh was answered {refresh.status}")
        logout = await self.leaving.logout()
        found.expect(logout.status == 200, f"a logout was answered {logout.status}")
        takeover = await alice.upload(Device().takeover(1, one_time_keys(1, 3)))
        found.expect(takeover.status == 200, f"a takeover was answered {takeover.status}")
        statuses = {(await user.send(alice, b"hello")).status for user in (self.leaving, self.replaced)}
        found.expect(statuses == {401}, f"ended sessions were answered {statuses}")

    async def may_grow(self) -> bool:
        upload = await self.alice.api.call("POST", "/v1/attachments", token=self.alice.token, data=b"bytes")
        return upload.status == 201 and (await self.alice.send(self.alice, b"fits")).status == 201


async def inbox_flooded(testbed: Testbed, times: int, found: Findings) -> None:
    """Several send to one without end: the oldest go and are counted, and nobody else loses anything."""
    async with extra_node(testbed, max_inbox_bytes=_MAX_BYTES, max_message_bytes=2 * _LARGE_BYTES) as (node, api):
        for _ in range(times):
            recipient, *senders = [await api.register() for _ in range(_SENDERS + 1)]
            dropped = await node.metric("obscura_messages_dropped_total")
            async with abused(testbed, node, found) as abuse:
                await asyncio.gather(*(fill(sender, recipient, _EACH, _LARGE_BYTES) for sender in senders))
            dropped = await node.metric("obscura_messages_dropped_total") - dropped
            kept = int(_SENDERS * _EACH - dropped)
            numbers = [number_of(content) for content in await received(recipient, kept)]
            found.expect(len(numbers) == kept, f"{kept} were kept, {len(numbers)} came")
            found.expect(
                0.8 * _MAX_BYTES < len(numbers) * _LARGE_BYTES <= _MAX_BYTES, f"{len(numbers)} came of a full inbox"
            )
            oldest = _EACH - len(numbers)  # that can be there, had one sender sent all that was kept
            found.expect(min(numbers) >= oldest, "a younger message went before an older one")
            found.expect(numbers.count(_EACH - 1) == _SENDERS, "a newest message is not there")
            found.at_most("MB more for a full inbox", abuse.growth_bytes / 1e6, _FLOOD_MB)
            found.worst("messages dropped", dropped)


async def everybody_back(testbed: Testbed, times: int, found: Findings, count: int) -> None:
    """So many sockets end at once and come back at 1,000 a second: each is let in and gets what waits."""
    async with extra_node(testbed) as (node, api):
        users = [await api.register() for _ in range(count // _SOCKETS_EACH)]
        owners = users * _SOCKETS_EACH
        for _ in range(times):
            errors = await node.metric("obscura_http_server_errors_total")
            first = [_Returner(user) for user in owners]
            await _come(testbed, node.port, first, found)
            for user in users:
                await user.deliver(user, *(b"%d" % number for number in range(_PENDING)))
            for returner in first:
                returner.socket.abort()
            second = [_Returner(user) for user in owners]
            began = testbed.now
            await _come(testbed, node.port, second, found)
            found.worst("sockets a second", len(second) / (testbed.now - began))
            await eventually(lambda second=second: all(len(one.numbers) >= _PENDING for one in second))
            found.expect(all(one.numbers == list(range(_PENDING)) for one in second), "what waited came out of order")
            errors = await node.metric("obscura_http_server_errors_total") - errors
            found.expect(errors == 0, f"{errors:g} requests were answered 500 or 503")
            for returner in second:
                returner.socket.abort()
            for user in users:
                await received(user, _PENDING)
            found.repetitions += len(second)


class _Returner:
    """One socket that acks nothing."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.numbers: list[int] = []
        self.socket = GatewaySocket(self._take)

    def _take(self, _socket: GatewaySocket, envelope: Envelope) -> bool:
        self.numbers.append(number_of(envelope.message.content))
        return False


async def _come(testbed: Testbed, port: int, returners: list[_Returner], found: Findings) -> None:
    """Connect all, spread over a time, as docs/clients/gateway.md asks of clients."""
    spread_secs = len(returners) / _RECONNECTS_PER_SEC
    refusals: list[int] = []
    waits: list[float] = []

    async def come(returner: _Returner) -> None:
        await asyncio.sleep(testbed.random.uniform(0, spread_secs))
        asked = testbed.now
        try:
            await returner.socket.open(port, returner.user.token)
        except ExchangeError as error:
            refusals.append(status_of(error))
        waits.append(testbed.now - asked)

    await asyncio.gather(*map(come, returners))
    found.worst("s for the slowest upgrade", max(waits))
    found.expect(not refusals, f"{len(refusals)} sockets were refused: {dict(Counter(refusals))}")
