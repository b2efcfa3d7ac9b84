"""Outputs on their way, under a virtual clock: everything arrives as it was written, whatever fails, and the job's outcome stays."""

import asyncio
import errno
import hashlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from agent.core.delivery import Answer, Failure, Sent
from agent.core.frames import Stream
from agent.core.job import Job
from agent.core.upload import MANIFEST, FileState, UploadRecord, UploadState
from agent.interfaces import OutputLimits, Places, SecretFiles, StateFullError, StoreUnavailableError
from agent.jobs.uploads import NothingToRetryError, NotOverError, TargetNeededError
from agent.spec import Upload, UploadTo
from tests.fakes.deliveries import BEGIN, FakeDeliveries, FakeDelivery
from tests.fakes.engine import Program
from tests.fakes.logs import frame
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime

PUT = {
    "to": "put",
    "url": "https://store.example.org/{job}/{path}?sig=hush",
    "headers": {"Authorization": "hush-2"},
}
FILES = {"model.pt": b"weights" * 100, "logs/a.txt": b"a", "empty": b"", "large": bytes(range(256)) * 10_000}
DAY = 86_400.0
DOWN = Failure("connect_failed", is_passing=True)


async def started(
    files: dict[str, bytes] | None = None, seconds: float = 2, **fields: object
) -> tuple[World, str]:
    """A world with one job that writes these files, runs for so long, and wants them sent."""
    world = World()
    return world, await submitted(world, FILES if files is None else files, seconds, **fields)


async def submitted(world: World, files: dict[str, bytes], seconds: float = 2, **fields: object) -> str:
    program, outputs = fields.pop("program", Program(seconds=seconds)), fields.pop("outputs", {})
    assert isinstance(program, Program)
    assert isinstance(outputs, dict)
    world.engine.program = program
    job_id = await world.submit(outputs={"upload": PUT, **outputs}, **fields)
    for path, data in files.items():
        world.folders.outputs(job_id).write(path, data)
    if world.shell is None:
        await world.start()
    return job_id


async def record_of(world: World, job_id: str) -> UploadRecord:
    return (await world.store.upload_records([job_id]))[job_id]


async def until_over(world: World, job_id: str, seconds: float = 2 * DAY) -> UploadRecord:
    async with asyncio.timeout(seconds):
        while not (found := await record_of(world, job_id)).is_over:
            await asyncio.sleep(5)
    return found


async def finish_late(world: World, job_id: str) -> Job:
    """Looks seldom: hours pass."""
    async with asyncio.timeout(DAY):
        while (job := await world.job(job_id)).phase is not Phase.FINISHED:
            await asyncio.sleep(10)
    return job


def answering(world: World, **answers: list[Answer]) -> None:
    """These answers for a path, one a try, then well."""

    async def behave(path: str) -> Answer:
        left = answers.get(path.replace("/", "_").replace(".", "_"), [])
        return left.pop(0) if left else Sent()

    world.deliveries.behave = behave


def manifest_of(world: World, job_id: str) -> dict[str, Any]:
    return json.loads(world.deliveries.received[job_id][MANIFEST])


async def test_every_file_arrives_as_written_and_the_manifest_comes_last() -> None:
    world, job_id = await started()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    assert world.deliveries.of(job_id) == FILES
    assert world.deliveries.tries[-1] == MANIFEST
    assert Counter(world.deliveries.tries) == Counter([*FILES, MANIFEST])
    manifest = manifest_of(world, job_id)
    assert (manifest["job"], manifest["attempt"], manifest["outcome"], manifest["skipped"]) == (
        job_id,
        1,
        "succeeded",
        [],
    )
    assert {entry["path"]: (entry["size"], entry["sha256"]) for entry in manifest["files"]} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()
    }
    record = await record_of(world, job_id)
    assert (record.state, record.sent, record.total, record.trouble) == (
        UploadState.COMPLETE,
        record.total,
        record.sent,
        None,
    )
    assert record.sent.files == len(FILES)
    assert record.sent.bytes == sum(map(len, FILES.values()))
    await world.assert_all_is_well()


async def test_the_target_reaches_the_endpoint_whole_and_its_secrets_go_before_the_job_is_finished() -> None:
    world, job_id = await started()
    await world.finish(job_id)
    assert world.deliveries.opened == [Upload(to=UploadTo.PUT, url=PUT["url"], headers=PUT["headers"])]
    assert await world.folders.upload_target(job_id) is None
    job = await world.job(job_id)
    assert "hush" not in repr(job.spec.model_dump())


async def test_outputs_without_an_upload_stay_and_nothing_is_kept_of_it() -> None:
    world = World()
    world.engine.program = Program(seconds=2)
    job_id = await world.submit()
    world.folders.outputs(job_id).write("a", b"a")
    await world.start()
    await world.finish(job_id)
    assert await world.store.upload_records([job_id]) == {}
    assert world.deliveries.tries == []


@pytest.mark.parametrize(
    ("on", "code", "is_sent"),
    [("always", 0, True), ("always", 3, True), ("success", 0, True), ("success", 3, False), ("failure", 0, False), ("failure", 3, True)],
)  # fmt: skip
async def test_the_outcome_decides_whether_outputs_leave(on: str, code: int, is_sent: bool) -> None:  # noqa: FBT001
    world, job_id = await started(outputs={"on": on}, program=Program(seconds=1, code=code))
    await world.finish(job_id)
    assert (world.deliveries.of(job_id) == FILES) is is_sent
    assert bool(world.deliveries.tries) is is_sent
    assert await world.folders.upload_target(job_id) is None


