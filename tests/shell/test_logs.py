"""Reading a log: from the engine, from the drained file, over the change between them, over attempts and breaks."""

import asyncio

import pytest

from agent.core.container import Container, ContainerState
from agent.core.cursor import BadCursorError, Cursor, parse_cursor
from agent.core.frames import Stream
from agent.core.job import Run, StartIntent
from agent.errors import Phase
from agent.interfaces import EngineUnavailableError, LogReader
from agent.jobs.drain import first_stamp
from agent.jobs.logs import Follow, LogQuery, NoSuchAttemptError, Stamps
from tests.fakes.logs import frame
from tests.shell.log_world import JOB, LogWorld, Reader

pytestmark = pytest.mark.looptime

FOLLOW = LogQuery(follow=Follow.YES)
NUMBERS = [str(number) for number in range(200)]


def write(world: LogWorld, start: int, end: int, stream: Stream = Stream.STDOUT) -> None:
    for number in range(start, end):
        world.log.write(world.now_ns + number, str(number).encode(), stream)


async def test_a_running_jobs_log_is_read_without_waiting() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 200)
    assert await world.lines(LogQuery()) == NUMBERS
    assert await world.text(LogQuery()) == "".join(f"{number}\n" for number in NUMBERS).encode()
    assert (await world.text(LogQuery(), Stamps.SHOWN)).startswith(b"2027-01-15T08:00:00.000000000Z 0\n")
    assert world.engine.follows == 0


async def test_the_drained_log_is_the_same_to_the_byte() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 200)
    world.log.write(world.now_ns + 999, b"\xff" * 50_000, Stream.STDERR)
    before = await world.json(LogQuery())
    await world.end_attempt()
    world.finish()
    assert await world.json(LogQuery()) == before


async def test_a_job_without_a_container_has_an_empty_log() -> None:
    world = LogWorld()
    assert await world.json(LogQuery()) == []
    world.finish()
    assert await world.json(FOLLOW) == []


async def test_a_follower_of_a_queued_job_waits_for_its_first_line() -> None:
    world = LogWorld()
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(3600)
    world.start()
    await asyncio.sleep(10)
    write(world, 0, 1)
    await asyncio.sleep(0.01)
    assert reader.got == ["0"]
    await reader.stop()


async def test_a_line_reaches_a_follower_at_once() -> None:
    world = LogWorld()
    world.start()
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(5)
    for number in range(20):
        write(world, number, number + 1)
        await asyncio.sleep(0.001)
        assert reader.got[-1] == str(number)
        await asyncio.sleep(7)
    assert (world.engine.reads, world.engine.follows) == (1, 1)
    await reader.stop()


async def test_following_ends_with_the_job_and_marks_each_attempt() -> None:
    world = LogWorld()
    world.start("c1")
    reader = Reader(world, FOLLOW)
    write(world, 0, 10)
    await asyncio.sleep(1)
    await world.end_attempt()
    world.retry()
    await asyncio.sleep(30)
    world.start("c2")
    write(world, 10, 20)
    await asyncio.sleep(1)
    assert not reader.task.done()
    await world.end_attempt()
    world.row.change(phase=Phase.UPLOADING, run=Run())
    await asyncio.wait_for(reader.task, 2)
    assert reader.got == NUMBERS[:20]
    kinds = [(record["type"], record["attempt"]) for record in reader.records]
    assert kinds == [("line", 1)] * 10 + [("attempt", 2)] + [("line", 2)] * 10


async def test_one_attempt_alone_can_be_read_and_followed() -> None:
    world = LogWorld()
    world.start("c1")
    write(world, 0, 3)
    await world.end_attempt()
    world.retry()
    world.start("c2")
    write(world, 3, 5)
    assert await world.lines(LogQuery(attempt=1)) == ["0", "1", "2"]
    assert await world.lines(LogQuery(attempt=1, follow=Follow.YES)) == ["0", "1", "2"]
    assert await world.lines(LogQuery()) == ["3", "4"]


