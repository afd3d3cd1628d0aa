"""Imports go down only: cli, processes, node, api, http and gateway, services, store, redis_client, and model."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What every room may import, and the room `tasks`, `errors` and so on are themselves.
BASE = {"clock", "errors", "files", "observability", "runtime", "settings", "tasks"}

# What the modules of a room may import besides `BASE` and their own room; a room is a package or a module at the top.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    "healthcheck": set(),
    "cli": {"processes", "node", "inspect", "backup", "bench"},
    "processes": {"node"},
    "node": {
        *("api", "http", "gateway", "services", "store", "redis_client", "embedded_redis", "data_dir", "blobs"),
        "crypto",
    },
    "inspect": {"services", "store", "redis_client", "embedded_redis"},
    "backup": {"store", "redis_client", "embedded_redis", "data_dir"},
    "bench": {"client"},
    "client": {"v1"},
    "api": {"http", "gateway", "services", "model", "crypto"},
    "http": set(),
    "gateway": {"services", "model", "v1"},
    "services": {"store", "blobs", "model", "crypto"},
    "store": {"redis_client", "model", "crypto"},
    "blobs": set(),
    "embedded_redis": {"data_dir"},
    "redis_client": set(),
    "data_dir": set(),
    "model": {"crypto"},
    "crypto": set(),
    "v1": set(),
    "clock": set(),
    "runtime": set(),
    "tasks": set(),
    "settings": set(),
    "observability": set(),
    "errors": set(),
    "files": set(),
}

# Rooms of `BASE` stand on these alone.
BASE_ALLOWED: dict[str, set[str]] = {
    "files": set(),
    "clock": set(),
    "runtime": set(),
    "tasks": set(),
    "settings": {"errors"},
    "observability": {"errors", "settings"},
    "errors": set(),
}

# Imports that the move into rooms has left pointing up or aside, as (module, room). To become empty.
LEFT_OVER: set[tuple[str, str]] = set()

# What a handler may share with others: never another handler.
SHARED_BY_HANDLERS = ("api.json",)
NO_HANDLERS = {"api", "api.routes", "api.fast_path", "api.server"}

# Where a package from outside may be imported: rooms, or single modules of them.
OUTSIDE: dict[str, set[str]] = {
    "aiobotocore": {"blobs.s3"},
    "aiohttp": {"api", "http", "gateway", "blobs.s3"},
    "annotated_types": {"settings.fields"},
    "argon2": {"crypto.passwords"},
    "botocore": {"blobs.s3"},
    "google": {"gateway.formats", "v1", "client.frames"},
    "hdrh": {"bench.histogram"},
    "httptools": {"client.http"},
    "hiredis": {"redis_client", "store"},
    "jwt": {"crypto.tokens"},
    "opentelemetry": {"observability.otlp"},
    "orjson": {"api", "http", "crypto", "processes", "store", "redis_client"},
    "prometheus_client": {"observability", "processes.metrics_aggregator"},
    "pydantic": {"settings"},
    "pydantic_core": {"settings"},
    "pygal": {"bench.plot"},
    "redis": {"redis_client.redis_url"},
    "uvloop": {"runtime"},
    "xeddsa": {"crypto.curve", "client.device_keys"},
}


def module_name(file: Path) -> str:
    """``api.routes`` for obscura/api/routes.py, ``api`` for obscura/api/__init__.py."""
    parts = file.relative_to(ROOT / "obscura").with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__") if parts != ("__init__",) else ""


MODULES = {module_name(file): file for file in sorted((ROOT / "obscura").rglob("*.py"))}


def imports(source: str) -> set[str]:
    """Every name that a module imports, in full, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def room_of(module: str) -> str:
    return module.partition(".")[0]


