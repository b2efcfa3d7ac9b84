"""core/job — a job's row as a value, and the small values in it. Says what is so; what may come next is decided elsewhere.

Times named `_at` are UTC seconds since the epoch (wall clock). What must outlast a step of that clock is a `BootTime`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from agent.core.function import FunctionCall, Report
from agent.core.gpu_usage import GpuUsage
from agent.core.lease import Lease
from agent.core.ssh_key import SshKey
from agent.errors import Blame, Phase
from agent.spec import JobSpec


class Kind(StrEnum):
    """What a job is for. Each of them is a container job to all that runs it."""

    CONTAINER = "container"
    FUNCTION = "function"  # our launcher calls a function of a chute in it
    DESCRIBE = "describe"  # our launcher tells what a chute holds
    CORDS = "cords"  # our launcher answers calls of a chute's cords in it


# What the agent runs for itself: no list shows them unless they are asked for.
INTERNAL_KINDS = (Kind.DESCRIBE, Kind.CORDS)


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job did not succeed. `code` is out of the closed catalogue of core/reasons."""

    code: str
    phase: Phase
    blame: Blame
    retryable: bool
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class BootTime:
    """A moment on CLOCK_BOOTTIME of one boot. No container outlives a boot, so under another boot id it has passed."""

    boot_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks."""

    wall: float
    boot: BootTime

    def after(self, seconds: float) -> BootTime:
        return BootTime(self.boot.boot_id, self.boot.seconds + seconds)

    def until(self, moment: BootTime) -> float:
        """Seconds left until `moment`, 0 where it has passed; it has under another boot."""
        return max(0.0, moment.seconds - self.boot.seconds) if moment.boot_id == self.boot.boot_id else 0.0


class StopCause(StrEnum):
    """Who asked for an end. The first four are for the job and forbid a retry, the others end one attempt."""

    CANCEL = "cancelled"
    DRAIN = "drained"
    PARENT_CANCELLED = "parent_cancelled"
    NOT_NEEDED = "cord_host_not_needed"
    TIMEOUT = "timeout"
    INTERNAL_ERROR = "internal_error"
    GPU_FAULT = "gpu_fault"
    GPU_LOST = "gpu_lost"
    DISK_GUARD = "disk_guard"


@dataclass(frozen=True, slots=True)
class Stop:
    """A durable stop request. A later one never changes it; it may only bring the row's `kill_at` forward."""

    cause: StopCause
    asked_at: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class StartIntent:
    """Written before each start. From then on this container alone is the attempt's; under another boot it is lost."""

    container: str
    boot_id: str
    at: float = field(default=0.0, compare=False)  # seconds on CLOCK_BOOTTIME; 0: from before this was kept


class FailureKind(StrEnum):
    """Why a container could not be started. What `core/retry` can move asks for another lease, the others close the attempt."""

    PORT = "port_taken"
    GPU = "gpu_start_failed"
    GATE = "gpu_not_clean"
    NAME = "name_taken"
    IMAGE = "image"
    COMMAND = "command"
    ENGINE = "engine_refused"
    FOLDER = "job_folder_missing"
    VOLUME = "quota_volume_failed"
    VOLUME_MOVED = "quota_volume_moved"
    CHUTE = "chute_files_missing"
    SSH_IMAGE = "ssh_unsupported_image"
    SSH_KIT = "ssh_kit_missing"
    SSH_USERNS = "ssh_unsupported_host"


@dataclass(frozen=True, slots=True)
class StartFailure:
    """`code` is a reason's code. `host_port` names the port that a stranger holds, if it is known."""

    kind: FailureKind
    code: str
    message: str
    host_port: int | None = None


class Verdict(StrEnum):
    """Whose death it was. Decided once, with the write of the facts, and never again."""

    OWN = "own"  # the process ended by itself, or by our signal
    LOST = "lost"  # somebody else's doing, or nobody can tell
    NONE = "none"  # it never ran


@dataclass(frozen=True, slots=True)
class ExitFacts:
    """How the container ended. `lost_code` is the reason's code where the verdict is LOST."""

    verdict: Verdict
    code: int | None = None
    oom: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    peak_memory_bytes: int | None = None
    lost_code: str | None = None

    @property
    def signal(self) -> int | None:
        """The signal that ended it: engines report 128 + n (man bash, EXIT STATUS)."""
        return self.code - 128 if self.code is not None and 128 < self.code < 160 else None


