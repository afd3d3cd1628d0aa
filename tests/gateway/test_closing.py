"""How sockets are closed, by either side."""

from typing import Any

import pytest

from obscura.client.device_keys import Device, one_time_keys
from obscura.gateway.close_codes import DEVICE_REPLACED, GOING_AWAY, SESSION_REVOKED, TRY_LATER, CloseReason
from obscura.gateway.closing import ClosingHandshake
from obscura.gateway.formats import rfc6455
from obscura.gateway.heartbeat import Heartbeat
from tests.conftest import StartNode
from tests.gateway.sockets import Connect, open_after, raw
from tests.support.client import Api
from tests.support.raw_socket import CLOSE, PING


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
async def test_a_close_is_answered_with_its_own_code(api: Api, code: int | None) -> None:
    """The server adds no code of its own, sends one close frame and ends the connection."""
    socket = await raw(await api.register())
    await socket.send(CLOSE, b"" if code is None else code.to_bytes(2, "big"))
    assert (await socket.frame()).close_code == code
    assert await socket.has_ended()


async def test_nothing_is_sent_behind_a_close_frame(start_node: StartNode, connect_api: Connect) -> None:
    """Neither envelopes nor pings nor pongs, though the peer takes its time to answer."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.05, ws_ping_timeout_secs=60))
    alice, bob = await api.register(), await api.register()
    socket = await raw(bob)
    await bob.logout()
    frames = await socket.frames_until(CLOSE)
    assert frames[-1].close_code == 4003
    await socket.send(PING)
    await alice.deliver(bob, b"too late")
    await socket.send(CLOSE)
    assert await socket.has_ended()


async def test_a_logout_closes_the_sockets_of_its_session_alone(api: Api) -> None:
    """4003 "session revoked" to them; those of another login of the account stay."""
    alice, bob = await api.register(), await api.register()
    other = await bob.another_session()
    sockets = [await raw(bob), await raw(bob)]
    kept = await other.connect()
    await bob.logout()
    for socket in sockets:
        goodbye = await socket.frame()
        assert (goodbye.close_code, goodbye.close_reason) == (4003, "session revoked")
    await open_after(kept, alice, other)


async def test_a_takeover_closes_every_socket_of_the_account(api: Api) -> None:
    """4001 "device replaced", the caller's own included; the caller alone comes back, to an empty inbox."""
    alice, bob = await api.register(), await api.register()
    old = await bob.another_session()
    await alice.deliver(bob, b"for the old device")
    sockets = [await raw(bob), await raw(old)]
    answer = await bob.upload(Device().takeover(9, one_time_keys(1, 30)))
    assert answer.status in (200, 204), answer
    for socket in sockets:
        goodbye = (await socket.frames_until(CLOSE))[-1]
        assert (goodbye.close_code, goodbye.close_reason) == (4001, "device replaced")
    assert await old.try_connect() == 401
    await open_after(await bob.connect(), alice, bob)


class Writer:
    """Notes what is written, and whether the connection was dropped."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, frame: bytes) -> None:
        self.written.append(frame)


@pytest.fixture
async def writer() -> Writer:
    return Writer()


@pytest.fixture
async def closing(writer: Writer) -> ClosingHandshake:
    """Of a socket before its upgrade."""
    out: Any = writer
    return ClosingHandshake(out, Heartbeat(out, 60, 60))


async def test_what_was_closed_before_its_upgrade_sends_its_close_frame_first(
    closing: ClosingHandshake, writer: Writer
) -> None:
    """The last reason counts, and nothing may follow."""
    closing.close(DEVICE_REPLACED)
    closing.close(GOING_AWAY)
    assert (writer.written, closing.may_send) == ([], False)
    closing.open()
    assert (writer.written, closing.may_send) == ([rfc6455.close(*GOING_AWAY)], False)
    closing.end()


async def test_a_socket_is_closed_once(closing: ClosingHandshake, writer: Writer) -> None:
    """Whoever comes second is not heard, nor one who comes after the peer's close frame."""
    closing.open()
    assert closing.may_send
    closing.close(SESSION_REVOKED)
    closing.close(GOING_AWAY)
    assert writer.written == [rfc6455.close(*SESSION_REVOKED)]
    assert not closing.stop_sending()
    closing.end()


async def test_nothing_is_closed_behind_the_peers_close_frame(closing: ClosingHandshake, writer: Writer) -> None:
    """It is answered, and that is all."""
    closing.open()
    assert closing.stop_sending()
    closing.close(GOING_AWAY)
    assert writer.written == []


@pytest.mark.parametrize("reason", [DEVICE_REPLACED, SESSION_REVOKED, GOING_AWAY, TRY_LATER])
async def test_only_the_end_of_a_session_can_be_taken_back(closing: ClosingHandshake, reason: CloseReason) -> None:
    """It may be old news; what is said of the node is not."""
    closing.close(reason)
    is_of_session = reason in (DEVICE_REPLACED, SESSION_REVOKED)
    assert closing.has_pending_close == is_of_session
    closing.clear_pending_close()
    assert not closing.has_pending_close
    closing.open()
    assert closing.may_send == is_of_session
    closing.end()
