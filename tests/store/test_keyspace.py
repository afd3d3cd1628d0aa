"""Every key and channel is named in obscura/store/keyspace.py, and written down there for operators."""

import ast
import inspect
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from obscura.store import keyspace
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
PLACEHOLDERS |= {str(UUID(int=3)): "<id>", "login": "<tier>", sha256(b"a name").hexdigest(): "<digest>"}
IS_KEY = re.compile(r"obscura:(?! )")  # not the name of the command before a sentence


def _names() -> Iterator[tuple[str, str]]:
    """Every key and channel that the module can make, by the function or constant it comes from."""
    for name, value in vars(keyspace).items():
        if isinstance(value, str) and name.isupper():
            yield name, value
        elif inspect.isfunction(value) and inspect.signature(value).return_annotation is str:
            yield name, value(*(EXAMPLES.get(argument, USER) for argument in inspect.signature(value).parameters))


NAMES = tuple(_names())


def described(key: str, function: str) -> str:
    """A key as the storage map writes it."""
    other = "<from>" if function == "idempotency" else "<sid>"
    for value, placeholder in (PLACEHOLDERS | {str(OTHER): other}).items():
        key = key.replace(value, placeholder)
    return key


@pytest.mark.parametrize(("function", "key"), NAMES)
def test_every_key_is_in_the_storage_map(function: str, key: str) -> None:
    """The module's docstring has a row or a line for each key and channel."""
    assert keyspace.__doc__
    assert re.search(rf"(^|``){re.escape(described(key, function))}(\s|``)", keyspace.__doc__, re.MULTILINE)


def test_the_storage_map_has_no_row_for_what_is_gone() -> None:
    """Each key in the map is made by a function or constant."""
    assert keyspace.__doc__
    rows = set(re.findall(r"^(obscura:\S+)", keyspace.__doc__, re.MULTILINE))
    assert rows <= {described(key, function) for function, key in NAMES}


@pytest.mark.parametrize(("function", "key"), NAMES)
def test_a_key_of_an_account_carries_its_hash_tag(function: str, key: str) -> None:
    """All keys of one account lie in one Cluster slot: whatever names a user has the user's tag, once."""
    if str(USER) in key:
        assert key.startswith(f"obscura:{{{USER}}}:")
        assert key.count("{") == key.count("}") == 1


def test_the_account_of_an_events_channel_is_found_again() -> None:
    """`user_of_events` is the inverse of `events`."""
    assert keyspace.user_of_events(keyspace.events(USER)) == USER


async def test_every_field_is_in_the_storage_map(api: Api, redis_server: RedisServer) -> None:
    """Whatever an account in use has in Redis, an operator finds explained, key by key and field by field."""
    user = await api.register(pre_keys=3)
    assert (await user.send(user, b"hello", headers={"Idempotency-Key": "retry-1"})).status == 201
    assert (await api.refresh(user.refresh_token)).status == 200
    assert keyspace.__doc__
    with redis_server.client as client:
        keys = sorted(client.scan_iter(f"obscura:{{{user.id}}}:*"))
        fields = {key: client.hkeys(key) for key in keys if client.type(key) == "hash"}
    rows = {re.sub("<(from|sid)>", "…", row) for row in re.findall(r"^obscura:\S+", keyspace.__doc__, re.MULTILINE)}
    for key in keys:
        shown = key.replace("{" + user.id, "{<uid>").replace(user.id, "…").replace(user.session_id, "…")
        assert shown.replace("retry-1", "<key>") in rows
    del fields[keyspace.one_time_keys(UUID(user.id))]  # by keyId
    for name in {name.partition(":")[0] for names in fields.values() for name in names}:
        assert re.search(rf"\b{name}\b", keyspace.__doc__), name


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
