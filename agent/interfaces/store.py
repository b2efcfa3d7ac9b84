"""interfaces/store — the rows, and the promises on each method. No implementation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.core.function import FunctionCall
from agent.core.job import ClosedAttempt, Event, Job, Kind, NewEvent, Viewer
from agent.core.job_counts import JobCounts
from agent.core.schedule import Firing
from agent.errors import AgentError, Blame, Phase
from agent.interfaces.chute_store import ChuteStore
from agent.interfaces.cord_store import CordStore
from agent.interfaces.function_store import FunctionStore
from agent.interfaces.notify import NotifyStore
from agent.interfaces.schedule_store import ScheduleStore
from agent.interfaces.upload_store import UploadStore
from agent.spec import JobSpec

# Of GPUs that come and go with the load a host may tell a few a minute for ever, and no job's end takes them away. So many are
# some 3 MB, and days of the worst host; what each GPU went through last is kept with its health besides.
MOST_HOST_EVENTS = 10_000


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


class FamilyCancelledError(AgentError):
    """The job that asks for it was cancelled with all that it has started, so that nothing may follow."""

    code, blame = "family_cancelled", Blame.USER
    remedy = "Let the function end; what it would have started can be started by itself."

    def __init__(self, parent: str) -> None:
        super().__init__(f"the job {parent} was cancelled with all that it started, and starts no more")


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `accept` makes a row of. `body_digest` is of the canonical body, secrets included (a digest tells none).

    `ssh_host_key`: the public half, as a line; None: the job has no SSH. `call`: what of a chute its launcher calls. `firing`: the schedule that
    starts it.
    """

    id: str
    owner: str
    kind: Kind
    spec: JobSpec
    created_at: float
    idempotency_key: str | None
    body_digest: str
    ssh_host_key: str | None = None
    call: FunctionCall | None = None
    firing: Firing | None = None


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
    """Filters of a list; None or empty is no filter, but internal kinds are shown only where `kind` asks for one. `before_seq`: the keyset, exclusive; newest first. `id_prefix` for the
    shortened ids of the command line.
    """

    phases: tuple[Phase, ...] = ()
    queue: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    kind: Kind | None = None
    id_prefix: str | None = None
    schedule: str | None = None
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


class Store(NotifyStore, UploadStore, FunctionStore, ChuteStore, ScheduleStore, CordStore, Protocol):
    """The rows. Each method is one transaction, durable when it returns. All raise StoreUnavailableError."""

    async def accept(self, new: NewJob, most_queued: int) -> Accepted:
        """Insert the row and its first event, or return the one that the same key (per owner) or id made before.

        With a `firing` the schedule's row is written, too: that it has fired. Of one by hand that is a replay nothing is.

        Raises BodyConflictError, ForeignIdError, FamilyCancelledError (of a job whose parent `starts_no_more`), QueueFullError (the
        owner's queued rows ≥ most_queued); with a `firing` StaleError (the row of the schedule is another version, or paused) and
        NoSuchScheduleError.
        """
        ...

    async def accepted_before(self, owner: str, key: str, body_digest: str) -> Job | None:
        """The job that the owner's idempotency key has made, as `accept` would return it. Raises BodyConflictError."""
        ...

    async def read(self, job_id: str) -> Job | None:
        """For the job's own task: unfiltered."""
        ...

    async def get(self, job_id: str, viewer: Viewer) -> Job | None: ...

    async def page(self, query: JobQuery, viewer: Viewer) -> list[Job]: ...

    async def unfinished(self) -> list[Job]:
        """All rows before finished, oldest `seq` first."""
        ...

    async def counts(self, queues: Collection[str]) -> JobCounts:
        """How many rows there are of each sort, and what they hold; of queues these are told apart. Makes no jobs of the rows."""
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

    async def change_family(
        self,
        job_id: str,
        viewer: Viewer,
        decide: Callable[[Job, Sequence[Job]], Sequence[tuple[Job, Sequence[NewEvent]]]],
    ) -> list[Job] | None:
        """As `change`, for a job and all unfinished ones below it (what it has started, what these have, …; oldest first) at once.

        `decide` returns those that it has something for; the rows as they are then, in that order.
        """
        ...

    async def grant(
        self, choose: Callable[[Sequence[Job]], Sequence[tuple[Job, Sequence[NewEvent]]]]
    ) -> list[Job]:
        """The grant: read all unfinished rows, let `choose` return the changed ones, write them, in one transaction."""
        ...

    async def attempts(self, job_id: str) -> list[ClosedAttempt]:
        """The closed ones, in order; none of an unknown job."""
        ...

    async def attempts_of(self, job_ids: Sequence[str]) -> dict[str, list[ClosedAttempt]]:
        """As `attempts`, for a page of jobs at once: every id is a key."""
        ...

    async def events(self, viewer: Viewer, after_seq: int, job_id: str | None, limit: int) -> list[Event]:
        """Events with seq > after_seq, in order; of one job or of all that the viewer may see, the host's among them."""
        ...

    async def append_event(self, job_id: str, event: NewEvent) -> None:
        """An event that changes no row (progress of a pull). A job that is gone is fine."""
        ...

    async def last_event_seq(self) -> int: ...

    def on_events(self, call: Callable[[], None]) -> None:
        """Have `call` called in the event loop after each transaction that wrote events. It must return at once."""
        ...

    async def forget(self, job_id: str, viewer: Viewer) -> Finished:
        """Delete a finished job's row, attempts and events. Its folder is the caller's to remove *before*."""
        ...

    async def finished_before(self, at: float, limit: int) -> list[str]:
        """Ids of jobs whose finished_at < at and whose notifications and uploads are over, oldest first: for retention."""
        ...

    async def job_ids(self) -> set[str]: ...

    async def add_token(self, token: Token) -> None: ...

    async def tokens(self) -> list[Token]: ...

    async def remove_token(self, token_id: str) -> bool: ...

    async def token_used(self, token_id: str, at: float) -> None: ...

    async def meta(self, key: str) -> str | None: ...

    async def set_meta(self, key: str, value: str) -> None: ...

    async def gpu_healths(self) -> dict[str, str]:
        """What was kept of each GPU, by UUID: JSON that `core/gpu_record` reads."""
        ...

    async def keep_gpu_healths(
        self,
        healths: Mapping[str, str],
        changes: Sequence[tuple[str, Callable[[Job], tuple[Job, Sequence[NewEvent]]]]] = (),
        events: Sequence[NewEvent] = (),
    ) -> None:
        """Keep these, tell `events` of the host, then change jobs by their ids as `change` does: all of it or nothing.

        A job that is gone is fine. What is kept of other GPUs stays. Of the host's events the newest MOST_HOST_EVENTS stay.
        """
        ...

    async def tell_of_host(self, events: Sequence[NewEvent]) -> None:
        """Events of the host, in their order, all or none. Of all of them the newest MOST_HOST_EVENTS stay."""
        ...
