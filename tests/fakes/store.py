"""fakes/store — the rows in memory: agent.interfaces.Store without a thread or a file, for tests under a virtual clock."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from agent.core.chute import Version
from agent.core.job import EVERYONE, INTERNAL_KINDS, ClosedAttempt, Event, FiredBy, Job, NewEvent, Viewer
from agent.core.job_counts import RETRIED, JobCounts
from agent.core.notify import TOLD, Notice, NotifyState, Progress
from agent.core.schedule import Schedule
from agent.core.state import ACTIVE, phase_event
from agent.core.told import Told
from agent.core.upload import JournalFile, UploadRecord
from agent.errors import Phase
from agent.interfaces import (
    MOST_HOST_EVENTS,
    Accepted,
    BodyConflictError,
    FamilyCancelledError,
    Finished,
    ForeignIdError,
    JobQuery,
    NewJob,
    QueueFullError,
    StaleError,
    Token,
)
from agent.interfaces.cord_store import BegunCall, CordKey
from agent.spec import without_secrets
from tests.fakes.chute_store import MemoryChutes
from tests.fakes.function_store import MemoryFunctions
from tests.fakes.schedule_store import MemorySchedules
from tests.fakes.upload_store import MemoryUploads, Step, give_way, go_on

T = TypeVar("T")
Changed = tuple[Job, Sequence[NewEvent]]


@dataclass(frozen=True, slots=True)
class Row:
    job: Job
    idempotency_key: str | None
    body_digest: str


class MemoryStore(MemoryUploads, MemoryFunctions, MemorySchedules, MemoryChutes):
    """A small working store. It outlives a simulated crash: give the same object to the next daemon, `listeners` cleared.

    `before` and `after` are awaited with the method's name around each transaction. One that raises in `before` is a
    store that was down; in `after`, a crash between the write and what would have come next.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.before: Step = give_way
        self.after: Step = go_on
        self.listeners: list[Callable[[], None]] = []
        self._now = now
        self._rows: dict[str, Row] = {}
        self._attempts: dict[str, dict[int, ClosedAttempt]] = {}
        self._events: list[Event] = []
        self._tokens: dict[str, Token] = {}
        self._meta: dict[str, str] = {}
        self._gpu_healths: dict[str, str] = {}
        self._notify: dict[int, NotifyState] = {}
        self._uploads: dict[int, UploadRecord] = {}
        self._journals: dict[int, dict[str, JournalFile]] = {}
        self._versions: dict[str, Version] = {}
        self._cord_calls: dict[CordKey, tuple[float, BegunCall]] = {}
        self._last_version_seq = 0
        self._functions: dict[str, Told] = {}
        self._schedules: dict[str, Schedule] = {}
        self._last_schedule_seq = 0
        self._last_job_seq = 0
        self._last_event_seq = 0
        self._totals: Counter[tuple[str, str]] = Counter()

    def jobs(self) -> list[Job]:
        """All rows, oldest first, for a test that looks without being a call."""
        return self._jobs()

    def peek(self, job_id: str) -> Job | None:
        return self._job(job_id)

    def on_events(self, call: Callable[[], None]) -> None:
        self.listeners.append(call)

    async def accept(self, new: NewJob, most_queued: int) -> Accepted:
        return await self._call("accept", lambda: self._accept(new, most_queued))

    async def import_job(self, job: Job) -> Job:
        return await self._call("import_job", lambda: self._import(job))

    async def accepted_before(self, owner: str, key: str, body_digest: str) -> Job | None:
        return await self._call("accepted_before", lambda: self._accepted_before(owner, key, body_digest))

    async def read(self, job_id: str) -> Job | None:
        return await self._call("read", lambda: self._job(job_id))

    async def get(self, job_id: str, viewer: Viewer) -> Job | None:
        return await self._call("get", lambda: self._seen(job_id, viewer))

    async def page(self, query: JobQuery, viewer: Viewer) -> list[Job]:
        return await self._call(
            "page",
            lambda: [
                job for job in reversed(self._jobs()) if may_see(viewer, job.owner) and matches(job, query)
            ][: query.limit],
        )

    async def unfinished(self) -> list[Job]:
        return await self._call("unfinished", self._unfinished)

    async def counts(self, queues: Collection[str]) -> JobCounts:
        return await self._call("counts", lambda: self._count(frozenset(queues)))

    async def save(
        self, job: Job, events: Sequence[NewEvent] = (), closed: ClosedAttempt | None = None
    ) -> Job:
        return await self._call("save", lambda: self._save([(job, events)], closed)[0])

    async def change(self, job_id: str, viewer: Viewer, decide: Callable[[Job], Changed]) -> Job | None:
        return await self._call("change", lambda: self._change(job_id, viewer, decide))

    async def change_family(
        self, job_id: str, viewer: Viewer, decide: Callable[[Job, Sequence[Job]], Sequence[Changed]]
    ) -> list[Job] | None:
        return await self._call("change_family", lambda: self._change_family(job_id, viewer, decide))

    async def grant(self, choose: Callable[[Sequence[Job]], Sequence[Changed]]) -> list[Job]:
        return await self._call("grant", lambda: self._save(choose(self._unfinished())))

    async def attempts(self, job_id: str) -> list[ClosedAttempt]:
        return await self._call("attempts", lambda: self._closed(job_id))

    async def attempts_of(self, job_ids: Sequence[str]) -> dict[str, list[ClosedAttempt]]:
        return await self._call("attempts_of", lambda: {job_id: self._closed(job_id) for job_id in job_ids})

    async def events(self, viewer: Viewer, after_seq: int, job_id: str | None, limit: int) -> list[Event]:
        return await self._call(
            "events",
            lambda: [
                event
                for event in self._events
                if event.seq > after_seq
                and (viewer.sees_host if event.owner is None else may_see(viewer, event.owner))
                and (job_id is None or event.job == job_id)
            ][:limit],
        )

    async def append_event(self, job_id: str, event: NewEvent) -> None:
        await self._call("append_event", lambda: self._tell(job_id, self._now(), [event]))

    async def last_event_seq(self) -> int:
        return await self._call("last_event_seq", lambda: self._last_event_seq)

    async def forget(self, job_id: str, viewer: Viewer) -> Finished:
        return await self._call("forget", lambda: self._forget(job_id, viewer))

    async def finished_before(self, at: float, limit: int) -> list[str]:
        return await self._call("finished_before", lambda: self._finished_before(at, limit))

    async def job_ids(self) -> set[str]:
        return await self._call("job_ids", lambda: set(self._rows))

    async def add_token(self, token: Token) -> None:
        await self._call("add_token", lambda: self._tokens.__setitem__(token.id, token))

    async def tokens(self) -> list[Token]:
        return await self._call(
            "tokens",
            lambda: sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id)),
        )

    async def remove_token(self, token_id: str) -> bool:
        return await self._call("remove_token", lambda: self._tokens.pop(token_id, None) is not None)

    async def token_used(self, token_id: str, at: float) -> None:
        await self._call("token_used", lambda: self._use_token(token_id, at))

    async def meta(self, key: str) -> str | None:
        return await self._call("meta", lambda: self._meta.get(key))

    async def set_meta(self, key: str, value: str) -> None:
        await self._call("set_meta", lambda: self._meta.__setitem__(key, value))

    async def notify_open(self) -> tuple[list[str], int]:
        return await self._call("notify_open", lambda: (self._open_of(set(self._rows)), self._last_event_seq))

    async def notify_since(self, seq: int) -> tuple[list[str], int]:
        return await self._call(
            "notify_since", lambda: (self._open_of(self._told_since(seq)), self._last_event_seq)
        )

    async def notice(self, job_id: str) -> Notice | None:
        return await self._call("notice", lambda: self._notice(job_id))

    async def keep_notify(self, row: int, state: NotifyState) -> None:
        def act() -> None:
            if row in self._notify:
                self._notify[row] = state

        await self._call("keep_notify", act)

    async def notify_progress(self, job_ids: Sequence[str]) -> dict[str, Progress]:
        def act() -> dict[str, Progress]:
            seqs = {job_id: self._rows[job_id].job.seq for job_id in job_ids if job_id in self._rows}
            return {
                job_id: Progress(state, len(self._untold(job_id, state)))
                for job_id, seq in seqs.items()
                if (state := self._notify.get(seq)) is not None
            }

        return await self._call("notify_progress", act)

    async def gpu_healths(self) -> dict[str, str]:
        return await self._call("gpu_healths", lambda: dict(self._gpu_healths))

    async def keep_gpu_healths(
        self,
        healths: Mapping[str, str],
        changes: Sequence[tuple[str, Callable[[Job], Changed]]] = (),
        events: Sequence[NewEvent] = (),
    ) -> None:
        def act() -> None:
            self._gpu_healths.update(healths)
            self._tell_of_host(events)
            for job_id, decide in changes:
                self._change(job_id, EVERYONE, decide)

        await self._call("keep_gpu_healths", act)

    async def tell_of_host(self, events: Sequence[NewEvent]) -> None:
        await self._call("tell_of_host", lambda: self._tell_of_host(events))

    async def _call(self, step: str, act: Callable[[], T]) -> T:
        await self.before(step)
        told = self._last_event_seq
        result = act()
        if self._last_event_seq > told:
            for call in self.listeners:
                call()
        await self.after(step)
        return result

    def _accept(self, new: NewJob, most_queued: int) -> Accepted:
        firing = new.firing
        if firing is None:
            return self._accept_job(new, most_queued)
        schedule = self._for_firing(firing, new.owner)
        accepted = self._accept_job(new, most_queued)
        if firing.due is not None or not accepted.is_replay:
            self._keep_fired(schedule, firing, accepted.job)
        return accepted

    def _accept_job(self, new: NewJob, most_queued: int) -> Accepted:
        earlier = self._earlier(new)
        if earlier is not None:
            return Accepted(same_body(earlier, new.body_digest), is_replay=True)
        parent = self._job(new.call.parent) if new.call is not None and new.call.parent is not None else None
        if parent is not None and parent.starts_no_more:
            raise FamilyCancelledError(parent.id)
        mine = [job for job in self._jobs() if job.owner == new.owner]
        if sum(job.phase is Phase.QUEUED for job in mine) >= most_queued:
            raise QueueFullError(f"{most_queued} of your jobs are queued already, and more may not be")
        job = self._insert(first_row(new), new.idempotency_key, new.body_digest)
        told = NewEvent("job.accepted", phase_event(job, came_from=None).data)
        self._tell(job.id, job.created_at, [told])
        return Accepted(job, is_replay=False)

    def _earlier(self, new: NewJob) -> Row | None:
        by_id = self._rows.get(new.id)
        if by_id is not None and by_id.job.owner != new.owner:
            raise ForeignIdError(f"there is no job {new.id}")
        if by_id is not None or new.idempotency_key is None:
            return by_id
        return self._of_key(new.owner, new.idempotency_key)

    def _of_key(self, owner: str, key: str) -> Row | None:
        wanted = (owner, key)
        return next(
            (row for row in self._rows.values() if (row.job.owner, row.idempotency_key) == wanted), None
        )

    def _accepted_before(self, owner: str, key: str, body_digest: str) -> Job | None:
        earlier = self._of_key(owner, key)
        return None if earlier is None else same_body(earlier, body_digest)

    def _import(self, job: Job) -> Job:
        return self._job(job.id) or self._insert(job, None, "")

    def _insert(self, job: Job, idempotency_key: str | None, body_digest: str) -> Job:
        self._last_job_seq += 1
        inserted = replace(job, seq=self._last_job_seq, spec=without_secrets(job.spec))
        self._rows[job.id] = Row(inserted, idempotency_key, body_digest)
        if job.spec.notify is not None:
            self._notify[inserted.seq] = NotifyState()
        if job.call is not None:
            self._functions[job.id] = Told()
        return inserted

    def _save(self, changed: Sequence[Changed], closed: ClosedAttempt | None = None) -> list[Job]:
        # All are looked at before the first is written: one transaction.
        versions = {job_id: row.job.version for job_id, row in self._rows.items()}
        for job, _ in changed:
            if versions.pop(job.id, None) != job.version:
                raise StaleError(f"job {job.id} has no version {job.version} any more")
        return [self._write(job, told, closed) for job, told in changed]

    def _count(self, queues: frozenset[str]) -> JobCounts:
        jobs = self._unfinished()
        leases = [job.lease for job in jobs if job.phase in ACTIVE and job.lease is not None]
        return JobCounts(
            Counter((job.phase, job.spec.queue if job.spec.queue in queues else None) for job in jobs),
            Counter(job.waiting_for or "" for job in jobs if job.phase is Phase.QUEUED),
            sum(job.phase is Phase.FINISHED for job in self._jobs()),
            dict(self._totals),
            frozenset(uuid for lease in leases for uuid in lease.gpus),
            sum(len(lease.ports) for lease in leases),
        )

    def _count_change(self, before: Job, after: Job) -> None:
        if after.kind in INTERNAL_KINDS:
            return
        if after.phase is Phase.FINISHED and before.phase is not Phase.FINISHED:
            self._totals[after.outcome or "", after.reason.code if after.reason else ""] += 1
        if after.attempt > before.attempt:
            self._totals[RETRIED, ""] += 1

    def _write(self, job: Job, told: Sequence[NewEvent], closed: ClosedAttempt | None) -> Job:
        written = replace(job, version=job.version + 1)
        self._count_change(self._rows[job.id].job, written)
        self._rows[job.id] = replace(self._rows[job.id], job=written)
        if closed is not None:
            self._attempts.setdefault(job.id, {}).setdefault(closed.number, closed)
        self._tell(job.id, self._now(), told)
        return written

    def _change(self, job_id: str, viewer: Viewer, decide: Callable[[Job], Changed]) -> Job | None:
        job = self._seen(job_id, viewer)
        if job is None:
            return None
        return self._write_if_changed([decide(job)])[0]

    def _change_family(
        self, job_id: str, viewer: Viewer, decide: Callable[[Job, Sequence[Job]], Sequence[Changed]]
    ) -> list[Job] | None:
        job = self._seen(job_id, viewer)
        if job is None:
            return None
        return self._write_if_changed(decide(job, self._unfinished_below(job)))

    def _write_if_changed(self, changed: Sequence[Changed]) -> list[Job]:
        return [
            self._save([(job, told)])[0] if job != self._job(job.id) else self._only_tell(job, told)
            for job, told in changed
        ]

    def _only_tell(self, job: Job, told: Sequence[NewEvent]) -> Job:
        self._tell(job.id, self._now(), told)
        return job

    def _forget(self, job_id: str, viewer: Viewer) -> Finished:
        job = self._seen(job_id, viewer)
        if job is None:
            return Finished.UNKNOWN
        if job.phase is not Phase.FINISHED:
            return Finished.NOT_FINISHED
        del self._rows[job_id]
        self._notify.pop(job.seq, None)
        self._functions.pop(job_id, None)
        self._uploads.pop(job.seq, None)
        self._journals.pop(job.seq, None)
        self._attempts.pop(job_id, None)
        self._events = [event for event in self._events if event.job != job_id]
        return Finished.FORGOTTEN

    def _closed(self, job_id: str) -> list[ClosedAttempt]:
        return [closed for _, closed in sorted(self._attempts.get(job_id, {}).items())]

    def _finished_before(self, at: float, limit: int) -> list[str]:
        ended = [
            (job.finished_at, job.seq, job.id)
            for job in self._jobs()
            if job.phase is Phase.FINISHED and job.finished_at is not None and job.finished_at < at
            if not self._open_of({job.id}) and not self._is_sending(job.seq)
        ]
        return [job_id for _, _, job_id in sorted(ended)][:limit]

    def _open_of(self, job_ids: set[str]) -> list[str]:
        states = [(job.id, self._notify.get(job.seq)) for job in self._jobs() if job.id in job_ids]
        return [job_id for job_id, state in states if state is not None and state.end is None]

    def _told_since(self, seq: int) -> set[str]:
        return {event.job for event in self._events if event.job and event.seq > seq and event.type in TOLD}

    def _untold(self, job_id: str, state: NotifyState) -> list[Event]:
        return [
            event
            for event in self._events
            if event.job == job_id and (event.n or 0) > state.notified_n and event.type in TOLD
        ]

    def _notice(self, job_id: str) -> Notice | None:
        if not self._open_of({job_id}):
            return None
        job = self._rows[job_id].job
        state = self._notify[job.seq]
        event = next(iter(self._untold(job_id, state)), None)
        is_over = event is None and job.phase is Phase.FINISHED
        return Notice(job.seq, job.owner, state, event, is_over)

    def _use_token(self, token_id: str, at: float) -> None:
        if token_id in self._tokens:
            self._tokens[token_id] = replace(self._tokens[token_id], last_used_at=at)

    def _tell(self, job_id: str, at: float, told: Sequence[NewEvent]) -> None:
        row = self._rows.get(job_id)
        if row is None:
            return
        n = sum(event.job == job_id for event in self._events)
        for event in told:
            n += 1
            self._last_event_seq += 1
            self._events.append(
                Event(self._last_event_seq, n, job_id, row.job.owner, at, event.type, dict(event.data))
            )

    def _tell_of_host(self, told: Sequence[NewEvent]) -> None:
        for event in told:
            self._last_event_seq += 1
            self._events.append(
                Event(self._last_event_seq, None, None, None, self._now(), event.type, dict(event.data))
            )
        kept = [event.seq for event in self._events if event.job is None][-MOST_HOST_EVENTS:]
        self._events = [event for event in self._events if event.job is not None or event.seq >= kept[0]]

    def _job(self, job_id: str) -> Job | None:
        row = self._rows.get(job_id)
        return None if row is None else row.job

    def _seen(self, job_id: str, viewer: Viewer) -> Job | None:
        job = self._job(job_id)
        return job if job is not None and may_see(viewer, job.owner) else None

    def _jobs(self) -> list[Job]:
        return sorted((row.job for row in self._rows.values()), key=lambda job: job.seq)

    def _unfinished(self) -> list[Job]:
        return [job for job in self._jobs() if job.phase is not Phase.FINISHED]


