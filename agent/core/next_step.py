"""core/next_step — the straight line of a job, as one pure question: given the row and what is seen, what comes next?

The runner reads the row, looks, asks `next_step`, does the one step, and begins again. A start, a crash and a restart are thus
one path: whatever was done shows in the row or in the engine, and the next step follows from there. A rule marked "trace n"
mends the counter-example of that number that a model checker found.
"""

from dataclasses import dataclass

from agent.core.container import Container, ContainerState
from agent.core.exits import FORGOTTEN, GONE, NEVER_RAN
from agent.core.job import FailureKind, Job, Now, StartFailure, StartIntent
from agent.core.steps import (
    BeginRunning,
    BeginStopping,
    Close,
    Create,
    Done,
    DrainAndRemove,
    FindImage,
    Finish,
    Free,
    Intend,
    Judge,
    Kill,
    NoteEngine,
    PullImage,
    Remove,
    ReportUnkillable,
    RequestTimeout,
    ReserveDisk,
    SendOutputs,
    Signal,
    Start,
    Step,
    StopUpload,
    Wait,
    WriteFacts,
    WriteSignalled,
)
from agent.core.timeout import seconds_left
from agent.errors import Phase

# A container that a KILL does not end (D state) keeps its lease; /health asks for a reboot.
UNKILLABLE_SECONDS = 60.0
# How long a look may be out of date where the engine's event should have told us.
LOOK_AGAIN_SECONDS = 10.0
# How soon to look again where the engine is in the middle of something.
SOON_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """What the runner saw and remembers.

    `container`: by the start intent's id where there is one, else by name. `settle_seconds`: for so long an earlier start may
    still take effect (trace 2). `is_start_forgotten`: a start was sent to an engine that is gone, and the one that answers now
    can't tell whether it took effect. `outlives_engine`: a stop of the engine, of this and of any before; None: not known. `since_kill_seconds`: how long ago this process sent KILL, None: it did not.
    `upload_is_over`: also where there is nothing to send.
    """

    agent_id: str
    container: Container | None = None
    settle_seconds: float = 0.0
    image_was_looked_for: bool = False
    is_start_forgotten: bool = False
    outlives_engine: bool | None = None
    signal_was_sent: bool = False
    since_kill_seconds: float | None = None
    upload_is_over: bool = False


def next_step(job: Job, seen: Seen, now: Now) -> Step:
    """The one next step. Pure and total: every row and every sight has an answer."""
    match job.phase:
        case Phase.QUEUED:
            return _queued(job, seen, now)
        case Phase.STARTING:
            return _starting(job, seen, now)
        case Phase.RUNNING:
            return _running(job, seen, now)
        case Phase.STOPPING:
            return _stopping(job, seen, now)
        case Phase.UPLOADING:
            return _uploading(job, seen)
        case Phase.FINISHED:
            return Done()


def _queued(job: Job, seen: Seen, now: Now) -> Step:
    if job.stop_asked:
        return BeginStopping()  # any stop request, or it would be queued for ever (trace 12)
    if job.image_digest is None and not seen.image_was_looked_for:
        return FindImage()
    if job.image_digest is None and job.waiting_for == "image":
        return PullImage()
    if job.spec.disk is not None and not job.has_disk and job.waiting_for == "disk":
        return ReserveDisk()
    if job.not_before is not None and job.not_before > now.wall:
        return Wait(job.not_before - now.wall)
    return Wait()


def _starting(job: Job, seen: Seen, now: Now) -> Step:
    container = seen.container
    if job.stop_asked:
        return BeginStopping()
    if container is None:
        # Started, and gone: lost, and never made anew within the attempt (trace 6).
        return Create() if job.run.intent is None else BeginStopping(facts=GONE)
    if container.agent != seen.agent_id:
        return BeginStopping(failure=_name_taken(job))
    if container.plan != job.run.plan:
        return _clear_away(container, seen)
    match container.state:
        case ContainerState.REMOVING | ContainerState.DEAD:
            return _let_go(container)
        case ContainerState.CREATED if seen.settle_seconds > 0:
            return Wait(seen.settle_seconds)
        case ContainerState.CREATED if seen.is_start_forgotten:
            # The program may have run, or run still: once more would be twice.
            return BeginStopping(facts=FORGOTTEN)
        case ContainerState.CREATED:
            # The intent is renewed while the container is only created: it may outlive a boot and still be started.
            is_intended = job.run.intent == StartIntent(container.id, now.boot.boot_id)
            return Start(container) if is_intended else Intend(container)
        case ContainerState.RUNNING | ContainerState.EXITED:
            return BeginRunning(container)


