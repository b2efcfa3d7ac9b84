"""One look at an image answers all who asked before it began, and nobody who asked after."""

import asyncio

import pytest

from agent.core.container import Image
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble
from agent.jobs.image_looks import ImageLooks
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.looptime
NAME = "docker.io/library/busybox:latest"
OLD, NEW = Image("sha256:old", "sha256:old", 1), Image("sha256:new", "sha256:new", 1)


class SlowEngine(FakeEngine):
    """Sees the image as it is when a look begins, and answers a second later."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.tag: Image | None = OLD
        self.hangs = False
        self.looks = 0

    async def image(self, reference: str) -> Image | None:
        assert reference == NAME
        self.looks += 1
        seen = self.tag
        await asyncio.sleep(1)
        if self.hangs:
            raise EngineUnavailableError("no answer", Trouble.HANGS)
        return seen


async def ask(looks: ImageLooks, times: int) -> list[asyncio.Task[Image | None]]:
    asked = [asyncio.ensure_future(looks.find(NAME)) for _ in range(times)]
    await asyncio.sleep(0.1)
    return asked


async def test_who_asks_while_a_look_is_under_way_shares_the_next_one() -> None:
    engine = SlowEngine()
    looks = ImageLooks(engine)
    first = await ask(looks, 1)
    later = await ask(looks, 20)
    assert await asyncio.gather(*first, *later) == [OLD] * 21
    assert engine.looks == 2


async def test_an_image_built_during_a_look_is_seen_by_who_asks_after_it() -> None:
    engine = SlowEngine()
    looks = ImageLooks(engine)
    first = await ask(looks, 1)
    engine.tag = NEW
    later = await ask(looks, 2)
    assert await asyncio.gather(*first, *later) == [OLD, NEW, NEW]


async def test_nothing_is_remembered_once_nobody_waits() -> None:
    engine = SlowEngine()
    looks = ImageLooks(engine)
    assert await looks.find(NAME) == OLD
    engine.tag = None
    assert await looks.find(NAME) is None


async def test_an_engine_that_hangs_holds_a_hundred_jobs_up_no_longer_than_two() -> None:
    engine = SlowEngine()
    engine.hangs = True
    looks = ImageLooks(engine)
    first = await ask(looks, 1)
    later = await ask(looks, 99)
    async with asyncio.timeout(2):
        answers = await asyncio.gather(*first, *later, return_exceptions=True)
    assert {type(answer) for answer in answers} == {EngineUnavailableError}


async def test_who_leaves_in_the_middle_of_a_look_takes_nobody_along() -> None:
    engine = SlowEngine()
    looks = ImageLooks(engine)
    first, second = *await ask(looks, 1), *await ask(looks, 1)
    first.cancel()
    assert await second == OLD
    assert first.cancelled()
