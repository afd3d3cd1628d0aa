"""The API page as HTTP: its files, what guards them, and what is not served."""

import re
from collections.abc import Callable

import pytest

from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Answer, Api, exchange
from tests.support.limits import forwarded_for, is_refused

PAGE, START, PROGRAM, STYLE = "/docs", "/docs/start.js", "/docs/swagger-ui.js", "/docs/swagger-ui.css"

each_file = pytest.mark.parametrize(
    ("path", "content_type"),
    [(PAGE, "text/html"), (START, "text/javascript"), (PROGRAM, "text/javascript"), (STYLE, "text/css")],
)


def policy(answer: Answer) -> dict[str, str]:
    """The directives of a Content-Security-Policy."""
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


@each_file
async def test_each_file_of_the_page_is_served(api: Api, path: str, content_type: str) -> None:
    """Whole, with the type that a browser insists on, and without a token."""
    answer = await api.call("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert len(answer.body) > 100


@each_file
async def test_a_browser_keeps_a_file_and_asks_whether_it_is_still_the_one(
    api: Api, path: str, content_type: str
) -> None:
    """The ETag is that of the content; whoever names it gets a 304, whoever names another the file."""
    first = await api.call("GET", path)
    assert first.headers["Cache-Control"] == "no-cache"
    etag = first.headers["ETag"]
    again = await api.call("GET", path, headers={"If-None-Match": etag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    other = await api.call("GET", path, headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)


@each_file
async def test_head_tells_the_size(node: Node, api: Api, path: str, content_type: str) -> None:
    """Without the body."""
    full = await api.call("GET", path)
    head = await exchange(node.api_port, f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(full.body)))


async def test_the_page_may_load_and_run_only_what_the_relay_serves(api: Api) -> None:
    """Nothing from elsewhere, nothing inline, no eval, no frame around it, no form; images may be data."""
    allowed = policy(await api.call("GET", PAGE))
    assert allowed.pop("img-src") == "'self' data:"
    assert {name: allowed.pop(name) for name in ("script-src", "style-src", "connect-src")} == {
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
    }
    assert allowed.keys() == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(allowed.values()) == {"'none'"}


async def test_the_page_refers_to_its_own_files_by_relative_addresses(api: Api) -> None:
    """So it works behind a proxy that puts the relay under a path of its own."""
    page, start = (await api.call("GET", PAGE)).body.decode(), (await api.call("GET", START)).body.decode()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(addresses) == {"data:,", "openapi.yaml", "docs/swagger-ui.css", "docs/swagger-ui.js", "docs/start.js"}
    assert 'url: "openapi.yaml"' in start


async def test_the_address_with_a_slash_leads_to_the_page(api: Api) -> None:
    """By a relative address too."""
    answer = await api.call("GET", "/docs/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (308, "../docs")
    assert (await api.call("GET", "/docs/")).body == (await api.call("GET", PAGE)).body


@pytest.mark.parametrize(
    "path",
    [
        "/docs/nothing.js",
        "/docs/docs.html",
        "/docs/swagger_bundle.js",
        "/docs/scalar.js",
        "/docs/__init__.py",
        "/docs/..",
        "/docs/../openapi.yml",
        "/docs/../../setup.cfg",
        "/docs/%2e%2e%2fdocs.html",
        "/docs/..%2f..%2fconfig.py",
        "/docs/%2fetc%2fpasswd",
        "/docs//etc/passwd",
        "/docs/start.js/",
        "/docs/start.js%00.css",
    ],
)
async def test_no_other_file_is_served(node: Node, path: str) -> None:
    """Neither of the package nor of the machine; what looks like a way out of the folder is a 404 like all else."""
    answer = await exchange(node.api_port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (answer.status, answer.json.keys()) == (404, {"error"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [PAGE, "/docs/", START])
async def test_the_page_can_only_be_read(api: Api, method: str, path: str) -> None:
    """All else is a 405 that says so."""
    answer = await api.call(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_the_page_counts_as_all_other_requests_do(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Each of its files takes a token of the standard tier."""
    api = connect_api(await start_node(rate_limit_per_second=0.01, rate_limit_burst=3))
    headers = forwarded_for("203.0.113.9")
    answers = [await api.call("GET", path, headers=headers) for path in (PAGE, STYLE, PROGRAM, START)]
    assert [answer.status for answer in answers[:3]] == [200, 200, 200]
    assert is_refused(answers[3])


async def test_other_answers_are_not_kept(api: Api) -> None:
    """Only the files of the page are: an error in their place is not."""
    answers = [await api.call("GET", path) for path in ("/docs/nothing.js", "/nothing", "/openapi.yaml")]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 3
