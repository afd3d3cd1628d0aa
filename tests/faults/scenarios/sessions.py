"""Takeovers and refreshes, over several nodes at once."""

import asyncio
from dataclasses import dataclass, field

import aiohttp

from obscura.client.device_keys import Device, one_time_keys
from tests.faults.report import Findings
from tests.faults.testbed import Testbed
from tests.support.client import Api, User

CLOSED_SECS = 1.0
RACES = 100
_SESSIONS_PER_NODE = 2
_DEVICE_REPLACED = 4001


async def takeovers(testbed: Testbed, times: int, found: Findings) -> None:
    """A takeover at one node, with sockets and sends at the others: the old sessions are over, the new one goes on."""
    async with aiohttp.ClientSession() as session, testbed.crowd.round() as history:
        apis = [Api(session, node.port) for node in testbed.nodes]
        async with testbed.crowd.at_work():
            for _ in range(times):
                await _Takeover(testbed, apis, found).run()
                found.repetitions += 1
    found.read(history)


@dataclass
class _Takeover:
    testbed: Testbed
    apis: list[Api]
    found: Findings
    posts: list[tuple[bytes, float, float]] = field(default_factory=list)  # content, asked, answered; stored ones only

    async def run(self) -> None:
        random, apis = self.testbed.random, self.apis
        first = await random.choice(apis).register()
        others = [(await first.another_session()).at(api) for api in apis for _ in range(_SESSIONS_PER_NODE)]
        winner = await first.another_session()
        sockets = [await user.connect() for user in others]
        sender = await random.choice(apis).register()
        over = asyncio.Event()
        writing = asyncio.create_task(self._write(sender, winner, over))
        try:
            await asyncio.sleep(random.uniform(0.05, 0.3))
            asked = self.testbed.now
            device = Device()
            upload = device.takeover(1, one_time_keys(1, 30))
            answer = await winner.at(random.choice(apis)).upload(upload)
            answered = self.testbed.now
            self.found.expect(answer.status == 200, f"a takeover was answered {answer.status}")
            codes = await asyncio.gather(*(socket.close_code() for socket in sockets))
            self.found.at_most("s until old sockets are closed", self.testbed.now - answered, CLOSED_SECS)
            self.found.expect(set(codes) == {_DEVICE_REPLACED}, f"old sockets were closed with {set(codes)}")
            for user in [first, *others]:
                await self._must_be_over(user)
            await self._must_go_on(winner)
            bundle = await sender.bundle_of(winner)
            self.found.expect(bundle.json["identityKey"] == device.identity_key, "the old device's keys are given out")
        finally:
            over.set()
            await writing
        await self._read(winner, sender, asked, answered)

    async def _write(self, sender: User, recipient: User, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            content, asked = b"%d" % number, self.testbed.now
            answer = await sender.at(self.testbed.random.choice(self.apis)).send(recipient, content)
            if answer.status == 201:
                self.posts.append((content, asked, self.testbed.now))
            else:
                self.found.faults.append(f"a message during a takeover was answered {answer.status}")

    async def _must_be_over(self, user: User) -> None:
        for api in self.apis:
            there = user.at(api)
            statuses = {
                "upload": (await there.upload(user.device.upload(2, []))).status,
                "message": (await there.send(user, b"still here")).status,
                "socket": await there.try_connect(),
            }
            for what, status in statuses.items():
                self.found.expect(status == 401, f"an old session's {what} was answered {status}")
        status = (await self.testbed.random.choice(self.apis).refresh(user.refresh_token)).status
        self.found.expect(status == 401, f"an old session's refresh was answered {status}")

    async def _must_go_on(self, winner: User) -> None:
        for api in self.apis:
            answer = await api.refresh(winner.refresh_token)
            self.found.expect(answer.status == 200, f"a refresh after one's own takeover was answered {answer.status}")
            winner.token, winner.refresh_token = answer.json["token"], answer.json["refreshToken"]
            socket = await winner.at(api).connect()
            await socket.close()

    async def _read(self, winner: User, sender: User, asked: float, answered: float) -> None:
        """What was stored before is gone, what was sent after is there, in order."""
        socket = await winner.connect()
        await sender.deliver(winner, b"the end")
        contents = await socket.is_silent_until(b"the end")
        await socket.close()
        before = {content for content, _, done in self.posts if done < asked}
        after = [content for content, began, _ in self.posts if began > answered]
        self.found.expect(not before & set(contents), "a message to the old device came to the new one")
        self.found.expect([c for c in contents if c in set(after)] == after, "a message to the new device was lost")
        self.found.stored += len(self.posts)


async def refreshes_raced(testbed: Testbed, times: int, found: Findings) -> None:
    """One refresh token presented at two nodes at once, a hundred times: exactly one wins, and goes on."""
    nodes = [await testbed.add_node(refresh_token_retry=False) for _ in range(2)]
    try:
        async with aiohttp.ClientSession() as session, testbed.crowd.round() as history, testbed.crowd.at_work():
            apis = [Api(session, node.port) for node in nodes]
            for _ in range(times):
                user = await apis[0].register()
                for _ in range(RACES):
                    await _race(testbed, apis, user, found)
                    found.repetitions += 1
        found.read(history)
    finally:
        await asyncio.gather(*(node.remove() for node in nodes))


async def _race(testbed: Testbed, apis: list[Api], user: User, found: Findings) -> None:
    async def refresh(api: Api) -> tuple[int, dict[str, str]]:
        await asyncio.sleep(testbed.random.uniform(0, 0.003))
        answer = await api.refresh(user.refresh_token)
        return answer.status, answer.json

    answers = await asyncio.gather(*(refresh(api) for api in apis))
    winners = [tokens for status, tokens in answers if status == 200]
    found.expect(
        sorted(status for status, _ in answers) == [200, 401], f"a race was answered {answers[0][0]}, {answers[1][0]}"
    )
    if winners:
        user.token, user.refresh_token = winners[0]["token"], winners[0]["refreshToken"]
    answer = await user.at(testbed.random.choice(apis)).send(user, b"hello")
    found.expect(answer.status == 201, f"the winner of a race was answered {answer.status}")
