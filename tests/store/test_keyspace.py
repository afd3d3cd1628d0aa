"""Every key and channel is named in obscura/store/keyspace.py, and has a row there for operators."""

import ast
import inspect
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from obscura.store import keyspace
from obscura.store.key_kinds import Life
from tests.support.client import Api
from tests.support.redis import RedisServer

ROOT = Path(__file__).parents[2]
KEYSPACE = ROOT / "obscura/store/keyspace.py"
USER, OTHER = UUID(int=1), UUID(int=2)
EXAMPLES = {
    "name": "alice",
    "key": "retry-1",
    "node_id": "node-1",
    "sender_id": OTHER,
    "session_id": OTHER,
    "number": None,
}
PLACEHOLDERS = {str(USER): "<uid>", "alice": "<name>", "retry-1": "<key>", "node-1": "<node id>"}
EXAMPLES |= {"attachment_id": UUID(int=3), "tier": "login", "subject": "a name", "number": None}
PLACEHOLDERS |= {
    "4711": "<number>",
    str(UUID(int=3)): "<id>",
    "login": "<tier>",
    sha256(b"a name").hexdigest(): "<digest>",
}
IS_KEY = re.compile(r"obscura:(?! )")  # not the name of the command before a sentence


def _names() -> Iterator[tuple[str, str]]:
    """Every key and channel that the module can make, by the function or constant it comes from."""
    for name, value in vars(keyspace).items():
        if name.lower() in {"client_name", "health", "data_mark"}:  # of connections; and below
            continue
        if isinstance(value, str) and name.isupper():
            yield name, value
        elif inspect.isfunction(value) and inspect.signature(value).return_annotation is str:
            yield name, value(*(EXAMPLES.get(argument, USER) for argument in inspect.signature(value).parameters))


NAMES = (
    *_names(),
    ("probe", keyspace.probe("node-1", 4711)),
    ("health", keyspace.health(4711)),
    ("data_mark", keyspace.data_mark(4711)),
)
ROWS = {kind.name: kind for kind in keyspace.KINDS.rows}


def described(key: str, function: str) -> str:
    """A key as the storage map writes it."""
    other = "<from>" if function == "idempotency" else "<sid>"
    for value, placeholder in (PLACEHOLDERS | {str(OTHER): other}).items():
        key = key.replace(value, placeholder)
    return key


@pytest.mark.parametrize(("function", "key"), NAMES)
def test_every_key_has_a_row(function: str, key: str) -> None:
    """Each key and channel is declared, with its name as operators read it; a pattern is one of those that are."""
    name = described(key, function)
    assert any(fnmatchcase(row, name) for row in ROWS) if "*" in name else name in ROWS


def test_there_is_no_row_for_what_is_gone() -> None:
    """Each row is that of a function or constant."""
    assert ROWS.keys() <= {described(key, function) for function, key in NAMES}


def test_a_row_says_what_an_operator_asks() -> None:
    """What a key holds, and how long it lives; a channel lives no time."""
    for kind in keyspace.KINDS.rows:
        assert kind.holds
        assert bool(kind.lives) is (kind.type != "channel") is (kind.life is not Life.CHANNEL)


@pytest.mark.parametrize(("function", "key"), NAMES)
def test_a_key_of_an_account_carries_its_hash_tag(function: str, key: str) -> None:
    """All keys of one account lie in one Cluster slot: whatever names a user has the user's tag, once."""
    if str(USER) in key:
        assert key.startswith(f"obscura:{{{USER}}}:")
        assert key.count("{") == key.count("}") == 1


def test_the_account_of_an_events_channel_is_found_again() -> None:
    """`address_of_events` is the inverse of `events`."""
    assert keyspace.address_of_events(keyspace.events(USER)) == USER


async def test_every_field_is_in_its_row(api: Api, redis_server: RedisServer) -> None:
    """Whatever an account in use has in Redis, an operator finds explained: its type, its life and its fields."""
    user = await api.register(pre_keys=3)
    assert (await user.send(user, b"hello", headers={"Idempotency-Key": "retry-1"})).status == 201
    assert (await api.refresh(user.refresh_token)).status == 200
    rows = {re.sub("<(from|sid)>", "…", name): kind for name, kind in ROWS.items()}
    with redis_server.client as client:
        keys = sorted(client.scan_iter(f"obscura:{{{user.id}}}:*"))
        assert len(keys) >= 6
        for key in keys:
            shown = key.replace("{" + user.id, "{<uid>").replace(user.id, "…").replace(user.session_id, "…")
            kind = rows[shown.replace("retry-1", "<key>")]
            assert client.type(key) == kind.type
            assert (client.pttl(key) == -1) is (kind.life is Life.REMOVED)
            is_by_key_id = key == keyspace.one_time_keys(UUID(user.id))
            for name in client.hkeys(key) if kind.type == "hash" and not is_by_key_id else ():
                assert re.search(rf"\b{name.partition(':')[0]}\b", kind.holds), name


def literals(source: str) -> Iterator[str]:
    """The text in a module, but for its docstrings."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


@pytest.mark.parametrize("file", sorted({*(ROOT / "obscura").rglob("*.py")} - {KEYSPACE}), ids=lambda file: file.name)
def test_no_other_module_spells_a_key(file: Path) -> None:
    """A key or channel literal outside the map would be one that operators do not know of."""
    assert [text for text in literals(file.read_text()) if IS_KEY.search(text)] == []


@pytest.mark.parametrize("file", sorted((ROOT / "lua").glob("*.lua")), ids=lambda file: file.name)
def test_no_script_spells_a_key(file: Path) -> None:
    """Scripts get every key and channel as KEYS, as Cluster demands."""
    assert not IS_KEY.search(file.read_text())


def test_a_spelled_key_is_noticed() -> None:
    """The check above is not blind to f-strings or bytes, nor bothered by docstrings."""
    source = '"""obscura:doc"""\nx = f"obscura:{y}:inbox"\nz = b"obscura:janitor"\nprint(f"obscura: {error}")'
    assert [text for text in literals(source) if IS_KEY.search(text)] == ["obscura:janitor", "obscura:"]
