"""Clients that go away in the middle of a request, thousands of them: every answer belongs to its request."""

import asyncio
from contextlib import suppress

from obscura.client.errors import ExchangeError
from tests.faults.client import Person
from tests.faults.http import LocalConnection
from tests.faults.report import Findings
from tests.faults.testbed import Testbed

CANCELLED = 10_000
_LEAVERS = 40
_READERS = 4
_LONGEST_SECS = 0.02  # a request takes a few milliseconds


async def requests_cancelled(testbed: Testbed, times: int, found: Findings) -> None:
    """``times`` requests that end at any moment; meanwhile others check that each answer is to what they asked."""
    async with testbed.crowd.round() as history, testbed.crowd.at_work():
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(_read(testbed, over, found)) for _ in range(_READERS)]
            await asyncio.gather(*(_leave(testbed, times // _LEAVERS, found) for _ in range(_LEAVERS)))
            over.set()
    found.worst("answers checked", sum(reader.result() for reader in readers))
    found.read(history)


async def _leave(testbed: Testbed, times: int, found: Findings) -> None:
    """Ask for what takes a round trip to Redis, and hang up before, in or after it."""
    random, people = testbed.random, testbed.crowd.people
    for _ in range(times):
        person, other = random.choice(people), random.choice(people)
        connection = LocalConnection()
        with suppress(TimeoutError, ExchangeError):
            token = await person.token()
            async with asyncio.timeout(random.uniform(0, _LONGEST_SECS)):
                await connection.ask(random.choice(testbed.nodes).port, *random.choice(_requests(other)), token=token)
        connection.close()
        found.repetitions += 1


def _requests(other: Person) -> list[tuple[str, str]]:
    return [("GET", f"/v1/keys/{other.id}"), ("GET", "/v1/attachments/00000000-0000-7000-8000-000000000000")]


async def _read(testbed: Testbed, over: asyncio.Event, found: Findings) -> int:
    """Ask for this one's and that one's keys; returns how often."""
    count, connection, random = 0, LocalConnection(), testbed.random
    while not over.is_set():
        person = random.choice(testbed.crowd.people)
        headers = {"X-Request-ID": f"read-{count}"}
        reply = await connection.ask(
            random.choice(testbed.nodes).port,
            "GET",
            f"/v1/keys/{person.id}",
            token=await person.token(),
            headers=headers,
        )
        found.expect(reply.status == 200, f"a bundle was answered {reply.status}")
        is_theirs = reply.status != 200 or reply.json()["identityKey"] == person.identity_key
        found.expect(
            is_theirs and reply.headers[b"x-request-id"] == b"read-%d" % count, "an answer was to another request"
        )
        count += 1
    connection.close()
    return count
