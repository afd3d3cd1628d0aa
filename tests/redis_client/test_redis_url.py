"""What the URL of one server says, as redis-py reads it; and that redis-py still reads it so."""

import ssl
import subprocess
import sys
from typing import Any

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url

from obscura.errors import StartupError
from obscura.redis_client.redis_url import ConnectOptions, _described, _options_of, read_url

pytestmark = pytest.mark.libraries

NAME = ("CLIENT", "SETNAME", "obscura:test")


def read(url: str) -> ConnectOptions:
    return read_url(url, "obscura:test")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://h", "h:6379"),
        ("redis://h:1/3", "h:1"),
        ("redis://[2001:db8::1]:7", "2001:db8::1:7"),
        ("rediss://h", "h:6379"),
        ("redis://", "localhost:6379"),
        ("unix:///run/a%20b.sock", "/run/a b.sock"),
    ],
)
def test_a_url_says_where_the_server_is(url: str, where: str) -> None:
    """A host and a port, with defaults, or a path, percent-decoded."""
    options = read(url)
    assert options.where == where
    assert (options.path or f"{options.host}:{options.port}") == where


@pytest.mark.parametrize(
    ("url", "handshake"),
    [
        ("redis://h", [NAME]),
        ("redis://:p%40ss%3A%2F@h", [("AUTH", "p@ss:/"), NAME]),
        ("redis://u%40:p@h", [("AUTH", "u@", "p"), NAME]),
        ("redis://u@h", [("AUTH", "u", ""), NAME]),
        ("redis://h?username=u&password=p", [("AUTH", "u", "p"), NAME]),
        ("redis://h/3", [NAME, ("SELECT", 3)]),
        ("redis://h/3?db=4", [NAME, ("SELECT", 4)]),
        ("redis://h/0", [NAME]),
        ("unix://:p@/s?db=2", [("AUTH", "p"), NAME, ("SELECT", 2)]),
        ("redis://h?client_name=other", [("CLIENT", "SETNAME", "other")]),
    ],
)
def test_a_url_says_with_which_commands_a_connection_begins(url: str, handshake: list[tuple[object, ...]]) -> None:
    """The user first, for all else is refused before; no HELLO and no CLIENT SETINFO, for which users have no right."""
    assert read(url).handshake == tuple(handshake)


def test_the_size_of_a_pool_has_no_meaning() -> None:
    """Nor is it an error, for other programs may use the same URL."""
    assert read("redis://h?max_connections=5") == read("redis://h")


def test_timeouts_are_short_unless_the_url_says_otherwise() -> None:
    """A request is refused within two seconds, connecting included."""
    assert (read("redis://h").connect_timeout_secs, read("redis://h").reply_timeout_secs) == (1.0, 1.5)
    options = read("redis://h?socket_connect_timeout=0.25&socket_timeout=0.5")
    assert (options.connect_timeout_secs, options.reply_timeout_secs) == (0.25, 0.5)


def test_keep_alive_is_on_unless_the_url_says_otherwise() -> None:
    """So that a server that went away without a word is noticed on a connection that only listens."""
    assert read("redis://h").keep_alive
    assert read("redis://h?socket_keepalive=no").keep_alive is None
    assert read("unix:///s").keep_alive is None


def test_tls_checks_certificates_unless_the_url_says_otherwise() -> None:
    """Against the authorities of the system and the name of the host."""
    assert read("redis://h").make_tls is None
    make_tls = read("rediss://h").make_tls
    assert make_tls is not None
    assert (make_tls().verify_mode, make_tls().check_hostname) == (ssl.CERT_REQUIRED, True)
    make_tls = read("rediss://h?ssl_cert_reqs=none").make_tls
    assert make_tls is not None
    assert make_tls().verify_mode == ssl.CERT_NONE


def test_files_of_tls_are_read_when_a_connection_is_made() -> None:
    """Not when the URL is read: they may be renewed meanwhile, and a missing one is no error of the URL."""
    make_tls = read("rediss://h?ssl_ca_certs=/nowhere/ca.crt").make_tls
    assert make_tls is not None
    with pytest.raises(FileNotFoundError):
        make_tls()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("nonsense=1", r"AbstractConnection\.__init__\(\) got an unexpected keyword argument 'nonsense'"),
        ("ssl_ca_certs=x", r"AbstractConnection\.__init__\(\) got an unexpected keyword argument 'ssl_ca_certs'"),
        ("db=x", "Invalid value for 'db' in connection URL."),
        ("protocol=5", "protocol must be either 2 or 3"),
        ("max_connections=-1", '"max_connections" must be a positive integer'),
    ],
)
def test_a_query_that_is_not_understood_is_refused(query: str, reason: str) -> None:
    """In one sentence, without the password."""
    with pytest.raises(StartupError, match=f"OBSCURA_REDIS_URL is not understood: {reason}") as refusal:
        read(f"redis://:hush@h/?{query}")
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://H:7/3", "redis://h:7//12", "redis://h/x", "redis://h/-1", "redis:///2"),
        *(
            "redis://u:p@h",
            "redis://u%40:p%2F%3A@h",
            "redis://:p@[::1]:1",
            "redis://u@h",
            "redis://a%2Db",
            "redis://h?",
        ),
        *("unix:///s", "unix://u:p@/a%20b/c.sock", "unix://:p@/s/3", "redis://h/#f"),
    ],
)
def test_a_url_without_options_is_read_as_redis_py_reads_it(url: str) -> None:
    """Though redis-py is not asked. If this fails after an upgrade, see `_plain_options`."""
    plain, asked = read(url), _options_of(_described(url, "obscura:test"))
    assert plain == asked


@pytest.mark.parametrize("url", ["redis://h:port", "redis://h:99999"])
def test_a_port_that_is_none_is_refused(url: str) -> None:
    """By a sentence, not by a traceback."""
    with pytest.raises(StartupError, match="OBSCURA_REDIS_URL is not understood: Port"):
        read(url)


def test_redis_py_is_loaded_only_for_options_and_tls() -> None:
    """It costs every start time and memory."""
    script = (
        "import sys; import obscura.node.node; from obscura.redis_client.redis_url import read_url;"
        "read_url('unix:///s', 'n'); read_url('redis://:p@h:1/2', 'n'); assert 'redis' not in sys.modules;"
        "read_url('rediss://h', 'n'); assert 'redis' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


DESCRIBED = {
    ("redis://h", Connection): ("host", "port", "socket_keepalive", "socket_keepalive_options"),
    ("rediss://h", SSLConnection): ("host", "port", "socket_keepalive", "socket_keepalive_options", "ssl_context"),
    ("unix:///s", UnixDomainSocketConnection): ("path",),
}
OF_ALL = ("username", "password", "client_name", "db", "socket_timeout", "socket_connect_timeout")


@pytest.mark.parametrize(("url", "kind"), DESCRIBED, ids=lambda value: getattr(value, "__name__", value))
def test_redis_py_still_describes_its_connections_in_public(url: str, kind: Any) -> None:
    """If this fails, an upgrade of redis-py has changed what obscura/redis_client/redis_url.py reads of it."""
    parsed: dict[str, Any] = {**parse_url(url)}
    assert parsed.pop("connection_class", Connection) is kind, f"redis-py reads {url} as another kind of connection"
    described = kind(**parsed)
    missing = [name for name in (*OF_ALL, *DESCRIBED[url, kind]) if not hasattr(described, name)]
    assert not missing, f"redis-py's {kind.__name__} does not say these any more: {missing}"
    assert not described.is_connected, f"redis-py's {kind.__name__} connects as soon as it is made"
