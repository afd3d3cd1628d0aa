"""Whose request it is: nobody chooses the address they are counted by."""

from ipaddress import ip_network

import pytest

from obscura.http.client_address import ClientAddresses
from obscura.settings.model import Settings

PROXY, OTHER_PROXY = "10.0.0.1", "192.168.7.7"
CLIENT, SPOOFED = "203.0.113.9", "198.51.100.66"

ADDRESSES = ClientAddresses([ip_network(text) for text in ("10.0.0.0/8", "192.168.0.0/16", "fd00::/8")])


def address(*lines: str, peer: str = PROXY) -> str:
    """The client of a request with these lines of X-Forwarded-For."""
    return ADDRESSES.find(peer, lines)


@pytest.mark.parametrize("lines", [(), (SPOOFED,), (f"{SPOOFED}, {PROXY}",), (SPOOFED, PROXY), ("",), ("junk",)])
@pytest.mark.parametrize("peer", [CLIENT, f"::ffff:{CLIENT}"])
def test_a_peer_that_is_no_proxy_is_the_client(peer: str, lines: tuple[str, ...]) -> None:
    """Whoever connects directly is counted by the connection, whatever they write."""
    assert address(*lines, peer=peer) == CLIENT


@pytest.mark.parametrize("peer", [PROXY, OTHER_PROXY, "fd00::1", f"::ffff:{PROXY}"])
def test_behind_a_proxy_the_client_is_whom_it_names(peer: str) -> None:
    """The entry that a trusted proxy appended is believed."""
    assert address(CLIENT, peer=peer) == CLIENT


@pytest.mark.parametrize(
    "written_by_the_client",
    [
        (SPOOFED,),
        (f"{SPOOFED}, {PROXY}",),
        (f"{PROXY}, {PROXY}",),
        ("junk",),
        ("",),
        (",,,",),
        (f"{SPOOFED},",),
        (f"{SPOOFED}:1234",),
        ("[2001:db8::1]:80",),
        ("unknown, _hidden",),
        (SPOOFED, "junk", PROXY),
        (f'for={SPOOFED}"',),
        (f"{SPOOFED}\t",),
        ("a," * 5_000,),
        (f"{PROXY}," * 1_000,),
    ],
)
@pytest.mark.parametrize(
    "appended", [CLIENT, f"{CLIENT}:4711", f" {CLIENT} ", f"::ffff:{CLIENT}", f"[::ffff:{CLIENT}]:80"]
)
@pytest.mark.parametrize("as_a_line", [False, True], ids=["same line", "own line"])
@pytest.mark.parametrize("hops", [(), (OTHER_PROXY,), (f"{OTHER_PROXY}:443", PROXY)])
def test_what_a_client_writes_itself_never_counts(
    written_by_the_client: tuple[str, ...], appended: str, as_a_line: bool, hops: tuple[str, ...]
) -> None:
    """Left of the address that the proxy saw anything may stand, in one line or several: the bucket stays the same."""
    lines = list(written_by_the_client)
    for entry in (appended, *hops):
        if as_a_line:
            lines.append(entry)
        else:
            lines[-1] += f", {entry}"
    assert address(*lines) == CLIENT


@pytest.mark.parametrize(
    "junk",
    [
        "",
        " ",
        "junk",
        "unknown",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4/32",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:999999",
        "1.2.3.4%a",
        "[1.2.3.4]",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[]",
        ":80",
        "２.2.3.4",
        "host.example:80",
        "for=1.2.3.4",
    ],
)
def test_an_entry_that_is_no_address_ends_the_search(junk: str) -> None:
    """Nothing left of junk is looked at: the last good entry counts, else the proxy itself."""
    assert address(f"{SPOOFED}, {junk}") == PROXY
    assert address(SPOOFED, junk, OTHER_PROXY) == OTHER_PROXY


def test_a_chain_of_nothing_but_proxies_ends_at_the_left_most() -> None:
    """A client inside a trusted network is counted by its own address there."""
    assert address(f"10.1.1.1, {OTHER_PROXY}") == "10.1.1.1"


def test_a_chain_is_followed_only_so_far() -> None:
    """What a header full of proxies costs is bounded; all of it is still one client."""
    assert address(", ".join([CLIENT, *[PROXY] * 31])) == CLIENT
    assert address(", ".join([CLIENT, *[PROXY] * 32])) == PROXY


@pytest.mark.parametrize("peer", [PROXY, "2001:db8:1:2::1"])
@pytest.mark.parametrize(
    "written",
    ["2001:db8:1:2::1", "2001:0DB8:1:2:ffff::1", "[2001:db8:1:2::2]:443", "[2001:db8:1:2::3]", "2001:db8:1:2::9%eth0"],
)
def test_ipv6_counts_by_the_64(peer: str, written: str) -> None:
    """One subscriber has a whole /64, so all of it is one client, however written."""
    assert address(written, peer=peer) == "2001:db8:1:2::/64"


def test_other_64s_are_other_clients() -> None:
    """Neighbours are told apart."""
    assert address("2001:db8:1:3::1") == "2001:db8:1:3::/64"


def test_without_a_trusted_proxy_no_header_counts() -> None:
    """An empty list of proxies means that every peer is a client."""
    assert ClientAddresses(()).find(PROXY, [SPOOFED]) == PROXY


def test_requests_without_an_address_are_one_client() -> None:
    """Those that come through a unix socket share a bucket rather than having none."""
    assert {address(peer=""), address(CLIENT, peer=""), address(peer="@")} == {""}


@pytest.mark.parametrize("proxy", ["::1", "fd00::8", "fc00:1::2", "127.0.0.1", "::ffff:10.0.0.1"])
def test_proxies_of_both_families_are_trusted_by_default(proxy: str) -> None:
    """On this machine and in private networks: else all clients behind them would be one."""
    find = ClientAddresses(Settings().trusted_proxies).find
    assert find(proxy, ["203.0.113.1"]) == "203.0.113.1"
    assert find("2001:db8::1", ["203.0.113.1"]) == "2001:db8::/64"
