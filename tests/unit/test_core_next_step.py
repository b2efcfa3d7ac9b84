"""The one next step: it has an answer for every row and every sight, and never one of the forbidden ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import steps
from agent.core.container import Container, ContainerState
from agent.core.job import ExitFacts, Job, Now, Run, StartIntent, Stop, StopCause, Verdict
from agent.core.next_step import Seen, next_step
from agent.core.reconcile import is_of_open_attempt, is_wanted
from agent.core.state import EDGES
from agent.errors import Phase
from tests.tries import tries
from tests.unit.core_values import AGENT, NOW, SIGHTS, WALL, jobs, make_container, make_job

MAY_RUN = {ContainerState.CREATED, ContainerState.RUNNING, ContainerState.REMOVING}
# What each step writes as the row's next phase.
WRITES = {
    steps.BeginStopping: Phase.STOPPING,
    steps.BeginRunning: Phase.RUNNING,
    steps.Finish: Phase.FINISHED,
}


def is_ours(container: Container | None) -> bool:
    return container is not None and container.agent == AGENT


@pytest.mark.slow
@pytest.mark.parametrize("phase", list(Phase))
@settings(max_examples=tries(150))
@given(data=st.data(), seen=SIGHTS)
def test_no_step_is_ever_a_forbidden_one(phase: Phase, data: st.DataObject, seen: Seen) -> None:
    job = data.draw(jobs(phases=(phase,)))
    step = next_step(job, seen, NOW)
    container = seen.container
    match step:
        case steps.Create():
            assert job.run.intent is None, "made anew within the attempt (trace 6)"
            assert container is None
            assert not job.stop_asked
        case steps.Start(started):
            assert started is container
            assert started.state is ContainerState.CREATED, "an exited container is never started"
            assert job.run.intent == StartIntent(started.id, NOW.boot.boot_id), "started without the intent"
            assert seen.settle_seconds == 0
            assert started.plan == job.run.plan
            assert not job.stop_asked
        case steps.Free() | steps.Close():
            assert not (is_ours(container) and container and container.state in MAY_RUN)
            assert job.run.exit is not None
        case steps.Remove(removed) | steps.DrainAndRemove(removed):
            assert is_ours(removed)
            assert removed.state in {ContainerState.CREATED, ContainerState.EXITED, ContainerState.DEAD}
            assert removed.state is not ContainerState.CREATED or seen.settle_seconds == 0
        case steps.Signal(target) | steps.Kill(target):
            assert is_ours(target)
            assert target.state is ContainerState.RUNNING
        case steps.Wait(seconds):
            assert seconds is None or seconds > 0, "a wait that does not wait spins"
        case steps.Judge(judged):
            assert judged.state is ContainerState.EXITED
            assert job.run.exit is None or job.phase is Phase.RUNNING, "a verdict is never given twice"
        case _:
            pass


@settings(max_examples=tries(200))
@given(jobs(), SIGHTS)
def test_what_a_step_writes_is_an_edge(job: Job, seen: Seen) -> None:
    step = next_step(job, seen, NOW)
    to = WRITES.get(type(step))
    if to is not None:
        assert (job.phase, to) in EDGES
    if isinstance(step, steps.Close):
        assert job.phase is Phase.STOPPING


@settings(max_examples=tries(200))
@given(jobs(), SIGHTS)
def test_a_stop_request_is_never_slept_on(job: Job, seen: Seen) -> None:
    if job.stop_asked and job.phase in {Phase.QUEUED, Phase.STARTING, Phase.RUNNING}:
        assert next_step(job, seen, NOW) == steps.BeginStopping()


@pytest.mark.slow
@settings(max_examples=tries(200))
@given(jobs(phases=(Phase.STOPPING,)), SIGHTS)
def test_what_runs_while_stopping_is_signalled_and_killed(job: Job, seen: Seen) -> None:
    if (
        seen.container is None
        or not is_ours(seen.container)
        or seen.container.state is not ContainerState.RUNNING
    ):
        return
    step = next_step(job, seen, NOW)
    allowed = (steps.WriteSignalled, steps.Signal, steps.Kill, steps.Wait, steps.ReportUnkillable)
    assert isinstance(step, allowed)
    if job.run.signalled_at is None:
        assert isinstance(step, steps.WriteSignalled), "before any signal leaves"


CREATED = make_container(state=ContainerState.CREATED)
RUNNING = make_container()
EXITED = make_container(state=ContainerState.EXITED)
DEAD = make_container(state=ContainerState.DEAD)
MINE = StartIntent("c1", "boot-1")
PLANNED = Run(plan="plan-1")
INTENDED = Run(plan="plan-1", intent=MINE)
CANCELLED = Stop(StopCause.CANCEL, WALL)


def step_of(job: Job, container: Container | None = None, now: Now = NOW, **seen: object) -> steps.Step:
    return next_step(job, Seen(AGENT, container, **seen), now)  # type: ignore[arg-type] # fields of Seen


STARTING = make_job(phase=Phase.STARTING, run=PLANNED)
TABLE = [
    ("none there yet", STARTING, None, {}, steps.Create),
    ("dead, its removal cut off", STARTING, DEAD, {}, steps.Remove),
    ("running, found dead", make_job(phase=Phase.RUNNING, run=INTENDED), DEAD, {}, steps.BeginStopping),
    ("stopping, found dead", make_job(phase=Phase.STOPPING, run=INTENDED), DEAD, {}, steps.WriteFacts),
    (
        "stopping, judged, found dead",
        make_job(phase=Phase.STOPPING, run=Run(plan="plan-1", intent=MINE, exit=ExitFacts(Verdict.OWN, 0))),
        DEAD,
        {},
        steps.Remove,
    ),
    ("created", STARTING, CREATED, {}, steps.Intend),
    ("created, intended", make_job(phase=Phase.STARTING, run=INTENDED), CREATED, {}, steps.Start),
    (
        "created, a start may be on its way",
        make_job(phase=Phase.STARTING, run=INTENDED),
        CREATED,
        {"settle_seconds": 2.0},
        steps.Wait,
    ),
    (
        "created, intended in an earlier boot",
        make_job(phase=Phase.STARTING, run=Run(plan="plan-1", intent=StartIntent("c1", "boot-0"))),
        CREATED,
        {},
        steps.Intend,
    ),
    ("started and gone", make_job(phase=Phase.STARTING, run=INTENDED), None, {}, steps.BeginStopping),
    ("runs already", make_job(phase=Phase.STARTING, run=INTENDED), RUNNING, {}, steps.BeginRunning),
    ("ran and ended", make_job(phase=Phase.STARTING, run=INTENDED), EXITED, {}, steps.BeginRunning),
    (
        "of an earlier lease",
        make_job(phase=Phase.STARTING, run=Run(plan="plan-2")),
        CREATED,
        {},
        steps.Remove,
    ),
    (
        "of an earlier lease, a start may be on its way",
        make_job(phase=Phase.STARTING, run=Run(plan="plan-2", intent=MINE)),
        CREATED,
        {"settle_seconds": 2.0},
        steps.Wait,
    ),
    (
        "of an earlier lease, and it runs",
        make_job(phase=Phase.STARTING, run=Run(plan="plan-2")),
        RUNNING,
        {},
        steps.Kill,
    ),
    ("a stranger's", STARTING, make_container(agent=None), {}, steps.BeginStopping),
    ("runs on", make_job(phase=Phase.RUNNING, run=INTENDED), RUNNING, {}, steps.Wait),
    (
        "past its deadline",
        make_job(phase=Phase.RUNNING, run=Run(intent=MINE, deadline=NOW.after(0))),
        RUNNING,
        {},
        steps.RequestTimeout,
    ),
    (
        "deadline of an earlier boot",
        make_job(phase=Phase.RUNNING, run=Run(intent=MINE, deadline=NOW.after(9))),
        EXITED,
        {},
        steps.Judge,
    ),
    ("exited", make_job(phase=Phase.RUNNING, run=INTENDED), EXITED, {}, steps.Judge),
    ("gone", make_job(phase=Phase.RUNNING, run=INTENDED), None, {}, steps.BeginStopping),
    (
        "grace: first the signal",
        make_job(phase=Phase.STOPPING, run=Run(intent=MINE, signalled_at=WALL), kill_at=NOW.after(5)),
        RUNNING,
        {},
        steps.Signal,
    ),
    (
        "grace: then wait",
        make_job(phase=Phase.STOPPING, run=Run(intent=MINE, signalled_at=WALL), kill_at=NOW.after(5)),
        RUNNING,
        {"signal_was_sent": True},
        steps.Wait,
    ),
    (
        "grace is over",
        make_job(phase=Phase.STOPPING, run=Run(intent=MINE, signalled_at=WALL), kill_at=NOW.after(-1)),
        RUNNING,
        {"signal_was_sent": True},
        steps.Kill,
    ),
    (
        "a minute after KILL",
        make_job(phase=Phase.STOPPING, run=Run(intent=MINE, signalled_at=WALL)),
        RUNNING,
        {"since_kill_seconds": 60.0},
        steps.ReportUnkillable,
    ),
    (
        "cancelled before it was made",
        make_job(phase=Phase.STOPPING, job_stop=CANCELLED),
        None,
        {},
        steps.WriteFacts,
    ),
    (
        "created, never started",
        make_job(phase=Phase.STOPPING, job_stop=CANCELLED),
        CREATED,
        {},
        steps.WriteFacts,
    ),
]


@pytest.mark.parametrize(
    ("job", "container", "seen", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_line(job: Job, container: Container | None, seen: dict[str, object], wanted: type) -> None:
    assert isinstance(step_of(job, container, **seen), wanted)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_container_is_wanted_in_queued_to_stopping_with_its_attempt(phase: Phase, attempt: int) -> None:
    job = make_job(phase=phase, attempt=2)
    is_open = phase not in {Phase.UPLOADING, Phase.FINISHED}
    assert is_wanted(make_container(attempt=attempt), job) is (is_open and attempt == 2)
    assert is_of_open_attempt(attempt, job) is (is_open and attempt == 2)


def test_a_container_without_a_row_or_an_attempt_is_unwanted() -> None:
    assert not is_wanted(make_container(), None)
    assert not is_wanted(make_container(attempt=None), make_job())
