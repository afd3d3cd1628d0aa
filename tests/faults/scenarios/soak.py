"""Everything at once, for a long time: nothing grows."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp

from obscura.client.device_keys import Device, one_time_keys
from tests.faults import keys_owned
from tests.faults.nodes import ServedNode
from tests.faults.report import Findings
from tests.faults.testbed import Testbed, standalone
from tests.support.client import Answer, Api, Socket, User
from tests.support.outages import retry_on_503
from tests.support.waiting import eventually

_SECS_PER_DAY = 86_400
_GROWTH = 1.05
_MEASURED_FROM_SECS = 300.0  # a shorter run tells nothing of memory
_CHURNERS = 4
_ATTACHMENT_BYTES = 50_000
# Everything that has a time to live is to die within the run.
_SETTINGS = {
    "ttl_days": 60 / _SECS_PER_DAY,
    "refresh_token_ttl_days": 120 / _SECS_PER_DAY,
    "access_token_ttl_secs": 20,
    "storage_cleanup_interval_secs": 2,
    "messaging_cleanup_interval_secs": 2,
}


async def soak(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """Everything that clients do, on a relay of its own: every key has an owner, and nothing grows."""
    async with standalone(testbed.random.randrange(2**32), **_SETTINGS) as own:
        assert own.redis is not None
        for _ in range(times):
            samples = _Samples(own)
            async with own.crowd.round() as history, own.crowd.at_work(), aiohttp.ClientSession() as session:
                churners = [asyncio.create_task(_churn(own, session)) for _ in range(_CHURNERS)]
                try:
                    await samples.gather(length_secs)
                finally:
                    for churner in churners:
                        churner.cancel()
                    ends = await asyncio.gather(*churners, return_exceptions=True)
            found.faults += [repr(end) for end in ends if not isinstance(end, asyncio.CancelledError)]
            found.read(history)
            samples.judge(found)
            found.repetitions += 1
        with own.redis.client() as client:
            found.faults += keys_owned.unowned([client])


async def _churn(testbed: Testbed, session: aiohttp.ClientSession) -> None:
    """One account that logs in, attaches, is taken over and logs out, again and again."""
    apis = [_PatientApi(session, node.port) for node in testbed.nodes]
    user = await testbed.random.choice(apis).register()
    while True:
        user.api = testbed.random.choice(apis)
        other = await user.another_session()
        socket = await _connect(other)
        await user.deliver(user, b"hello")
        await _attach(user)
        answer = await user.upload(Device().takeover(1, one_time_keys(1, 30)))
        assert answer.status == 200, answer
        await socket.close_code()
        third = await user.another_session()
        answer = await third.logout()
        assert answer.status == 200, answer
        answer = await user.api.refresh(user.refresh_token)
        assert answer.status == 200, answer
        user.token, user.refresh_token = answer.json["token"], answer.json["refreshToken"]
        await asyncio.sleep(0.2)


class _PatientApi(Api):
    """Asks again after a 503, as clients do: in half an hour the machine may be too busy once."""

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Answer:
        ask = super().call
        return await retry_on_503(lambda: ask(method, path, token=token, **options))


async def _connect(user: User) -> Socket:
    """Open a socket, with the same patience."""

    async def opened() -> Socket | None:
        answer = await user.try_connect()
        assert isinstance(answer, Socket) or answer == 503, answer
        return answer if isinstance(answer, Socket) else None

    socket = await eventually(opened)
    assert socket is not None
    return socket


async def _attach(user: User) -> None:
    content = os.urandom(_ATTACHMENT_BYTES)
    answer = await user.api.call("POST", "/v1/attachments", token=user.token, data=content)
    assert answer.status == 201, answer
    answer = await user.api.call("GET", f"/v1/attachments/{answer.json['id']}", token=user.token)
    assert answer.body == content


@dataclass
class _Samples:
    """Resources of the nodes and of Redis, over time."""

    testbed: Testbed
    resident: dict[str, list[int]] = field(default_factory=dict)
    files: dict[str, list[int]] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    length_secs: float = 0.0

    async def gather(self, length_secs: float) -> None:
        self.length_secs = length_secs
        assert self.testbed.redis is not None
        end = self.testbed.now + length_secs
        with self.testbed.redis.client() as client:
            while self.testbed.now < end:
                for node in self.testbed.nodes:
                    self._sample(node)
                self.keys.append(keys_owned.count([client]))
                await asyncio.sleep(max(0.5, length_secs / 200))

    def _sample(self, node: ServedNode) -> None:
        self.resident.setdefault(node.name, []).append(node.resident_bytes)
        self.files.setdefault(node.name, []).append(node.open_files)

    def judge(self, found: Findings) -> None:
        """After a warm-up of a third: the last third is no more than the one before, and a little."""
        limit = _GROWTH if self.length_secs >= _MEASURED_FROM_SECS else float("inf")
        for node in self.testbed.nodes:
            found.at_most("growth of memory", _growth(self.resident[node.name]), limit)
            found.at_most("growth of open files", _growth(self.files[node.name]), limit)
        found.at_most("growth of keys", _growth(self.keys), limit)


def _growth(values: Sequence[int]) -> float:
    third = len(values) // 3
    return median(values[2 * third :]) / median(values[third : 2 * third])
