"""Imports go down only: cli, node, api, gateway, services, store, then values, crypto, and what all may use."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BASE = {"settings", "errors", "observability", "tasks"}

# What the modules of a room may import besides `BASE`; a room is a package or a module at the top.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"processes", "node", "inspect", "bench"},
    "processes": {"processes", "node", "api", "http", "embedded_redis", "data_dir", "redis_client"},
    "bench": {"bench", "client", "v1"},
    "client": {"client", "bench", "v1"},
    "inspect": {"inspect", "services", "store", "redis_client", "embedded_redis", "crypto"},
    "node": {
        "node",
        "api",
        "http",
        "gateway",
        "services",
        "store",
        "redis_client",
        "embedded_redis",
        "blobs",
        "data_dir",
        "model",
        "crypto",
    },
    "api": {"api", "http", "gateway", "services", "model", "crypto"},
    "http": {"http", "api", "services", "crypto"},
    "gateway": {"gateway", "services", "model", "v1"},
    "services": {"services", "store", "redis_client", "blobs", "model", "gateway", "api", "crypto"},
    "store": {"store", "redis_client", "model", "gateway", "api", "crypto"},
    "redis_client": {"redis_client", "store"},
    "embedded_redis": {"embedded_redis", "data_dir"},
    "data_dir": set(),
    "blobs": {"blobs"},
    "model": {"model", "gateway", "crypto"},
    "crypto": set(),
    "v1": set(),
    "settings": {"settings"},
    "errors": set(),
    "observability": {"observability"},
}

SHARED_BY_HANDLERS = ("api.json", "http.bodies", "http.middleware", "http.streaming", "http.ranges")

# Where a package from outside may be imported: rooms, or single modules of them.
OUTSIDE: dict[str, set[str]] = {
    "aiobotocore": {"blobs.s3"},
    "aiohttp": {"api", "http", "gateway", "blobs.s3"},
    "annotated_types": {"settings.types"},
    "argon2": {"crypto.passwords"},
    "botocore": {"blobs.s3"},
    "google": {"gateway.formats", "v1", "bench.message_tracker"},
    "hdrh": {"bench.histogram"},
    "hiredis": {"redis_client", "store"},
    "jwt": {"crypto.tokens"},
    "opentelemetry": {"observability.otlp"},
    "orjson": {"api", "crypto", "processes", "store", "redis_client"},
    "prometheus_client": {"observability", "api.management", "processes.metrics"},
    "pydantic": {"settings"},
    "pydantic_core": {"settings"},
    "pygal": {"bench.plot"},
    "redis": {"redis_client"},
    "uvloop": {"processes.runtime", "bench.worker"},
    "xeddsa": {"crypto.curve", "client.device_keys"},
}


def module_name(file: Path) -> str:
    """``api.app`` for obscura/api/routes.py, ``api`` for obscura/api/__init__.py."""
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


def is_known(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def violations(module: str, source: str) -> list[str]:
    """The imports of a module that its place does not allow."""
    layer = module.partition(".")[0]
    wrong = []
    for name in sorted(imports(source)):
        top, _, rest = name.partition(".")
        if top == "obscura":
            target = rest.partition(".")[0]
            is_handler = layer == "api" and module != "api.routes"
            if (
                target not in ALLOWED[layer] | BASE
                or layer == "errors"
                or (layer == "observability" and target != "observability")
                or (is_handler and target in {"api", "http"} and not rest.startswith(SHARED_BY_HANDLERS))
            ):
                wrong.append(name)
        elif top not in sys.stdlib_module_names and not any(is_known(module, at) for at in OUTSIDE.get(top, ())):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    """Each module of the server stands on lower layers alone, and each dependency has its place."""
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
        ("api.keys", "from obscura.api import app"),
        ("api.keys", "from obscura.api.accounts import login"),
        ("api.middleware", "from obscura.api.routes import api_routes"),
        ("gateway.session", "from obscura.http.middleware import require_user"),
        ("gateway.session", "from obscura.store.messages import MessageStore"),
        ("services.keys", "from obscura.gateway.hub import Hub"),
        ("services.keys", "import redis"),
        ("services.keys", "from redis.asyncio import Redis"),
        ("services.keys", "from aiohttp import web"),
        ("store.keys", "from obscura.services.keys import Keys"),
        ("store.keys", "def late():\n    from obscura.services.keys import Keys"),
        ("wire", "from obscura.v1.obscura_pb2 import Envelope"),
        ("wire", "from obscura.store import keyspace"),
        ("crypto.curve", "from obscura.api.json.bodies import Bundle")(
            "errors", "from obscura.settings.model import Settings"
        ),
        ("cli", "from obscura.api.routes import api_routes"),
        ("node", "from obscura.cli import main"),
        ("node", "from obscura.processes.supervisor import Supervisor"),
        ("processes.supervisor", "import prometheus_client"),
        ("services.keys", "import requests"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_noticed(module: str, line: str) -> None:
    """The check above is not blind."""
    assert len(violations(module, line)) == 1


def test_every_layer_exists() -> None:
    """The table has no row for what is gone."""
    layers = {module.partition(".")[0] for module in MODULES if module}
    assert layers == ALLOWED.keys()
