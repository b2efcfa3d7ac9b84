"""interfaces — what the shell needs of the outside world, and the promises on each method. No implementation."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerPlan,
    Credentials,
    EngineFacts,
    Image,
    PullProgress,
)
from agent.core.job import ClosedAttempt, Event, Job, Kind, NewEvent, StartFailure, Viewer
from agent.errors import AgentError, Blame, Phase
from agent.spec import JobSpec

# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """Three clocks: wall for what people read, boot for deadlines that outlive the daemon, the loop's own for waits."""

    boot_id: str

    def now(self) -> float: ...

    def boot_seconds(self) -> float: ...


# ── the engine ────────────────────────────────────────────────────────────────────────────────────────────────────


class EngineUnavailableError(AgentError):
    """The engine is down, hangs, or gave no answer: a call may still take effect. Try again; look before you act."""

    code, blame = "engine_unavailable", Blame.HOST
    remedy = "See `systemctl status docker` on the host; jobs go on by themselves once the engine answers."


class EngineRefusedError(AgentError):
    """The engine answered no, and asking again will not help."""

    code, blame = "engine_refused", Blame.HOST
    remedy = "The message is the engine's own; see its log on the host."


class NameTakenError(AgentError):
    """A container of that name is there already (409): ours of an earlier call, or a stranger's. Look."""

    code, phase, blame = "name_taken", Phase.STARTING, Blame.HOST
    remedy = "Rename or remove the container that holds the name of a gpu-agent job."


class ContainerGoneError(AgentError):
    """No container of that id is left."""

    code, blame = "container_gone", Blame.HOST
    remedy = "Somebody removed the container from outside; leave containers of gpu-agent to gpu-agent."