async def test_outputs_of_cancelled_timed_out_and_killed_jobs_leave_as_well() -> None:
    world, job_id = await started(program=Program(on_term=None))
    await world.until_phase(job_id, Phase.RUNNING)
    await world.cancel(job_id, grace=1)
    slow = await submitted(world, FILES, program=Program(on_term=None), timeout=30, grace=1)
    assert (await world.finish(job_id)).outcome is Outcome.CANCELLED
    assert (await world.finish(slow)).outcome is Outcome.TIMED_OUT
    assert world.deliveries.of(job_id) == world.deliveries.of(slow) == FILES
    assert manifest_of(world, slow)["outcome"] == "timed_out"


async def test_outputs_leave_once_after_the_last_attempt() -> None:
    world, job_id = await started(
        program=Program(seconds=1, code=3), retry={"count": 1, "backoff": 1}, outputs={"upload": PUT}
    )
    job = await world.finish(job_id)
    assert (job.attempt, job.outcome) == (2, Outcome.FAILED)
    assert Counter(world.deliveries.tries) == Counter([*FILES, MANIFEST])
    assert manifest_of(world, job_id)["attempt"] == 2


async def test_include_and_exclude_choose_what_leaves() -> None:
    world, job_id = await started(
        {"a.pt": b"1", "b.pt": b"2", "b.tmp": b"3"}, outputs={"include": ["*.pt"], "exclude": ["b.*"]}
    )
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"a.pt": b"1"}
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_logs_of_every_attempt_leave_with_the_outputs_as_text() -> None:
    program = Program(
        seconds=1, code=3, output=(frame(Stream.STDOUT, 1, b"one\n"), frame(Stream.STDERR, 2, b"two\n"))
    )
    world, job_id = await started(
        {"a": b"a"}, program=program, retry={"count": 1, "backoff": 1}, outputs={"logs": True}
    )
    await world.finish(job_id)
    received = world.deliveries.of(job_id)
    assert received == {"a": b"a", "job.1.log": b"one\ntwo\n", "job.2.log": b"one\ntwo\n"}
    (first,) = [entry for entry in manifest_of(world, job_id)["files"] if entry["path"] == "job.1.log"]
    assert (first["size"], first["sha256"]) == (8, hashlib.sha256(b"one\ntwo\n").hexdigest())


async def test_a_file_with_a_name_of_the_agents_own_is_kept_back_and_said() -> None:
    world, job_id = await started({MANIFEST: b"mine", "job.1.log": b"mine", "a": b"a"}, outputs={"logs": True}, program=Program(seconds=1, output=(frame(Stream.STDOUT, 1, b"log\n"),)))  # fmt: skip
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"a": b"a", "job.1.log": b"log\n"}
    assert MANIFEST not in world.deliveries.received[job_id]
    record = await record_of(world, job_id)
    assert record.state is UploadState.PARTIAL
    assert record.trouble is not None
    assert record.trouble.code == "name_reserved"


async def test_what_is_no_file_is_named_in_the_manifest() -> None:
    world, job_id = await started({"a": b"a"}, seconds=5)
    world.folders.outputs(job_id).skipped["link"] = "symlink"
    await world.finish(job_id)
    assert manifest_of(world, job_id)["skipped"] == [{"path": "link", "why": "symlink"}]
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_more_than_the_host_sends_is_a_partial_upload_without_a_manifest() -> None:
    world, job_id = await started({f"f{n}": b"x" for n in range(5)}, seconds=5)
    world.settings.output_limits = OutputLimits(files=3, total_bytes=10, seconds=60)
    await world.finish(job_id)
    record = await record_of(world, job_id)
    assert (record.state, record.sent.files) == (UploadState.PARTIAL, 3)
    assert record.trouble is not None
    assert record.trouble.code == "outputs_truncated"
    assert MANIFEST not in world.deliveries.tries


async def test_a_job_without_a_file_has_a_complete_upload_of_nothing() -> None:
    world, job_id = await started({})
    await world.finish(job_id)
    assert manifest_of(world, job_id)["files"] == []
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_what_fails_for_a_while_is_sent_again_until_it_is_there() -> None:
    world, job_id = await started()
    answering(
        world,
        model_pt=[DOWN, Failure("status_failed", is_passing=True, status=503)] * 5,
        manifest_json=[DOWN],
        begin=[DOWN],
    )
    await finish_late(world, job_id)
    assert world.deliveries.of(job_id) == FILES
    assert Counter(world.deliveries.tries) == Counter(
        {**dict.fromkeys(FILES, 1), "model.pt": 11, MANIFEST: 2}
    )
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


@pytest.mark.slow
async def test_an_endpoint_that_is_away_for_an_hour_is_asked_seldom_and_gets_everything_in_the_end() -> None:
    files = {f"f{n}": b"x" for n in range(200)}
    world, job_id = await started(files)
    back_at = world.clock.now() + 3600

    async def behave(_path: str) -> Answer:
        return DOWN if world.clock.now() < back_at else Sent()

    world.deliveries.behave = behave
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(3500)
    assert len(world.deliveries.begun) < 40  # no storm
    await finish_late(world, job_id)
    assert world.deliveries.of(job_id) == files


@pytest.mark.slow
async def test_files_are_not_stormed_at_an_endpoint_that_fails_in_the_middle() -> None:
    files = {f"f{n:03}": b"x" for n in range(200)}
    world, job_id = await started(files)
    begun = world.clock.now()

    async def behave(path: str) -> Answer:
        is_up = len(world.deliveries.tries) <= 50 or world.clock.now() > begun + 3600
        return Sent() if path == BEGIN or is_up else DOWN

    world.deliveries.behave = behave
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(3000)
    assert 50 < len(world.deliveries.tries) < 100
    await finish_late(world, job_id)
    assert world.deliveries.of(job_id) == files


