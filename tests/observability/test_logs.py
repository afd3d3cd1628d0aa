"""Log lines as an operator and a log collector read them."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from obscura.observability.logs import JsonFormatter, TextFormatter, ThrottleFilter, request_id, set_up_logging

NASTY = "first\nsecond\r\n\x1b[31mred\x00 \ud800 é"


@pytest.fixture
def request_named() -> Iterator[str]:
    token = request_id.set("abc-123")
    yield "abc-123"
    request_id.reset(token)


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("obscura.part", logging.INFO, __file__, 1, message, args, None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    vars(made).update(fields)
    return made


def test_a_line_of_text_has_all_its_parts(request_named: str) -> None:
    """Text lines read from left to right, with the request's id at the end."""
    line = TextFormatter().format(record("stored %d", 3, count=3, reason="no room"))
    assert line == (
        "2023-11-14T22:13:20.250Z INFO obscura.part: stored 3 count=3 reason='no room' request_id='abc-123'"
    )


def test_a_line_of_json_has_the_same(request_named: str) -> None:
    """JSON lines are objects with the same content."""
    assert json.loads(JsonFormatter().format(record("stored %d", 3, count=3, reason="no room"))) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "obscura.part",
        "message": "stored 3",
        "count": 3,
        "reason": "no room",
        "request_id": request_named,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_a_client_wrote_cannot_start_a_line_of_its_own(formatter: logging.Formatter) -> None:
    """Line ends are escaped wherever they come from, so nobody can forge an entry."""
    line = formatter.format(record("odd: %s", NASTY, field=NASTY))
    assert not re.search("[\n\r]", line)
    line.encode("utf-8", "backslashreplace")  # as the stream to stderr does


def test_json_is_valid_whatever_is_in_it() -> None:
    """Lone surrogates, NULs or objects that JSON does not know do not lose the line."""
    line = json.loads(JsonFormatter().format(record("odd: %s", NASTY, field=NASTY, other={1, 2}, thing=object())))
    assert line["message"] == f"odd: {NASTY}"
    assert line["field"] == NASTY


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_logged_with_its_traceback(formatter: logging.Formatter) -> None:
    """The traceback is in the same entry."""
    try:
        raise ValueError("the reason")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: the reason" in formatter.format(made)


def test_lines_outside_a_request_have_no_request_id() -> None:
    """The field is missing rather than empty."""
    assert "request_id" not in TextFormatter().format(record("started"))
    assert "request_id" not in json.loads(JsonFormatter().format(record("started")))


def test_a_flood_of_one_message_is_held_back() -> None:
    """One line per period, the next of which says how many it stands for; other messages pass."""
    now = 100.0
    seldom = ThrottleFilter("refused", 1.0, lambda: now)
    first, second, other = record("refused"), record("refused"), record("something else")
    assert [bool(seldom.filter(one)) for one in (first, second, second, other)] == [True, False, False, True]
    now = 101.0
    third = record("refused")
    assert seldom.filter(third)
    assert third.held_back == 2  # type: ignore[attr-defined]
    now = 102.0
    fourth = record("refused")
    assert seldom.filter(fourth)
    assert not hasattr(fourth, "held_back")


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Undo what is set up inside."""
    root, quiet = logging.getLogger(), logging.getLogger("aiohttp.websocket")
    handlers, levels = root.handlers[:], (root.level, quiet.level)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        quiet.setLevel(levels[1])


@pytest.mark.parametrize(("format_name", "start"), [("text", "2"), ("json", "{")])
def test_logs_go_to_stderr_from_the_chosen_level_on(
    capsys: pytest.CaptureFixture[str], format_name: str, start: str
) -> None:
    """Set up twice, each line is still written once, in the chosen form."""
    with logging_as_before():
        set_up_logging("error", "text")
        set_up_logging("warning", format_name)
        logging.getLogger("obscura.part").info("not this")
        logging.getLogger("obscura.part").warning("but this")
    lines = capsys.readouterr().err.splitlines()
    assert [("but this" in line, line[0]) for line in lines] == [(True, start)]


def test_what_clients_propose_in_a_handshake_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """aiohttp would warn of unknown subprotocols, in which some clients carry a token."""
    with logging_as_before():
        set_up_logging("debug", "text")
        logging.getLogger("aiohttp.websocket").warning("Client protocols %r", ["secret"])
    assert capsys.readouterr().err == ""