def _name_taken(job: Job) -> StartFailure:
    # A stranger's container can't be touched; the next attempt has another name (trace 13).
    return StartFailure(
        FailureKind.NAME, "name_taken", f"{job.container_name} is a container of somebody else's"
    )


def _clear_away(container: Container, seen: Seen) -> Step:
    """Made for an earlier lease: its ports and GPUs may be another job's by now."""
    if container.state is ContainerState.RUNNING:
        return Kill(container) if seen.since_kill_seconds is None else Wait(SOON_SECONDS)
    if container.state in {ContainerState.REMOVING, ContainerState.DEAD}:
        return _let_go(container)
    return Wait(seen.settle_seconds) if seen.settle_seconds > 0 else Remove(container)


def _let_go(container: Container) -> Step:
    """One that is being removed goes by itself; one whose removal was cut off must be asked for once more."""
    return Wait(SOON_SECONDS) if container.state is ContainerState.REMOVING else Remove(container)


def _running(job: Job, seen: Seen, now: Now) -> Step:
    if job.stop_asked:
        return BeginStopping()
    container = seen.container
    if container is None or container.state in {ContainerState.CREATED, ContainerState.DEAD}:
        return BeginStopping(facts=GONE)
    if container.state is ContainerState.REMOVING:
        return Wait(SOON_SECONDS)
    if container.state is ContainerState.EXITED:
        return Judge(container)
    if seen.outlives_engine is not None and seen.outlives_engine != job.run.live_restore:
        return NoteEngine(seen.outlives_engine)
    left = seconds_left(job, now)
    if left is not None and left <= 0:
        return RequestTimeout()
    if seen.outlives_engine is None and not job.run.live_restore:
        return Wait(
            LOOK_AGAIN_SECONDS if left is None else min(left, LOOK_AGAIN_SECONDS)
        )  # its start may yet be told
    return Wait(left)


def _stopping(job: Job, seen: Seen, now: Now) -> Step:
    container = seen.container
    if container is not None and container.agent != seen.agent_id:
        container = None  # a stranger's under our name: not ours to end, to free or to remove
    state = container.state if container is not None else None
    if container is not None and state is ContainerState.REMOVING:
        return Wait(SOON_SECONDS)
    if container is not None and state is ContainerState.RUNNING:
        return _end(job, container, seen, now)
    if job.run.exit is None:
        return _find_facts(job, container, seen)
    if container is not None and state is ContainerState.CREATED:
        # Removed and seen gone before anything is freed: a start on its way would run on freed GPUs (trace 1).
        return Wait(seen.settle_seconds) if seen.settle_seconds > 0 else Remove(container)
    if job.lease is not None and not job.lease.is_empty:
        return Free()
    if container is None:
        return Close()
    # A dead one was drained before its removal began.
    return Remove(container) if state is ContainerState.DEAD else DrainAndRemove(container)


def _end(job: Job, container: Container, seen: Seen, now: Now) -> Step:
    """The one ladder: write that we signal, the stop signal, the grace by boot clock, KILL, see it gone."""
    if job.run.signalled_at is None:
        return WriteSignalled()
    grace = now.until(job.kill_at) if job.kill_at is not None else 0.0
    if grace > 0:
        return Wait(grace) if seen.signal_was_sent else Signal(container)
    if seen.since_kill_seconds is None:
        return Kill(container)
    if seen.since_kill_seconds >= UNKILLABLE_SECONDS:
        return ReportUnkillable(container)
    return Wait(LOOK_AGAIN_SECONDS)


def _find_facts(job: Job, container: Container | None, seen: Seen) -> Step:
    if container is None or container.state is ContainerState.DEAD:
        was_started = job.run.intent is not None and job.run.failure is None
        return WriteFacts(GONE if was_started else NEVER_RAN)
    if container.state is ContainerState.EXITED:
        return Judge(container)
    return Wait(seen.settle_seconds) if seen.settle_seconds > 0 else WriteFacts(NEVER_RAN)


def _uploading(job: Job, seen: Seen) -> Step:
    if seen.upload_is_over:
        return Finish()
    return SendOutputs() if job.upload_stopped_at is None else StopUpload()
