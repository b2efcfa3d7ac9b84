"""Logs that outgrow their bounds: what the engine still has is read whole, and what it dropped is told."""

import asyncio

import pytest

from agent.core.cursor import Cursor, parse_cursor
from agent.core.frames import NANOS
from agent.jobs.logs import Follow, LogQuery
from tests.fakes.logs import FakeLog
from tests.shell.log_world import LogWorld, Reader

pytestmark = pytest.mark.looptime

FOLLOW = LogQuery(follow=Follow.YES)


async def write_numbers(world: LogWorld, start: int, end: int, per_second: float) -> None:
    for number in range(start, end):
        world.log.write(world.now_ns, b"%d" % number)
        await asyncio.sleep(1 / per_second)


async def test_a_slow_follower_misses_nothing_that_the_engine_still_has() -> None:
    """It is slower than the writer; a plain follow stream would skip whole files in silence."""
    world = LogWorld(chunk_bytes=2000)
    world.start(log=FakeLog(file_bytes=10_000, files=1000))
    reader = Reader(world, FOLLOW, pause_seconds=0.3)
    await write_numbers(world, 0, 3000, per_second=200)
    await asyncio.sleep(600)
    assert reader.got == [str(number) for number in range(3000)]
    assert all(record["type"] == "line" for record in reader.records)
    await reader.stop()


@pytest.mark.slow
async def test_a_burst_that_fills_files_before_they_look_old_costs_no_line() -> None:
    """A file is full after 60 ms, so a frame's age tells nothing."""
    world = LogWorld(chunk_bytes=1000, burst_bytes=2000)
    world.start(log=FakeLog(file_bytes=10_000, files=1000))
    reader = Reader(world, FOLLOW, pause_seconds=0.012)
    await write_numbers(world, 0, 5000, per_second=4000)
    await asyncio.sleep(600)
    assert reader.got == [str(number) for number in range(5000)]
    await reader.stop()


async def test_a_follower_stays_on_the_stream_while_it_keeps_up() -> None:
    world = LogWorld()
    world.start(log=FakeLog(file_bytes=10_000, files=1000))
    reader = Reader(world, FOLLOW)
    await write_numbers(world, 0, 3000, per_second=200)
    assert reader.got == [str(number) for number in range(3000)]
    assert (world.engine.reads, world.engine.follows) == (1, 1)
    await reader.stop()


async def test_a_reader_slower_than_retention_is_told_where_lines_are_gone() -> None:
    world = LogWorld(chunk_bytes=2000)
    world.start(log=FakeLog(file_bytes=5000, files=3))
    reader = Reader(world, FOLLOW, pause_seconds=1)
    await write_numbers(world, 0, 5000, per_second=500)
    await asyncio.sleep(600)
    told = [int(record["line"]) if record["type"] == "line" else None for record in reader.records]
    for before, at, after in zip(told, told[1:], told[2:], strict=False):
        if at is None:
            assert after > before + 1
        elif before is not None:
            assert at == before + 1
    assert None in told
    assert told[-1] == 4999
    await reader.stop()


async def test_a_log_whose_first_lines_are_gone_says_so_first() -> None:
    world = LogWorld()
    first = world.now_ns
    world.start(log=FakeLog(file_bytes=5000, files=3), first_log_ns=first)
    await write_numbers(world, 0, 50, per_second=100)
    assert [record["type"] for record in await world.json(LogQuery())] == ["line"] * 50
    await write_numbers(world, 50, 1000, per_second=100)
    for _ in range(2):
        truncated, oldest, *_ = records = await world.json(LogQuery())
        assert (truncated["type"], truncated["cause"], truncated["at"]) == (
            "truncated",
            "rotated",
            oldest["at"],
        )
        assert [record["type"] for record in records[1:]] == ["line"] * (len(records) - 1)
        assert (await world.text(LogQuery())).startswith(
            b"[gpu-agent] truncated: older lines were rotated away"
        )
        world.exit()
        await world.drain(first)  # and the file knows it, too


@pytest.mark.parametrize("is_drained", ["with the engine", "drained"])
async def test_since_tells_of_rotation_only_where_it_reaches_into_what_is_gone(is_drained: str) -> None:
    world = LogWorld()
    first = world.now_ns
    world.start(log=FakeLog(file_bytes=5000, files=3), first_log_ns=first)
    await write_numbers(world, 0, 1000, per_second=100)
    oldest = world.log.files[0].frames[0][0]
    if is_drained == "drained":
        world.exit()
        await world.drain(first)
    early = await world.json(LogQuery(since=oldest / NANOS - 1))
    late = await world.json(LogQuery(since=oldest / NANOS + 1.003))
    assert [record["type"] for record in early][:2] == ["truncated", "line"]
    assert {record["type"] for record in late} == {"line"}


async def test_a_cursor_whose_line_is_gone_gets_a_truncated_record_first() -> None:
    world = LogWorld()
    world.start(log=FakeLog(file_bytes=5000, files=3))
    await write_numbers(world, 0, 10, per_second=100)
    cursor = parse_cursor((await world.json(LogQuery()))[-1]["cursor"])
    await write_numbers(world, 10, 60, per_second=100)
    rest = await world.json(LogQuery(cursor=cursor))
    assert [record["type"] for record in rest] == ["line"] * 50
    await write_numbers(world, 60, 1000, per_second=100)
    rest = await world.json(LogQuery(cursor=cursor))
    assert [record["type"] for record in rest] == ["truncated"] + ["line"] * (len(rest) - 1)
    assert rest[-1]["line"] == "999"


async def test_a_log_that_the_engine_cant_read_says_so_once() -> None:
    world = LogWorld()
    world.start()
    await write_numbers(world, 0, 3, per_second=100)
    text = b"Error grabbing logs: unexpected EOF\n"
    world.log.write_raw(world.now_ns, b"\x03\0\0\0\0\0\0" + bytes([len(text)]) + text)
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(30)
    kinds = [(record["type"], record.get("cause")) for record in reader.records]
    assert kinds == [("line", None)] * 3 + [("truncated", "unreadable")]
    assert reader.cursor != Cursor(1)
    await reader.stop()
