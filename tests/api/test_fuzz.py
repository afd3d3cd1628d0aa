"""Requests that Schemathesis makes up from the served OpenAPI document: valid, invalid, and chained.

Every answer has a documented status, content type, headers and body, none is a 5xx, what
breaks the document is refused, and what needs a token is refused without one. A failure
prints the requests as curl lines and the seed. TEST_FUZZ_SEED sets another seed, and
TEST_FUZZ_EXAMPLES another number of requests per operation.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from obscura.api.openapi import openapi_text
from tests.conftest import StartNode
from tests.support.client import Api

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SEED = os.environ.get("TEST_FUZZ_SEED", "20261122")
EXAMPLES = os.environ.get("TEST_FUZZ_EXAMPLES", "40")
DEADLINE_SECS = 240
QUICK = "10"  # for who is not logged in, and so is soon refused

# A schema cannot say that a signature is one, or that a handshake is missing: such requests are refused rightly.
# That right ones succeed is checked by the hooks.
UNFIT = "positive_data_acceptance"

# What the hooks bring about, and nothing else would: a run without these has not got past the first checks.
SUCCESSES = {
    ("POST", "/v1/users"): {201},
    ("POST", "/v1/sessions"): {200},
    ("DELETE", "/v1/sessions"): {200},
    ("POST", "/v1/sessions/refresh"): {200},
    ("POST", "/v1/keys"): {200},
    ("GET", "/v1/keys/{userId}"): {200},
    ("POST", "/v1/messages/{recipientId}"): {201},
    ("POST", "/v1/attachments"): {201},
    ("GET", "/v1/attachments/{id}"): {200, 206, 304, 416},
    ("HEAD", "/v1/attachments/{id}"): {200, 304},
    ("GET", "/openapi.yaml"): {200},
}
OPERATIONS = {
    (method.upper(), path) for path, item in yaml.safe_load(openapi_text())["paths"].items() for method in item
}


@pytest.fixture
async def api(start_node: StartNode, session: aiohttp.ClientSession) -> Api:
    """A node without limits, not even on the sessions of the one account that makes all the requests."""
    node = await start_node(max_sessions_per_account=1_000_000)
    return Api(session, node.api_port)


async def fuzz(api: Api, folder: Path, *options: str, **environ: str) -> dict[tuple[str, str], dict[int, int]]:
    """Run Schemathesis; returns the number of answers by operation and status.

    Fails with its whole report if it has found anything.
    """
    document, report = folder / "openapi.yaml", folder / "answers.json"
    document.write_bytes((await api.call("GET", "/openapi.yaml")).body)
    hooks = {"SCHEMATHESIS_HOOKS": "tests.support.fuzz_hooks", "PYTHONPATH": str(ROOT)}
    inputs = {"TEST_FUZZ_URL": api.url, "TEST_FUZZ_SEED": SEED, "TEST_FUZZ_REPORT": str(report)}
    command = ("-m", "schemathesis.cli", "run", str(document), "--url", api.url, "--seed", SEED, "--no-color")
    always = ("--continue-on-failure", "--checks", "all", "--exclude-checks", UNFIT, "--generation-database", "none")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command, *always, *options),
        cwd=folder,
        env=os.environ | hooks | inputs | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"seed {SEED}\n{output.decode()}"
    return by_operation(json.loads(report.read_text()))


def by_operation(answers: dict[str, int]) -> dict[tuple[str, str], dict[int, int]]:
    counts: dict[tuple[str, str], dict[int, int]] = {}
    for text, count in answers.items():
        method, path, status = text.split(" ")
        counts.setdefault((method, path), {})[int(status)] = count
    return counts


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Errors of the server. Warnings are due where a chain uses a refresh token again."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.timeout(DEADLINE_SECS + 20)
async def test_every_answer_to_who_is_logged_in_is_as_documented(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Valid and invalid requests to every operation, and chains of them; each kind of success is among the answers."""
    phases = "examples,coverage,fuzzing,stateful"
    answers = await fuzz(api, tmp_path, "--phases", phases, "--max-examples", EXAMPLES, TEST_FUZZ_LOGIN="yes")
    assert set(answers) >= OPERATIONS  # and methods that do not exist
    missing = {operation: statuses - set(answers[operation]) for operation, statuses in SUCCESSES.items()}
    assert {operation: statuses for operation, statuses in missing.items() if statuses} == {}
    assert faults(caplog) == []


@pytest.mark.timeout(DEADLINE_SECS + 20)
async def test_every_answer_to_who_is_not_logged_in_is_as_documented(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same requests without a token: what needs one is a 401, before anything else is said."""
    answers = await fuzz(api, tmp_path, "--phases", "coverage,fuzzing", "--max-examples", QUICK)
    assert set(answers) >= OPERATIONS
    document = yaml.safe_load(openapi_text())
    for method, path in OPERATIONS:
        if "security" in document["paths"][path][method.lower()]:
            assert set(answers[method, path]) == {401}, (method, path, answers[method, path])
    assert faults(caplog) == []
