"""How fast one job is heard, whatever it sends: by lines, by bytes, by what a line costs beside them."""

import asyncio

import pytest

from agent.adapters.jobsocket.pace import JobPace

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_burst_of_lines_passes_at_once_and_then_two_hundred_a_second() -> None:
    pace, began = JobPace(), now()
    for _ in range(400):
        await pace.pass_line()
    assert now() == began
    for _ in range(400):
        await pace.pass_line()
    assert now() - began == pytest.approx(2, abs=0.05)


async def test_a_question_counts_as_four_lines() -> None:
    pace, began = JobPace(), now()
    for _ in range(200):
        await pace.pass_line()
        pace.spend_question()
    assert now() - began == pytest.approx(2, abs=0.05)


async def test_so_many_bytes_pass_at_once_and_then_four_mebibytes_a_second() -> None:
    pace, began = JobPace(), now()
    pace.spend_bytes(16 << 20)
    await pace.wait_for_bytes()
    assert now() == began
    pace.spend_bytes(8 << 20)
    await pace.wait_for_bytes()
    assert now() - began == pytest.approx(2, abs=0.05)


async def test_recorded_values_count_by_their_number_however_short_they_are() -> None:
    pace, began = JobPace(), now()
    for _ in range(10):
        await pace.wait_for_bytes()
        pace.spend_points(20_000)
    await pace.wait_for_bytes()
    assert now() - began == pytest.approx((10 * 20_000 * 200 - (16 << 20)) / (4 << 20), abs=0.05)


async def test_the_connections_of_a_job_share_one_large_line() -> None:
    pace = JobPace()
    await pace.hold_large("a")
    await pace.hold_large("a")
    waiting = asyncio.ensure_future(pace.hold_large("b"))
    await asyncio.sleep(1)
    assert not waiting.done()
    pace.let_large_go("b")
    pace.let_large_go("a")
    await waiting
