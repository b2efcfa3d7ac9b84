"""jobs/intake — how a job gets in, is asked to stop, and is forgotten. Runs none: it writes the row and pokes the supervisor."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from agent.core.cancelling import Cancel, cancel_family, cancel_job
from agent.core.container import Credentials
from agent.core.function import FunctionCall
from agent.core.gpus import Inventory, refuse_if_never
from agent.core.host_key import HostKey
from agent.core.job import INTERNAL_KINDS, Job, Kind, NewEvent, Viewer
from agent.core.notify import NotifyTarget
from agent.core.schedule import Firing
from agent.core.ssh_kit import KitTrouble
from agent.errors import AgentError, Blame, Phase
from agent.interfaces import (
    Accepted,
    Claimed,
    Clock,
    Finished,
    Folders,
    ForeignIdError,
    HostKeys,
    NewJob,
    SecretFiles,
    SshKits,
    Store,
    StoreUnavailableError,
)
from agent.jobs.current import Current
from agent.jobs.given_ids import GivenIds
from agent.jobs.hiding import Hiding
from agent.jobs.host_limits import KIT_FAULT, find_host_faults
from agent.jobs.moment import now_of
from agent.jobs.record import write_record
from agent.spec import JobSpec, Keys, SpecRefusedError, parse_spec, secrets_of, without_secrets

log = structlog.get_logger(__name__)

JOB_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
ENDED = (Phase.UPLOADING, Phase.FINISHED)


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody asks to have run. `body`: a spec as decoded JSON, maybe hostile. `call` and `payload` (JSON) are a function's.

    `job_id`: an id that the client chose. `digest`: of what makes another request another; None: of the body.
    `firing`: of a schedule; its row says so in the same transaction.
    """

    body: object
    kind: Kind = Kind.CONTAINER
    call: FunctionCall | None = None
    payload: bytes | None = None
    job_id: str | None = None
    key: str | None = None
    digest: str | None = None
    firing: Firing | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """`asked`: how many jobs stand asked to stop, by this request or by one before."""

    job: Job
    asked: int


class BadJobIdError(AgentError):
    code, blame = "bad_job_id", Blame.USER
    remedy = "Use a UUID of any version, written 8-4-4-4-12 in hex, or POST /v1/jobs and take the id that it gives."


class JobFinishedError(AgentError):
    code, blame = "job_finished", Blame.USER
    remedy = "Nothing is left to stop; GET the job for its outcome."


class JobNotFinishedError(AgentError):
    code, blame = "job_not_finished", Blame.USER
    remedy = "Cancel the job and wait until it is finished, then delete it."