async def test_a_cursor_goes_on_into_later_attempts() -> None:
    world = LogWorld()
    world.start("c1")
    write(world, 0, 3)
    cursor = parse_cursor((await world.json(LogQuery()))[0]["cursor"])
    await world.end_attempt()
    world.retry()
    world.start("c2")
    write(world, 3, 5)
    assert await world.lines(LogQuery(cursor=cursor)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("at", [0, 1, 99, 198, 199])
async def test_a_cursor_of_the_running_log_holds_in_the_drained_one(at: int) -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 200)
    cursor = parse_cursor((await world.json(LogQuery()))[at]["cursor"])
    assert await world.lines(LogQuery(cursor=cursor)) == NUMBERS[at + 1 :]
    await world.end_attempt()
    assert await world.lines(LogQuery(cursor=cursor)) == NUMBERS[at + 1 :]


@pytest.mark.parametrize("breaks_at", range(1, 12))
async def test_a_container_drained_and_removed_under_a_reader_costs_no_line(breaks_at: int) -> None:
    """At each chunk: the reader holds a stream of a container that is gone, with its log in the file."""
    world = LogWorld(chunk_bytes=700)
    world.start()
    write(world, 0, 200)
    done = 0

    def at_chunk() -> None:
        nonlocal done
        done += 1
        if done == breaks_at:
            frames = world.log.files[-1].frames
            world.folders.logs[JOB, 1] = b"".join(raw for _, raw in frames)
            world.exit()
            world.engine.remove("c1")
            world.engine.crash()
            world.engine.come_up()

    world.engine.between = at_chunk
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(5)
    assert reader.got == NUMBERS
    world.finish()
    await asyncio.wait_for(reader.task, 2)


@pytest.mark.parametrize("breaks_at", range(1, 12))
async def test_an_engine_that_breaks_off_and_comes_back_costs_no_line(breaks_at: int) -> None:
    world = LogWorld(chunk_bytes=700)
    world.start()
    write(world, 0, 150)
    done = 0

    def at_chunk() -> None:
        nonlocal done
        done += 1
        if done == breaks_at:
            world.engine.crash()

    world.engine.between = at_chunk
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(60)
    write(world, 150, 170)
    world.engine.come_up()
    await asyncio.sleep(1.01)
    assert reader.got == NUMBERS[:170]
    write(world, 170, 200)
    await asyncio.sleep(0.01)
    assert reader.got == NUMBERS
    await reader.stop()
    assert world.engine.open_streams == 0


async def test_who_does_not_follow_is_told_that_the_engine_is_down() -> None:
    world = LogWorld()
    world.start()
    world.engine.crash()
    with pytest.raises(EngineUnavailableError):
        await world.lines(LogQuery())


async def test_a_log_read_to_its_end_is_not_read_again_from_the_file() -> None:
    world = LogWorld()
    world.start()
    reader = Reader(world, FOLLOW)
    write(world, 0, 200)
    await asyncio.sleep(1)
    world.exit()
    await asyncio.sleep(1)
    world.folders.logs[JOB, 1] = b"not to be read"
    world.engine.remove("c1")
    world.finish()
    await asyncio.wait_for(reader.task, 2)
    assert reader.got == NUMBERS


async def test_a_container_that_was_only_created_is_waited_for() -> None:
    world = LogWorld()
    world.engine.add("c1", world.log, ContainerState.CREATED)
    world.row.change(phase=Phase.STARTING, run=Run(intent=StartIntent("c1", "boot-1")))
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(10)
    assert world.engine.follows == 0
    world.engine.set_state("c1", ContainerState.RUNNING)
    write(world, 0, 1)
    world.row.change(phase=Phase.RUNNING)
    await asyncio.sleep(0.01)
    assert reader.got == ["0"]
    await reader.stop()


async def test_a_lost_container_ends_what_follows_it_with_the_job() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 5)
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(1)
    world.engine.remove("c1")
    await asyncio.sleep(60)
    assert not reader.task.done()
    world.finish()
    await asyncio.wait_for(reader.task, 2)
    assert reader.got == NUMBERS[:5]


@pytest.mark.parametrize("follow", list(Follow))
async def test_a_container_removed_between_the_look_and_the_read_has_its_file(follow: Follow) -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 5)
    inspect = world.engine.inspect

    async def inspect_then_lose(container: str) -> Container | None:
        seen = await inspect(container)
        await world.end_attempt()
        world.finish()
        return seen

    world.engine.inspect = inspect_then_lose  # type: ignore[method-assign] # this fake is slow at one step
    assert await world.lines(LogQuery(follow=follow)) == NUMBERS[:5]


