"""core/bridge — the bridge that jobs with a network are on: which IPv6 addresses it has, and whether it may have any. Pure; makes none."""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv6Network

# RFC 4193, §3.1: fd, 40 bits drawn once, 16 bits for the subnet; the rest is the hosts'. No such address is routed between sites.
ULA_PREFIX, DRAWN_BITS, HOST_BITS = 0xFD, 56, 64


@dataclass(frozen=True, slots=True)
class Bridge:
    """One that the engine has. `subnet6` None: it has IPv4 alone."""

    name: str
    subnet6: str | None


@dataclass(frozen=True, slots=True)
class HostIpv6:
    """What the kernel says. `forwards`: it passes on packets of others. `learners`: the interfaces over which it learned its
    way out from a router, and will not learn it again once it forwards.
    """

    is_on: bool
    forwards: bool
    learners: tuple[str, ...]


def why_no_ipv6(host: HostIpv6) -> str | None:
    """Why jobs get no IPv6. None: they do."""
    if not host.is_on:
        return "the host has no IPv6 (net.ipv6.conf.all.disable_ipv6)"
    # The engine turns forwarding on for a network with IPv6, and the kernel of a host that forwards takes no advertisement
    # of a router unless accept_ra is 2: the host itself would lose its way out when the last one's time is over.
    if host.learners and not host.forwards:
        named = ", ".join(host.learners)
        return f"the host learns its IPv6 routes over {named}, and would forget them if it forwarded packets"
    return None


def subnet6_of(agent: str, bridge: str) -> str:
    """The /64 of that agent's bridge: the same at each start, another one on each host and for each bridge."""
    digest = hashlib.sha256(f"{agent}/{bridge}".encode()).digest()
    drawn = int.from_bytes(digest) >> (8 * len(digest) - DRAWN_BITS)
    return str(IPv6Network(((ULA_PREFIX << DRAWN_BITS | drawn) << HOST_BITS, HOST_BITS)))