@dataclass(slots=True, eq=False)
class Intake:
    """The way in for everyone: the API, chutes, schedules.

    `new_id` makes a fresh UUID; `wake(job_id)` tells the supervisor to look at that job, and to grant.
    """

    store: Store
    folders: Folders
    usable_gpus: Callable[[], Awaitable[Inventory]]
    clock: Clock
    current: Current
    hiding: Hiding
    new_id: Callable[[], str]
    wake: Callable[[str], None]
    ssh_kits: SshKits
    host_keys: HostKeys
    given_ids: GivenIds

    async def submit(
        self, viewer: Viewer, body: object, job_id: str | None = None, key: str | None = None
    ) -> Accepted:
        """Accept a container job. `body` is decoded JSON, maybe hostile. Raises as `accept` does, and BadJobIdError."""
        wanted_id = None if job_id is None else read_job_id(job_id)
        return await self.accept(viewer.principal, Submission(body, job_id=wanted_id, key=key))

    async def accept(self, owner: str, asked: Submission) -> Accepted:
        """Accept a job of any kind: when this returns, its row, its secrets and its payload are on disk.

        Raises SpecRefusedError, GpusNeverFitError, BodyConflictError, ForeignIdError, QueueFullError,
        HostKeyNotMadeError, StateFullError, StateReadOnlyError, StoreUnavailableError; of a `firing` also StaleError and
        NoSuchScheduleError. Nothing of the job is left then.
        """
        spec = await self.check(asked.body, Keys.LATER if asked.kind is Kind.FUNCTION else Keys.NEEDED)
        if asked.kind in INTERNAL_KINDS:
            spec = spec.model_copy(update={"queue": asked.kind.value})  # which is nobody else's to name
        host_key = None if spec.ssh is None else await self._make_host_key()
        new = NewJob(
            id=asked.job_id or self.new_id(),
            owner=owner,
            kind=asked.kind,
            spec=without_secrets(spec),
            created_at=self.clock.now(),
            idempotency_key=asked.key,
            body_digest=asked.digest or digest_of(asked.body),
            ssh_host_key=None if host_key is None else host_key.public.line,
            call=asked.call,
            firing=asked.firing,
        )
        async with AsyncExitStack() as stack:
            if asked.job_id is not None:
                # Two that give the same id, or one and who forgets its last job: the folder must be of the one whose row gets in.
                await stack.enter_async_context(self.given_ids.turn(new.id))
            accepted = await self._keep(new, secret_files(spec, host_key), asked.payload)
        if not accepted.is_replay:
            log.info("job.accepted", job=accepted.job.id, owner=new.owner, kind=new.kind, image=spec.image)
        self.wake(accepted.job.id)
        return accepted

    async def cancel(self, viewer: Viewer, job_id: str, grace: int | None = None) -> Job:
        """Leave the stop request, durable when this returns. `grace` in seconds; None: the spec's.

        Of a job whose outputs leave it ends that, and the outcome stays.

        Raises ForeignIdError, JobFinishedError, StoreUnavailableError.
        """
        cancel = Cancel(now_of(self.clock), grace)

        def decide(job: Job) -> tuple[Job, Sequence[NewEvent]]:
            changed = cancel_job(job, cancel)
            if changed is None:
                raise JobFinishedError(f"the job {job.id} has ended: {job.outcome}")
            return changed

        job = await self.store.change(job_id, viewer, decide)
        if job is None:
            raise unknown_job(job_id)
        self.wake(job.id)
        return job

    async def cancel_family(self, viewer: Viewer, job_id: str, grace: int | None = None) -> Stopped:
        """As `cancel`, for a job, whether or not it has ended, and for all that came of it, at once; none of them starts another any more.

        Raises as `cancel`: JobFinishedError where all of them have ended.
        """
        cancel = Cancel(now_of(self.clock), grace)
        asked = 0

        def decide(job: Job, below: Sequence[Job]) -> Sequence[tuple[Job, Sequence[NewEvent]]]:
            nonlocal asked
            family = cancel_family(job, below, cancel)
            asked = family.asked
            if not asked:
                raise JobFinishedError(
                    f"the job {job.id} has ended ({job.outcome}), and so has all that it started"
                )
            return family.changes

        written = await self.store.change_family(job_id, viewer, decide)
        if written is None:
            raise unknown_job(job_id)
        for job in written:
            if job.phase is not Phase.FINISHED:
                self.wake(job.id)
        log.info("family.cancelled", job=job_id, asked=asked)
        return Stopped(written[0], asked)

    async def forget(self, viewer: Viewer, job_id: str) -> None:
        """Remove a finished job and its files. Raises ForeignIdError, JobNotFinishedError, StoreUnavailableError."""
        async with self.given_ids.turn(job_id):
            job = await self.store.get(job_id, viewer)
            if job is None:
                raise unknown_job(job_id)
            if job.phase is not Phase.FINISHED:
                raise JobNotFinishedError(f"the job {job.id} is {job.phase}")
            # The folder first: were the row gone before it, a crash between the two would leave files that nobody owns.
            await self.folders.remove(job.id)
            if await self.store.forget(job.id, viewer) is Finished.FORGOTTEN:
                log.info("job.forgotten", job=job.id, owner=job.owner)

    async def check(self, body: object, keys: Keys = Keys.NEEDED) -> JobSpec:
        """Whether it could be accepted here. Raises SpecRefusedError, GpusNeverFitError."""
        spec = parse_spec(body, keys)
        faults = find_host_faults(spec, self.current.policy)
        if spec.ssh is not None and isinstance(await self.ssh_kits.look(), KitTrouble):
            faults.append(KIT_FAULT)
        if faults:
            raise SpecRefusedError(faults)
        if spec.gpus.count > 0:
            refuse_if_never(await self.usable_gpus(), spec.gpus)
        return spec

    async def _make_host_key(self) -> HostKey:
        kit = await self.ssh_kits.look()
        if isinstance(kit, KitTrouble):  # since the check, a moment ago
            raise SpecRefusedError([KIT_FAULT])
        return await self.host_keys.make(kit)

    async def _keep(self, new: NewJob, secrets: SecretFiles, payload: bytes | None) -> Accepted:
        claimed = await self._claim(new, secrets, payload)
        if claimed is Claimed.MADE:
            self.hiding.add(new.id, secrets)
        try:
            accepted = await self.store.accept(new, self.current.policy.limits.queued_jobs)
        except BaseException:
            if claimed is Claimed.MADE:
                await self._remove_unless_rowed(new.id)
            raise
        if claimed is Claimed.MADE and accepted.is_replay:
            # Of one that had come in before, under this id or another. Its own folder is never made a second time.
            await self._remove(new.id)
        return accepted

    async def _claim(self, new: NewJob, secrets: SecretFiles, payload: bytes | None) -> Claimed:
        record = write_record(new)
        claimed = await self.folders.claim(new.id, record, secrets, payload)
        if claimed is Claimed.MADE or await self.store.read(new.id) is not None:
            return claimed
        # Left by a submit that failed half-way: no row, so nobody's.
        await self.folders.remove(new.id)
        return await self.folders.claim(new.id, record, secrets, payload)

    async def _remove_unless_rowed(self, job_id: str) -> None:
        # An accept that failed may have been written all the same (its answer was lost): then the folder is that row's.
        try:
            if await self.store.read(job_id) is None:
                await self._remove(job_id)
        except StoreUnavailableError:
            log.warning("folder.left_to_the_sweep", job=job_id)

    async def _remove(self, job_id: str) -> None:
        await self.folders.remove(job_id)
        self.hiding.drop(job_id)


def read_job_id(text: str) -> str:
    """Raises BadJobIdError."""
    if not JOB_ID.fullmatch(text):
        raise BadJobIdError(f"{text[:64]!a} is no UUID")
    return text.lower()


def unknown_job(job_id: str) -> ForeignIdError:
    return ForeignIdError(f"there is no job {job_id[:64]!a}")


def digest_of(body: object) -> str:
    """Of the canonical body: the order of names and the white space make no other body."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def secret_files(spec: JobSpec, host_key: HostKey | None) -> SecretFiles:
    secrets = secrets_of(spec)
    registry, notify = secrets.registry, secrets.notify
    return SecretFiles(
        values=secrets.files,
        registry=None if registry is None else Credentials(registry.username, registry.password),
        notify=None if notify is None else NotifyTarget(notify.url, notify.secret),
        upload=secrets.upload,
        host_key=None if host_key is None else host_key.private,
    )
