"""jobs/port_probes — what /health and the doctor say of ports: the range, the addresses, the bridge, and who answers. Opens none."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from agent.core.bridge import Bridge
from agent.core.ports import Answer, EphemeralPorts, NatMap, PortRange
from agent.interfaces import Engine
from agent.jobs.health import CheckState, Finding, Probe

MOST_NAMED = 5


def ports_probe(ours: PortRange, nat: NatMap, read_ephemeral: Callable[[], EphemeralPorts]) -> Probe:
    """Whether the kernel hands out ports of our range to other programs, and whether the NAT leads to all of them."""

    async def probe() -> Finding:
        ephemeral = read_ephemeral()
        whole = ephemeral.whole
        told = f"ours are {ours.first}-{ours.last}, the kernel's ephemeral ones {whole.first}-{whole.last}"
        if shared := ephemeral.count_in(ours):
            remedy = (
                "Move [ports] range or net.ipv4.ip_local_port_range, so that the two do not overlap, or have the kernel keep the "
                f"range free: net.ipv4.ip_local_reserved_ports = {ours.first}-{ours.last}."
            )
            return Finding(CheckState.WARN, f"{told}: they overlap in {shared} ports", remedy)
        if unmapped := nat.count_unmapped(ours):
            remedy = "Shorten [ports] range to what the NAT leads here, or give external_ports the rest, too."
            kept = f"{unmapped} of ours are not in external_ports: clients are told them as they are"
            return Finding(CheckState.WARN, f"{told}; {kept}", remedy)
        return Finding(CheckState.OK, told)

    return probe


def publishing_probe(
    addresses: Sequence[str],
    why_not_ours: Callable[[str], str | None],
    forwards: Callable[[], bool],
) -> Probe:
    """Whether ports can be published at all. `forwards`: whether the kernel passes on packets of IPv4, as the engine had it do."""

    async def probe() -> Finding:
        faults = {address: fault for address in addresses if (fault := why_not_ours(address)) is not None}
        if faults:
            told = ", ".join(f"{address} ({fault})" for address, fault in faults.items())
            remedy = "Set [ports] bind to addresses of this host, or give it them; until then no job with ports can start."
            return Finding(CheckState.FAIL, f"no port can be published on {told}", remedy)
        if not forwards():
            remedy = "Set net.ipv4.ip_forward = 1; look in /etc/sysctl.d for who turned it off."
            return Finding(
                CheckState.FAIL, "the kernel forwards nothing: jobs reach nobody, and nobody them", remedy
            )
        return Finding(CheckState.OK, f"ports are published on {', '.join(addresses)}")

    return probe


def bridge_probe(engine: Engine, name: str, why_no_ipv6: str | None) -> Probe:
    """Whether the jobs' bridge has what this host could give it. Raises EngineRefusedError: a stranger's has the name."""

    async def probe() -> Finding:
        bridge = await engine.find_bridge(name)
        if bridge is None:
            with_what = "IPv4 and IPv6" if why_no_ipv6 is None else f"IPv4 alone: {why_no_ipv6}"
            return Finding(
                CheckState.OK, f"{name} is made with the first job that needs it, with {with_what}"
            )
        return _judge(bridge, why_no_ipv6)

    return probe


def _judge(bridge: Bridge, why_no_ipv6: str | None) -> Finding:
    if bridge.subnet6 is not None:
        return Finding(CheckState.OK, f"{bridge.name} has IPv4, and IPv6 with {bridge.subnet6}")
    if why_no_ipv6 is not None:
        return Finding(CheckState.OK, f"{bridge.name} has IPv4 alone: {why_no_ipv6}")
    told = (
        f"{bridge.name} has IPv4 alone: it was made before this host had IPv6, or the engine refused it that"
    )
    remedy = (
        f"Jobs work without. To have it: while no job runs, `docker network rm {bridge.name}`; the next job makes it anew, and "
        "the agent's log says `bridge.without_ipv6` where the engine refuses."
    )
    return Finding(CheckState.WARN, told, remedy)


def reachable_probe(look: Callable[[], Awaitable[Sequence[tuple[int, Answer]]]]) -> Probe:
    """Whether the ports of jobs that run now answer on this host. `look`: (host port, answer) of some of them, tcp alone."""

    async def probe() -> Finding:
        seen = await look()
        if not seen:
            return Finding(CheckState.OK, "no job that runs now has a tcp port: start one, and look again")
        counts = Counter(answer for _, answer in seen)
        told = f"of {len(seen)} tcp ports of running jobs {counts[Answer.TAKEN]} take a connection from this host"
        if counts[Answer.REFUSED]:
            told += f", {counts[Answer.REFUSED]} refuse it (nobody listens in the job)"
        blocked = [port for port, answer in seen if answer is Answer.BLOCKED]
        if not blocked:
            return Finding(CheckState.OK, told)
        named = ", ".join(map(str, blocked[:MOST_NAMED]))
        remedy = "Something drops the packets: see `nft list ruleset` for rules that do, and restart the engine to have its own anew."
        return Finding(CheckState.WARN, f"{told}, {len(blocked)} are blocked ({named})", remedy)

    return probe
