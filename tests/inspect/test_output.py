"""What commands print where not all of it can be taken: no traceback, and nothing that steers a terminal."""

import asyncio
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import JWT_SECRET
from tests.support.client import Api
from tests.support.node_process import ROOT
from tests.support.redis import RedisServer

pytestmark = pytest.mark.real_start

OBSCURA = (sys.executable, "-m", "obscura")
NOT_UTF8 = os.fsdecode(b"caf\xe9")


async def run(
    *words: str, typed: str = "", encoding: str = "utf-8", stdout: int = asyncio.subprocess.PIPE, **settings: str
) -> tuple[int, str, str]:
    """The exit code of a command, and what it printed on a terminal of this encoding."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OBSCURA_", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *OBSCURA,
        *words,
        cwd=ROOT,
        env=inherited | {"PYTHONIOENCODING": encoding} | {f"OBSCURA_{key}": value for key, value in settings.items()},
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(typed.encode(encoding))
    assert process.returncode is not None
    return process.returncode, (output or b"").decode(encoding), errors.decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "zo\\xeb\\u202ednim"), ("latin-1", "zoë\\u202ednim"), ("utf-8", "zoë\\u202ednim")],
)
async def test_a_name_is_shown_as_far_as_the_terminal_can_and_should(
    api: Api, redis_server: RedisServer, encoding: str, shown: str
) -> None:
    """What the encoding lacks and what turns the text around is escaped, in answers and in questions."""
    name = f"zoë\u202ednim-{secrets.token_hex(4)}"
    user = await api.register(name)
    shown += name[-9:]
    redis = {"REDIS_URL": redis_server.url, "JWT_SECRET": JWT_SECRET}
    exit_code, output, errors = await run("inspect", "user", user.id, encoding=encoding, **redis)
    assert (exit_code, errors) == (0, "")
    assert f"  {shown}\n" in output
    asked = ("inspect", "delete-user", user.id)
    exit_code, _, errors = await run(*asked, typed="no\n", encoding=encoding, **redis)
    assert (exit_code, errors.splitlines()[0]) == (1, f"delete for good: {shown} ({user.id})")
    if encoding == "utf-8":
        assert (await run(*asked, typed=f"{shown}\n", **redis))[0] == 0  # what is shown can be typed


async def test_a_name_that_is_no_text_belongs_to_nobody(redis_server: RedisServer) -> None:
    """It is said in one sentence."""
    exit_code, _, errors = await run("inspect", "user", NOT_UTF8, REDIS_URL=redis_server.url, JWT_SECRET=JWT_SECRET)
    assert exit_code == 1
    assert errors.startswith("obscura: there is no user 'caf")
    assert errors.count("\n") == 1


async def test_the_data_directory_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    """Nobody answers in one that is empty, and the sentence shows its bytes."""
    exit_code, _, errors = await run("inspect", "stats", "--data-dir", str(tmp_path / NOT_UTF8))
    assert exit_code == 1
    assert errors.startswith(f"obscura: no server answers in the data directory {tmp_path}/caf\\xe9: start one there")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("command", ["inspect", "serve"])
async def test_a_path_with_a_nul_is_refused(tmp_path: Path, command: str) -> None:
    """No file can have it, and a TOML file can say it."""
    (tmp_path / "relay.toml").write_text('data_dir = "a\\u0000b"\n')
    words = (command, *(["stats"] if command == "inspect" else []), "--config", str(tmp_path / "relay.toml"))
    exit_code, _, errors = await run(*words)
    assert (exit_code, errors) == (1, f"obscura: data_dir in {tmp_path}/relay.toml must not have a NUL in it\n")


async def test_errors_name_files_without_steering_the_terminal(tmp_path: Path) -> None:
    """Control characters of a name are escaped."""
    exit_code, _, errors = await run("inspect", "stats", "--config", f"{tmp_path}/\x1b[31mred")
    assert (exit_code, errors) == (
        1,
        f"obscura: --config {tmp_path}/\\x1b[31mred cannot be read: No such file or directory\n",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize("words", [("--version",), ("serve", "--help"), ("inspect", "--help"), ("bench", "--help")])
async def test_an_answer_that_finds_no_room_is_an_error(words: tuple[str, ...]) -> None:
    """One sentence, and not the exit code of success."""
    with opened("/dev/full") as full:
        exit_code, _, errors = await run(*words, stdout=full)
    assert (exit_code, errors) == (1, "obscura: the output: No space left on device\n")


async def test_an_answer_that_nobody_reads_to_its_end_is_no_error_to_talk_about() -> None:
    """As with `| head`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        exit_code, _, errors = await run("serve", "--help", stdout=writer)
    finally:
        os.close(writer)
    assert (exit_code, errors) == (1, "")


@contextmanager
def opened(path: str) -> Iterator[int]:
    number = os.open(path, os.O_WRONLY)
    try:
        yield number
    finally:
        os.close(number)