def same_body(earlier: Row, body_digest: str) -> Job:
    if earlier.body_digest != body_digest:
        raise BodyConflictError("the same id or idempotency key came before with another body")
    return earlier.job


def may_see(viewer: Viewer, owner: str) -> bool:
    return viewer.sees_all or viewer.principal == owner


def matches(job: Job, query: JobQuery) -> bool:
    return (
        (not query.phases or job.phase in query.phases)
        and (query.queue is None or job.spec.queue == query.queue)
        and (job.kind not in INTERNAL_KINDS if query.kind is None else job.kind == query.kind)
        and (query.id_prefix is None or job.id.startswith(query.id_prefix))
        and (query.before_seq is None or job.seq < query.before_seq)
        and (query.schedule is None or (job.fired_by is not None and job.fired_by.schedule == query.schedule))
        and all(job.spec.labels.get(name) == value for name, value in query.labels)
    )


def first_row(new: NewJob) -> Job:
    not_before = new.spec.not_before
    return Job(
        id=new.id,
        owner=new.owner,
        kind=new.kind,
        spec=new.spec,
        created_at=new.created_at,
        call=new.call,
        fired_by=None if new.firing is None else FiredBy(new.firing.schedule, new.firing.due),
        queued_at=new.created_at,
        not_before=None if not_before is None else not_before.timestamp(),
        ssh_host_key=new.ssh_host_key,
    )
