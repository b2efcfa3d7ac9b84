"""core/outgoing — where a URL out of a spec may lead: not into this host, its network or its cloud, unless the config lists it.

Pure. It is asked twice: of the URL as written, when a job comes in, and of the addresses that its name has, at each connection
(`adapters/outgoing`, which connects to those addresses and to no other). What leaves by a URL of a user's passes here.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from agent.spec import WebUrl, frames_request, read_host

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries: https://www.iana.org/assignments/iana-ipv4-special-registry and …ipv6….
CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; the kernel takes 0.0.0.0 for itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; 100.100.100.200 is a cloud's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's metadata, under an address that looks public
            "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols; 192.0.0.192 is a cloud's metadata
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",  # with the broadcast address
        ),
    )
)
# Of IPv6 only global unicast is open. So loopback, link- and site-local, ULA, multicast, IPv4 in any dress (mapped, compatible,
# NAT64 by either prefix) and what is given out in times to come are closed without being named.
OPEN_V6 = IPv6Network("2000::/3")
CLOSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address in it
            "3fff::/20",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class OutgoingRules:
    """What the operator allows over the built-in rules. `hosts`: by exact name, whatever their addresses; `networks`: by address."""

    allow_http: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


class SendTrouble(StrEnum):
    """Why a request that left, or should have, has no answer."""

    HTTP_REFUSED = "http_refused"
    ADDRESS_REFUSED = "address_refused"
    NAME_UNKNOWN = "name_unknown"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TOO_SLOW = "too_slow"
    REPLY_BROKEN = "reply_broken"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever it says. `body` has at most what was asked for; `retry_after` is the header as it came, `headers` are
    all of them, by names in lower case.
    """

    status: int
    retry_after: str | None = None
    body: bytes = field(default=b"", repr=False)  # signed URLs, and places that are capabilities
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unsent:
    """No answer. `detail` is for the operator's log: it may name an address that the user need not know."""

    trouble: SendTrouble
    detail: str = ""


def read_rules(allow_http: bool, allow_hosts: Iterable[str]) -> OutgoingRules:  # noqa: FBT001 - a key of the config
    """The rules that the config's entries make. Raises ValueError."""
    entries = [read_allowed(entry) for entry in allow_hosts]
    return OutgoingRules(
        allow_http,
        frozenset(entry for entry in entries if isinstance(entry, str)),
        tuple(entry for entry in entries if not isinstance(entry, str)),
    )


def read_allowed(entry: str) -> str | Network:
    """A host name, or an address or network. Raises ValueError."""
    if "%" in entry:
        raise ValueError("a zone has no meaning here")
    try:
        return ip_network(entry)
    except ValueError:
        if "/" in entry:
            raise
        return read_host(entry)


def find_url_trouble(
    url: WebUrl, rules: OutgoingRules, own: AbstractSet[str] = frozenset()
) -> SendTrouble | None:
    """What can be told of a URL without asking the network. `own`: addresses of this host. None: it may be tried."""
    if url.scheme != "https" and not rules.allow_http:
        return SendTrouble.HTTP_REFUSED
    address = _as_address(url.host)
    if address is not None and not may_reach(url.host, [url.host], rules, own):
        return SendTrouble.ADDRESS_REFUSED
    return None


def may_reach(
    host: str, addresses: Sequence[str], rules: OutgoingRules, own: AbstractSet[str] = frozenset()
) -> bool:
    """Whether all addresses that `host` has just now are open. One that is not closes the name: honest names have none.

    `own`: addresses of this host, closed however public they are.
    """
    if host in rules.hosts:
        return True
    return bool(addresses) and all(
        _is_open(_as_address(address), rules.networks, is_own=address in own) for address in addresses
    )


def may_set(header: str) -> bool:
    """Whether a user may set the request header of this name."""
    return not frames_request(header)


def is_address(host: str) -> bool:
    return _as_address(host) is not None


# Asked of the same few hosts for each file that leaves.
@lru_cache(maxsize=256)
def _as_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_open(address: Address | None, listed: Sequence[Network], *, is_own: bool) -> bool:
    if address is None or (isinstance(address, IPv6Address) and address.scope_id is not None):
        return False
    if any(address in network for network in listed):
        return True
    if is_own:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in CLOSED_V4)
    return address in OPEN_V6 and not any(address in network for network in CLOSED_V6)
