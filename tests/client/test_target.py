"""Where a node listens, from its URL."""

import pytest

from obscura.client.target import Target


@pytest.mark.parametrize(
    ("url", "target", "shown"),
    [
        ("http://localhost:3000", Target("localhost", 3000, False), "http://localhost:3000"),
        ("https://relay.example", Target("relay.example", 443, True), "https://relay.example:443"),
        ("http://[::1]/", Target("::1", 80, False), "http://[::1]:80"),
    ],
)
def test_a_url_is_read(url: str, target: Target, shown: str) -> None:
    """Brackets of an IPv6 address are for the authority alone (RFC 3986 section 3.2.2)."""
    assert Target.parse(url) == target
    assert str(target) == shown


@pytest.mark.parametrize("url", ["ftp://host", "http://host:x", "http://host/path", "http://me@host", "http://"])
def test_what_says_more_or_less_than_where_to_connect_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the texts are those of the command line, tested there
        Target.parse(url)