async def test_an_endpoint_that_says_when_to_come_again_is_left_alone_till_then() -> None:
    world, job_id = await started({"a": b"a"})
    answering(world, a=[Failure("status_failed", is_passing=True, status=429, retry_after="600")])
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(590)
    assert world.deliveries.tries == ["a"]
    await asyncio.sleep(20)
    assert world.deliveries.tries == ["a", "a", MANIFEST]


@pytest.mark.slow
async def test_one_file_that_always_fails_holds_up_no_other() -> None:
    world, job_id = await started(outputs={"deadline": 3600})

    async def behave(path: str) -> Answer:
        return DOWN if path == "empty" else Sent()

    world.deliveries.behave = behave
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(60)
    assert set(world.deliveries.of(job_id)) == set(FILES) - {"empty"}
    record = await until_over(world, job_id)
    assert (record.state, record.sent.files) == (UploadState.PARTIAL, 3)
    assert record.trouble is not None
    assert (record.trouble.code, record.trouble.path) == ("connect_failed", "empty")


async def test_a_refusal_is_final_for_its_file_and_the_rest_leaves() -> None:
    world, job_id = await started()
    answering(world, empty=[Failure("status_refused", is_passing=False, status=403)])
    job = await world.finish(job_id)
    record = await record_of(world, job_id)
    assert (job.outcome, record.state, record.failed) == (Outcome.SUCCEEDED, UploadState.PARTIAL, 1)
    assert record.trouble is not None
    assert (record.trouble.code, record.trouble.status, record.trouble.path) == (
        "status_refused",
        403,
        "empty",
    )
    assert world.deliveries.tries.count("empty") == 1
    assert MANIFEST not in world.deliveries.tries
    journal = await world.store.journal(record.row, "", 100)
    assert [file.path for file in journal if file.state is FileState.FAILED] == ["empty"]


async def test_an_endpoint_that_refuses_all_is_a_failed_upload_and_the_job_is_finished() -> None:
    world, job_id = await started()
    answering(world, begin=[Failure("address_refused", is_passing=False)])
    job = await world.finish(job_id)
    record = await record_of(world, job_id)
    assert (job.outcome, record.state) == (Outcome.SUCCEEDED, UploadState.FAILED)
    assert record.trouble is not None
    assert record.trouble.code == "address_refused"
    assert await world.folders.upload_target(job_id) is None


@pytest.mark.slow
async def test_the_deadline_ends_an_upload_and_says_what_was_in_the_way() -> None:
    world, job_id = await started(outputs={"deadline": 3600})

    async def behave(path: str) -> Answer:
        return Sent() if path in {"empty", BEGIN} else DOWN

    world.deliveries.behave = behave
    begun = world.clock.now()
    await asyncio.sleep(3500)
    job = await finish_late(world, job_id)
    record = await record_of(world, job_id)
    assert 3600 <= world.clock.now() - begun < 3700
    assert (job.outcome, record.state, record.sent.files) == (Outcome.SUCCEEDED, UploadState.PARTIAL, 1)
    assert record.trouble is not None
    assert record.trouble.code == "connect_failed"


async def test_the_deadline_goes_on_while_the_daemon_is_away() -> None:
    world, job_id = await started(outputs={"deadline": 3600})

    async def never(_path: str) -> Answer:
        return DOWN

    world.deliveries.behave = never
    await world.until_phase(job_id, Phase.UPLOADING)
    await world.crash()
    await asyncio.sleep(4000)
    await world.start()
    await world.finish(job_id, seconds=100)
    record = await record_of(world, job_id)
    assert record.state is UploadState.FAILED


async def test_an_endpoint_that_hangs_is_cut_at_the_deadline() -> None:
    world, job_id = await started(outputs={"deadline": 60})

    async def hang(path: str) -> Answer:
        if path != BEGIN:
            await asyncio.Event().wait()
        return Sent()

    world.deliveries.before_reading = hang
    await world.finish(job_id, seconds=200)
    record = await record_of(world, job_id)
    assert record.trouble is not None
    assert (record.state, record.trouble.code) == (UploadState.FAILED, "deadline_passed")


async def test_a_file_that_changes_while_it_is_sent_is_sent_again_and_what_arrives_is_one_content() -> None:
    world, job_id = await started({"large": b"a" * 3_000_000})
    changes = 1

    async def change(path: str) -> Answer:
        nonlocal changes
        if path == "large" and changes:
            changes -= 1
            world.folders.outputs(job_id).write("large", b"b" * 3_000_000)
        return Sent()

    world.deliveries.behave = change
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"large": b"b" * 3_000_000}
    (entry,) = manifest_of(world, job_id)["files"]
    assert entry["sha256"] == hashlib.sha256(b"b" * 3_000_000).hexdigest()
    assert world.deliveries.tries == ["large", "large", MANIFEST]


async def test_a_file_that_changes_each_time_is_reported_and_the_rest_leaves() -> None:
    world, job_id = await started({"large": b"a" * 3_000_000, "b": b"b"})

    async def change(path: str) -> Answer:
        if path == "large":
            world.folders.outputs(job_id).append("large", b"more")
        return Sent()

    world.deliveries.behave = change
    await world.finish(job_id)
    record = await record_of(world, job_id)
    assert (record.state, record.failed, record.sent.files) == (UploadState.PARTIAL, 1, 1)
    assert record.trouble is not None
    assert (record.trouble.code, record.trouble.path) == ("file_unstable", "large")
    assert world.deliveries.tries.count("large") == 3


