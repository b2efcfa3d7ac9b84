"""core/ports — which ports of the host a job gets. Pure: the range, what is held and what is bad in; a choice or "not now" out."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from agent.core.job import Job, PortLease
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
    """How the host's ports look from outside: `spans` are (inside first, inside last, outside first)."""

    host: str
    spans: tuple[tuple[int, int, int], ...] = ()

    def outside(self, host_port: int) -> int:
        for first, last, outside in self.spans:
            if first <= host_port <= last:
                return outside + host_port - first
        return host_port
