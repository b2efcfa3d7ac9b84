"""The peak memory of a container: looked at often while it grows, seldom while it does not, whoever pokes meanwhile."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.aio import Flag
from agent.core.container import Container, ContainerState, MemorySeen
from agent.jobs.sampling import MOST_SAMPLE_SECONDS, PeakMemory
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.looptime


class Peaks(FakeEngine):
    """What the kernel says at each look, the last for ever; and when it was asked. `is_kept`: whether it keeps the peak."""

    is_kept = True

    def __init__(self, *said: int | None) -> None:
        super().__init__(FakeClock())
        self.said = list(said)
        self.asked_at: list[float] = []

    async def peak_memory(self, container: Container) -> MemorySeen | None:
        self.asked_at.append(now())
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return None if said is None else MemorySeen(said, self.is_kept)


def now() -> float:
    return asyncio.get_running_loop().time()


CONTAINER = Container("id", "name", ContainerState.RUNNING)


async def looks(peaks: Peaks, seconds: float) -> list[float]:
    """Seconds between one look and the next."""
    began = now()
    await PeakMemory(peaks, Flag()).watch(CONTAINER, seconds)
    times = [began, *peaks.asked_at]
    return [round(later - earlier, 1) for earlier, later in pairwise(times)]


async def test_one_that_does_not_grow_is_looked_at_half_as_often_each_time() -> None:
    assert await looks(Peaks(10), 300) == [1, 5, 10, 20, 40, *[MOST_SAMPLE_SECONDS] * 3]


async def test_one_that_grows_is_looked_at_often() -> None:
    assert await looks(Peaks(*range(1, 100)), 22) == [1, 5, 5, 5, 5]


async def test_one_that_grows_again_is_looked_at_often_again() -> None:
    assert await looks(Peaks(1, 1, 1, 2, 3, 4), 50) == [1, 5, 10, 20, 5, 5]


async def test_where_the_kernel_keeps_no_peak_it_is_looked_at_often_and_the_most_counts() -> None:
    peaks = Peaks(10, 10, 10, 90, 10)
    peaks.is_kept = False
    peak = PeakMemory(peaks, Flag())
    await peak.watch(CONTAINER, 60)
    assert len(peaks.asked_at) == 12
    assert peak.of("id") == 90


async def test_pokes_put_no_look_off() -> None:
    peaks, flag = Peaks(None), Flag()
    peak = PeakMemory(peaks, flag)
    for _ in range(40):
        flag.clear()
        asyncio.get_running_loop().call_later(0.5, flag.set)
        await peak.watch(CONTAINER, None)
    assert len(peaks.asked_at) == 4


async def test_what_was_seen_of_one_container_is_not_said_of_another() -> None:
    peaks = Peaks(10)
    peak = PeakMemory(peaks, Flag())
    await peak.watch(CONTAINER, 2)
    assert (peak.of("id"), peak.of("other")) == (10, None)
    await peak.watch(replace(CONTAINER, id="other"), 0.5)
    assert (peak.of("id"), peak.of("other")) == (None, None)
