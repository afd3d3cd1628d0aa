"""POST /v1/messages the short way and the usual way: nobody can tell from the answer which it was."""

from uuid import uuid4

import pytest

from obscura.api.fast_path import SendFastPath
from obscura.api.messages import POST_MESSAGE
from obscura.http.route import STANDARD_TIER
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Answer, Api, User, encrypted
from tests.support.outages import is_refusal, paused
from tests.support.redis import RedisServer

pytestmark = pytest.mark.libraries

# A header that changes nothing, but is reason enough to take the usual way.
DETOUR = {"Content-Encoding": "identity"}
OWN_TO_EACH = {"date", "x-request-id"}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request so far, whether it went the short way."""
    ways: list[bool] = []
    accepts = SendFastPath.accepts

    def note(fast_path: SendFastPath, request: object) -> bool:
        ways.append(accepts(fast_path, request))  # type: ignore[arg-type]
        return ways[-1]

    monkeypatch.setattr(SendFastPath, "accepts", note)
    return ways


async def both_ways(user: User, recipient: str, body: bytes, **headers: str) -> tuple[Answer, Answer]:
    short, usual = [
        await user.api.call("POST", f"/v1/messages/{recipient}", token=user.token, data=body, headers=headers | detour)
        for detour in ({}, DETOUR)
    ]
    return short, usual


def comparable(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in OWN_TO_EACH}
    return answer.status, answer.body, kept


@pytest.mark.parametrize(
    ("recipient", "body", "status"),
    [
        ("bob", encrypted(b"hello"), 201),
        ("nobody", encrypted(b"hello"), 404),
        ("bob", encrypted(b""), 400),
        ("bob", b"", 400),
        ("bob", b"\xff\xff", 400),
    ],
    ids=["stored", "unknown recipient", "no content", "empty", "no protobuf"],
)
async def test_both_ways_answer_alike(api: Api, taken: list[bool], recipient: str, body: bytes, status: int) -> None:
    """Status, body and headers, of a message that is stored and of those that are refused."""
    alice, bob = await api.register(), await api.register()
    taken.clear()
    short, usual = await both_ways(alice, bob.id if recipient == "bob" else str(uuid4()), body)
    assert taken == [True, False]
    assert short.status == status
    assert comparable(short) == comparable(usual)
    assert all(name in short.headers for name in OWN_TO_EACH)


async def test_both_ways_check_the_token(api: Api, taken: list[bool]) -> None:
    """None, and one that is nobody's."""
    alice = await api.register()
    for token in ("", "nonsense"):
        taken.clear()
        stranger = User(api, "nobody", alice.device, token, "")
        short, usual = await both_ways(stranger, alice.id, encrypted(b"hello"))
        assert (taken, short.status) == ([True, False], 401)
        assert comparable(short) == comparable(usual)


async def test_both_ways_are_limited_together(start_node: StartNode, connect_api: object, taken: list[bool]) -> None:
    """What one takes from a client's bucket the other misses; and what is too large is refused."""
    node: Node = await start_node(rate_limit_per_second=0.001, rate_limit_burst=2, max_message_bytes=100)
    api: Api = connect_api(node)  # type: ignore[operator]
    alice = await api.register()
    first = await both_ways(alice, alice.id, bytes(101))
    assert [answer.status for answer in first] == [413, 413]
    assert comparable(first[0]) == comparable(first[1])
    second = await both_ways(alice, alice.id, encrypted(b"hello"))
    assert [answer.status for answer in second] == [429, 429]
    assert taken[-4:] == [True, False, True, False]


async def test_both_ways_refuse_while_redis_is_away(
    start_node: StartNode, connect_api: object, own_redis: RedisServer, taken: list[bool]
) -> None:
    """503 with Retry-After, and the text that gives nothing away."""
    api: Api = connect_api(await start_node(redis_url=own_redis.url))  # type: ignore[operator]
    alice = await api.register()
    taken.clear()
    with paused(own_redis):
        answers = await both_ways(alice, alice.id, encrypted(b"hello"))
    assert taken == [True, False]
    assert all(is_refusal(answer) for answer in answers)
    assert comparable(answers[0]) == comparable(answers[1])


async def test_a_sane_request_id_comes_back_the_short_way(api: Api, taken: list[bool]) -> None:
    """Another is replaced by a new one; no two are alike."""
    alice = await api.register()
    taken.clear()
    ids = []
    for given in ("mine-1", "not sane\t", ""):
        answer = await alice.send(alice, b"hello", headers={"x-request-id": given} if given else {})
        ids.append(answer.headers["x-request-id"])
    assert taken == [True, True, True]
    assert ids[0] == "mine-1"
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "key-1"},
        {"Origin": "https://chat.example"},
        {"Expect": "100-continue"},
        {"Connection": "close"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_whoever_asks_for_more_goes_the_usual_way(api: Api, taken: list[bool], headers: dict[str, str]) -> None:
    """And is served all the same."""
    alice = await api.register()
    taken.clear()
    answer = await alice.send(alice, b"hello", headers=headers)
    assert (taken, answer.status) == ([False], 201)


async def test_an_id_in_other_letters_goes_the_usual_way(api: Api, taken: list[bool]) -> None:
    """It is the same user: the short way takes ids as they are, into the keys of Redis."""
    alice = await api.register()
    socket = await alice.connect()
    taken.clear()
    path = f"/v1/messages/{alice.id.upper()}"
    answer = await api.call("POST", path, token=alice.token, data=encrypted(b"hello"))
    assert (taken, answer.status) == ([False], 201)
    assert (await socket.envelope()).message.content == b"hello"


def test_what_the_route_says_holds_on_the_short_way_too() -> None:
    """It counts in the standard tier, and leaves each header that its route reads to the usual way."""
    assert POST_MESSAGE.tier == STANDARD_TIER
    assert set(POST_MESSAGE.request_headers) == {"Idempotency-Key"}  # `accepts` asks for these; tried above
