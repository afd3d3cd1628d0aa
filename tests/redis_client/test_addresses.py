"""Hosts and ports, as URLs write them."""

import pytest

from obscura.redis_client.addresses import Address, parse_addresses, url_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis+cluster://h", [("h", 6379)]),
        ("redis+cluster://h1:1,h2,h3:3", [("h1", 1), ("h2", 6379), ("h3", 3)]),
        ("redis+cluster://[::1]:7000,[2001:db8::2]", [("::1", 7000), ("2001:db8::2", 6379)]),
        ("redis+cluster://user:a,b:c@h1,h2:2/?x=y", [("h1", 6379), ("h2", 2)]),
    ],
)
def test_every_host_of_a_url_is_found(url: str, expected: list[tuple[str, int]]) -> None:
    """With and without a port, IPv6 in brackets, whatever the password is."""
    assert parse_addresses(url, 6379) == [Address(*pair) for pair in expected]


@pytest.mark.parametrize("url", ["redis+cluster://h1,,h2", "redis+cluster://h:port", "redis+cluster://"])
def test_a_host_that_is_none_is_refused(url: str) -> None:
    """An empty one, a port that is no number."""
    with pytest.raises(ValueError, match=r"several hosts|missing or malformed"):
        parse_addresses(url, 6379)


def test_an_address_is_written_as_urls_have_it() -> None:
    """IPv6 in brackets."""
    assert [str(Address("::1", 1)), str(Address("h", 2))] == ["[::1]:1", "h:2"]


def test_the_url_of_one_server_has_what_that_of_all_had() -> None:
    """Login and query; the query is encoded, the login is already."""
    address = Address("::1", 1)
    assert (
        url_of("rediss", "u:p%40", address, {"ssl_ca_certs": "/a b"}) == "rediss://u:p%40@[::1]:1/?ssl_ca_certs=%2Fa+b"
    )
    assert url_of("redis", "", address, {}) == "redis://[::1]:1/?"
