"""Imports go down only: cli, node, api, gateway, services, store, then values, crypto, and what all may use."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BASE = {"config", "config_types", "errors", "logs", "telemetry"}

# What the modules of a layer may import besides `BASE`; a layer is a package or a module at the top.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"processes", "node", "inspect", "bench"},
    "processes": {"processes", "node", "api", "store"},
    "bench": {"bench", "v1"},
    "inspect": {"inspect", "services", "store", "crypto"},
    "node": {"parts", "api", "gateway", "services", "store", "blobs", "wire", "frames", "events", "crypto", "tracing"},
    "parts": {"gateway", "services", "store", "blobs", "crypto"},
    "api": {"api", "gateway", "services", "wire", "frames", "crypto", "tracing"},
    "gateway": {"gateway", "services", "wire", "frames", "events"},
    "services": {"services", "store", "blobs", "wire", "frames", "crypto"},
    "store": {"store", "wire", "frames", "events", "crypto", "tracing"},
    "blobs": {"blobs", "tracing"},
    "wire": {"crypto"},
    "events": {"frames"},
    "frames": {"v1"},
    "crypto": set(),
    "v1": set(),
    "config": set(),
    "config_types": set(),
    "errors": set(),
    "logs": set(),
    "telemetry": {"histograms"},
    "histograms": set(),
    "otlp": set(),
    "tracing": {"otlp"},
}

SHARED_BY_HANDLERS = ("api.bodies", "api.middleware", "api.downloads", "api.ranges")

# Where a package from outside may be imported: layers, or single modules of them.
OUTSIDE: dict[str, set[str]] = {
    "aiobotocore": {"blobs.s3"},
    "aiohttp": {"api", "gateway", "blobs.s3"},
    "annotated_types": {"config_types"},
    "argon2": {"crypto.passwords"},
    "botocore": {"blobs.s3"},
    "google": {"frames", "v1", "bench.ledger"},
    "hdrh": {"bench.histogram"},
    "hiredis": {"store"},
    "jwt": {"crypto.tokens"},
    "opentelemetry": {"otlp"},
    "orjson": {"api", "crypto", "processes", "store", "wire"},
    "prometheus_client": {"histograms", "telemetry", "api.management", "processes.metrics"},
    "pydantic": {"config", "config_types"},
    "pydantic_core": {"config"},
    "pygal": {"bench.plot"},
    "redis": {"store"},
    "uvloop": {"processes.running", "bench.worker"},
    "xeddsa": {"crypto.curve", "bench.keys"},
}


def module_name(file: Path) -> str:
    """``api.app`` for obscura/api/app.py, ``api`` for obscura/api/__init__.py."""
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
            is_handler = layer == "api" and module not in {"api.app", "api.middleware"}
            if (
                target not in ALLOWED[layer] | BASE
                or layer == "errors"
                or (layer in {"logs", "telemetry", "histograms"} and target != "histograms")
                or (is_handler and target == "api" and not rest.startswith(SHARED_BY_HANDLERS))
                or (module == "api.middleware" and target == "api" and not rest.startswith("api.bodies"))
                or (module == "api.bodies" and target == "api")
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
        ("api.middleware", "from obscura.api.app import api_routes"),
        ("gateway.session", "from obscura.api.middleware import require_user"),
        ("gateway.session", "from obscura.store.messages import MessageStore"),
        ("services.keys", "from obscura.gateway.hub import Hub"),
        ("services.keys", "import redis"),
        ("services.keys", "from redis.asyncio import Redis"),
        ("services.keys", "from aiohttp import web"),
        ("store.keys", "from obscura.services.keys import Keys"),
        ("store.keys", "def late():\n    from obscura.services.keys import Keys"),
        ("wire", "from obscura.v1.obscura_pb2 import Envelope"),
        ("wire", "from obscura.store import keyspace"),
        ("crypto.curve", "from obscura.wire import Bundle"),
        ("errors", "from obscura.config import Settings"),
        ("cli", "from obscura.api.app import api_routes"),
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
