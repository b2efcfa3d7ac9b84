"""Files that leave while their job runs, under a virtual clock: soon after they are closed and quiet, and nothing is final before the end."""

import asyncio
import json
from collections import Counter

import pytest

from agent.core.delivery import Answer, Failure, Sent
from agent.core.upload import MANIFEST, UploadRecord, UploadState
from agent.interfaces import StoreUnavailableError
from agent.jobs.uploads.live import MOST_WAITING
from tests.fakes.deliveries import BEGIN
from tests.fakes.engine import Program
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime

PUT = {"to": "put", "url": "https://store.example.org/{path}?sig=hush"}
DOWN = Failure("connect_failed", is_passing=True)
HOUR = 3600.0


async def running(
    seconds: float = HOUR, upload: dict[str, object] | None = None, **outputs: object
) -> tuple[World, str]:
    """A world with one job that runs for so long and wants its files sent meanwhile."""
    world = World()
    world.engine.program = Program(seconds=seconds)
    job_id = await world.submit(
        outputs={"upload": upload or PUT, "live": True, "quiet": 5, **outputs}, grace=1
    )
    await world.start()
    await world.until_phase(job_id, Phase.RUNNING)
    await asyncio.sleep(1)
    return world, job_id


def write(world: World, job_id: str, path: str, data: bytes = b"x") -> None:
    world.folders.outputs(job_id).write(path, data)


async def until_there(world: World, job_id: str, path: str, data: bytes, seconds: float) -> float:
    """How long it took."""
    begun = world.clock.now()
    async with asyncio.timeout(seconds):
        while world.deliveries.of(job_id).get(path) != data:
            await asyncio.sleep(0.1)
    return world.clock.now() - begun


async def record_of(world: World, job_id: str) -> UploadRecord:
    return (await world.store.upload_records([job_id]))[job_id]


async def test_a_checkpoint_is_at_the_endpoint_soon_after_it_was_closed_and_quiet() -> None:
    world, job_id = await running()
    write(world, job_id, "step-1.pt", b"one")
    assert 5 <= await until_there(world, job_id, "step-1.pt", b"one", seconds=7) <= 7
    assert (await world.job(job_id)).phase is Phase.RUNNING
    assert MANIFEST not in world.deliveries.tries


async def test_a_file_that_is_renamed_into_place_counts_at_once() -> None:
    world, job_id = await running(quiet=600)
    write(world, job_id, "part", b"whole")
    world.folders.outputs(job_id).rename("part", "model.pt")
    assert await until_there(world, job_id, "model.pt", b"whole", seconds=2) <= 2


async def test_a_file_that_is_written_again_and_again_leaves_once_it_is_quiet() -> None:
    world, job_id = await running()
    for number in range(20):
        write(world, job_id, "log", b"x" * number)
        await asyncio.sleep(3)
    assert world.deliveries.tries == []
    await until_there(world, job_id, "log", b"x" * 19, seconds=7)
    assert world.deliveries.tries == ["log"]


async def test_the_last_pass_sends_what_is_left_and_nothing_twice_and_then_the_manifest() -> None:
    world, job_id = await running(seconds=60)
    write(world, job_id, "early", b"early")
    write(world, job_id, "changed", b"before")
    await until_there(world, job_id, "changed", b"before", seconds=10)
    write(world, job_id, "changed", b"after")
    await asyncio.sleep(60 - 12)
    write(world, job_id, "late", b"late")
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"early": b"early", "changed": b"after", "late": b"late"}
    assert Counter(world.deliveries.tries) == Counter({"early": 1, "changed": 2, "late": 1, MANIFEST: 1})
    record = await record_of(world, job_id)
    assert (record.state, record.sent.files) == (UploadState.COMPLETE, 3)
    await world.assert_all_is_well()


async def test_only_what_is_chosen_leaves() -> None:
    world, job_id = await running(include=["*.pt"])
    write(world, job_id, "a.pt", b"a")
    write(world, job_id, "a.tmp", b"b")
    await asyncio.sleep(20)
    assert world.deliveries.of(job_id) == {"a.pt": b"a"}