def is_known(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def reachable(room: str) -> set[str]:
    """The rooms that a room may import."""
    return BASE_ALLOWED[room] | {room} if room in BASE_ALLOWED else ALLOWED[room] | BASE | {room}


def violations(module: str, source: str) -> list[str]:
    """What is wrong with the imports of a module, and where they would be right."""
    wrong = []
    for name in sorted(imports(source)):
        top, _, rest = name.partition(".")
        if top == "obscura":
            wrong += inside_violations(module, name, rest)
        elif top not in sys.stdlib_module_names and not any(is_known(module, at) for at in OUTSIDE.get(top, ())):
            places = ", ".join(sorted(OUTSIDE.get(top, ()))) or "no module yet: it would be a new dependency"
            wrong.append(f"{module} imports {name}; the package {top} has its place in {places}")
    return wrong


def inside_violations(module: str, name: str, rest: str) -> list[str]:
    room, target = room_of(module), room_of(rest)
    if target not in reachable(room):
        if (module, target) in LEFT_OVER:
            return []
        right = ", ".join(sorted(other for other in ALLOWED if target in reachable(other) and other != target))
        return [
            f"{module} imports {name}, but {room} may import only {', '.join(sorted(reachable(room)))}. "
            f"What needs {target} belongs into one of: {right or 'no room'}; or what is needed moves below {room}."
        ]
    if room == "api" and module not in NO_HANDLERS and not module.startswith(SHARED_BY_HANDLERS):
        other = rest.rpartition(".")[0] if rest.count(".") else rest
        if target == "api" and not rest.startswith((*SHARED_BY_HANDLERS, "api.request")):
            return [f"{module} imports {name}: handlers share api.json and http alone, never {other}"]
    return []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    """Each module of the server stands on lower rooms alone, and each dependency has its place."""
    if module == "":
        assert imports(MODULES[module].read_text()) == set()
    else:
        assert violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("api.keys", "from obscura.store.keys import KeyStore"),
        ("api.keys", "from obscura.store import keyspace"),
        ("api.keys", "import obscura.store.keys"),
        ("api.keys", "from obscura.api import routes"),
        ("api.keys", "from obscura.api.accounts import login"),
        ("http.server", "from obscura.api.routes import api_routes"),
        ("http.request_handling", "from obscura.services.messages import Messages"),
        ("gateway.socket", "from obscura.http.request_handling import wrap_handler"),
        ("gateway.socket", "from obscura.store.messages import MessageStore"),
        ("gateway.formats.frames_0_3", "from obscura.api.json.keys import bundle_body"),
        ("services.keys", "from obscura.gateway.hub import Hub"),
        ("services.keys", "import redis"),
        ("services.keys", "from redis.asyncio import Redis"),
        ("services.keys", "from aiohttp import web"),
        ("store.keys", "from obscura.services.keys import Keys"),
        ("store.keys", "def late():\n    from obscura.services.keys import Keys"),
        ("redis_client.slot_map", "from obscura.store import keyspace"),
        ("model.keys", "from obscura.v1.obscura_pb2 import Envelope"),
        ("model.keys", "from obscura.store import keyspace"),
        ("crypto.curve", "from obscura.model.keys import Bundle"),
        ("errors", "from obscura.settings.model import Settings"),
        ("settings.model", "from obscura.observability.logs import setup"),
        ("tasks", "from obscura.errors import ObscuraError"),
        ("client.device_keys", "from obscura.bench.target import Target"),
        ("cli", "from obscura.api.routes import api_routes"),
        ("node.node", "from obscura.cli import main"),
        ("node.node", "from obscura.processes.supervisor import Supervisor"),
        ("processes.supervisor", "import prometheus_client"),
        ("services.keys", "import requests"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_noticed(module: str, line: str) -> None:
    """The check above is not blind."""
    assert len(violations(module, line)) == 1


def test_a_wrong_import_is_told_which_room_would_be_right() -> None:
    """Whoever breaks the rule reads where the code belongs."""
    (message,) = violations("services.keys", "from obscura.gateway.hub import Hub")
    assert "services may import only" in message
    assert "belongs into one of: api, node" in message


def test_what_was_left_over_is_struck_off_when_it_is_gone() -> None:
    """No exception outlives its reason."""
    still = {
        (module, room_of(name.partition(".")[2]))
        for module, file in MODULES.items()
        if module
        for name in imports(file.read_text())
        if name.startswith("obscura.")
    }
    assert still >= LEFT_OVER


def test_every_room_exists() -> None:
    """The table has no row for what is gone."""
    rooms = {room_of(module) for module in MODULES if module}
    assert rooms == ALLOWED.keys()
