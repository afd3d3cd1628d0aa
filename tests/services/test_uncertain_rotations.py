"""Exchanges of refresh tokens that nobody knows about are undone when Redis is back."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from obscura.crypto.tokens import RefreshToken
from obscura.errors import StoreUnavailable
from obscura.services.uncertain_rotations import UncertainRotations
from tests.support.waiting import eventually


class Store:
    """A store that is away until it is told to answer."""

    def __init__(self) -> None:
        self.is_away = True
        self.attempts = 0
        self.undone: list[tuple[RefreshToken, RefreshToken]] = []

    async def undo(self, presented: RefreshToken, following: RefreshToken) -> None:
        self.attempts += 1
        if self.is_away:
            raise StoreUnavailable("away")
        self.undone.append((presented, following))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def uncertain(store: Store) -> AsyncIterator[UncertainRotations]:
    uncertain = UncertainRotations(store.undo)
    yield uncertain
    await uncertain.stop()


def exchange() -> tuple[RefreshToken, RefreshToken]:
    """A token and its successor."""
    presented = RefreshToken.new(uuid4())
    return presented, presented.following()


async def test_an_exchange_is_undone_when_the_store_answers(store: Store, uncertain: UncertainRotations) -> None:
    """The successor is exchanged for the token that was presented; meanwhile that one is known."""
    presented, following = exchange()
    uncertain.add(presented, following)
    assert await eventually(lambda: store.attempts > 1)
    assert presented.digest in uncertain
    store.is_away = False
    assert await eventually(lambda: presented.digest not in uncertain)
    assert store.undone == [(following, presented)]


async def test_the_first_exchange_of_a_token_is_the_one_undone(store: Store, uncertain: UncertainRotations) -> None:
    """A second one is never made, as its token is refused."""
    presented, following = exchange()
    uncertain.add(presented, following)
    uncertain.add(presented, presented.following())
    store.is_away = False
    assert await eventually(lambda: presented.digest not in uncertain)
    assert store.undone == [(following, presented)]


async def test_after_all_is_undone_the_next_is_too(store: Store, uncertain: UncertainRotations) -> None:
    """The work begins anew."""
    store.is_away = False
    for _ in range(2):
        presented, following = exchange()
        uncertain.add(presented, following)
        assert await eventually(lambda presented=presented: presented.digest not in uncertain)
    assert len(store.undone) == 2


async def test_a_stop_gives_up(store: Store, uncertain: UncertainRotations) -> None:
    """A store that stays away does not keep a node from ending."""
    uncertain.add(*exchange())
    assert await eventually(lambda: store.attempts > 0)
    for _ in range(2):
        await uncertain.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
