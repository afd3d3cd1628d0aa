"""Pings and pongs, and the end of a silent peer."""

from tests.conftest import StartNode
from tests.gateway.sockets import Connect, raw
from tests.support.client import Api
from tests.support.inspection import metric
from tests.support.raw_socket import PING, PONG
from tests.support.waiting import eventually


async def test_a_ping_is_answered_while_a_backlog_is_pushed(api: Api) -> None:
    """The pong does not wait for the backlog, of which most has not been sent when the ping comes."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, *[bytes(100_000)] * 60)
    socket = await raw(bob, receive_buffer_bytes=65_536)
    await socket.frame()
    await socket.send(PING, b"now")
    frames = await socket.frames_until(PONG)
    assert frames[-1].payload == b"now"
    assert len(frames) < 20
    await socket.envelopes(60 - len(frames))


async def test_a_silent_peer_is_dropped(start_node: StartNode, connect_api: Connect) -> None:
    """One that does not answer a ping within the timeout is cut off, and its place is free."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.1, ws_ping_timeout_secs=0.1))
    user = await api.register()
    before = metric("obscura_gateway_sockets"), metric("obscura_gateway_sockets_closed_total", reason="ping timeout")
    socket = await raw(user)
    assert (await socket.frame()).opcode == PING
    assert await socket.has_ended()
    await eventually(lambda: metric("obscura_gateway_sockets") == before[0])
    assert metric("obscura_gateway_sockets_closed_total", reason="ping timeout") == before[1] + 1


async def test_a_peer_that_answers_pings_stays(start_node: StartNode, connect_api: Connect) -> None:
    """Ping after ping, beyond the timeout."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.05, ws_ping_timeout_secs=1))
    socket = await raw(await api.register())
    for _ in range(3):
        ping = await socket.frame()
        assert ping.opcode == PING
        await socket.send(PONG, ping.payload)
