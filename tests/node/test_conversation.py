"""Two users hold a real conversation: X3DH and the Double Ratchet at the ends, two nodes between them."""

import asyncio
from dataclasses import dataclass, field

import pytest

from obscura.v1.obscura_pb2 import EncryptedMessage, Envelope
from tests.support.client import Api, Socket, User
from tests.support.signal_client import Device, Session, parse_bundle

PRE_KEYS = 25


@dataclass
class Person:
    """A user with a device, and a session with each person they have talked to."""

    user: User
    device: Device
    socket: Socket | None = None
    sessions: dict[str, Session] = field(default_factory=dict)
    is_short_of_keys: bool = False

    @classmethod
    async def arrive(cls, api: Api) -> "Person":
        """Register with a new device."""
        device = Device.new()
        return cls(await api.register(**device.registration_keys(PRE_KEYS)), device)

    async def go_online(self) -> None:
        self.socket = await self.user.connect()

    async def go_offline(self) -> None:
        assert self.socket is not None
        await self.socket.close()

    async def get_a_new_device(self) -> None:
        """Log in from a device that knows nothing of the old one, and take the account over."""
        self.user = await self.user.another_session()
        self.device, self.sessions = Device.new(), {}
        answer = await self.user.upload(self.device.registration_keys(PRE_KEYS))
        assert answer.status == 200, answer

    async def refill(self, count: int) -> None:
        """Publish more one-time pre-keys."""
        answer = await self.user.upload(self.device.refill(count))
        assert answer.status == 200, answer
        self.is_short_of_keys = False

    async def write(self, to: "Person", text: str) -> None:
        """Send a text; the first one comes with a key agreement."""
        session = self.sessions.get(to.user.id)
        if session is not None:
            message = await session.encrypt(text)
        else:
            bundle = parse_bundle((await self.user.bundle_of(to.user)).json)
            self.sessions[to.user.id], message = await Session.initiate(self.device, bundle, text)
        path = f"/v1/messages/{to.user.id}"
        answer = await self.user.api.call("POST", path, token=self.user.token, data=message.SerializeToString())
        assert answer.status == 201, answer

    async def read(self) -> str:
        """Wait for the next message, decrypt it and ack it."""
        assert self.socket is not None
        frame = await self.socket.receive()
        while frame.HasField("pre_key_status"):
            self.is_short_of_keys = True
            frame = await self.socket.receive()
        text = await self._decrypt(frame.envelope)
        await self.socket.ack(frame.envelope)
        return text

    async def _decrypt(self, envelope: Envelope) -> str:
        message, sender = envelope.message, envelope.source_user_id
        if message.type != EncryptedMessage.TYPE_PREKEY_MESSAGE:
            return await self.sessions[sender].decrypt(message.content)
        self.sessions[sender], text = await Session.be_greeted(self.device, message.content)
        return text


@pytest.fixture
async def alice(two_apis: tuple[Api, Api]) -> Person:
    """At the first node."""
    return await Person.arrive(two_apis[0])


@pytest.fixture
async def bob(two_apis: tuple[Api, Api]) -> Person:
    """At the second node."""
    return await Person.arrive(two_apis[1])


async def test_two_users_talk(alice: Person, bob: Person) -> None:
    """A first message by X3DH, replies, and ratchets that turn with every change of the speaker."""
    await alice.go_online()
    await bob.go_online()
    await alice.write(bob, "Hello Bob")
    assert await bob.read() == "Hello Bob"
    for turn in range(5):
        await bob.write(alice, f"Bob's turn {turn}")
        await bob.write(alice, f"and again {turn}")
        assert [await alice.read(), await alice.read()] == [f"Bob's turn {turn}", f"and again {turn}"]
        await alice.write(bob, f"Alice's turn {turn}")
        assert await bob.read() == f"Alice's turn {turn}"


async def test_what_was_written_to_an_absent_friend_waits(alice: Person, bob: Person) -> None:
    """The first message and those that follow arrive in order later, at any node, and once."""
    for number in range(10):
        await alice.write(bob, f"message {number}")
    bob.user = bob.user.at(alice.user.api)
    await bob.go_online()
    assert [await bob.read() for _ in range(10)] == [f"message {number}" for number in range(10)]
    await bob.go_offline()
    await alice.write(bob, "one more")
    await bob.go_online()
    assert await bob.read() == "one more"


async def test_both_may_speak_at_once(alice: Person, bob: Person) -> None:
    """Messages that cross on the way are read by both."""
    await alice.go_online()
    await bob.go_online()
    await alice.write(bob, "Hello Bob")
    assert await bob.read() == "Hello Bob"
    for _ in range(5):
        await asyncio.gather(alice.write(bob, "from Alice"), bob.write(alice, "from Bob"))
        assert await asyncio.gather(alice.read(), bob.read()) == ["from Bob", "from Alice"]


async def test_a_new_device_gets_nothing_of_the_old_one(alice: Person, bob: Person) -> None:
    """After a takeover what was written to the old device is gone, and a new session starts from the new keys."""
    await alice.go_online()
    await bob.go_online()
    await alice.write(bob, "Hello Bob")
    assert await bob.read() == "Hello Bob"
    old_device = bob.device
    await bob.go_offline()
    await alice.write(bob, "for the old device, and never read")

    await bob.get_a_new_device()
    await bob.go_online()
    bundle = parse_bundle((await alice.user.bundle_of(bob.user)).json)
    assert bundle.identity_key == bob.device.bundle.identity_key != old_device.bundle.identity_key

    del alice.sessions[bob.user.id]  # her client saw the new identity
    await alice.write(bob, "Is it you, Bob?")
    assert await bob.read() == "Is it you, Bob?"
    await bob.write(alice, "It is")
    assert await alice.read() == "It is"


async def test_everyone_who_says_hello_gets_a_one_time_key_of_their_own(two_apis: tuple[Api, Api], bob: Person) -> None:
    """Twelve people on two nodes begin at once; Bob can read each and answer each."""
    people = [await Person.arrive(two_apis[number % 2]) for number in range(12)]
    await asyncio.gather(*(person.write(bob, f"I am {person.user.name}") for person in people))
    await bob.go_online()
    greetings = [await bob.read() for _ in people]
    assert sorted(greetings) == sorted(f"I am {person.user.name}" for person in people)
    assert len(bob.device.bundle.pre_keys) == PRE_KEYS - len(people)
    for person in people:
        await bob.write(person, f"Hello {person.user.name}")
        await person.go_online()
        assert await person.read() == f"Hello {person.user.name}"


async def test_a_conversation_begins_without_one_time_keys_too(
    two_apis: tuple[Api, Api], alice: Person, bob: Person
) -> None:
    """When all are used up X3DH goes on with the signed pre-key alone; Bob is told, and refills for the next."""
    for _ in range(PRE_KEYS):
        await alice.user.bundle_of(bob.user)
    await alice.write(bob, "Hello Bob")
    await bob.go_online()
    assert await bob.read() == "Hello Bob"
    assert bob.is_short_of_keys
    assert len(bob.device.bundle.pre_keys) == PRE_KEYS

    await bob.refill(5)
    carol = await Person.arrive(two_apis[0])
    await carol.write(bob, "Hello from Carol")
    assert await bob.read() == "Hello from Carol"
    assert len(bob.device.bundle.pre_keys) == PRE_KEYS + 4
