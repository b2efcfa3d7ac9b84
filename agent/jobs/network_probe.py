"""jobs/network_probe — what /health and the doctor say of the jobs' network: whether its rules are in place, or could be. Places none."""

from collections.abc import Awaitable, Callable

from agent.core.firewall_text import Siblings
from agent.jobs.health import CheckState, Finding, Probe
from agent.jobs.network_care import NOT_YET, NetworkView

# Once may be a firewall that was reloaded by hand.
OFTEN = 3
_KEPT_APART = {
    Siblings.BRIDGED: "by a table of family bridge and by br_netfilter",
    Siblings.ROUTED: "by br_netfilter (IP; this kernel has no nft_meta_bridge for the rest)",
}


def network_probe(view: Callable[[], NetworkView]) -> Probe:
    async def probe() -> Finding:
        seen = view()
        if seen.closed == NOT_YET:
            return Finding(CheckState.WARN, NOT_YET.message, NOT_YET.remedy)
        if seen.closed is not None:
            told = f"no job with a network starts: {seen.closed.message}"
            return Finding(CheckState.FAIL, told, seen.closed.remedy)
        siblings = "" if seen.siblings is None else f"; siblings are kept apart {_KEPT_APART[seen.siblings]}"
        told = f"{seen.size} rules in the table inet {seen.table}{siblings}"
        if seen.put_back_lately >= OFTEN:
            return Finding(
                CheckState.WARN,
                f"{told}; put back {seen.put_back_lately} times within a minute",
                "Find out which program flushes nftables (`nft monitor`); another agent with the same [network] bridge does it, too.",
            )
        return Finding(CheckState.OK, told)

    return probe


def rules_probe(
    siblings: Callable[[], Awaitable[Siblings]], why_unfiltered: Callable[[], str | None]
) -> Probe:
    """For the doctor. `siblings`: tries the rules without placing them, and raises where the host refuses them."""

    async def probe() -> Finding:
        kind = await siblings()
        why = why_unfiltered()
        if why is not None:
            return Finding(
                CheckState.WARN,
                f"the host takes the rules; {why}, which the engine may still mend as it makes the jobs' bridge",
                "If jobs wait for the network: modprobe br_netfilter, and set net.bridge.bridge-nf-call-iptables and "
                "-ip6tables to 1.",
            )
        return Finding(
            CheckState.OK, f"the host takes the rules; siblings are kept apart {_KEPT_APART[kind]}"
        )

    return probe