async def test_a_file_that_is_cut_short_or_goes_while_it_is_read_never_arrives_half() -> None:
    world, job_id = await started({"cut": b"a" * 3_000_000, "gone": b"b"})

    async def spoil(path: str) -> Answer:
        if path == "cut" and world.deliveries.tries.count("cut") == 1:
            world.folders.outputs(job_id).truncate("cut", 5)
        return Sent()

    async def begin(path: str) -> Answer:
        if path == BEGIN:
            world.folders.outputs(job_id).unlink("gone")
        return Sent()

    world.deliveries.before_reading, world.deliveries.behave = spoil, begin
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"cut": b"aaaaa"}
    record = await record_of(world, job_id)
    assert record.trouble is not None
    assert (record.state, record.trouble.code, record.trouble.path) == (
        UploadState.PARTIAL,
        "file_gone",
        "gone",
    )


async def test_a_cancel_while_outputs_leave_ends_the_upload_and_the_outcome_stays() -> None:
    world, job_id = await started()

    async def hang(path: str) -> Answer:
        if path == "large":
            await asyncio.Event().wait()
        return Sent()

    world.deliveries.before_reading = hang
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(30)
    await stop_upload(world, job_id)
    job = await world.finish(job_id, seconds=10)
    record = await record_of(world, job_id)
    assert (job.outcome, record.state, record.sent.files) == (Outcome.SUCCEEDED, UploadState.PARTIAL, 3)
    assert record.trouble is not None
    assert record.trouble.code == "upload_cancelled"
    assert await world.folders.upload_target(job_id) is None


async def test_a_cancel_after_a_restart_counts_each_file_once() -> None:
    world, job_id = await started()
    hangs = {"large", "empty"}

    async def hang(path: str) -> Answer:
        if path in hangs:
            await asyncio.Event().wait()
        return Sent()

    world.deliveries.before_reading = hang
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(30)
    await world.restart()
    hangs.remove("empty")
    await asyncio.sleep(30)
    await stop_upload(world, job_id)
    await world.finish(job_id, seconds=10)
    assert (await record_of(world, job_id)).sent.files == 3


async def test_a_cancel_of_an_upload_that_is_decided_already_changes_nothing_of_it() -> None:
    world, job_id = await started()

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        record = world.store._uploads.get(1)
        if step == "keep_upload" and record is not None and record.verdict is not None and is_stuck:
            await asyncio.Event().wait()

    is_stuck, world.store.before = True, before
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(30)
    is_stuck = False
    await stop_upload(world, job_id)
    await world.finish(job_id, seconds=10)
    record = await record_of(world, job_id)
    assert (record.state, record.trouble) == (UploadState.COMPLETE, None)


async def stop_upload(world: World, job_id: str) -> None:
    """As the intake does for a cancel."""
    job = await world.job(job_id)
    await world.store.save(replace(job, upload_stopped_at=world.clock.now()))
    world.wake(job_id)


async def test_a_cancel_that_came_before_the_end_stops_no_upload() -> None:
    world, job_id = await started(program=Program(on_term=143))
    await world.until_phase(job_id, Phase.RUNNING)
    await world.cancel(job_id)
    assert (await world.finish(job_id)).outcome is Outcome.CANCELLED
    assert world.deliveries.of(job_id) == FILES


async def test_after_a_restart_nothing_that_the_journal_has_is_sent_again() -> None:
    files = {f"f{n:03}": b"x" * n for n in range(100)}
    world, job_id = await started(files)

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(5.5)
    done = {file.path for file in await world.store.journal((await record_of(world, job_id)).row, "", 1000)}
    before = Counter(world.deliveries.tries)
    assert 8 <= len(done) < 100
    await world.restart()
    await world.finish(job_id)
    again = Counter(world.deliveries.tries) - before
    assert not done & set(again)
    assert sum(Counter(world.deliveries.tries).values()) <= 100 + 8 + 1
    assert world.deliveries.of(job_id) == files
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE
    assert len(manifest_of(world, job_id)["files"]) == 100


@pytest.mark.slow
async def test_no_more_files_leave_at_once_than_the_host_allows_and_jobs_share_alike() -> None:
    world = World()
    world.settings.parallel_uploads = 4
    many = {f"f{n:03}": b"x" for n in range(300)}
    first = await submitted(world, many)

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    await world.until_phase(first, Phase.UPLOADING)
    second = await submitted(world, {"a": b"a", "b": b"b"})
    await world.finish(second, seconds=20)
    assert (await world.job(first)).phase is Phase.UPLOADING
    assert world.deliveries.most_at_once <= 4
    await world.finish(first)
    assert world.deliveries.of(first) == many


@pytest.mark.slow
async def test_what_begins_and_what_ends_uploads_takes_a_place_too() -> None:
    world = World()
    world.settings.parallel_uploads = 2

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(10)
        return Sent()

    world.deliveries.behave = slow
    jobs = [await submitted(world, {"a": b"a"}) for _ in range(5)]
    live = await submitted(world, {"b": b"b"}, 30, outputs={"live": True, "quiet": 1})
    for job_id in (*jobs, live):
        await world.finish(job_id, seconds=400)
    assert world.deliveries.most_at_once == 2


