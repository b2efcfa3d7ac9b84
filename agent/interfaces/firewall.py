"""interfaces/firewall — what the shell needs of the host's packet filter, and the promises on each method. No implementation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.core.firewall import RuleSet
from agent.core.firewall_text import Siblings
from agent.errors import AgentError, Blame


class FirewallUnusableError(AgentError):
    """The host can't hold jobs to rules, until its owner does something about it."""

    code, blame = "firewall_unusable", Blame.HOST
    remedy = (
        "Install nftables, and let the agent use it (CAP_NET_ADMIN, in the engine's network namespace); the message says what failed. "
        "Jobs with `network` none run meanwhile."
    )


class SiblingsUnfilteredError(AgentError):
    """Packets from one job to another would not pass through the rules."""

    code, blame = "siblings_unfiltered", Blame.HOST
    remedy = (
        "Run `modprobe br_netfilter` and `sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1`, "
        "and keep both over reboots (/etc/modules-load.d, /etc/sysctl.d)."
    )


class BridgeOutOfSightError(AgentError):
    """The jobs' bridge is in another network namespace than the agent: rules that are placed here would hold nobody."""

    code, blame = "bridge_out_of_sight", Blame.HOST
    remedy = "Run the agent in the engine's network namespace: on the host itself, or in a container with the host's network."

    def __init__(self, bridge: str) -> None:
        super().__init__(
            f"the engine has the bridge {bridge}, and it is not in the agent's network namespace"
        )


class BridgeNameTakenError(AgentError):
    """The jobs' bridge has the name of an interface that is no network of the engine's: rules about it would shut somebody else off."""

    code, blame = "bridge_name_taken", Blame.HOST
    remedy = "Set another [network] bridge; or, where nobody needs the interface any more, remove it: `ip link delete`."

    def __init__(self, bridge: str) -> None:
        super().__init__(f"the host has an interface {bridge} that is no network of the engine's")


class FirewallSilentError(AgentError):
    """The packet filter gave no answer in time: it may have done what it was asked, or not."""

    code, blame = "firewall_silent", Blame.HOST
    remedy = "See what holds `nft list tables` up on the host; the agent tries again."


@dataclass(frozen=True, slots=True)
class Placed:
    """Rules as the kernel has them now. `fingerprint` is of what it tells, and equal as long as nobody changes a thing."""

    fingerprint: str
    siblings: Siblings


class Firewall(Protocol):
    """Each call ends within seconds. They touch our own tables, and no others."""

    async def put(self, rules: RuleSet) -> Placed:
        """Have these rules in place, instead of what our tables of that name had, with no moment in between.

        Raises FirewallUnusableError, FirewallSilentError; then what was there is there still, unless it was silent.
        """
        ...

    async def fingerprint(self, table: str) -> str | None:
        """Of what is in place now. None: there is no such table. Raises FirewallUnusableError, FirewallSilentError."""
        ...

    async def remove(self, table: str) -> None:
        """Take our tables of that name away, if there are any. Raises FirewallUnusableError, FirewallSilentError."""
        ...

    def why_unfiltered(self) -> str | None:
        """What keeps packets from one job to another, on one bridge, from passing through the rules (br_netfilter). None: nothing.

        Raises FirewallSilentError.
        """
        ...

    def sees(self, interface: str) -> bool:
        """Whether the interface is where the rules are placed: in this network namespace. Raises FirewallSilentError."""
        ...

    def listen(self, table: str, changed: Callable[[], None]) -> None:
        """Have `changed` called in the event loop as somebody, we among them, changes that table. It must return at once.

        Where the kernel tells nobody, it is never called: look now and then all the same.
        """
        ...
