"""The port of a node of several processes: shared by them, and by nobody else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from obscura.errors import StartupError
from obscura.processes.reserved_port import ReservedPort

HOST = "127.0.0.1"
RACES = 200
RACERS = 4


@pytest.fixture
def reserved() -> Iterator[ReservedPort]:
    port = ReservedPort(HOST, 0)
    yield port
    port.close()


def listen_as_worker(port: int) -> socket.socket:
    return socket.create_server((HOST, port), reuse_port=True)


def test_workers_share_it(reserved: ReservedPort) -> None:
    """Several listen on it, one that comes back after others too, also where connections of before linger."""
    first, second = listen_as_worker(reserved.port), listen_as_worker(reserved.port)
    with second:
        with first, socket.create_connection((HOST, reserved.port)):
            pass
        with listen_as_worker(reserved.port):
            pass


def test_it_takes_no_connection(reserved: ReservedPort) -> None:
    """Until a worker listens clients are refused at once, rather than left waiting."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, reserved.port))


def test_a_second_node_is_refused_before_any_worker_listens(reserved: ReservedPort) -> None:
    """Whether it has one process or several."""
    with pytest.raises(StartupError, match=f"cannot listen on {HOST} port {reserved.port}: address already in use"):
        ReservedPort(HOST, reserved.port)
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HOST, reserved.port))


def test_a_port_where_connections_of_before_linger_is_free() -> None:
    """A node that is restarted gets its port at once."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port)):
            listener.accept()[0].close()  # the side that closes first lingers
    ReservedPort(HOST, port).close()


def test_of_nodes_that_start_at_the_same_moment_one_gets_it_at_most() -> None:
    """Each asks for it at once, again and again; at times nobody gets it, never two."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    start, end = threading.Barrier(RACERS), threading.Barrier(RACERS)
    winners: list[int] = []

    def race() -> None:
        for number in range(RACES):
            start.wait()
            reserved = None
            with suppress(StartupError):
                reserved = ReservedPort(HOST, port)
                winners.append(number)
            end.wait()
            if reserved is not None:
                reserved.close()

    racers = [threading.Thread(target=race) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert winners
    assert len(winners) == len(set(winners))