async def test_files_that_are_still_to_be_sent_are_the_first_that_the_endpoint_hears_of_after_a_restart() -> (
    None
):
    files = {f"f{number}": b"x" for number in range(9)}
    world, job_id = await started(files)

    async def behave(path: str) -> Answer:
        return Sent() if path in {BEGIN, "f0", "f1", "f2"} else DOWN

    world.deliveries.behave = behave
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(60)
    await world.restart()
    await asyncio.sleep(60)
    assert [[file.path for file in begun] for begun in world.deliveries.begun] == [
        [f"f{number}" for number in range(9)],
        [*(f"f{number}" for number in range(3, 9)), "f0", "f1", "f2"],
    ]


async def test_the_loop_has_its_turns_while_ten_thousand_files_are_gone_through() -> None:
    world, job_id = await started(
        {f"f{number:05}": b"" for number in range(10_000)}, outputs={"deadline": 60}
    )
    turns, is_counting = 0, False

    def turn() -> None:
        nonlocal turns
        turns += 1
        if is_counting:
            asyncio.get_running_loop().call_soon(turn)

    async def before(step: str) -> None:
        nonlocal is_counting
        await asyncio.sleep(0)
        if step == "journal" and not is_counting and not turns:
            is_counting = True
            turn()
        elif step == "keep_upload":
            is_counting = False

    async def never(_path: str) -> Answer:
        return DOWN

    world.store.before, world.deliveries.behave = before, never
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(1)
    assert turns >= 10


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (errno.EMFILE, UploadState.COMPLETE),
        (errno.ENOMEM, UploadState.COMPLETE),
        (errno.EIO, UploadState.PARTIAL),
    ],
)
async def test_what_the_host_lacks_for_a_while_costs_no_file_and_what_its_disk_has_lost_costs_one(
    code: int, state: UploadState
) -> None:
    world, job_id = await started({"a": b"a", "b": b"b"})
    errors = [OSError(code, "not now")]

    async def fail_once(path: str) -> Answer:
        if path == "a" and errors:
            raise errors.pop()
        return Sent()

    world.deliveries.before_reading = fail_once
    await world.finish(job_id)
    assert (await record_of(world, job_id)).state is state


async def refused(world: World, job_id: str) -> Job:
    """Finished, with nothing sent; from now on the endpoint takes everything, after an hour."""
    answering(world, a=[Failure("status_refused", is_passing=False, status=403)])
    job = await world.finish(job_id)

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(3600)
        return Sent()

    world.deliveries.behave = slow
    return job


async def test_two_who_stop_a_retry_at_once_are_told_of_one_end() -> None:
    world, job_id = await started({"a": b"a"})
    job = await refused(world, job_id)
    assert world.shell is not None
    uploads = world.shell.tools.uploads
    await uploads.again(job, Upload(to=UploadTo.PUT, url=PUT["url"], headers={"Authorization": "hush-3"}))
    await asyncio.sleep(1)
    assert await asyncio.gather(uploads.stop_retry(job), uploads.stop_retry(job)) == [True, False]
    told = [event.type for event in await world.store.events(ME, 0, job_id, 1000)]
    assert told.count("upload.ended") == 2  # the first pass, and the retry


async def test_who_stops_a_retry_that_is_being_opened_stops_it_once_it_is_open() -> None:
    world, job_id = await started({"a": b"a"})
    job = await refused(world, job_id)
    assert world.shell is not None
    uploads = world.shell.tools.uploads
    stopping = list[asyncio.Task[bool]]()

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if step == "begin_upload_again":
            stopping.append(asyncio.ensure_future(uploads.stop_retry(job)))
            await asyncio.sleep(5)

    world.store.before = before
    opened = await uploads.again(
        job, Upload(to=UploadTo.PUT, url=PUT["url"], headers={"Authorization": "hush-3"})
    )
    assert not opened.is_over
    assert await stopping[0]
    assert (await record_of(world, job_id)).is_over
    assert not world.folders.holds_secrets(job_id)


async def test_a_job_that_comes_under_the_id_of_one_that_is_deleted_has_its_secrets_hidden() -> None:
    world, job_id = await started({"a": b"a"})
    job = await refused(world, job_id)
    assert world.shell is not None
    uploads, hiding = world.shell.tools.uploads, world.shell.tools.hiding
    await uploads.again(job, Upload(to=UploadTo.PUT, url=PUT["url"], headers={"Authorization": "hush-3"}))
    await asyncio.sleep(1)
    forgetting = asyncio.ensure_future(uploads.forget(job_id))
    await asyncio.sleep(0)
    assert not forgetting.done()
    hiding.add(job_id, SecretFiles({"TOKEN": "hush-4"}))
    await forgetting
    assert hiding.hide("hush-3 hush-4") == "hush-3 ***"


async def test_a_retry_that_is_asked_for_before_old_ones_could_be_read_has_one_drive() -> None:
    world, job_id = await started({"a": b"a"})
    job = await refused(world, job_id)
    is_away = True

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if step == "retried_uploads" and is_away:
            raise StoreUnavailableError("busy")

    world.store.before = before
    await world.restart()
    assert world.shell is not None
    world.deliveries.opened.clear()
    await world.shell.tools.uploads.again(job, Upload(to=UploadTo.PUT, url=PUT["url"]))
    is_away = False
    await asyncio.sleep(60)
    assert len(world.deliveries.opened) == 1


