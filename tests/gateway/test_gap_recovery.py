"""After a gap in the events: what ended first, then who reads again, each gap once."""

import asyncio
from collections.abc import Collection, Iterable
from uuid import UUID, uuid4

from obscura.errors import StoreUnavailable
from obscura.gateway.gap_recovery import GapRecovery
from obscura.gateway.hub import Hub, Listener
from tests.support.waiting import eventually

ALICE, BOB, CAROL = uuid4(), uuid4(), uuid4()


class RecordingHub(Hub):
    """A hub that notes whom it was told to resync."""

    def __init__(self) -> None:
        self.told: list[set[UUID]] = []

    def listeners_of(self, address_id: UUID) -> list[Listener]:
        return []

    def resync_after_gap(self, address_ids: Iterable[UUID], ended: object, replaced: object = ()) -> None:
        self.told.append(set(address_ids))


async def nobody(address_id: UUID, session_ids: Collection[UUID]) -> set[UUID]:
    """No session was ended by a takeover."""
    return set()


class Ended:
    """The list of ended sessions, as slow and as often away as told."""

    def __init__(self, failures: int = 0) -> None:
        self.loads = 0
        self.failures = failures
        self.may_load = asyncio.Event()
        self.may_load.set()

    async def load(self) -> None:
        self.loads += 1
        await self.may_load.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable


async def test_the_ended_sessions_are_loaded_before_anybody_reads_again() -> None:
    """A session that ended meanwhile is closed, and reads nothing."""
    hub, ended = RecordingHub(), Ended()
    ended.may_load.clear()
    recovery = GapRecovery(hub, ended.load, (), nobody)
    recovery.on_gap([ALICE])
    await eventually(lambda: ended.loads == 1)
    assert hub.told == []
    ended.may_load.set()
    await eventually(lambda: hub.told == [{ALICE}])
    await recovery.stop()


async def test_gaps_that_come_meanwhile_are_made_up_for_together() -> None:
    """One more load for all of them, after the one under way: that may have read too early."""
    hub, ended = RecordingHub(), Ended()
    ended.may_load.clear()
    recovery = GapRecovery(hub, ended.load, (), nobody)
    recovery.on_gap([ALICE])
    await eventually(lambda: ended.loads == 1)
    recovery.on_gap([BOB])
    recovery.on_gap([CAROL, BOB])
    ended.may_load.set()
    await eventually(lambda: hub.told == [{ALICE}, {BOB, CAROL}])
    assert ended.loads == 2
    await recovery.stop()


async def test_it_is_tried_until_redis_is_back() -> None:
    """Nobody is forgotten on the way."""
    hub, ended = RecordingHub(), Ended(failures=2)
    recovery = GapRecovery(hub, ended.load, (), nobody)
    recovery.on_gap([ALICE])
    await eventually(lambda: hub.told == [{ALICE}])
    assert ended.loads == 3
    await recovery.stop()


async def test_a_stop_leaves_nothing_behind() -> None:
    """In the middle of it, and for a gap that comes later."""
    before = asyncio.all_tasks()
    hub, ended = RecordingHub(), Ended()
    ended.may_load.clear()
    recovery = GapRecovery(hub, ended.load, (), nobody)
    recovery.on_gap([ALICE])
    await eventually(lambda: ended.loads == 1)
    await recovery.stop()
    recovery.on_gap([BOB])
    assert asyncio.all_tasks() == before
    assert hub.told == []
