"""What every answer has: its date and headers, and errors in JSON."""

import time
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web

from obscura.errors import RangeNotSatisfiable, StoreUnavailable, TooManyRequests
from obscura.http import responses
from obscura.http.responses import add_headers, error_response_for, http_date, http_error_response_for

pytestmark = pytest.mark.libraries


def test_the_date_is_that_of_this_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the one form that RFC 9110 has servers send, and anew for each second."""
    monkeypatch.setattr(responses.time, "time", lambda: 784_111_777.9)
    assert http_date() == "Sun, 06 Nov 1994 08:49:37 GMT"
    monkeypatch.setattr(responses.time, "time", lambda: 784_111_778.0)
    assert http_date() == "Sun, 06 Nov 1994 08:49:38 GMT"
    monkeypatch.undo()
    assert abs(parsedate_to_datetime(http_date()).timestamp() - time.time()) < 2


def test_a_refusal_says_when_to_come_back() -> None:
    """In the header that clients look at."""
    response = error_response_for(TooManyRequests("Slow down", 7))
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert response.body == b'{"error":"Slow down"}'


def test_a_fault_of_ours_gives_nothing_away() -> None:
    """Its text is for the log."""
    response = error_response_for(StoreUnavailable("connection to 10.0.0.7 refused"))
    assert response.status == 503
    assert response.body == b'{"error":"Service temporarily unavailable, try again later"}'


def test_a_range_beyond_the_end_says_where_that_is() -> None:
    """RFC 9110 section 15.5.17."""
    response = error_response_for(RangeNotSatisfiable("The range lies beyond the end", 10))
    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */10")
    assert "Retry-After" not in response.headers


def test_an_error_of_aiohttp_is_told_in_json() -> None:
    """With its Allow header, if it has one."""
    response = http_error_response_for(web.HTTPMethodNotAllowed("PUT", ["GET", "HEAD"]))
    assert (response.status, response.body) == (405, b'{"error":"Method not allowed"}')
    assert response.headers["Allow"] == "GET,HEAD"
    assert "Allow" not in http_error_response_for(web.HTTPNotFound()).headers


def test_an_answer_may_say_that_it_is_kept() -> None:
    """Only then is it cached."""
    kept, other = web.Response(headers={"Cache-Control": "no-cache"}), web.Response()
    add_headers(kept)
    add_headers(other)
    assert [one.headers["Cache-Control"] for one in (kept, other)] == ["no-cache", "no-store"]