@pytest.mark.slow
async def test_names_of_files_are_held_of_so_many_jobs_of_one_principal_and_others_do_not_wait_for_him() -> (
    None
):
    world = World()
    world.settings.output_limits = OutputLimits(files=10, total_bytes=1 << 40, seconds=60)
    files = {f"f{number}": b"x" for number in range(8)}
    is_up = False

    async def behave(_path: str) -> Answer:
        return Sent() if is_up else DOWN

    world.deliveries.behave = behave
    jobs = [await submitted(world, files) for _ in range(6)]
    for job_id in jobs:
        await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(3600)
    # Two lists as long as they may be, so that there is room to read another one.
    assert len(world.deliveries.opened) == 3
    other = await submitted(world, {"a": b"a"}, owner="bob")
    await world.until_phase(other, Phase.UPLOADING)
    await asyncio.sleep(1)
    assert len(world.deliveries.opened) == 4
    is_up = True
    for job_id in (*jobs, other):
        await world.finish(job_id, seconds=4000)
        assert (await record_of(world, job_id)).state is UploadState.COMPLETE


async def test_who_waits_for_room_for_his_names_can_be_cancelled_and_comes_to_his_deadline() -> None:
    world = World()
    world.settings.output_limits = OutputLimits(files=10, total_bytes=1 << 40, seconds=60)
    files = {f"f{number}": b"x" for number in range(8)}

    async def never(_path: str) -> Answer:
        return DOWN

    world.deliveries.behave = never
    for _ in range(3):
        await world.until_phase(await submitted(world, files), Phase.UPLOADING)
    late = await submitted(world, files, outputs={"deadline": 60})
    stopped = await submitted(world, files)
    await world.until_phase(stopped, Phase.UPLOADING)
    assert world.shell is not None
    await asyncio.sleep(10)
    await world.shell.tools.uploads.stop(await world.job(stopped))
    assert (await record_of(world, stopped)).state is UploadState.FAILED
    await world.finish(late, seconds=120)
    trouble = (await record_of(world, late)).trouble
    assert trouble is not None
    assert trouble.code == "deadline_passed"
    assert len(world.deliveries.opened) == 3


async def test_a_full_disk_holds_an_upload_up_and_ends_none() -> None:
    world, job_id = await started()
    failing = True

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if failing and step == "keep_files":
            raise StoreUnavailableError("the disk is full")

    world.store.before = before
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(120)
    assert not (await record_of(world, job_id)).is_over
    failing = False
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == FILES
    assert (await record_of(world, job_id)).state is UploadState.COMPLETE


@pytest.mark.slow
async def test_a_mistake_of_ours_in_one_upload_ends_neither_the_daemon_nor_others() -> None:
    world, job_id = await started()

    async def break_down(path: str) -> Answer:
        if path == "empty" and world.clock.now() < until:
            raise RuntimeError("a mistake")
        return Sent()

    until = world.clock.now() + 30
    world.deliveries.behave = break_down
    await world.until_phase(job_id, Phase.UPLOADING)
    other = await submitted(world, {"a": b"a"})
    await world.finish(other, seconds=60)
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == FILES
    assert not world.is_dead


async def test_secrets_that_were_lost_are_a_failed_upload_that_says_so() -> None:
    world, job_id = await started(seconds=5)
    await world.until_phase(job_id, Phase.RUNNING)
    await world.folders.drop_upload_secrets(job_id)
    job = await world.finish(job_id)
    record = await record_of(world, job_id)
    assert record.trouble is not None
    assert (job.outcome, record.state, record.trouble.code) == (
        Outcome.SUCCEEDED,
        UploadState.FAILED,
        "target_lost",
    )


async def test_a_retry_sends_what_did_not_leave_and_touches_nothing_of_the_job() -> None:
    world, job_id = await started()
    answering(world, empty=[Failure("status_refused", is_passing=False, status=403)])
    job = await world.finish(job_id)
    assert world.shell is not None
    upload = Upload(to=UploadTo.PUT, url="https://store.example.org/{job}/{path}?sig=new", headers={"A": "b"})
    before = Counter(world.deliveries.tries)
    await world.shell.tools.uploads.again(job, upload)
    record = await until_over(world, job_id)
    assert (record.state, record.sent.files, record.failed, record.trouble) == (
        UploadState.COMPLETE,
        4,
        0,
        None,
    )
    assert Counter(world.deliveries.tries) - before == Counter(["empty", MANIFEST])
    assert world.deliveries.opened[-1] == upload
    assert await world.job(job_id) == job
    assert await world.folders.upload_target(job_id) is None


async def test_a_retry_to_another_endpoint_sends_everything() -> None:
    world, job_id = await started()
    job = await world.finish(job_id)
    before = Counter(world.deliveries.tries)
    assert world.shell is not None
    await world.shell.tools.uploads.again(
        job, Upload(to=UploadTo.PUT, url="https://other.example.org/{path}")
    )
    assert (await until_over(world, job_id)).state is UploadState.COMPLETE
    assert Counter(world.deliveries.tries) - before == Counter([*FILES, MANIFEST])


async def test_a_retry_knows_where_the_last_one_sent_to() -> None:
    world, job_id = await started(
        {"a": b"a"}, outputs={"upload": {"to": "put", "url": "https://a.example.org/{path}"}}
    )
    job = await world.finish(job_id)
    assert world.shell is not None
    uploads, other = world.shell.tools.uploads, Upload(to=UploadTo.PUT, url="https://b.example.org/{path}")
    await uploads.again(job, other)
    await until_over(world, job_id)
    with pytest.raises(NothingToRetryError):
        await uploads.again(job, other)
    await uploads.again(job, None)  # back to where the spec says: that has not what the other place got
    await until_over(world, job_id)
    assert [upload.url for upload in world.deliveries.opened] == [
        "https://a.example.org/{path}",
        "https://b.example.org/{path}",
        "https://a.example.org/{path}",
    ]
    assert Counter(world.deliveries.tries) == Counter({"a": 3, MANIFEST: 3})


