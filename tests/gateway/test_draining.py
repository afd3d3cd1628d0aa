"""Many sockets closed gradually, spread over a time."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from obscura.gateway.close_codes import GOING_AWAY, CloseReason
from obscura.gateway.draining import close_gradually
from tests.gateway.test_hub import Listener
from tests.support.waiting import eventually

SECS = 0.2


@dataclass(eq=False)
class Timed(Listener):
    """A socket that notes when it was told to go."""

    times: list[float] = field(default_factory=list)

    def close(self, reason: CloseReason) -> None:
        super().close(reason)
        self.times.append(asyncio.get_running_loop().time())


async def no_acks(_address_id: UUID) -> None:
    """There are none to write."""


async def test_each_is_told_once_and_not_before_its_share_of_the_time() -> None:
    """The n-th goes in the n-th part of the time, at the earliest."""
    sockets = [Timed(uuid4()) for _ in range(20)]
    begin = asyncio.get_running_loop().time()
    await close_gradually(sockets, no_acks, SECS)
    assert [one.told for one in sockets] == [[GOING_AWAY]] * 20
    times = sorted(one.times[0] for one in sockets)
    assert all(time >= begin + SECS * place / 20 - 0.001 for place, time in enumerate(times))


async def test_nobody_is_first_every_time() -> None:
    """The order is random, so it does not favour those who came first."""
    firsts = set()
    for _ in range(20):
        sockets = [Timed(uuid4()) for _ in range(5)]
        await close_gradually(sockets, no_acks, 0.005)
        firsts.add(min(range(5), key=lambda place: sockets[place].times[0]))
    assert len(firsts) > 1


async def test_without_sockets_it_takes_the_time_all_the_same() -> None:
    """In which a balancer notices that the node is leaving."""
    begin = asyncio.get_running_loop().time()
    await close_gradually([], no_acks, SECS)
    assert asyncio.get_running_loop().time() >= begin + SECS - 0.001


async def test_acks_are_written_before_the_close() -> None:
    """Those of the socket's user, up to that moment."""
    socket, flushed = Timed(uuid4()), []

    async def flush(address_id: UUID) -> None:
        flushed.append((address_id, list(socket.told)))

    await close_gradually([socket], flush, 0)
    assert flushed == [(socket.address_id, [])]
    assert socket.told == [GOING_AWAY]


async def test_acks_that_hang_delay_nobody_else() -> None:
    """While the acks of one user cannot be written the others are told in their turn."""
    stuck, others = Timed(uuid4()), [Timed(uuid4()) for _ in range(10)]
    gone = asyncio.Event()

    async def flush(address_id: UUID) -> None:
        if address_id == stuck.address_id:
            await gone.wait()

    leaving = asyncio.create_task(close_gradually([stuck, *others], flush, 0.05))
    await eventually(lambda: all(one.told for one in others))
    assert not stuck.told
    gone.set()
    await leaving
    assert stuck.told == [GOING_AWAY]
