"""Who of those that subscribe is told what, whatever Redis replies."""

import asyncio

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.confirmations import Confirmations, WrongMaster
from obscura.redis_client.slot_map import slot_of_key


@pytest.fixture
async def confirmations() -> Confirmations:
    return Confirmations()


async def test_the_last_of_several_stands_for_all(confirmations: Confirmations) -> None:
    """Redis confirms each channel of a command, in its order."""
    confirmed = confirmations.expect("a", "b")
    confirmations.on_subscribed("a")
    assert not confirmed.done()
    confirmations.on_subscribed("b")
    await confirmed


async def test_a_subscriber_that_gave_up_takes_no_confirmation_from_others(confirmations: Confirmations) -> None:
    """It keeps its place, so the next one is not taken for its own."""
    first, second = confirmations.expect("a"), confirmations.expect("a")
    first.cancel()
    confirmations.on_subscribed("a")
    assert not second.done()
    confirmations.on_subscribed("a")
    await second


async def test_the_end_of_a_subscription_is_told_from_a_drop(confirmations: Confirmations) -> None:
    """Only where an UNSUBSCRIBE of that channel is next; and what waits behind it is confirmed."""
    assert not confirmations.on_unsubscribed("a")
    confirmations.expect_end("a")
    confirmed = confirmations.expect("b")
    assert not confirmations.on_unsubscribed("b")
    assert confirmations.on_unsubscribed("a")
    confirmations.on_subscribed("b")
    await confirmed


async def test_a_confirmation_that_never_came_is_an_error(confirmations: Confirmations) -> None:
    """When a later one has come, the earlier will not."""
    missing, confirmed = confirmations.expect("a"), confirmations.expect("b")
    confirmations.on_subscribed("b")
    await confirmed
    with pytest.raises(StoreUnavailable, match="no confirmation of the subscription"):
        await missing


async def test_a_wrong_master_is_told_to_the_one_it_refuses(confirmations: Confirmations) -> None:
    """And to the caller, which channel that was."""
    confirmed = confirmations.expect("a")
    assert confirmations.on_wrong_master(f"MOVED {slot_of_key('a')} 127.0.0.1:1") == "a"
    with pytest.raises(WrongMaster):
        await confirmed


@pytest.mark.parametrize("refusal", [f"MOVED {slot_of_key('b')} 127.0.0.1:1", "CLUSTERDOWN Hash slot not served"])
async def test_a_refusal_to_unsubscribe_concerns_nobody(confirmations: Confirmations, refusal: str) -> None:
    """The channel had been dropped already, and that was taken for the reply."""
    assert confirmations.on_wrong_master(refusal) is None
    confirmations.expect_end("b")
    confirmed = confirmations.expect("a")
    assert confirmations.on_wrong_master(refusal) is None
    confirmations.on_subscribed("a")
    await confirmed


async def test_a_refusal_of_another_slot_is_left_alone(confirmations: Confirmations) -> None:
    """It answers a command whose reply was taken to have come before."""
    confirmed = confirmations.expect("a")
    assert confirmations.on_wrong_master(f"MOVED {slot_of_key('b')} 127.0.0.1:1") is None
    assert not confirmed.done()


async def test_a_lost_connection_owes_nothing(confirmations: Confirmations) -> None:
    """All that wait fail, also the cancelled ones without harm, and the next connection begins anew."""
    waiting = [confirmations.expect("a", "b"), confirmations.expect("c")]
    waiting[1].cancel()
    confirmations.expect_end("d")
    confirmations.fail_all(StoreUnavailable("gone"))
    with pytest.raises(StoreUnavailable, match="gone"):
        await waiting[0]
    confirmed = confirmations.expect("e")
    confirmations.on_subscribed("e")
    await asyncio.wait_for(confirmed, 1)
