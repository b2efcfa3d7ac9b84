"""What a registry may do to a pull: fail for a moment or for good, drip, talk without getting on, or never come to an end."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from agent.core.container import Credentials, Image, PullProgress
from agent.interfaces import EngineRefusedError, EngineUnavailableError, PullFailedError
from agent.interfaces.engine import Trouble
from agent.jobs.images import Images, PullTimes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine, Fate, Program
from tests.shell.world import Outcome, World

pytestmark = pytest.mark.looptime
NAME = "docker.io/library/new:latest"
FOUND = Image("sha256:new", f"{NAME}@sha256:1", 1000)
STALL_SECONDS, WHOLE_SECONDS = 120.0, 1800.0

Play = Callable[[], AsyncGenerator[PullProgress]]


class Registry(FakeEngine):
    """An engine whose pulls go as the plays say, in turn; the last one for all that follow."""

    def __init__(self, *plays: Play) -> None:
        super().__init__(FakeClock())
        self._plays = plays

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        play = self._plays[min(self.pulls, len(self._plays) - 1)]
        self.pulls += 1
        async for progress in play():
            yield progress
        self.images[reference] = FOUND


async def works() -> AsyncGenerator[PullProgress]:
    yield PullProgress(100, 100, 1, 1)


async def fails() -> AsyncGenerator[PullProgress]:
    yield PullProgress(1, 100, 0, 1)
    raise PullFailedError("registry_unavailable", "received unexpected HTTP status: 500")


async def loses_the_engine() -> AsyncGenerator[PullProgress]:
    yield PullProgress(1, 100, 0, 1)
    raise EngineUnavailableError("the engine broke off", Trouble.BROKEN)


async def says_nothing() -> AsyncGenerator[PullProgress]:
    await asyncio.Event().wait()
    yield PullProgress(0, 0, 0, 0)


async def hangs() -> AsyncGenerator[PullProgress]:
    yield PullProgress(1, 100, 0, 1)
    await asyncio.Event().wait()


async def talks() -> AsyncGenerator[PullProgress]:
    """A line each second, and not a byte."""
    while True:
        yield PullProgress(1, 100, 0, 1)
        await asyncio.sleep(1)


async def drips() -> AsyncGenerator[PullProgress]:
    """A byte just before it would have stalled."""
    for done in range(10):
        yield PullProgress(done, 10, 0, 1)
        await asyncio.sleep(STALL_SECONDS - 1)


async def drips_for_ever() -> AsyncGenerator[PullProgress]:
    done = 0
    while True:
        yield PullProgress(done, 10**9, 0, 1)
        done += 1
        await asyncio.sleep(1)


def refuses(code: str) -> Play:
    async def play() -> AsyncGenerator[PullProgress]:
        yield PullProgress(0, 0, 0, 0)
        raise PullFailedError(code, "no")

    return play


def images_of(engine: FakeEngine) -> Images:
    return Images(engine, PullTimes(WHOLE_SECONDS, STALL_SECONDS), lambda _: None)


async def end_of(engine: FakeEngine) -> tuple[str | None, float]:
    """The code of the failure, None where the image came; and after how many seconds."""
    images, began = images_of(engine), asyncio.get_running_loop().time()
    code = None
    async with asyncio.timeout(10 * WHOLE_SECONDS), asyncio.TaskGroup() as group:
        images.use(group)
        try:
            async for _ in images.pull(NAME):
                pass
        except PullFailedError as error:
            code = error.reason_code
    return code, asyncio.get_running_loop().time() - began


async def test_a_registry_that_fails_for_a_moment_is_asked_again_within_the_pull() -> None:
    engine = Registry(fails, fails, works)
    code, _ = await end_of(engine)
    assert (code, engine.pulls) == (None, 3)


async def test_a_registry_that_goes_on_failing_is_told_after_three_tries() -> None:
    engine = Registry(fails)
    code, seconds = await end_of(engine)
    assert (code, engine.pulls) == ("registry_unavailable", 3)
    assert seconds < 60


@pytest.mark.parametrize("code", ["image_denied", "image_not_found", "image_wrong_platform"])
async def test_a_refusal_is_an_answer_and_not_asked_for_again(code: str) -> None:
    engine = Registry(refuses(code))
    assert (await end_of(engine))[0] == code
    assert engine.pulls == 1


async def test_an_engine_that_goes_away_in_a_pull_is_no_failure_of_the_registry() -> None:
    engine = Registry(*[loses_the_engine] * 5, works)
    code, _ = await end_of(engine)
    assert (code, engine.pulls) == (None, 6)


@pytest.mark.parametrize("play", [says_nothing, hangs, talks])
async def test_a_pull_that_does_not_get_on_has_stalled_whatever_lines_come(play: Play) -> None:
    code, seconds = await end_of(Registry(play))
    assert code == "pull_stalled"
    assert STALL_SECONDS <= seconds < STALL_SECONDS + 5


async def test_a_pull_that_gets_on_slowly_does_not_stall() -> None:
    code, seconds = await end_of(Registry(drips))
    assert code is None
    assert seconds > 5 * STALL_SECONDS


async def test_a_pull_that_gets_on_for_ever_ends_at_the_limit_of_the_whole() -> None:
    code, seconds = await end_of(Registry(drips_for_ever))
    assert code == "pull_too_slow"
    assert WHOLE_SECONDS <= seconds < WHOLE_SECONDS + 5


async def test_nobody_gets_an_image_by_the_password_of_another_while_it_is_pulled() -> None:
    engine = Registry(hangs)
    images = images_of(engine)
    async with asyncio.TaskGroup() as group:
        for waiter, credentials in (
            ("a", Credentials("ann", "hers")),
            ("b", Credentials("bob", "his")),
            ("c", None),
        ):
            assert images.join(group, waiter, NAME, credentials) is None
        await asyncio.sleep(1)
        assert engine.pulls == 3
        for waiter in "abc":
            images.leave(waiter)


async def test_a_cancel_of_the_only_job_that_waits_ends_the_pull() -> None:
    world = World()
    ended = asyncio.Event()

    async def pull(reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        try:
            yield PullProgress(1, 2, 0, 1)
            await asyncio.Event().wait()
        finally:
            ended.set()

    world.engine.pull = pull  # type: ignore[method-assign] # a pull that says when it is ended
    await world.start()
    job_id = await world.submit(image="slow")
    await world.until(job_id, lambda job: job.waiting_for == "image")
    await asyncio.sleep(5)
    assert not ended.is_set()
    await world.cancel(job_id)
    assert (await world.finish(job_id, seconds=5)).outcome is Outcome.CANCELLED
    async with asyncio.timeout(1):
        await ended.wait()
    await world.crash()


async def test_who_leaves_a_pull_leaves_it_to_the_others() -> None:
    engine = Registry(drips)
    images = images_of(engine)
    async with asyncio.TaskGroup() as group:
        for waiter in "ab":
            assert images.join(group, waiter, NAME, None) is None
        await asyncio.sleep(1)
        images.leave("a")
        await asyncio.sleep(20 * STALL_SECONDS)
        assert images.join(group, "b", NAME, None) == FOUND
    assert engine.pulls == 1


@pytest.mark.parametrize(("times", "code"), [(2, None), (100, "engine_refused")])
async def test_a_look_at_the_pulled_image_that_the_engine_refuses_is_made_again_and_is_no_error_of_ours(
    times: int, code: str | None
) -> None:
    world = World()
    world.engine.registry["new"] = FOUND
    world.engine.program = Program(seconds=1)
    left = [times]

    def fate(name: str, _target: str) -> Fate:
        if name == "image" and world.engine.pulls and left[0]:
            left[0] -= 1
            raise EngineRefusedError("the engine answered 500: layer does not exist")
        return Fate.WORKS

    world.engine.fates = fate
    await world.start()
    job = await world.finish(await world.submit(image="new"))
    assert (None if job.reason is None else job.reason.code) == code
    await world.crash()
