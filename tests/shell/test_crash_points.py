"""Kill the daemon at each boundary, or cancel the job there, or both: start again, and all is as if nothing had been."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog

from agent.core.frames import Stream
from agent.core.function import FunctionCall
from agent.core.job import Job
from agent.interfaces import StoreUnavailableError
from tests.fakes.engine import Fate, Program
from tests.fakes.host_keys import public_key
from tests.fakes.logs import frame
from tests.fakes.ssh_server import FakeSshServers
from tests.shell.boundaries import WRITES
from tests.shell.trial import GRACE, Scenario, Trial, cancel, die, run_through, where
from tests.shell.world import Outcome, World

pytestmark = pytest.mark.looptime(noop_cycles=2)  # nothing here waits for anything but this loop

WEB = [{"name": "web", "port": 8080, "proto": "tcp"}]
PUT = {
    "to": "put",
    "url": "https://store.example.org/{job}/{path}?sig=hush",
    "headers": {"Authorization": "hush-2"},
}
KEY = public_key(99).line
CALL = FunctionCall("trainer", "22222222-0000-7000-8000-000000000001", "train", "main.py")
# One is too large to be read in one go.
FILES = {"a": b"a", "dir/b": b"bb", "large": b"c" * (1 << 20) + b"d"}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of lives of a daemon are not read by anybody, and a rendered traceback costs a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def hold_a_port(world: World) -> None:
    # One: which ports are a stranger's is forgotten with the daemon, and each find costs one of three moves.
    world.engine.strangers_ports = {20000}


def offer_image(world: World) -> None:
    world.engine.registry["new"] = world.engine.images["busybox"]


def run_ssh_servers(world: World) -> None:
    world.ssh_servers = FakeSshServers(world.engine)


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
        "upload",
        Outcome.FAILED,
        Program(seconds=2, code=3, output=(frame(Stream.STDOUT, 1, b"one\n"),)),
        {"outputs": {"upload": PUT, "logs": True}},
        files=FILES,
    ),
    Scenario(
        "live upload",
        Outcome.SUCCEEDED,
        Program(seconds=4),
        {"outputs": {"upload": PUT, "live": True, "quiet": 1}},
        files=FILES,
    ),
    Scenario(
        "disk",
        Outcome.FAILED,
        Program(seconds=2, code=3),
        {"disk": "1GiB", "retry": {"count": 1, "backoff": 2}},
        attempts=2,
    ),
    Scenario(
        "ssh",
        Outcome.FAILED,
        Program(seconds=3, code=3),
        {"ssh": {"authorized_keys": [KEY]}, "retry": {"count": 1, "backoff": 2}},
        attempts=2,
        prepare=run_ssh_servers,
    ),
    Scenario("function", Outcome.SUCCEEDED, Program(on_term=143), call=CALL),
    Scenario(
        "function retried",
        Outcome.SUCCEEDED,
        Program(on_term=143),
        {"retry": {"count": 1, "backoff": 2}},
        attempts=2,
        call=CALL,
        failures=1,
    ),
]


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
    """In a job's own task, or in one that sends its outputs; in another it would end the daemon: by design."""
    task = asyncio.current_task()
    if task is not None and task.get_name().startswith(("job ", "upload ", "live ")):
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