@dataclass(frozen=True, slots=True)
class Run:
    """What belongs to one lease of one attempt. The closing transaction replaces it whole, so nothing of it can linger."""

    plan: str | None = None
    intent: StartIntent | None = None
    started_at: float | None = None
    deadline: BootTime | None = None
    signalled_at: float | None = None
    failure: StartFailure | None = None
    exit: ExitFacts | None = None
    held: Lease | None = None  # the lease that was freed, for the attempt's record
    live_restore: bool = False  # each engine seen meanwhile leaves its containers alone when it stops
    gpu_fault: Reason | None = None  # what a GPU of the job did: the reason, should the job fail by itself
    gpu_usage: GpuUsage | None = None  # written as the lease is freed
    ssh_user: str | None = None  # whom the container runs as, by name: who logs in is him
    first_log_ns: int | None = None  # the stamp of the first line ever; what is rotated away is known by it
    report: Report | None = None  # of a function, written with the exit facts


@dataclass(frozen=True, slots=True)
class FiredBy:
    """The schedule that started a job, and its minute; None: somebody ran the schedule by hand."""

    schedule: str
    due: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """One row. Frozen: a step makes the next row and writes it under `version`; a mismatch means read again, decide again."""

    id: str
    owner: str
    kind: Kind
    spec: JobSpec  # secrets masked
    created_at: float
    call: FunctionCall | None = None  # what its launcher calls; None: it is a container job
    fired_by: FiredBy | None = None
    seq: int = 0
    version: int = 0
    phase: Phase = Phase.QUEUED
    attempt: int = 1
    queued_at: float = 0.0  # its place in the queue: kept by another lease, new for another attempt
    not_before: float | None = None
    waiting_for: str | None = None
    waiting_words: str | None = (
        None  # says it where a word is not enough; of no meaning without `waiting_for`
    )
    lease: Lease | None = None
    run: Run = field(default_factory=Run)
    port_moves: int = 0
    gpu_moves: int = 0
    start_moves: int = 0
    attempt_stop: Stop | None = None
    job_stop: Stop | None = None
    kill_at: BootTime | None = None
    starts_no_more: bool = False  # it was cancelled with all that it started: nothing may follow
    upload_stopped_at: float | None = None  # somebody asked that the upload end, and the outcome stays
    image_digest: str | None = None
    has_disk: bool = (
        False  # the quota of its outputs is reserved; kept from attempt to attempt, as the outputs are
    )
    ssh_host_key: str | None = None  # the public half, as a line; one a job, for all attempts
    ssh_keys: tuple[SshKey, ...] | None = None  # None: the spec's
    outcome: Outcome | None = None
    reason: Reason | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def container_name(self) -> str:
        """For create and for the first look only; all other calls go by container id."""
        return f"gpu-agent-{self.id}-{self.attempt}"

    @property
    def volume_name(self) -> str:
        """Of the quota volume of its outputs, if it has one: the outputs are one a job, so all attempts have the same."""
        return f"gpu-agent-{self.id}"

    @property
    def container(self) -> str | None:
        """The id of the attempt's one container, known from the start intent on."""
        return self.run.intent.container if self.run.intent is not None else None

    @property
    def stop_asked(self) -> bool:
        return self.job_stop is not None or self.attempt_stop is not None


@dataclass(frozen=True, slots=True)
class ClosedAttempt:
    """An attempt that is over, as the attempts table keeps it."""

    number: int
    outcome: Outcome
    reason: Reason | None
    exit: ExitFacts | None
    lease: Lease | None
    container: str | None
    closed_at: float
    gpu_usage: GpuUsage | None = None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to tell of a job or of the host, written in the transaction that makes it true. `data` is JSON-ready."""

    type: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Event:
    """`seq` orders all events, `n` those of one job, gap-free from 1. One of the host itself has no job, number or owner."""

    seq: int
    n: int | None
    job: str | None
    owner: str | None
    at: float
    type: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Viewer:
    """For whom a question is asked. What is another principal's does not exist for him, and events of the host only if he
    `sees_host`: they are no principal's, so that `sees_all`, which is of jobs, does not show them.
    """

    principal: str
    sees_all: bool = False
    sees_host: bool = False


EVERYONE = Viewer("", sees_all=True, sees_host=True)
