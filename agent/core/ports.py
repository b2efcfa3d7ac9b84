"""core/ports — which ports of the host a job gets. Pure: the range, what is held and what is bad in; a choice or "not now" out."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from agent.core.job import Job
from agent.core.lease import PortLease
from agent.spec import Port


@dataclass(frozen=True, slots=True)
class PortRange:
    """Both ends belong to it."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class EphemeralPorts:
    """Which ports the kernel gives to outgoing connections, of IPv4 and IPv6: `whole`, but for what the operator reserved."""

    whole: PortRange
    reserved: tuple[PortRange, ...] = ()

    def count_in(self, ours: PortRange) -> int:
        """How many ports of ours it may give away."""
        shared = range(max(ours.first, self.whole.first), min(ours.last, self.whole.last) + 1)
        return sum(not any(port in kept for kept in self.reserved) for port in shared)


def held_ports(jobs: Iterable[Job]) -> set[int]:
    """The ledger: it is read from the unfinished rows each time, so nothing has to be given back."""
    return {lease.host_port for job in jobs if job.lease is not None for lease in job.lease.ports}


def choose_ports(
    wanted: tuple[Port, ...], whole: PortRange, taken: AbstractSet[int]
) -> tuple[PortLease, ...] | None:
    """The lowest free ports in the order of the spec. None is "not now"."""
    free = (number for number in range(whole.first, whole.last + 1) if number not in taken)
    leases = tuple(
        PortLease(port.name, port.port, port.proto, number)
        for port, number in zip(wanted, free, strict=False)
    )
    return leases if len(leases) == len(wanted) else None


@dataclass(frozen=True, slots=True)
class NatMap:
    """How the host's ports look from outside: `spans` are (inside first, inside last, outside first). A port of no span keeps
    its number. `host` "": nobody has said how this host is reached.
    """

    host: str
    spans: tuple[tuple[int, int, int], ...] = ()

    def outside(self, host_port: int) -> int:
        for first, last, outside in self.spans:
            if first <= host_port <= last:
                return outside + host_port - first
        return host_port

    def count_unmapped(self, ours: PortRange) -> int:
        """How many ports of ours no span has, where there is any span. Spans lie in our range, and do not overlap."""
        mapped = sum(last - first + 1 for first, last, _ in self.spans)
        return len(ours) - mapped if self.spans else 0


class Answer(StrEnum):
    """What a connection to a published port meets."""

    TAKEN = "taken"
    REFUSED = "refused"  # it came through, and nobody listens
    BLOCKED = "blocked"  # nobody said anything, or somebody on the way said no
