"""``obscura inspect``: what an operator asks a running relay, and the two things they may end.

Exit codes: 0, 1 when there is no answer or nothing was changed, 2 when the command
itself is not understood.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from obscura.errors import ObscuraError
from obscura.inspect.admin_connection import AccountRef, AdminConnection, By, open_admin_connection
from obscura.inspect.report import Answer, as_json, as_table
from obscura.observability.terminal import escape, print_error
from obscura.settings.loading import load
from obscura.settings.model import Settings

USAGE = """\
usage: obscura inspect COMMAND [USER] [--by name|id] [--json] [--yes] [--config FILE] [--SETTING VALUE ...]

Look into a running relay. The settings are those of `obscura serve`: with no OBSCURA_REDIS_URL
it is the server that runs in the data directory. USER is a username or a user id: what looks
like an id is one, unless --by says otherwise.

  user USER          who this is, and how much there is of them
  inbox USER         what waits for them: how many, how much, since when
  sessions USER      where they are logged in
  nodes              which nodes are connected
  stats              Redis, and how much is in it
  end-sessions USER  log them out everywhere
  delete-user USER   log them out, remove all that is kept of them, free the name

  --by name|id       what USER is
  --json             one JSON value, for scripts
  --yes              do not ask before the last two
"""

_USER_COMMANDS = {"user", "inbox", "sessions", "end-sessions", "delete-user"}
_GLOBAL_COMMANDS = {"nodes", "stats"}
_CONFIRMED_COMMANDS = {"end-sessions": "log out everywhere", "delete-user": "delete for good"}

_OWN_FLAGS = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
_OWN_FLAGS.add_argument("--by", choices=("name", "id"))
_OWN_FLAGS.add_argument("--json", action="store_true")
_OWN_FLAGS.add_argument("--yes", action="store_true")


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    user_id: UUID
    username: str | None
    sessions_ended: int


@dataclass(frozen=True, slots=True)
class UserDeleted:
    user_id: UUID
    username: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class _Request:
    command: str
    user: str
    by: By | None
    flags: Sequence[str]  # of settings
    json: bool
    confirmed: bool


def inspect(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run ``obscura inspect`` with the arguments behind it, and return the exit code."""
    if {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    request = _parse(argv)
    if request is None:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        settings = load(request.flags, environ)
        if request.command in _CONFIRMED_COMMANDS and not request.confirmed:
            _confirm(request.command, asyncio.run(_find_account(settings, request)))
        answer = asyncio.run(_ask(settings, request))
    except (ObscuraError, KeyboardInterrupt) as error:
        print_error(str(error) or "stopped")
        return 1
    print(as_json(answer) if request.json else as_table(answer))
    return 0


def _parse(argv: Sequence[str]) -> _Request | None:
    command, *rest = [*argv, ""]
    user = ""
    if command in _USER_COMMANDS:
        user, *rest = rest
        if user in {"", "--by", "--json", "--yes"}:
            return None
    elif command not in _GLOBAL_COMMANDS:
        return None
    try:
        own, flags = _OWN_FLAGS.parse_known_args([word for word in rest if word])
    except argparse.ArgumentError:
        return None
    return _Request(command, user, own.by, flags, own.json, own.yes)


def _confirm(command: str, account: AccountRef) -> None:
    """Have the operator type the user's name as it is shown, or their id; outside the event loop, so that Ctrl-C works.

    Raises:
        ObscuraError: Something else was typed.
    """
    expected = escape(account.username or str(account.user_id))
    print(f"{_CONFIRMED_COMMANDS[command]}: {expected} ({account.user_id})", file=sys.stderr)
    print("Type the name to go on: ", end="", file=sys.stderr, flush=True)
    if escape(sys.stdin.readline().rstrip("\n")) != expected:
        raise ObscuraError("nothing was changed")


async def _find_account(settings: Settings, request: _Request) -> AccountRef:
    async with open_admin_connection(settings) as connection:
        return await connection.find(request.user, request.by)


async def _ask(settings: Settings, request: _Request) -> Answer:
    async with open_admin_connection(settings) as connection:
        if request.command == "nodes":
            return await connection.inspection.nodes()
        if request.command == "stats":
            return await connection.inspection.server()
        if request.command == "delete-user":
            return await _delete(connection, await connection.find(request.user, request.by))
        return await _answer_about(connection, request.command, await connection.find_account(request.user, request.by))


async def _answer_about(connection: AdminConnection, command: str, account: AccountRef) -> Answer:
    match command:
        case "inbox":
            return await connection.inspection.inbox(account.user_id)
        case "sessions":
            return await connection.inspection.sessions(account.user_id)
        case "end-sessions":
            ended = await connection.administration.end_sessions(account.user_id)
            return SessionsEnded(account.user_id, account.username, ended)
    summary = await connection.inspection.account(account.user_id)
    if summary is None:
        raise ObscuraError("the user was deleted a moment ago")
    return summary


async def _delete(connection: AdminConnection, account: AccountRef) -> UserDeleted:
    await connection.administration.delete_account(account.user_id, account.username)
    return UserDeleted(account.user_id, account.username, deleted=True)