async def test_a_retry_elsewhere_whose_target_is_lost_goes_nowhere() -> None:
    here = {"to": "put", "url": "https://here.example.org/{path}"}
    world, job_id = await started(outputs={"upload": here})
    job = await world.finish(job_id)

    async def down(_path: str) -> Answer:
        return DOWN

    world.deliveries.behave = down
    assert world.shell is not None
    await world.shell.tools.uploads.again(
        job, Upload(to=UploadTo.PUT, url="https://there.example.org/{path}")
    )
    await asyncio.sleep(10)
    await world.crash()
    await world.folders.drop_upload_secrets(job_id)
    await world.start()
    record = await until_over(world, job_id)
    assert record.trouble is not None
    assert record.trouble.code == "target_lost"


async def test_two_who_ask_for_a_retry_at_once_begin_one() -> None:
    world, job_id = await started()
    job = await world.finish(job_id)
    assert world.shell is not None
    uploads = world.shell.tools.uploads
    there = [Upload(to=UploadTo.PUT, url=f"https://there-{n}.example.org/{{path}}") for n in range(3)]
    answers = await asyncio.gather(*(uploads.again(job, place) for place in there), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UploadRecord, NotOverError, NotOverError]
    await until_over(world, job_id)
    assert [upload.url for upload in world.deliveries.opened[1:]] == [there[0].url]


@pytest.mark.slow
async def test_nothing_more_is_sent_of_a_job_that_is_deleted_while_its_upload_is_retried() -> None:
    world, job_id = await started()
    job = await world.finish(job_id)
    is_down = True

    async def behave(_path: str) -> Answer:
        return DOWN if is_down else Sent()

    world.deliveries.behave = behave
    assert world.shell is not None
    uploads = world.shell.tools.uploads
    await uploads.again(
        job, Upload(to=UploadTo.PUT, url="https://there.example.org/{path}", headers={"A": "hush-9"})
    )
    await asyncio.sleep(10)
    await world.folders.remove(job_id)
    await uploads.forget(job_id)
    await world.store.forget(job_id, ME)
    assert world.redactor.hide("hush-9") == "hush-9"
    world.count -= 1
    assert await submitted(world, {"b": b"another's"}, outputs={"upload": {"to": "local"}}) == job_id
    is_down = False
    before = list(world.deliveries.begun)
    await asyncio.sleep(DAY / 12)  # eight of the longest pauses between tries
    assert world.deliveries.begun == before


async def test_a_retry_goes_on_after_a_restart_and_the_job_is_kept_for_so_long() -> None:
    world, job_id = await started()
    answering(world, begin=[Failure("address_refused", is_passing=False)])
    job = await world.finish(job_id)
    is_down = True

    async def behave(_path: str) -> Answer:
        return DOWN if is_down else Sent()

    world.deliveries.behave = behave
    assert world.shell is not None
    await world.shell.tools.uploads.again(
        job, Upload(to=UploadTo.PUT, url=PUT["url"], headers=PUT["headers"])
    )
    await asyncio.sleep(10)
    await world.restart()
    assert await world.store.finished_before(world.clock.now() + 1, 10) == []
    is_down = False
    record = await until_over(world, job_id)
    assert record.state is UploadState.COMPLETE
    assert world.deliveries.of(job_id) == FILES
    assert await world.store.finished_before(world.clock.now() + 1, 10) == [job_id]


async def test_what_can_not_be_retried_is_refused_with_the_reason() -> None:
    world, job_id = await started()
    hung = asyncio.Event()

    async def hang(path: str) -> Answer:
        if path == "large":
            await hung.wait()
        return Failure("status_refused", is_passing=False) if path == "empty" else Sent()

    world.deliveries.before_reading = hang
    job = await world.until_phase(job_id, Phase.UPLOADING)
    assert world.shell is not None
    uploads = world.shell.tools.uploads
    with pytest.raises(NotOverError):
        await uploads.again(job, None)
    hung.set()
    job = await world.finish(job_id)
    with pytest.raises(TargetNeededError):
        await uploads.again(job, None)
    local = await world.submit()
    with pytest.raises(NothingToRetryError):
        await uploads.again(await world.finish(local), None)


async def test_an_upload_without_secrets_needs_none_for_a_retry() -> None:
    world, job_id = await started(outputs={"upload": {"to": "put", "url": "https://a.example.org/{path}"}})
    answering(world, empty=[Failure("status_refused", is_passing=False)])
    job = await world.finish(job_id)
    assert world.shell is not None
    await world.shell.tools.uploads.again(job, None)
    assert (await until_over(world, job_id)).state is UploadState.COMPLETE
    with pytest.raises(NothingToRetryError):
        await world.shell.tools.uploads.again(job, None)


async def test_events_tell_how_an_upload_goes_no_more_than_once_a_second() -> None:
    world, job_id = await started({f"f{n:03}": b"x" * 1000 for n in range(200)})

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    await world.finish(job_id)
    events = [
        event for event in await world.store.events(ME, 0, job_id, 1000) if event.type.startswith("upload.")
    ]
    assert [event.type for event in (events[0], events[-1])] == ["upload.began", "upload.ended"]
    assert events[0].data["files_total"] == 200
    assert events[-1].data["state"] == "complete"
    between = events[1:-1]
    assert 5 < len(between) <= 30
    done = [event.data["bytes_done"] for event in between]
    assert done == sorted(done)
    assert all(later.at - earlier.at >= 1 for earlier, later in pairwise(between))


