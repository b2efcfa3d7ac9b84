"""core/policy — what this host allows and adds: image rules, capabilities, default limits. Pure; enforced by the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeVar

from agent.core.container import LogBounds
from agent.core.outgoing import OutgoingRules
from agent.spec.image import ImageReference

Number = TypeVar("Number", int, float)

# Root inside an image still works as people expect; nothing here reaches the host (capabilities(7)).
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE")
NOFILE = 1_048_576
# The daemon runs at 0: where memory ends, a job goes first.
OOM_SCORE = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """The default and the most that a job may ask. None: the host's own. Bytes and CPUs.

    `children`: how many jobs a function may start; `depth`: how deep below the first one a job may be.
    `disk_bytes` is the size of the writable layer, for every job, and the most that one may ask for its output folder.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    pids: int = 4096
    disk_bytes: int | None = None
    job_ports: int = 64
    queued_jobs: int = 1000
    children: int = 100
    depth: int = 5


@dataclass(frozen=True, slots=True)
class ImageRules:
    """Globs over the canonical reference; deny wins. `max_bytes` None: any size."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkRefusal:
    """Why no job with a network starts, and what to do. `is_lasting`: it stays so until somebody acts."""

    message: str
    remedy: str
    is_lasting: bool = False


class InjectionWish(StrEnum):
    """By what the operator wants GPUs handed over."""

    AUTO = "auto"  # CDI where it works, else the runtime
    CDI = "cdi"
    NVIDIA = "nvidia"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the plan of each container on this host has in common.

    `node_cpus`: the CPUs of each NUMA node that jobs are pinned to; empty: jobs are not pinned. `most_disk_bytes`: what an
    output folder can have at most on the disk of the state folder, were it empty; None: not known, and so of `host_cpus` and `host_memory_bytes`. `subnet6`: the addresses of
    IPv6 that the bridge is made with; None: it is made with IPv4 alone. `network_refusal`: why jobs with a network are not even
    taken; None: they are, and may have to wait. `sdk`: the folder of the host that functions get as their SDK; None: there is none,
    and no function is run.
    """

    agent_id: str
    bridge: str
    dns: tuple[str, ...]
    bind: tuple[str, ...]
    logs: LogBounds
    limits: Limits
    images: ImageRules
    nofile: int = NOFILE
    runtime: str | None = None
    injection: InjectionWish = InjectionWish.AUTO
    node_cpus: Mapping[int, str] = field(default_factory=dict)
    outgoing: OutgoingRules = field(default_factory=OutgoingRules)
    most_disk_bytes: int | None = None
    host_cpus: int | None = None
    host_memory_bytes: int | None = None
    subnet6: str | None = None
    network_refusal: NetworkRefusal | None = None
    sdk: str | None = None

    @property
    def most_cpus(self) -> float | None:
        """What a job may ask for, and what one gets that asks for nothing: the engine refuses more than there are."""
        return least(self.limits.cpus, self.host_cpus)

    @property
    def most_memory_bytes(self) -> int | None:
        return least(self.limits.memory_bytes, self.host_memory_bytes)


def least(*bounds: Number | None) -> Number | None:
    """The lowest of those that there are."""
    return min((bound for bound in bounds if bound is not None), default=None)


def image_refusal(reference: ImageReference, rules: ImageRules) -> str | None:
    """Why the host won't run the image; None: it will."""
    name = reference.canonical
    if any(fnmatchcase(name, glob) for glob in rules.deny):
        return f"{name} is on this host's deny list"
    if not any(fnmatchcase(name, glob) for glob in rules.allow):
        return f"{name} is not on this host's allow list"
    return None
