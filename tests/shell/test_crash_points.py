"""Kill the daemon at each boundary, or cancel the job there, or both: start again, and all is as if nothing had been."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import structlog

from agent.core.frames import Stream
from agent.core.job import BootTime, Job, StopCause
from agent.core.stop_requests import request_job_stop
from agent.interfaces import SecretFiles, StoreUnavailableError
from tests.fakes.engine import Fate, Program
from tests.fakes.logs import frame
from tests.shell.boundaries import WRITES, Boundaries
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime(noop_cycles=2)  # nothing here waits for anything but this loop

WEB = [{"name": "web", "port": 8080, "proto": "tcp"}]
GRACE = 8.0


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of lives of a daemon are not read by anybody, and a rendered traceback costs a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def nothing(_world: World) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Scenario:
    """`cancels`: a caller cancels as soon as the job runs."""

    name: str
    outcome: Outcome
    program: Program
    fields: Mapping[str, object] = field(default_factory=dict)
    attempts: int = 1
    cancels: bool = False
    prepare: Callable[[World], None] = nothing

    def __str__(self) -> str:
        return self.name


def hold_a_port(world: World) -> None:
    # One: which ports are a stranger's is forgotten with the daemon, and each find costs one of three moves.
    world.engine.strangers_ports = {20000}


def offer_image(world: World) -> None:
    world.engine.registry["new"] = world.engine.images["busybox"]


SCENARIOS = [
    Scenario("success", Outcome.SUCCEEDED, Program(seconds=2, output=(frame(Stream.STDOUT, 1, b"one\n"),))),
    Scenario(
        "retry",
        Outcome.FAILED,
        Program(seconds=2, code=3),
        {"retry": {"count": 1, "backoff": 2}},
        attempts=2,
    ),
    Scenario("re-lease", Outcome.SUCCEEDED, Program(seconds=2), {"ports": WEB}, prepare=hold_a_port),
    Scenario("cancel", Outcome.CANCELLED, Program(on_term=None), {"ports": WEB, "grace": 8}, cancels=True),
    Scenario("timeout", Outcome.TIMED_OUT, Program(on_term=143), {"timeout": 30}),
    Scenario("pull", Outcome.SUCCEEDED, Program(seconds=2), {"image": "new"}, prepare=offer_image),
    Scenario(
        "secrets",
        Outcome.SUCCEEDED,
        Program(seconds=2),
        {"secrets": {"KEY": "s3cret"}, "secrets_env": ["KEY"]},
    ),
    Scenario(
        "disk",
        Outcome.FAILED,
        Program(seconds=2, code=3),
        {"disk": "1GiB", "retry": {"count": 1, "backoff": 2}},
        attempts=2,
    ),
]


class Trial:
    """One run of a scenario, with something done at chosen boundaries."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World()
        # A death of the daemon must be no gap, even where the engine would take its containers with it.
        self.world.engine.live_restore = False
        self.world.engine.program = scenario.program
        scenario.prepare(self.world)
        self.boundaries = Boundaries(self.world)
        self.job_id = ""
        self.cancelled_at: float | None = None

    def cancel(self) -> None:
        world = self.world
        if self.cancelled_at is None:
            self.cancelled_at = world.clock.now()
        kill_at = BootTime(world.clock.boot_id, world.clock.boot_seconds() + GRACE)
        world.store._change(
            self.job_id, ME, lambda job: request_job_stop(job, StopCause.CANCEL, world.clock.now(), kill_at)
        )
        if not self.boundaries.is_dead and world.shell is not None:
            world.shell.wake(self.job_id)

    async def run(self, at: Mapping[int, Callable[[], None]]) -> Job:
        self.job_id = await self.world.submit(**self.scenario.fields)
        secrets = dict(self.scenario.fields.get("secrets", {}))
        self.world.folders.secrets_by_job[self.job_id] = SecretFiles(secrets)
        self.boundaries.at |= at
        await self.world.start()
        async with asyncio.timeout(200):
            while True:
                await self.boundaries.revive()
                job = self.world.store.peek(self.job_id)
                assert job is not None
                if job.phase is Phase.FINISHED:
                    break
                if self.scenario.cancels and job.phase is Phase.RUNNING and job.job_stop is None:
                    self.cancel()
                await asyncio.sleep(0.05)
        await self._settle_down()
        return self.world.store.peek(self.job_id) or job

    async def _settle_down(self) -> None:
        await asyncio.sleep(1)
        await self.boundaries.revive()
        await asyncio.sleep(35)
        await self.boundaries.revive()
        await asyncio.sleep(1)

    async def assert_nothing_is_left(self, job: Job) -> None:
        world = self.world
        await world.assert_all_is_well()
        assert world.engine.boxes == {}
        assert (world.engine.volumes_by_name, world.quotas.devices) == ({}, {})
        assert all(image.is_released for image in world.quotas.images.values())
        assert job.lease is None
        assert not world.folders.holds_secrets(self.job_id)
        events = await world.store.events(ME, 0, self.job_id, 1000)
        assert sum(event.data.get("to") == Phase.FINISHED for event in events) == 1
        assert len(world.engine.starts) == len(set(world.engine.starts))
        assert set(world.engine.starts) <= set(world.folders.logs)
        attempts = await world.store.attempts(self.job_id)
        assert [attempt.number for attempt in attempts] == list(range(1, job.attempt + 1))
        assert attempts[-1].outcome is job.outcome
        await world.crash()


