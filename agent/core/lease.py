"""core/lease — what of the host a job holds: ports and GPUs. Values; chooses none."""

from dataclasses import dataclass

from agent.spec import Proto


@dataclass(frozen=True, slots=True)
class PortLease:
    """One port of the job and the port of the host that leads to it."""

    name: str
    port: int
    proto: Proto
    host_port: int


@dataclass(frozen=True, slots=True)
class GpuPart:
    """A MIG instance, and the GPU that it is part of."""

    uuid: str
    whole: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What of the host the job holds. GPUs by UUID; `parts`: those of them that are MIG instances."""

    gpus: tuple[str, ...] = ()
    ports: tuple[PortLease, ...] = ()
    parts: tuple[GpuPart, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing is held that another job could wait for."""
        return not self.gpus and not self.ports