async def test_a_view_shows_what_is_on_its_way_and_how_long_it_takes() -> None:
    world, job_id = await started({f"f{n:03}": b"x" * 1000 for n in range(400)})

    async def slow(_path: str) -> Answer:
        await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    await world.until_phase(job_id, Phase.UPLOADING)
    await asyncio.sleep(30)
    assert world.shell is not None
    view = (await world.shell.tools.uploads.views([job_id]))[job_id]
    assert view.record.total is not None
    assert view.record.total.files == 400
    assert 200 <= view.record.sent.files <= 250
    assert view.rate == pytest.approx(8000, rel=0.3)
    assert view.eta_seconds == pytest.approx(400 / 8 - 30, abs=8)


async def test_a_disk_that_is_full_when_a_place_is_kept_is_waited_out() -> None:
    world, job_id = await started({"a": b"a"})
    left = 3

    async def full(path: str) -> Answer:
        nonlocal left
        if path == "a" and left:
            left -= 1
            raise StateFullError("no space")
        return Sent()

    world.deliveries.before_reading = full
    await world.finish(job_id)
    assert world.deliveries.of(job_id) == {"a": b"a"}


async def test_an_end_that_was_decided_in_time_is_not_the_deadlines() -> None:
    world, job_id = await started({"a": b"a"}, outputs={"deadline": 60})

    async def slow(path: str) -> Answer:
        await asyncio.sleep(59 if path == "a" else 0)
        return Sent()

    async def before(step: str) -> None:
        await asyncio.sleep(5 if step == "keep_upload" and MANIFEST in world.deliveries.tries else 0)

    world.deliveries.behave, world.store.before = slow, before
    await world.finish(job_id, seconds=200)
    record = await record_of(world, job_id)
    assert (record.state, record.trouble) == (UploadState.COMPLETE, None)
    told = [event.type for event in await world.store.events(ME, 0, job_id, 1000)]
    assert told.count("upload.ended") == 1


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [{}, {"live": True, "quiet": 1}], ids=["the last pass", "live"])
async def test_no_failure_leaves_a_place_of_the_hosts_budget_taken(outputs: dict[str, object]) -> None:
    world = World()
    world.settings.parallel_uploads = 4
    files = {f"f{n:03}": b"x" for n in range(40)}
    draw = random.Random(7)
    failing = True

    async def before(step: str) -> None:
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        if failing and step == "keep_files" and draw.random() < 0.3:
            raise StoreUnavailableError("the disk is full")

    async def ragged(_path: str) -> Answer:
        for _ in range(draw.randrange(6)):
            await asyncio.sleep(0)
        return Sent()

    world.deliveries.behave, world.store.before = ragged, before
    seconds = 590 if outputs else 2
    jobs = [await submitted(world, files, seconds, outputs=outputs) for _ in range(3)]
    await asyncio.sleep(600)
    failing = False
    for job_id in jobs:
        await world.finish(job_id)
    world.deliveries.most_at_once = 0
    await world.finish(await submitted(world, files))
    assert world.deliveries.most_at_once >= 4


def slowed(world: World, **seconds: float) -> None:
    """The store is so slow at these steps, before it does them."""

    async def before(step: str) -> None:
        await asyncio.sleep(seconds.get(step, 0))

    world.store.before = before


async def partial() -> tuple[World, str, Upload]:
    """A finished job of which a file is left to send, and where a retry may send it."""
    world, job_id = await started()
    answering(world, empty=[Failure("status_refused", is_passing=False)])
    await world.finish(job_id)
    return world, job_id, Upload(to=UploadTo.PUT, url=PUT["url"], headers=PUT["headers"])


async def test_a_cancel_that_comes_while_a_retry_is_opened_ends_it_and_leaves_no_secret() -> None:
    world, job_id, upload = await partial()
    slowed(world, begin_upload_again=5)
    assert world.shell is not None
    uploads, job = world.shell.tools.uploads, await world.job(job_id)
    asked = asyncio.create_task(uploads.again(job, upload))
    await asyncio.sleep(1)
    assert await uploads.stop_retry(job)
    await asked
    assert (await record_of(world, job_id)).is_over
    await asyncio.sleep(30)
    assert await world.folders.upload_target(job_id) is None


async def test_a_retry_that_is_asked_for_as_the_daemon_starts_is_one_retry() -> None:
    world, job_id, upload = await partial()
    await world.crash()
    slowed(world, retried_uploads=2, begin_upload_again=5)
    await world.start()
    assert world.shell is not None
    await world.shell.tools.uploads.again(await world.job(job_id), upload)
    assert (await until_over(world, job_id)).state is UploadState.COMPLETE
    assert len(world.deliveries.opened) == 2
    assert await world.folders.upload_target(job_id) is None


async def test_the_place_of_a_file_that_changed_is_left_though_its_size_and_time_are_the_same() -> None:
    world, job_id = await started({"large": b"a" * 3_000_000})
    places: list[Places] = []
    found: list[str | None] = []

    class Noting(FakeDeliveries):
        @asynccontextmanager
        async def open(self, job: Job, upload: Upload, given: Places) -> AsyncIterator[FakeDelivery]:
            places.append(given)
            async with super().open(job, upload, given) as delivery:
                yield delivery

    async def begin(path: str) -> Answer:
        if path == "large":
            found.append(await places[-1].find(path))
            await places[-1].keep(path, "https://a.example.org/1")
        return Sent()

    async def change_once(path: str) -> Answer:
        if path == "large" and len(found) == 1:
            world.folders.outputs(job_id)._files["large"].changes += 1
        return Sent()

    await world.crash()
    world.deliveries = Noting(behave=change_once, before_reading=begin)
    await world.start()
    await world.finish(job_id)
    assert found == [None, None]