async def run_through(scenario: Scenario, at: Mapping[int, Callable[[Trial], None]]) -> tuple[Trial, Job]:
    trial = Trial(scenario)

    def bind(act: Callable[[Trial], None]) -> Callable[[], None]:
        return lambda: act(trial)

    try:
        job = await trial.run({n: bind(act) for n, act in at.items()})
        await trial.assert_nothing_is_left(job)
    except BaseException:
        await trial.world.crash()
        raise
    return trial, job


def die(trial: Trial) -> None:
    trial.boundaries.die()


def cancel(trial: Trial) -> None:
    trial.cancel()


def where(trial: Trial, n: int) -> str:
    return f"{trial.scenario} at {n}: {trial.boundaries.passed[n - 1 : n]}"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_death_at_any_boundary_changes_nothing(scenario: Scenario) -> None:
    n = 0
    while True:
        n += 1
        trial, job = await run_through(scenario, {n: die})
        assert (job.outcome, job.attempt) == (scenario.outcome, scenario.attempts), where(trial, n)
        if trial.boundaries.count < n:
            break
    assert n > 20


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_cancel_at_any_boundary_ends_the_job_within_its_grace(scenario: Scenario) -> None:
    n = 0
    while True:
        n += 1
        trial, job = await run_through(scenario, {n: cancel})
        if trial.boundaries.count < n:
            break
        assert_cancelled_or_done(trial, job, n)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4, 9])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_cancel_and_a_death_soon_after_it_still_end_the_job(scenario: Scenario, after: int) -> None:
    n = 0
    while True:
        n += 1
        trial, job = await run_through(scenario, {n: cancel, n + after: die})
        if trial.boundaries.count < n:
            break
        assert_cancelled_or_done(trial, job, n)


@pytest.mark.slow
@pytest.mark.parametrize("fate", [Fate.LOST, Fate.NEVER, Fate.LATE], ids=str)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_an_answer_that_is_lost_anywhere_changes_nothing(scenario: Scenario, fate: Fate) -> None:
    n = 0
    while True:
        n += 1
        trial = Trial(scenario)
        calls = lose_the_answer(trial, n, fate)
        job = await trial.run({})
        await trial.assert_nothing_is_left(job)
        assert (job.outcome, job.attempt) == (scenario.outcome, scenario.attempts), calls
        if len(calls) < n:
            break
    assert n > 3


@pytest.mark.slow
@pytest.mark.parametrize("fate", [Fate.LOST, Fate.NEVER, Fate.LATE], ids=str)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_an_answer_that_is_lost_and_a_death_soon_after_it_change_nothing(
    scenario: Scenario, fate: Fate
) -> None:
    n = 0
    while True:
        n += 1
        trial = Trial(scenario)
        calls = lose_the_answer(trial, n, fate, die_after=3)
        job = await trial.run({})
        await trial.assert_nothing_is_left(job)
        assert (job.outcome, job.attempt) == (scenario.outcome, scenario.attempts), calls
        if len(calls) < n:
            break


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_database_that_is_away_at_any_write_or_leaves_its_answer_out_changes_nothing(
    scenario: Scenario,
) -> None:
    n = 0
    while True:
        n += 1
        trial, job = await run_through(scenario, {n: lose_the_database})
        assert (job.outcome, job.attempt) == (scenario.outcome, scenario.attempts), where(trial, n)
        if trial.boundaries.count < n:
            break


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_bug_at_any_step_of_a_job_ends_the_job_alone(scenario: Scenario) -> None:
    n = 0
    while True:
        n += 1
        trial, job = await run_through(scenario, {n: stumble})
        assert trial.boundaries.revivals == 0
        assert job.outcome in {scenario.outcome, Outcome.FAILED}, where(trial, n)
        if trial.boundaries.count < n:
            break


def lose_the_database(trial: Trial) -> None:
    """Before a write: it is not made. After it: it is made, and nobody is told."""
    if trial.boundaries.passed[-1].split()[1] in WRITES:
        raise StoreUnavailableError("disk I/O error")


def stumble(_trial: Trial) -> None:
    """In another task it would end the daemon: by design."""
    task = asyncio.current_task()
    if task is not None and task.get_name().startswith("job "):
        raise ZeroDivisionError


def lose_the_answer(trial: Trial, n: int, fate: Fate, die_after: int | None = None) -> list[str]:
    """The n-th act of the engine has that fate; a late one takes effect two seconds later. Returns the acts as they come."""
    calls: list[str] = []

    def choose(name: str, _target: str) -> Fate:
        if name not in {"create", "start", "kill", "remove"}:
            return Fate.WORKS
        calls.append(name)
        if len(calls) != n:
            return Fate.WORKS
        asyncio.get_running_loop().call_later(2, trial.world.engine.let_late_calls_take_effect)
        if die_after is not None:
            trial.boundaries.at[trial.boundaries.count + die_after] = trial.boundaries.die
        return fate

    trial.boundaries.fate = choose
    return calls


def assert_cancelled_or_done(trial: Trial, job: Job, n: int) -> None:
    """Only an end that came first may still be the outcome; and an end there is, in time (I5)."""
    assert trial.cancelled_at is not None
    assert job.finished_at is not None
    if job.job_stop is None:
        assert job.outcome is trial.scenario.outcome, where(trial, n)
        return
    exit_ = job.run.exit
    is_own_success = exit_ is not None and exit_.code == 0
    assert job.outcome is (Outcome.SUCCEEDED if is_own_success else Outcome.CANCELLED), where(trial, n)
    assert job.finished_at - trial.cancelled_at <= GRACE + 5, where(trial, n)
