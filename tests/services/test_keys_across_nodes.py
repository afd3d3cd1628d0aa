"""What must hold of keys when two nodes serve them at the same time."""

import asyncio
from itertools import chain
from typing import Any

from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.crypto.curve import PublicKey, Signature, verify
from obscura.store import keyspace
from tests.support.client import Api, User
from tests.support.waiting import eventually


def is_signed_by_its_own_identity(bundle: dict[str, Any]) -> bool:
    signed = bundle["signedPreKey"]
    return verify(
        PublicKey.from_base64(bundle["identityKey"]),
        PublicKey.from_base64(signed["publicKey"]),
        Signature.from_base64(signed["signature"]),
    )


async def fetch(apis: tuple[Api, Api], user: User, count: int) -> list[dict[str, Any]]:
    """Bundles fetched at the same time, from both nodes in turn."""
    answers = await asyncio.gather(*(user.at(apis[number % 2]).bundle_of(user) for number in range(count)))
    assert {answer.status for answer in answers} <= {200}
    return [answer.json for answer in answers]


def one_time(bundles: list[dict[str, Any]]) -> list[str]:
    return [bundle["oneTimePreKey"]["publicKey"] for bundle in bundles if bundle["oneTimePreKey"]]


async def test_a_hundred_fetches_at_once_hand_out_a_hundred_keys(two_apis: tuple[Api, Api]) -> None:
    """Each key once; the next fetches get bundles without one."""
    keys = one_time_keys(1, 100)
    user = await two_apis[0].register(oneTimePreKeys=keys)
    handed_out = one_time(await fetch(two_apis, user, 100))
    assert sorted(handed_out) == sorted(key["publicKey"] for key in keys)
    assert one_time(await fetch(two_apis, user, 10)) == []


async def test_more_fetches_than_keys_hand_out_each_key_once(two_apis: tuple[Api, Api]) -> None:
    """Of 120 at once for 100 keys, 20 get none."""
    user = await two_apis[0].register(pre_keys=100)
    handed_out = one_time(await fetch(two_apis, user, 120))
    assert (len(handed_out), len(set(handed_out))) == (100, 100)


async def test_refills_during_fetches_lose_no_key(two_apis: tuple[Api, Api], redis_bytes: Redis) -> None:
    """Refills full of duplicates add what is new, and the count is what was kept minus what was handed out."""
    old = one_time_keys(1, 60)
    user = await two_apis[0].register(oneTimePreKeys=old)
    new = [one_time_keys(100 + 5 * number, 5) for number in range(4)]

    async def refill_in_turn() -> None:
        for number, keys in enumerate(new):
            at = user.at(two_apis[number % 2])
            assert (await at.upload(user.device.upload(2 + number, old[40:] + keys))).status == 200

    bundles, _ = await asyncio.gather(fetch(two_apis, user, 35), refill_in_turn())
    handed_out = one_time(bundles)
    assert sorted(handed_out) == sorted(key["publicKey"] for key in old[:35])
    assert redis_bytes.zcard(keyspace.one_time_order(user.id)) == 60 + 20 - 35
    rest = one_time(await fetch(two_apis, user, 50))
    assert sorted(rest) == sorted(key["publicKey"] for key in [*old[35:], *chain(*new)])


async def test_refills_at_once_keep_the_newest_signed_key(two_apis: tuple[Api, Api]) -> None:
    """Of several signed pre-keys the one with the greatest id is left, and all that was accepted stays whole."""
    user = await two_apis[0].register(pre_keys=0)
    uploads = [user.device.upload(signed_id, one_time_keys(10 * signed_id, 2)) for signed_id in range(2, 22)]
    answers = await asyncio.gather(
        *(user.at(two_apis[number % 2]).upload(upload) for number, upload in enumerate(uploads))
    )
    accepted = [upload for upload, answer in zip(uploads, answers, strict=True) if answer.status == 200]
    bundles = await fetch(two_apis, user, 50)
    assert {bundle["signedPreKey"]["keyId"] for bundle in bundles} == {21}
    stored = [key["publicKey"] for upload in accepted for key in upload["oneTimePreKeys"]]
    assert sorted(one_time(bundles)) == sorted(stored)


async def test_a_bundle_never_mixes_two_devices(two_apis: tuple[Api, Api]) -> None:
    """During 60 takeovers each of 300 bundles is signed by its own identity and has a one-time key of it."""
    user = await two_apis[0].register(pre_keys=5)
    devices = [Device(registration_id=number) for number in range(60)]
    bodies = [device.takeover(device.registration_id, one_time_keys(1, 5)) for device in devices]
    device_of = {key["publicKey"]: body["identityKey"] for body in bodies for key in body["oneTimePreKeys"]}
    number_of = {body["identityKey"]: body["registrationId"] for body in bodies}
    seen: list[dict[str, Any]] = []

    async def take_over_in_turn() -> None:
        for number, body in enumerate(bodies):
            assert (await user.at(two_apis[number % 2]).upload(body)).status == 200

    async def fetch_meanwhile(api: Api) -> None:
        seen.extend([(await user.at(api).bundle_of(user)).json for _ in range(150)])

    await asyncio.gather(take_over_in_turn(), *map(fetch_meanwhile, two_apis))
    for bundle in seen:
        assert is_signed_by_its_own_identity(bundle)
        if bundle["identityKey"] in number_of:  # else it is the first device's
            number = number_of[bundle["identityKey"]]
            assert (bundle["registrationId"], bundle["signedPreKey"]["keyId"]) == (number, number)
            if bundle["oneTimePreKey"]:
                assert device_of[bundle["oneTimePreKey"]["publicKey"]] == bundle["identityKey"]
    assert len({bundle["identityKey"] for bundle in seen}) > 10