@pytest.mark.parametrize("follow", list(Follow))
async def test_a_job_that_ends_right_behind_the_look_for_its_file_costs_no_line(follow: Follow) -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 5)
    open_log = world.folders.open_log

    async def look_then_end(job_id: str, attempt: int) -> LogReader | None:
        world.folders.open_log = open_log  # type: ignore[method-assign] # once
        log = await open_log(job_id, attempt)
        await world.end_attempt()
        world.finish()
        return log

    world.folders.open_log = look_then_end  # type: ignore[method-assign] # this fake is slow at one step
    assert await world.lines(LogQuery(follow=follow)) == NUMBERS[:5]


async def test_a_job_that_is_deleted_ends_its_followers() -> None:
    world = LogWorld()
    reader = Reader(world, FOLLOW)
    await asyncio.sleep(1)
    world.row.job = None
    await asyncio.wait_for(reader.task, 2)


@pytest.mark.parametrize("follow", list(Follow))
async def test_the_last_line_without_a_newline_is_a_line(follow: Follow) -> None:
    world = LogWorld()
    world.start()
    world.log.write_raw(1, frame(Stream.STDOUT, 1, b"end"))
    assert await world.lines(LogQuery()) == []
    await world.end_attempt()
    world.finish()
    assert await world.lines(LogQuery(follow=follow)) == ["end"]


async def test_one_stream_can_be_asked_for() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 100, Stream.STDOUT)
    write(world, 100, 200, Stream.STDERR)
    assert await world.lines(LogQuery(stream=Stream.STDERR)) == NUMBERS[100:]
    await world.end_attempt()
    assert await world.lines(LogQuery(stream=Stream.STDOUT)) == NUMBERS[:100]


async def test_since_drops_what_is_older() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 3)
    await asyncio.sleep(10)
    since = world.clock.now()
    write(world, 3, 6)
    assert await world.lines(LogQuery(since=since)) == ["3", "4", "5"]
    await world.end_attempt()
    assert await world.lines(LogQuery(since=since)) == ["3", "4", "5"]


@pytest.mark.parametrize("age_seconds", [0, 5, 100, 100_000])
@pytest.mark.parametrize("tail", [0, 1, 7, 199, 200, 1000])
async def test_the_tail_of_a_log_however_old_it_is(tail: int, age_seconds: int) -> None:
    world = LogWorld()
    world.start()
    for number in range(200):
        write(world, number, number + 1, Stream(1 + number % 2))
        await asyncio.sleep(0.5)
    await asyncio.sleep(age_seconds)
    last = NUMBERS[max(0, 200 - tail) :]
    assert await world.lines(LogQuery(tail=tail)) == last
    reader = Reader(world, LogQuery(tail=tail, follow=Follow.YES))
    await asyncio.sleep(1)
    write(world, 200, 201)
    await asyncio.sleep(0.01)
    assert reader.got == [*last, "200"]
    await reader.stop()
    await world.end_attempt()
    assert await world.lines(LogQuery(tail=tail)) == [*NUMBERS, "200"][max(0, 201 - tail) :]


async def test_what_was_never_there_is_refused() -> None:
    world = LogWorld()
    with pytest.raises(NoSuchAttemptError):
        await world.logs.check(JOB, LogQuery(attempt=2))
    with pytest.raises(BadCursorError):
        await world.logs.check(JOB, LogQuery(cursor=Cursor(2)))
    with pytest.raises(BadCursorError):
        await world.lines(LogQuery(attempt=1, cursor=Cursor(2)))
    await world.logs.check("another job", LogQuery())


async def test_a_reader_that_leaves_closes_its_stream() -> None:
    world = LogWorld()
    world.start()
    write(world, 0, 3000)
    async for _ in (flow := world.logs.text_chunks(JOB, FOLLOW, Stamps.HIDDEN)):
        break
    assert world.engine.open_streams == 1
    await flow.aclose()
    assert world.engine.open_streams == 0


async def test_the_first_line_ever_is_waited_for() -> None:
    world = LogWorld()
    world.start()
    first = asyncio.get_running_loop().create_task(first_stamp(world.engine, "c1"))
    await asyncio.sleep(100)
    assert not first.done()
    at = world.now_ns
    write(world, 0, 3)
    assert await first == at
    world.start("c2")
    world.exit()
    assert await first_stamp(world.engine, "c2") is None
