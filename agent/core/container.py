"""core/container — a container as the engine shows it, and the plan for one as the engine gets it. No engine's words."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    REMOVING = "removing"  # on its way out: neither startable nor gone
    DEAD = "dead"  # its removal failed or was cut off: it never runs again, and must be asked for once more


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """`transport` is tcp or udp; http is tcp to an engine."""

    port: int
    transport: str
    host_address: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Container:
    """What the engine says of one container. `agent`, `job`, `attempt`, `plan` are its labels; None where it has none.

    `user`: whom it runs as, in its job's words or its image's; empty: root. Only an inspect tells.
    """

    id: str
    name: str
    state: ContainerState
    agent: str | None = None
    job: str | None = None
    attempt: int | None = None
    plan: str | None = None
    exit_code: int | None = None
    oom: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    pid: int | None = None
    stop_signal: str = "SIGTERM"
    ports: tuple[PublishedPort, ...] = ()
    gpus: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """`is_kept`: by the kernel, as the most so far, so that a later look tells no less; else it is what was held at that moment."""

    bytes: int
    is_kept: bool


@dataclass(frozen=True, slots=True)
class InsideFile:
    """A regular file of a container. `mode`: its permissions. `data` None: it is larger than was asked for."""

    mode: int
    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind of a folder of ours."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class QuotaVolume:
    """A named volume of ours: the file system on that device, for the outputs of that job."""

    name: str
    job: str
    device: str


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """That the engine mounts itself: a mount of ours may be in a namespace of ours, where the engine does not see it."""

    volume: QuotaVolume
    target: str


class Injection(StrEnum):
    """By what a container gets its GPUs."""

    CDI = "cdi"  # a device request, which the engine looks up in the CDI specs of the host
    NVIDIA = "nvidia"  # NVIDIA's OCI runtime, which reads them from the environment


@dataclass(frozen=True, slots=True)
class Cpuset:
    """CPUs and memory nodes in the kernel's notation (`0-3,8`)."""

    cpus: str
    memory_nodes: str


@dataclass(frozen=True, slots=True)
class LogBounds:
    size_bytes: int
    files: int


@dataclass(frozen=True)  # without slots, so that the digest is kept
class ContainerPlan:
    """The complete arguments of one container. Secrets stand in it by name; the values are handed over beside it.

    Units: bytes, CPUs as a float. `bridge` None is a container without a network. `environment` is sorted pairs.
    `injection` is None where there are no GPUs, `cpuset` where any CPU will do, `stop_signal` where the image's does.
    """

    name: str
    agent: str
    job: str
    attempt: int
    image: str
    command: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None
    environment: tuple[tuple[str, str], ...]
    secret_environment: tuple[str, ...]
    user: str | None
    workdir: str | None
    cpus: float | None
    memory_bytes: int | None
    shm_bytes: int | None
    pids: int
    storage_bytes: int | None
    bridge: str | None
    dns: tuple[str, ...]
    ports: tuple[PublishedPort, ...]
    mounts: tuple[Mount | VolumeMount, ...]
    gpus: tuple[str, ...]
    injection: Injection | None
    cpuset: Cpuset | None
    runtime: str | None
    logs: LogBounds
    capabilities: tuple[str, ...]
    nofile: int
    oom_score: int
    stop_signal: str | None = None

    @cached_property
    def digest(self) -> str:
        """The `plan` label and the row's plan hash: a container is adopted only where the two are equal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def just_created(container: str, plan: ContainerPlan) -> Container:
    """What an engine shows of a container that it made of `plan` a moment ago, by its id."""
    return Container(
        container,
        plan.name,
        ContainerState.CREATED,
        agent=plan.agent,
        job=plan.job,
        attempt=plan.attempt,
        plan=plan.digest,
    )


class EventKind(StrEnum):
    CREATE = "create"
    START = "start"
    KILL = "kill"
    DIE = "die"
    OOM = "oom"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """One line of the engine's event stream about a container of ours."""

    kind: EventKind
    container: str
    job: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The engine has taken the subscription: from here on no event is missed, so now is the time to list and look."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has. `digest` is `repository@sha256:…` where a registry gave one, else the image's id."""

    id: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PullProgress:
    """Sums over all layers known so far. It is progress only where a number grew."""

    done_bytes: int
    total_bytes: int
    layers_done: int
    layers_total: int


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What `doctor`, `/health`, the verdict over a death and the handing over of GPUs need to know of the engine.

    `cdi_dirs`: where it looks for CDI specs; empty: CDI is off. `cdi_gpus`: the names that the specs there give to NVIDIA's.
    """

    version: str
    api_version: str
    live_restore: bool
    seccomp: bool
    cgroup_version: int
    architecture: str
    cpus: int
    memory_bytes: int
    storage_driver: str
    userns: bool
    data_root: str
    runtimes: frozenset[str]
    cdi_dirs: tuple[str, ...]
    cdi_gpus: frozenset[str]