@pytest.mark.slow
async def test_an_endpoint_that_is_away_is_asked_seldom_and_gets_it_once_it_is_back() -> None:
    world, job_id = await running()
    is_down = True

    async def behave(_path: str) -> Answer:
        return DOWN if is_down else Sent()

    world.deliveries.behave = behave
    for number in range(100):
        write(world, job_id, f"f{number}", b"x")
    await asyncio.sleep(1800)
    assert (
        3 < len(world.deliveries.tries) < 8 * 20
    )  # all that are due are tried together, and then none for a while
    is_down = False
    await asyncio.sleep(900)
    assert len(world.deliveries.of(job_id)) == 100


@pytest.mark.slow
async def test_while_the_endpoint_is_away_no_more_names_wait_than_there_is_room_for() -> None:
    world, job_id = await running(seconds=10 * HOUR)
    refused, is_down = set[str](), True

    async def before_reading(path: str) -> Answer:
        if is_down:
            return DOWN
        refused.add(path)
        return Failure("status_refused", is_passing=False, status=403)

    world.deliveries.before_reading = before_reading
    for wave in range(6):
        for number in range(5_000):
            write(world, job_id, f"{wave}-{number}")
        await asyncio.sleep(60)
    is_down = False
    await asyncio.sleep(2 * HOUR)
    assert 10_000 <= len(refused) <= 2 * MOST_WAITING  # those that wait to be quiet, and those that are due


async def test_a_refusal_while_it_runs_is_not_final() -> None:
    world, job_id = await running(seconds=60)
    answers: list[Answer] = [Failure("status_refused", is_passing=False, status=403)]

    async def behave(path: str) -> Answer:
        return answers.pop() if path == "a" and answers else Sent()

    world.deliveries.behave = behave
    write(world, job_id, "a", b"a")
    await asyncio.sleep(30)
    assert world.deliveries.of(job_id) == {}
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"a": b"a"}
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_a_file_that_changes_while_it_is_sent_is_sent_when_it_is_quiet_again() -> None:
    world, job_id = await running()

    async def behave(path: str) -> Answer:
        if path == "large" and world.deliveries.tries.count("large") == 1:
            write(world, job_id, "large", b"b" * 3_000_000)
        return Sent()

    world.deliveries.behave = behave
    write(world, job_id, "large", b"a" * 3_000_000)
    await until_there(world, job_id, "large", b"b" * 3_000_000, seconds=20)
    journal = await world.store.journal((await record_of(world, job_id)).row, "", 10)
    assert [(file.path, file.size_bytes) for file in journal] == [("large", 3_000_000)]
    assert world.deliveries.tries == ["large", "large"]


async def test_after_a_restart_files_go_on_leaving_and_none_that_the_journal_has_leaves_again() -> None:
    world, job_id = await running()
    write(world, job_id, "one", b"1")
    await until_there(world, job_id, "one", b"1", seconds=10)
    await world.crash()
    write(world, job_id, "two", b"2")
    await world.start()
    await until_there(world, job_id, "two", b"2", seconds=20)
    await asyncio.sleep(60)
    assert Counter(world.deliveries.tries) == Counter(["one", "two"])


async def test_each_attempt_is_watched_anew_and_checkpoints_of_the_last_stay_sent() -> None:
    world = World()
    world.engine.program = Program(seconds=30, code=3)
    job_id = await world.submit(outputs={"upload": PUT, "live": True}, retry={"count": 1, "backoff": 1})
    await world.start()
    await world.until_phase(job_id, Phase.RUNNING)
    write(world, job_id, "one", b"1")
    await world.until(job_id, lambda job: job.attempt == 2 and job.phase is Phase.RUNNING)
    write(world, job_id, "two", b"2")
    await until_there(world, job_id, "two", b"2", seconds=10)
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.FAILED, 2)
    assert Counter(world.deliveries.tries) == Counter(["one", "two", MANIFEST])


async def test_where_each_attempt_has_a_place_of_its_own_the_last_one_has_all_files() -> None:
    world = World()
    world.engine.program = Program(seconds=30, code=3)
    upload = {"to": "put", "url": "https://store.example.org/{attempt}/{path}"}
    job_id = await world.submit(outputs={"upload": upload, "live": True}, retry={"count": 1, "backoff": 1})
    await world.start()
    await world.until_phase(job_id, Phase.RUNNING)
    write(world, job_id, "one", b"1")
    write(world, job_id, "of the first alone", b"1")
    await world.until(job_id, lambda job: job.attempt == 2)
    world.folders.outputs(job_id).unlink("of the first alone")
    await world.finish(job_id)
    assert Counter(world.deliveries.tries) == Counter({"one": 2, "of the first alone": 1, MANIFEST: 1})
    listed = json.loads(world.deliveries.received[job_id][MANIFEST])["files"]
    assert [file["path"] for file in listed] == ["one"]  # the other is in another place


