"""How fast one job is heard, whatever it sends: by lines, by bytes, by what a line costs beside them."""

import asyncio

import pytest

from agent.adapters.jobsocket.pace import (
    BYTES_OF_A_FRAME,
    BYTES_OF_A_READ,
    CORD_BYTES_A_SECOND,
    CORD_BYTES_AT_ONCE,
    CordPace,
    JobPace,
)

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


async def test_lines_of_cords_take_a_step_each_in_a_turn_of_the_loop_of_their_own() -> None:
    pace, turns = CordPace(), 0
    taken: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def step() -> None:
        for _ in range(3):
            await pace.turn()
            taken.append(turns)

    counting = asyncio.ensure_future(count())
    await asyncio.gather(*[step() for _ in range(64)])
    counting.cancel()
    assert len(set(taken)) == len(taken) == 3 * 64


async def test_no_line_of_cords_passes_by_what_the_others_are_just_taking() -> None:
    pace, began, passed, frames = CordPace(), now(), 0, 13_000
    of_a_step = frames * BYTES_OF_A_FRAME

    async def flood() -> None:
        nonlocal passed
        for _ in range(5):
            await pace.turn()
            may_have = CORD_BYTES_AT_ONCE + (now() - began) * CORD_BYTES_A_SECOND
            assert passed <= may_have * 1.001
            pace.spend_frames(frames)
            passed += of_a_step

    await asyncio.gather(*[flood() for _ in range(64)])
    rest = 64 * 5 * of_a_step - CORD_BYTES_AT_ONCE
    assert now() - began == pytest.approx(rest / CORD_BYTES_A_SECOND, rel=0.02)


async def test_a_byte_of_an_answer_that_is_read_by_itself_counts_as_a_block() -> None:
    pace, began = CordPace(), now()
    reads = CORD_BYTES_AT_ONCE // BYTES_OF_A_READ + 2 * CORD_BYTES_A_SECOND // BYTES_OF_A_READ
    for _ in range(reads):
        await pace.turn()
        pace.spend_read(1)
    assert now() - began == pytest.approx(2, abs=0.05)