async def test_of_two_sessions_that_take_over_at_once_one_wins(two_apis: tuple[Api, Api]) -> None:
    """The winner's keys are in force and its session goes on everywhere; the loser's is over everywhere."""
    first = await two_apis[0].register(pre_keys=0)
    for _ in range(12):
        rivals = [first, (await first.another_session()).at(two_apis[1])]
        devices = [Device(), Device()]
        answers = await asyncio.gather(
            *(rival.upload(device.takeover(1, [])) for rival, device in zip(rivals, devices, strict=True))
        )
        assert sorted(answer.status for answer in answers) == [200, 401]
        winner = [answer.status for answer in answers].index(200)
        bundle = (await first.bundle_of(first)).json
        assert bundle["identityKey"] == devices[winner].identity_key
        for api in two_apis:
            await eventually(lambda api=api, loser=rivals[1 - winner]: _is_over(loser.at(api)))
            assert not await _is_over(rivals[winner].at(api))
        first = rivals[winner].at(two_apis[0])
        first.device = devices[winner]


async def _is_over(user: User) -> bool:
    """Whether a session is refused; asks for something harmless that needs one."""
    return (await user.upload({})).status == 401


async def test_takeovers_at_once_by_one_session_leave_one_whole(two_apis: tuple[Api, Api]) -> None:
    """Both may succeed one after the other; what is left is one device's."""
    user = await two_apis[0].register(pre_keys=0)
    for _ in range(10):
        bodies = [Device().takeover(1, one_time_keys(1, 3)) for _ in two_apis]
        answers = await asyncio.gather(*(user.at(api).upload(body) for api, body in zip(two_apis, bodies, strict=True)))
        assert {answer.status for answer in answers} == {200}
        bundles = await fetch(two_apis, user, 5)
        left = next(body for body in bodies if body["identityKey"] == bundles[0]["identityKey"])
        assert all(is_signed_by_its_own_identity(bundle) for bundle in bundles)
        assert sorted(one_time(bundles)) == sorted(key["publicKey"] for key in left["oneTimePreKeys"])


async def test_a_login_during_a_takeover_is_ended_or_lives(two_apis: tuple[Api, Api], redis_bytes: Redis) -> None:
    """Never half: a token is accepted exactly if its session is in Redis, and nobody ends the caller's own."""
    user = await two_apis[0].register(pre_keys=0)
    for _ in range(5):
        login, *answers = await asyncio.gather(
            two_apis[1].login(user.name), *(user.upload(Device().takeover(1, [])) for _ in range(20))
        )
        assert {answer.status for answer in answers} <= {200, 503}  # 503: others kept changing the account
        newcomer = User(two_apis[1], user.name, user.device, login.json["token"], login.json["refreshToken"])
        if redis_bytes.exists(keyspace.session(user.id, newcomer.session_id)):
            assert not await _is_over(newcomer)
        else:
            await eventually(lambda newcomer=newcomer: _is_over(newcomer))
        assert not await _is_over(user)


async def test_a_takeover_ends_other_sessions_on_every_node(two_apis: tuple[Api, Api]) -> None:
    """The one that made it goes on at both."""
    user = await two_apis[0].register(pre_keys=0)
    other = await user.another_session()
    assert (await user.upload(Device().takeover(1, []))).status == 200
    for api in two_apis:
        await eventually(lambda api=api: _is_over(other.at(api)))
        assert not await _is_over(user.at(api))


async def test_sends_that_race_a_takeover_come_before_or_after(two_apis: tuple[Api, Api], redis_bytes: Redis) -> None:
    """What was stored before is gone, what was stored after is there, whole and in order."""
    alice, bob = await two_apis[0].register(), await two_apis[1].register(pre_keys=0)
    positions = []
    for _ in range(4):
        with redis_bytes.pubsub(ignore_subscribe_messages=True) as events:
            events.subscribe(keyspace.events(bob.id))
            answer, *_ = await asyncio.gather(
                bob.upload(Device().takeover(1, [])), *(_send_in_turn(alice.at(api), bob, 15) for api in two_apis * 4)
            )
            assert answer.status == 200
            order = _entries_and_takeovers(events, 8 * 15 + 1)
        positions.append(order.index(b"takeover"))
        inbox = redis_bytes.xrange(keyspace.inbox(bob.id))
        assert [entry_id for entry_id, _ in inbox] == order[positions[-1] + 1 :]
        assert int(redis_bytes.hget(keyspace.account(bob.id), "inbox_bytes")) == sum(
            len(entry[b"body"]) for _, entry in inbox
        )
    assert any(0 < position < 8 * 15 for position in positions), positions


async def _send_in_turn(alice: User, bob: User, count: int) -> None:
    await alice.deliver(bob, *(b"%d" % number for number in range(count)))


def _entries_and_takeovers(events: Any, count: int) -> list[bytes]:
    """The entry id of each message stored, and the word for a takeover, in Redis's order."""
    order: list[bytes] = []
    while len(order) < count:
        if message := events.get_message(timeout=10):
            kind, _, rest = message["data"].partition(b" ")
            order.append(rest.split(b" ")[0] if kind == b"message" else kind)
    return order


async def test_a_message_for_the_old_device_is_not_delivered_to_the_new(two_apis: tuple[Api, Api]) -> None:
    """An ack of it is fine, and does nothing."""
    alice, bob = await two_apis[0].register(), await two_apis[1].register()
    old = await bob.connect()
    await alice.deliver(bob, b"old")
    envelope = await old.envelope()
    assert (await bob.upload(Device().takeover(1, one_time_keys(1, 30)))).status == 200
    assert await old.close_code() == 4001
    await alice.deliver(bob, b"new")
    new = await bob.connect()
    await new.ack(envelope)
    assert (await new.envelope()).message.content == b"new"
