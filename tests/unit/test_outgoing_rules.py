"""Where a URL may lead: public addresses, and what the operator lists."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.outgoing import OutgoingRules, SendTrouble, find_url_trouble, may_reach, may_set, read_rules
from agent.spec import read_url

STRICT = OutgoingRules()
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)

CLOSED = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::a00:1", "64:ff9b::808:808",
    "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:a00:1::", "2001:db8::1", "2002:a00:1::", "2002:808:808::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "4000::1",
    "", "a", "1.2.3", "::1%lo",
]  # fmt: skip
OPEN = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00::1",
]


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_that_is_not_public_is_closed(address: str) -> None:
    assert not may_reach("example.org", [address], STRICT)


@pytest.mark.parametrize("address", OPEN)
def test_a_public_address_is_open(address: str) -> None:
    assert may_reach("example.org", [address], STRICT)


@given(ADDRESSES)
@example(IPv6Address("64:ff9b::7f00:1"))
def test_what_is_open_is_global_unicast_to_the_standard_library_too(
    address: IPv4Address | IPv6Address,
) -> None:
    if may_reach("example.org", [str(address)], STRICT):
        assert address.is_global
        named = (address.is_multicast, address.is_private, address.is_reserved, address.is_loopback)
        assert not any(named)
        assert getattr(address, "ipv4_mapped", None) is None
        assert getattr(address, "sixtofour", None) is None
        assert getattr(address, "teredo", None) is None


@given(
    st.lists(st.sampled_from(OPEN), max_size=3),
    st.sampled_from(CLOSED),
    st.lists(st.sampled_from(OPEN), max_size=3),
)
def test_one_closed_address_among_open_ones_closes_the_name(
    before: list[str], closed: str, after: list[str]
) -> None:
    assert not may_reach("example.org", [*before, closed, *after], STRICT)


def test_a_name_without_an_address_leads_nowhere() -> None:
    assert not may_reach("example.org", [], STRICT)


@given(ADDRESSES, ADDRESSES)
def test_a_listed_network_opens_its_addresses_and_no_other(
    listed: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address
) -> None:
    rules = read_rules(False, [str(listed)])  # noqa: FBT003 - a key of the config
    assert may_reach("example.org", [str(listed)], rules)
    if other != listed:
        assert may_reach("example.org", [str(other)], rules) == may_reach("x", [str(other)], STRICT)


def test_a_listed_name_is_open_wherever_it_leads_and_its_neighbours_are_not() -> None:
    rules = read_rules(False, ["CI.internal", "10.20.0.0/16", "fd00::/8"])  # noqa: FBT003 - a key of the config
    assert may_reach("ci.internal", ["10.0.0.1", "127.0.0.1"], rules)
    assert not may_reach("a.ci.internal", ["10.0.0.1"], rules)
    assert not may_reach("ci.internal.example.org", ["10.0.0.1"], rules)
    assert may_reach("anything", ["10.20.3.4", "fd12::1"], rules)
    assert not may_reach("anything", ["10.21.0.1"], rules)
    assert not may_reach("anything", ["::ffff:10.20.3.4"], rules)


@pytest.mark.parametrize(
    "entry", ["", "*", "*.a", "10.0.0.0/33", "10.0.0.1/8", "a/8", "a:80", "1.2.3", "::1%lo"]
)
def test_an_entry_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"has|zone|host bits|permit|appear"):
        read_rules(False, [entry])  # noqa: FBT003 - a key of the config


HTTP_TOO = OutgoingRules(allow_http=True)
LOCAL = OutgoingRules(networks=(ip_network("127.0.0.0/8"),))


@pytest.mark.parametrize(
    ("url", "rules", "trouble"),
    [
        ("https://example.org/", STRICT, None),
        ("http://example.org/", STRICT, SendTrouble.HTTP_REFUSED),
        ("http://example.org/", HTTP_TOO, None),
        ("https://127.0.0.1/", STRICT, SendTrouble.ADDRESS_REFUSED),
        ("https://[::ffff:127.0.0.1]/", LOCAL, SendTrouble.ADDRESS_REFUSED),
        ("https://127.0.0.1/", LOCAL, None),
        ("http://127.0.0.1/", LOCAL, SendTrouble.HTTP_REFUSED),
        ("https://localhost/", STRICT, None),  # a name: seen when it is looked up
        ("https://10.0.0.1/", OutgoingRules(hosts=frozenset({"10.0.0.1"})), None),
    ],
)
def test_what_a_url_alone_tells(url: str, rules: OutgoingRules, trouble: SendTrouble | None) -> None:
    assert find_url_trouble(read_url(url), rules) is trouble


@given(ADDRESSES)
def test_an_address_in_a_url_is_judged_as_one_that_a_name_has(address: IPv4Address | IPv6Address) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    trouble = find_url_trouble(read_url(f"https://{host}/"), STRICT)
    assert (trouble is None) == may_reach("example.org", [str(ip_address(str(address)))], STRICT)


def test_headers_that_frame_a_request_are_not_a_users() -> None:
    assert not any(
        map(may_set, ["Host", "HOST", "content-length", "Transfer-Encoding", "Connection", "Expect"])
    )
    assert all(map(may_set, ["Authorization", "X-Host", "Content-Type"]))


def test_an_address_of_the_hosts_own_is_closed_however_public_it_is_unless_the_config_lists_it() -> None:
    public, own = "8.8.8.8", frozenset({"8.8.8.8"})
    assert may_reach("example.org", [public], STRICT)
    assert not may_reach("example.org", ["9.9.9.9", public], STRICT, own)
    assert find_url_trouble(read_url(f"https://{public}/"), STRICT, own) is SendTrouble.ADDRESS_REFUSED
    for listed in ("8.8.8.0/24", "example.org"):
        assert may_reach("example.org", [public], read_rules(allow_http=False, allow_hosts=[listed]), own)
