"""api/slowdown — how long a peer that fails to authenticate has to wait for its answer. Pure; in memory and bounded."""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MAX_PEERS = 4096
FREE_FAILURES = 5
FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 8.0
FORGET_SECONDS = 300.0
# Whoever has an IPv6 address has 2^64 of them.
IPV6_PREFIX_BITS = 64


@dataclass(slots=True)
class _Peer:
    failures: int
    last_at: float


class Slowdown:
    """Failures per peer. Good tokens are never slowed, so one peer can't lock out another behind the same address."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self.total = 0

    def note(self, address: str | None, now: float) -> tuple[int, float]:
        """Count one failure; the peer's failures so far, and the seconds that its answer has to wait."""
        self.total += 1
        key = peer_key(address)
        known = self._peers.pop(key, None)
        failures = 1 if known is None or now - known.last_at > FORGET_SECONDS else known.failures + 1
        self._peers[key] = _Peer(failures, now)
        while len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        return failures, delay_seconds(failures)


def delay_seconds(failures: int) -> float:
    beyond = failures - FREE_FAILURES
    if beyond <= 0:
        return 0.0
    return float(min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(beyond - 1, 16)))


def peer_key(address: str | None) -> str:
    try:
        ip = ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None:
        return str(IPv6Address(int(ip) >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS))
    return str(ip.ipv4_mapped if isinstance(ip, IPv6Address) else ip)