class StartFailedError(AgentError):
    """The engine could not create or start the container, and said why. The container may be left, in state created."""

    code, phase, blame = "start_failed", Phase.STARTING, Blame.HOST
    remedy = "See the message; it names what the engine could not do."

    def __init__(self, failure: StartFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class PullFailedError(AgentError):
    """The image can't be had. `reason_code` is out of core/reasons (image_not_found, image_denied, …)."""

    code, phase, blame = "pull_failed", Phase.QUEUED, Blame.USER
    remedy = "Check the image's name and the registry's credentials."

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Engine(Protocol):
    """A container engine. Each method has a deadline of its own and raises EngineUnavailableError past it.

    "Ours" is a container whose agent label is this agent's. Everything but `find` and `create` goes by container id, since
    a late call by name would hit the next container of that name.
    """

    async def facts(self) -> EngineFacts: ...

    async def find(self, name: str) -> Container | None:
        """The container of exactly that name, ours or a stranger's (agent label tells). None: there is none."""
        ...

    async def inspect(self, container: str) -> Container | None:
        """By id. None: gone."""
        ...

    async def ours(self) -> list[Container]:
        """All containers with our agent label, in any state. exit_code, pid and times may be absent in a list."""
        ...

    async def create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        """Create and return the id. `secrets`: values of the plan's `secret_environment`.

        Raises NameTakenError, StartFailedError (image gone, command refused), EngineUnavailableError (it may exist later).
        """
        ...

    async def start(self, container: str) -> None:
        """Start a created container; one that runs already is fine. Raises StartFailedError, ContainerGoneError."""
        ...

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal. One that is stopped or gone is fine."""
        ...

    async def remove(self, container: str) -> None:
        """Remove a container that does not run, and its anonymous volumes. Never forced. Gone, or being removed, is fine."""
        ...

    async def peak_memory(self, container: Container) -> int | None:
        """The most bytes that it held so far, from its cgroup; None once that is gone."""
        ...

    def events(self, since: float) -> AsyncIterator[ContainerEvent]:
        """Events of our containers, replayed from `since` as far as the engine's ring reaches, then live, in order.

        Raises EngineUnavailableError when the stream breaks; never ends otherwise.
        """
        ...

    def read_logs(self, container: str, since_ns: int) -> AsyncIterator[bytes]:
        """The log that the engine still has from `since_ns` on (inclusive; 0: all), as raw frames with timestamps, in
        chunks that may cut a frame. Ends at the end of the log. Raises ContainerGoneError, EngineUnavailableError."""
        ...

    def follow_logs(self, container: str, since_ns: int) -> AsyncIterator[bytes]:
        """As `read_logs`, and goes on with what comes until the container has exited."""
        ...

    async def image(self, reference: str) -> Image | None: ...

    def pull(self, reference: str, credentials: Credentials | None) -> AsyncIterator[PullProgress]:
        """Pull; ends when the image is there. Cancelling stops it. Raises PullFailedError, EngineUnavailableError."""
        ...

    async def ensure_bridge(self, name: str) -> None:
        """Our bridge network, inter-container traffic off; made if it is missing. Idempotent."""
        ...


# ── GPUs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    model: str
    memory_bytes: int


class Gpus(Protocol):
    async def inventory(self) -> tuple[Gpu, ...]: ...

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        """Of these GPUs those that are not clean (processes, memory not back to idle, reset pending): the gate."""
        ...


# ── folders ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Claimed(StrEnum):
    """Answers of `claim`. Where a folder exists, the row decides whose it is: nothing in it was touched."""

    MADE = "made"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """A job's secrets as they rest in its folder: never in the database. `values`: name → text."""

    values: Mapping[str, str]
    registry: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Host paths to mount. `secrets` None: the job has none."""

    outputs: str
    secrets: str | None


@dataclass(frozen=True, slots=True)
class OutputLimits:
    files: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OutputFile:
    """`path` is relative, UTF-8, other bytes percent-encoded (and `%` itself): it can be turned back."""

    path: str
    size_bytes: int
    modified_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class SkippedOutput:
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class OutputListing:
    """Sorted by path. `truncated` names the cap that ended the walk, None if none did."""

    files: tuple[OutputFile, ...]
    skipped: tuple[SkippedOutput, ...]
    truncated: str | None


class OutputReader(Protocol):
    """One output file, opened safely; its size is the one at open."""

    file: OutputFile

    async def read(self, offset: int, size: int) -> bytes: ...

    async def sha256(self) -> str: ...

    async def close(self) -> None: ...


class LogWriter(Protocol):
    """`log.<attempt>.part`. Only `commit` (fsync, rename) makes it the log; what is not committed is written anew."""

    async def write(self, data: bytes) -> None: ...

    async def commit(self) -> None: ...

    async def discard(self) -> None: ...


class LogReader(Protocol):
    async def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def close(self) -> None: ...


class StateFullError(AgentError):
    """The disk of the state folder is full."""

    code, blame = "state_full", Blame.HOST
    remedy = "Free space on the disk of the state folder; the agent goes on by itself."


class StateReadOnlyError(AgentError):
    """The state folder's file system is mounted read-only, often after a disk error."""

    code, blame = "state_read_only", Blame.HOST
    remedy = "Check the disk, remount it for writing; the agent goes on by itself."


class OutputRefusedError(AgentError):
    """The path names no regular file of the job's own: it is missing, a link, a device, or leads outside."""

    code, blame = "output_not_found", Blame.USER
    remedy = "List the outputs; only regular files that the list names can be fetched."


class Folders(Protocol):
    """The job folders below the state folder. All writes raise StateFullError or StateReadOnlyError, leaving nothing half-done."""

    async def claim(self, job_id: str, record: str, secrets: SecretFiles) -> Claimed:
        """Make the folder with `spec.json` (= `record`) and the secrets, whole or not at all (made aside, then renamed)."""
        ...

    async def secrets(self, job_id: str) -> SecretFiles: ...

    async def prepare(self, job_id: str) -> Prepared:
        """Lay out what the container may see. Idempotent, also after a crash in the middle of itself."""
        ...

    async def drop_secrets(self, job_id: str) -> None:
        """Remove both copies of the secrets. Gone is fine."""
        ...

    async def remove(self, job_id: str) -> None:
        """Remove the folder, whatever a hostile job put into it, and what lies in the runtime folder. Gone is fine."""
        ...

    async def sweep(self, known: set[str]) -> list[str]:
        """Remove what no row knows and what a crash left half-made; returns the names."""
        ...

    async def log_part(self, job_id: str, attempt: int) -> LogWriter: ...

    async def open_log(self, job_id: str, attempt: int) -> LogReader | None:
        """The drained log; None: not drained (yet)."""
        ...

    async def list_outputs(self, job_id: str, limits: OutputLimits) -> OutputListing: ...

    async def open_output(self, job_id: str, path: str) -> OutputReader:
        """Raises OutputRefusedError."""
        ...

    async def free_bytes(self) -> int: ...


# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────


class StaleError(Exception):
    """The row's version has moved on: read again, decide again. Never seen by a user."""


class StoreUnavailableError(AgentError):
    """The database can't be written or read just now: disk full, read-only, locked, or damaged."""

    code, blame = "store_unavailable", Blame.HOST
    remedy = "Free or remount the disk of the state folder; the agent recovers by itself. Damage: `gpu-agent doctor --repair`."


class BodyConflictError(AgentError):
    """The idempotency key, or the id, was used before with another body."""

    code, blame = "idempotency_conflict", Blame.USER
    remedy = "Send the same body for the same key or id, or use a new one."


class ForeignIdError(AgentError):
    """The id is another principal's; for this one it does not exist."""

    code, blame = "job_not_found", Blame.USER
    remedy = "Check the id; `gpu-agent ps` lists your jobs."


class QueueFullError(AgentError):
    """The principal has as many queued jobs as the config allows."""

    code, blame = "queue_full", Blame.USER
    remedy = "Wait until some of your queued jobs have started, or cancel some."


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `accept` makes a row of. `body_digest` is of the canonical body, secrets included (a digest tells none)."""

    id: str
    owner: str
    kind: Kind
    spec: JobSpec
    created_at: float
    idempotency_key: str | None
    body_digest: str


@dataclass(frozen=True, slots=True)
class Accepted:
    job: Job
    is_replay: bool


class Finished(StrEnum):
    """Answers of `forget`."""

    FORGOTTEN = "forgotten"
    NOT_FINISHED = "not_finished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Filters of a list; None or empty is no filter. `before_seq`: the keyset, exclusive; newest first. `id_prefix` for the
    shortened ids of the command line."""

    phases: tuple[Phase, ...] = ()
    queue: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    kind: Kind | None = None
    id_prefix: str | None = None
    before_seq: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token's record; the token itself is stored as a hash alone. `expires_at` None: never."""

    id: str
    name: str
    principal: str
    scopes: tuple[str, ...]
    digest: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None = None


class Store(Protocol):
    """The rows. Each method is one transaction, durable when it returns. All raise StoreUnavailableError."""

    async def accept(self, new: NewJob, most_queued: int) -> Accepted:
        """Insert the row and its first event, or return the one that the same key (per owner) or id made before.

        Raises BodyConflictError, ForeignIdError, QueueFullError (the owner's queued rows ≥ most_queued).
        """
        ...

    async def read(self, job_id: str) -> Job | None:
        """For the job's own task: unfiltered."""
        ...

    async def get(self, job_id: str, viewer: Viewer) -> Job | None: ...

    async def page(self, query: JobQuery, viewer: Viewer) -> list[Job]: ...

    async def unfinished(self) -> list[Job]:
        """All rows before finished, oldest `seq` first."""
        ...

    async def save(
        self, job: Job, events: Sequence[NewEvent] = (), closed: ClosedAttempt | None = None
    ) -> Job:
        """Write the row where its version still is `job.version`, with its events and, at a close, its attempt.

        Returns the row as written (version + 1). Raises StaleError.
        """
        ...

    async def change(
        self, job_id: str, viewer: Viewer, decide: Callable[[Job], tuple[Job, Sequence[NewEvent]]]
    ) -> Job | None:
        """Read, decide, write in one transaction: how everyone but the job's task leaves a stop request.

        None: no such job for this viewer. A row returned unchanged is not written. `decide` may raise; nothing is written.
        """
        ...

    async def grant(
        self, choose: Callable[[Sequence[Job]], Sequence[tuple[Job, Sequence[NewEvent]]]]
    ) -> list[Job]:
        """The grant: read all unfinished rows, let `choose` return the changed ones, write them, in one transaction."""
        ...

    async def attempts(self, job_id: str) -> list[ClosedAttempt]: ...

    async def events(self, viewer: Viewer, after_seq: int, job_id: str | None, limit: int) -> list[Event]:
        """Events with seq > after_seq, in order; of one job or of all that the viewer may see."""
        ...

    async def append_event(self, job_id: str, event: NewEvent) -> None:
        """An event that changes no row (progress of a pull). A job that is gone is fine."""
        ...

    async def last_event_seq(self) -> int: ...

    async def forget(self, job_id: str, viewer: Viewer) -> Finished:
        """Delete a finished job's row, attempts and events. Its folder is the caller's to remove *before*."""
        ...

    async def finished_before(self, at: float, limit: int) -> list[str]:
        """Ids of jobs whose finished_at < at, oldest first: for retention."""
        ...

    async def job_ids(self) -> set[str]: ...

    async def add_token(self, token: Token) -> None: ...

    async def tokens(self) -> list[Token]: ...

    async def remove_token(self, token_id: str) -> bool: ...

    async def token_used(self, token_id: str, at: float) -> None: ...

    async def meta(self, key: str) -> str | None: ...

    async def set_meta(self, key: str, value: str) -> None: ...
