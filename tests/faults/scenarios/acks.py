"""A thousand acks, and then the end of the socket at once."""

import asyncio
from collections.abc import Awaitable, Callable

from obscura.v1.obscura_pb2 import Envelope
from tests.faults.client import Person
from tests.faults.crowd import Crowd
from tests.faults.nodes import ServedNode
from tests.faults.report import Findings
from tests.faults.testbed import Testbed
from tests.faults.websocket import GatewaySocket
from tests.support.waiting import eventually

MESSAGES = 1000
SLOW_SECS = 0.2
_SENDERS = 10


async def acks_then_the_end(testbed: Testbed, times: int, found: Findings) -> None:
    """1,000 acks and at once a close, an RST or a SIGTERM, with Redis as it is and slow: none comes again."""
    few = Crowd(
        testbed.crowd.environment.endpoints, testbed.random, _SENDERS + 1
    )  # whose messages no other socket takes
    await few.register()
    try:
        async with testbed.crowd.round() as history, testbed.crowd.at_work():
            for _ in range(times):
                for delay_secs in (0.0, SLOW_SECS / 2):  # each way
                    for end in _END:
                        await _ack_and_end(testbed, few, end, delay_secs, found)
                        found.repetitions += 1
        found.read(history)
    finally:
        await few.leave()


async def _ack_and_end(testbed: Testbed, few: Crowd, end: str, delay_secs: float, found: Findings) -> None:
    assert testbed.proxy is not None
    recipient, *senders = few.people
    node, other = testbed.nodes[-1], testbed.nodes[0]
    await _fill_inbox(few, senders, recipient)
    got: list[Envelope] = []
    socket = await _listen(recipient, node, got)
    await eventually(lambda: len(got) >= MESSAGES)
    acked = {envelope.id for envelope in got}
    testbed.proxy.delay_secs = delay_secs
    try:
        socket.ack(*acked)
        # Who closes in order may come back anywhere at once. After an RST only the node that has the acks knows of
        # them, until it has written them.
        back = await _END[end](socket, node, other)
        again: list[Envelope] = []
        second = await _listen(recipient, back, again)
        await _send_last(few, recipient, again)
        await second.close()
    finally:
        testbed.proxy.delay_secs = 0.0
        if not node.is_running:
            await node.start()
        await testbed.are_ready()
    count = sum(envelope.id in acked for envelope in again)
    found.expect(count == 0, f"{count} of {len(acked)} acked came again after {end}, Redis {2 * delay_secs:g} s slow")


async def _close(socket: GatewaySocket, _node: ServedNode, other: ServedNode) -> ServedNode:
    await socket.close()
    return other


async def _reset(socket: GatewaySocket, node: ServedNode, _other: ServedNode) -> ServedNode:
    await eventually(lambda: socket.has_sent_all)  # what the node's machine never got is no ack
    socket.reset()
    return node


async def _terminate(socket: GatewaySocket, node: ServedNode, other: ServedNode) -> ServedNode:
    ending = asyncio.create_task(node.terminate())
    await eventually(socket.ended.done)
    assert socket.close_code == 1001, socket.close_code
    await ending
    return other


_END: dict[str, Callable[[GatewaySocket, ServedNode, ServedNode], Awaitable[ServedNode]]] = {
    "close": _close,
    "reset": _reset,
    "terminate": _terminate,
}


async def _fill_inbox(few: Crowd, senders: list[Person], recipient: Person) -> None:
    async def send(sender: Person) -> None:
        for _ in range(MESSAGES // len(senders)):
            await sender.send(few.message(sender, recipient))

    await asyncio.gather(*(send(sender) for sender in senders))


async def _listen(person: Person, node: ServedNode, got: list[Envelope]) -> GatewaySocket:
    """A socket that keeps what comes and acks nothing, opened as soon as the node lets it."""

    def take(_socket: GatewaySocket, envelope: Envelope) -> bool:
        got.append(envelope)
        return False

    return await person.open_socket(node.port, take)


async def _send_last(few: Crowd, recipient: Person, got: list[Envelope]) -> None:
    last = few.message(few.people[-1], recipient)
    await few.people[-1].send(last)
    await eventually(lambda: any(int(envelope.message.content) == last.number for envelope in got))