@pytest.mark.slow
async def test_the_deadline_is_the_last_passs_however_long_the_job_ran() -> None:
    world, job_id = await running(seconds=600, deadline=60)
    write(world, job_id, "a", b"a")
    await until_there(world, job_id, "a", b"a", seconds=10)
    write(world, job_id, "b", b"b")
    down_until = world.clock.now() + 600 + 20

    async def behave(_path: str) -> Answer:
        return DOWN if world.clock.now() < down_until else Sent()

    world.deliveries.behave = behave
    await asyncio.sleep(500)
    await world.finish(job_id, seconds=300)
    assert world.deliveries.of(job_id) == {"a": b"a", "b": b"b"}
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_what_is_on_its_way_as_the_job_ends_is_sent_whole_by_the_last_pass() -> None:
    world, job_id = await running(seconds=30)

    async def hang_at_first(path: str) -> Answer:
        if path == "a" and world.deliveries.tries.count("a") == 1:
            await asyncio.Event().wait()
        return Sent()

    world.deliveries.behave = hang_at_first
    write(world, job_id, "a", b"a")
    await world.finish(job_id, seconds=100)
    assert world.deliveries.of(job_id) == {"a": b"a"}
    assert world.deliveries.at_once == 0


async def test_the_budget_of_the_host_counts_for_what_leaves_early_too() -> None:
    world, job_id = await running()

    async def slow(path: str) -> Answer:
        if path != BEGIN:
            await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    for number in range(50):
        write(world, job_id, f"f{number}", b"x")
    await asyncio.sleep(30)
    assert len(world.deliveries.of(job_id)) == 50
    assert world.deliveries.most_at_once == 8


async def test_a_database_that_is_away_costs_no_file() -> None:
    world, job_id = await running()
    failing = True

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if failing and step == "keep_files":
            raise StoreUnavailableError("the disk is full")

    world.store.before = before
    write(world, job_id, "a", b"a")
    await asyncio.sleep(60)
    failing = False
    await asyncio.sleep(30)
    assert not world.is_dead
    journal = await world.store.journal((await record_of(world, job_id)).row, "", 10)
    assert [file.path for file in journal] == ["a"]


async def test_a_cancelled_job_is_left_in_peace_and_its_files_leave() -> None:
    world, job_id = await running()
    write(world, job_id, "a", b"a")
    await world.cancel(job_id, grace=1)
    assert (await world.finish(job_id)).outcome is Outcome.CANCELLED
    assert world.deliveries.of(job_id) == {"a": b"a"}


async def test_a_running_job_shows_what_has_left() -> None:
    world, job_id = await running()
    write(world, job_id, "a", b"aaa")
    await until_there(world, job_id, "a", b"aaa", seconds=10)
    assert world.shell is not None
    view = (await world.shell.tools.uploads.views([job_id]))[job_id]
    assert (view.record.state, view.record.total, view.record.sent.files, view.bytes_done) == (
        UploadState.SENDING,
        None,
        1,
        3,
    )


async def test_a_file_that_left_twice_is_shown_once_and_what_left_before_a_restart_as_well() -> None:
    world, job_id = await running()
    write(world, job_id, "a", b"a")
    await until_there(world, job_id, "a", b"a", seconds=10)
    write(world, job_id, "a", b"aaa")
    write(world, job_id, "b", b"b")
    await until_there(world, job_id, "a", b"aaa", seconds=10)
    await asyncio.sleep(5)

    async def shown() -> tuple[int, int]:
        assert world.shell is not None
        view = (await world.shell.tools.uploads.views([job_id]))[job_id]
        return view.record.sent.files, view.bytes_done

    assert await shown() == (2, 4)
    await world.restart()
    await asyncio.sleep(30)
    assert await shown() == (2, 4)
