"""core/firewall — what jobs may reach, as a set of rules: the operator's settings in, rules out. Pure; `firewall_text` writes them for nft.

The rules concern packets that come from our bridge or go to it, and no others. A packet is looked at by itself each time: that a
connection is there already lets nothing through that a job began. So what began while somebody had taken the rules away ends as
they come back, and a network that is newly denied is denied to running jobs, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network

from agent.core.outgoing import CLOSED_V4, CLOSED_V6, OPEN_V6, Network

Address = IPv4Address | IPv6Address

# Cloud metadata above all. No key of the config opens these; a server of `dns` there is reached on port 53 alone.
LINK_LOCAL: tuple[Network, ...] = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))


class Egress(StrEnum):
    INTERNET = "internet"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """`allow`: what jobs reach although it is private, or although there is no internet. `deny` goes before it."""

    bridge: str
    egress: Egress
    allow: tuple[Network, ...]
    deny: tuple[Network, ...]
    dns: tuple[Address, ...]


class Fact(StrEnum):
    """What a packet may be, beside where it goes."""

    FROM_JOB = "from_job"  # it came in by our bridge
    TO_JOB = "to_job"  # it leaves by our bridge
    REPLY = "reply"  # it answers, or tells of an error in, a connection that the other side began
    ANSWERED = "answered"  # it belongs to a connection that is known already, whoever began it
    TRANSLATED = "translated"  # the host has changed where it goes (DNAT: a published port)
    STRAY_SOURCE = "stray_source"  # no route leads to its source by the interface that it came in by
    NEIGHBOURS = "neighbours"  # IPv6's ARP, with a hop limit that proves that it comes from the link
    ASKS_NAME = "asks_name"  # port 53 of UDP or TCP


@dataclass(frozen=True, slots=True)
class Into:
    """Its destination is in one of these, which are of one IP version."""

    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class OutOf:
    """It is of the network's IP version, and its destination is not in it."""

    network: Network


Condition = Fact | Into | OutOf


class Verdict(StrEnum):
    """`ACCEPT` ends our own rules only: what others' say of the packet still counts. `DROP` is final."""

    ACCEPT = "accept"
    DROP = "drop"


class Hook(StrEnum):
    """Where the kernel asks: for packets to the host itself, and for those that it passes on (bridged ones, too)."""

    INPUT = "input"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where all conditions hold, the verdict; or the rules of another chain, if that is what it names. `why` is for who reads them."""

    conditions: tuple[Condition, ...]
    verdict: "Verdict | str"
    why: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The first rule that fits decides; where none does, the packet is none of ours. `hook` None: only other chains lead here."""

    name: str
    hook: Hook | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    bridge: str
    chains: tuple[Chain, ...]

    @property
    def table(self) -> str:
        return table_of(self.bridge)

    @property
    def size(self) -> int:
        return sum(len(chain.rules) for chain in self.chains)


def table_of(bridge: str) -> str:
    return f"gpu_agent_{bridge}"


def make_rules(settings: NetworkSettings) -> RuleSet:
    to_host = Chain("job_to_host", None, tuple(_to_host(settings)))
    out = Chain("job_to_world", None, tuple(_to_world(settings)))
    into = Chain("world_to_job", None, tuple(_to_job()))
    entry = Rule((Fact.FROM_JOB,), to_host.name, "only what comes from our jobs")
    forward = (
        Rule((Fact.FROM_JOB, Fact.TO_JOB), Verdict.DROP, "siblings"),
        Rule((Fact.FROM_JOB,), out.name, "only what comes from our jobs"),
        Rule((Fact.TO_JOB,), into.name, "only what goes to our jobs"),
    )
    # What is jumped to comes first: nft reads from the top.
    return RuleSet(
        settings.bridge,
        (to_host, out, into, Chain("input", Hook.INPUT, (entry,)), Chain("forward", Hook.FORWARD, forward)),
    )


def _to_host(settings: NetworkSettings) -> Iterable[Rule]:
    """The host, at each of its addresses; its published ports, which a program of the engine's serves, too."""
    yield Rule((Fact.REPLY,), Verdict.ACCEPT, "answers to what the host began")
    yield Rule((Fact.NEIGHBOURS,), Verdict.ACCEPT, "IPv6 finds the gateway by it")
    yield Rule((Fact.STRAY_SOURCE,), Verdict.DROP, "a source that is not on the bridge")
    yield from _dns(settings)
    yield Rule((), Verdict.DROP, "nothing else of the host, its published ports included")


def _to_world(settings: NetworkSettings) -> Iterable[Rule]:
    yield Rule((Fact.REPLY,), Verdict.ACCEPT, "answers to who called a published port")
    yield Rule((Fact.STRAY_SOURCE,), Verdict.DROP, "a source that is not on the bridge")
    yield from _dns(settings)
    yield from _each_version(LINK_LOCAL, Verdict.DROP, "link-local: cloud metadata")
    yield from _each_version(settings.deny, Verdict.DROP, "[network] deny")
    yield from _each_version(settings.allow, Verdict.ACCEPT, "[network] egress_allow")
    if settings.egress is Egress.NONE:
        yield Rule((), Verdict.DROP, '[network] egress = "none"')
        return
    yield Rule((Fact.TRANSLATED,), Verdict.DROP, "what the host publishes, at whatever address")
    yield from _each_version(CLOSED_V4, Verdict.DROP, "private, shared, reserved, multicast")
    yield Rule((OutOf(OPEN_V6),), Verdict.DROP, "all of IPv6 that is not global")
    yield from _each_version(CLOSED_V6, Verdict.DROP, "IPv4 in another dress, documentation")
    yield Rule((), Verdict.ACCEPT, "the internet")


def _to_job() -> Iterable[Rule]:
    yield Rule((Fact.ANSWERED,), Verdict.ACCEPT, "answers to jobs, and connections to published ports")
    yield Rule((Fact.TRANSLATED,), Verdict.ACCEPT, "new connections to published ports")
    yield Rule((), Verdict.DROP, "ports that are not published")


def _dns(settings: NetworkSettings) -> Iterable[Rule]:
    """Where nothing may be reached there are no names to ask for; and a question can carry anything out."""
    if settings.egress is Egress.NONE and not settings.allow:
        return
    servers = [ip_network(server) for server in settings.dns]
    yield from _each_version(servers, Verdict.ACCEPT, "[network] dns", (Fact.ASKS_NAME,))


def _each_version(
    networks: Iterable[Network], verdict: Verdict, why: str, also: tuple[Fact, ...] = ()
) -> Iterable[Rule]:
    """A rule for each IP version that has any. Neighbours are joined: sets of intervals take no overlaps."""
    every = list(networks)
    fours = tuple(collapse_addresses(one for one in every if isinstance(one, IPv4Network)))
    sixes = tuple(collapse_addresses(one for one in every if isinstance(one, IPv6Network)))
    for found in (fours, sixes):
        if found:
            yield Rule((Into(found), *also), verdict, why)
