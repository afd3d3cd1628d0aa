"""Who hears of what: the sockets of a node by address."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from obscura.errors import StoreUnavailable
from obscura.gateway.close_codes import CloseReason
from obscura.gateway.hub import Hub
from obscura.model.events import MessageStored, PreKeysLow, SessionEnded, TakenOver
from obscura.model.message_ids import START, EntryId
from tests.support.waiting import eventually

ALICE, BOB = uuid4(), uuid4()
MESSAGE = MessageStored(EntryId(1, 0), START, b"sender", b"body")


@dataclass(eq=False)
class Listener:
    """A socket that notes what it is told."""

    address_id: UUID
    session_id: UUID = field(default_factory=uuid4)
    told: list[object] = field(default_factory=list)
    heard_at: float = 0.0
    is_closing: bool = False

    def push(self, message: MessageStored) -> None:
        self.told.append(message)

    def push_pre_key_status(self, count: int) -> None:
        self.told.append(count)

    def resync(self) -> None:
        self.told.append("resync")

    def close(self, reason: CloseReason) -> None:
        self.told.append(reason)

    def abort(self) -> None:
        self.told.append("abort")


class Subscriptions:
    """What a hub asked to be subscribed to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, UUID]] = []
        self.is_away = False
        self.confirmed = asyncio.Event()
        self.confirmed.set()

    async def subscribe(self, address_id: UUID) -> None:
        self.calls.append(("subscribe", address_id))
        await self.confirmed.wait()
        if self.is_away:
            raise StoreUnavailable

    def unsubscribe(self, address_id: UUID) -> None:
        self.calls.append(("unsubscribe", address_id))


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


@pytest.fixture
def hub(subscriptions: Subscriptions) -> Hub:
    return Hub(subscriptions.subscribe, subscriptions.unsubscribe)


async def test_an_event_reaches_the_sockets_of_its_address_alone(hub: Hub) -> None:
    """Each of them, and nobody else's."""
    first, second, other = Listener(ALICE), Listener(ALICE), Listener(BOB)
    for listener in (first, second, other):
        await hub.join(listener)
    hub.dispatch(ALICE, MESSAGE)
    hub.dispatch(ALICE, PreKeysLow(3))
    hub.dispatch(uuid4(), MESSAGE)
    assert first.told == second.told == [MESSAGE, 3]
    assert other.told == []


async def test_a_socket_hears_from_before_its_subscription_is_confirmed(hub: Hub, subscriptions: Subscriptions) -> None:
    """It is listed first, so that no event passes between the two."""
    subscriptions.confirmed.clear()
    listener = Listener(ALICE)
    joining = asyncio.create_task(hub.join(listener))
    await eventually(lambda: subscriptions.calls)
    hub.dispatch(ALICE, MESSAGE)
    assert listener.told == [MESSAGE]
    subscriptions.confirmed.set()
    await joining


async def test_a_takeover_closes_all_sockets_of_the_address(hub: Hub) -> None:
    """With 4001."""
    listeners = [Listener(ALICE), Listener(ALICE)]
    for listener in listeners:
        await hub.join(listener)
    hub.dispatch(ALICE, TakenOver())
    assert [listener.told for listener in listeners] == [[(4001, "device replaced")]] * 2


async def test_the_sockets_of_an_ended_session_are_closed_alone(hub: Hub) -> None:
    """With 4003."""
    ended, other = Listener(ALICE), Listener(ALICE)
    for listener in (ended, other):
        await hub.join(listener)
    hub.dispatch(ALICE, SessionEnded(ended.session_id))
    assert ended.told == [(4003, "session revoked")]
    assert other.told == []


async def test_after_a_gap_sockets_of_ended_sessions_are_closed_and_others_read_again(hub: Hub) -> None:
    """What events would have told is made up for."""
    ended, other = Listener(ALICE), Listener(BOB)
    for listener in (ended, other):
        await hub.join(listener)
    hub.resync_after_gap([ALICE, BOB], {ended.session_id})
    assert ended.told == [(4003, "session revoked")]
    assert other.told == ["resync"]


async def test_after_a_gap_sockets_of_a_device_that_was_replaced_are_told_so(hub: Hub) -> None:
    """4001, as by the event that was missed."""
    replaced, revoked = Listener(ALICE), Listener(ALICE)
    for listener in (replaced, revoked):
        await hub.join(listener)
    hub.resync_after_gap([ALICE], {replaced.session_id, revoked.session_id}, {replaced.session_id})
    assert replaced.told == [(4001, "device replaced")]
    assert revoked.told == [(4003, "session revoked")]


async def test_the_last_socket_of_an_address_unsubscribes(hub: Hub, subscriptions: Subscriptions) -> None:
    """Not one before it."""
    first, second = Listener(ALICE), Listener(ALICE)
    await hub.join(first)
    await hub.join(second)
    hub.leave(first)
    assert ("unsubscribe", ALICE) not in subscriptions.calls
    hub.leave(second)
    assert subscriptions.calls[-1] == ("unsubscribe", ALICE)
    assert hub.size == 0


async def test_a_socket_that_cannot_subscribe_is_not_listed(hub: Hub, subscriptions: Subscriptions) -> None:
    """Its failure leaves no subscription behind, and takes none from others."""
    first, second = Listener(ALICE), Listener(ALICE)
    subscriptions.is_away = True
    with pytest.raises(StoreUnavailable):
        await hub.join(first)
    assert (hub.size, subscriptions.calls[-1]) == (0, ("unsubscribe", ALICE))
    subscriptions.is_away = False
    await hub.join(second)
    subscriptions.is_away = True
    with pytest.raises(StoreUnavailable):
        await hub.join(first)
    assert (hub.size, subscriptions.calls[-1]) == (1, ("subscribe", ALICE))
    hub.dispatch(ALICE, MESSAGE)
    assert (first.told, second.told) == ([], [MESSAGE])


@pytest.mark.parametrize("goodbye", ["close", "abort"])
async def test_the_end_of_all_waits_until_all_have_left(hub: Hub, goodbye: str) -> None:
    """Not only told: gone."""
    listeners = [Listener(ALICE), Listener(BOB)]
    for listener in listeners:
        await hub.join(listener)
    ending = asyncio.create_task(hub.close_all(CloseReason(1001, "bye")) if goodbye == "close" else hub.abort_all())
    for listener in listeners:
        told = await eventually(lambda listener=listener: listener.told)
        assert told == [(1001, "bye") if goodbye == "close" else "abort"]
        assert not ending.done()
        hub.leave(listener)
    await ending
