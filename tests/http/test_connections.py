"""Which connection makes room for a new one, and when all are closed."""

import asyncio

import pytest

from obscura.http.connections import Connections
from tests.support.inspection import metric

pytestmark = pytest.mark.libraries


class Client:
    """Stands for a connection; notes what it is told."""

    def __init__(self) -> None:
        self.told = ""

    def force_close(self) -> None:
        self.told = "at once"

    def refuse_requests(self) -> None:
        self.told = "no"

    def close_after_response(self) -> None:
        self.told = "after its answer"


async def test_the_one_idle_for_longest_makes_room() -> None:
    """A connection with a request is never chosen, and none is chosen twice."""
    connections = Connections(lambda: 3)
    busy, first, second = Client(), Client(), Client()
    for one in (busy, first, second):
        connections.add(one)
    connections.mark_busy(busy)
    connections.mark_busy(first)
    connections.mark_idle(first)  # later than the second
    connections.add(Client())
    assert [one.told for one in (busy, first, second)] == ["", "", "at once"]
    connections.add(Client())
    assert [one.told for one in (busy, first, second)] == ["", "at once", "at once"]


async def test_a_connection_that_is_gone_is_idle_no_more() -> None:
    """Its last answer may end after it."""
    connections = Connections(lambda: 1)
    gone, one = Client(), Client()
    connections.add(gone)
    connections.discard(gone)
    connections.mark_idle(gone)
    connections.add(one)
    connections.add(Client())
    assert (gone.told, one.told) == ("", "at once")


async def test_where_all_are_in_use_a_new_one_is_refused() -> None:
    """It is told so, and leaves the others alone; when one of them has been answered the next is let in."""
    connections = Connections(lambda: 2)
    busy = [Client(), Client()]
    for one in busy:
        connections.add(one)
        connections.mark_busy(one)
    refused, late = Client(), Client()
    connections.add(refused)
    connections.mark_idle(busy[0])
    connections.add(late)
    assert [one.told for one in (*busy, refused, late)] == ["at once", "", "no", ""]


async def test_not_many_wait_to_be_refused() -> None:
    """The first of them goes without a word, and is counted."""
    before = metric("obscura_http_connections_dropped_total", connection="new")
    connections = Connections(lambda: 16)
    for _ in range(16):
        connections.add(one := Client())
        connections.mark_busy(one)
    refused = [Client() for _ in range(4)]
    for one in refused:
        connections.add(one)
    assert [one.told for one in refused] == ["at once", "at once", "no", "no"]
    assert metric("obscura_http_connections_dropped_total", connection="new") == before + 2


async def test_the_end_waits_for_the_last_one() -> None:
    """Each is told, and all of them have to be gone."""
    connections = Connections(lambda: 10)
    clients = [Client(), Client()]
    for one in clients:
        connections.add(one)
    end = asyncio.create_task(connections.close_after_responses())
    await asyncio.sleep(0)
    assert [one.told for one in clients] == ["after its answer"] * 2
    connections.discard(clients[0])
    await asyncio.sleep(0)
    assert (end.done(), connections.any_open) == (False, True)
    connections.discard(clients[1])
    await end
    assert not connections.any_open
