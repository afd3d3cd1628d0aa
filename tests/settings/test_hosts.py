"""What OBSCURA_HOST may say, and what that means."""

import socket

import pytest

from obscura.settings.hosts import listen_addresses, local_address, split_hosts, url_hosts
from tests.support.settings import refusal


def test_hosts_are_parted_by_commas() -> None:
    """IPv6 with brackets or without; blanks and empty entries are nothing."""
    assert split_hosts("0.0.0.0, [::1] ,fe80::1,,relay") == ["0.0.0.0", "::1", "fe80::1", "relay"]
    assert url_hosts("0.0.0.0,::1") == ["0.0.0.0", "[::1]"]


@pytest.mark.parametrize("text", ["::", "0.0.0.0,::", "::,0.0.0.0", "[::]"])
def test_the_address_of_all_is_of_both_families(text: str) -> None:
    """However it is written, each once."""
    found = listen_addresses(text, 80)
    assert sorted((family, address[0]) for family, address in found) == [
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
    ]


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1,::", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")],
)
def test_a_server_that_listens_everywhere_is_reached_on_the_loopback(text: str, address: str) -> None:
    """Any other at its first address."""
    assert local_address(text) == address


def test_no_host_at_all_is_refused() -> None:
    """It is said what is expected."""
    assert refusal(HOST=",") == "OBSCURA_HOST must name an address to listen on, like 0.0.0.0 or ::"
