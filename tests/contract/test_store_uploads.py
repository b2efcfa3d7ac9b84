"""How far uploads are, and the journals of their files, as the store keeps them: the one on disk and its twin in memory."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.job import Job, Outcome
from agent.core.state import phase_event
from agent.core.upload import (
    FileState,
    JournalFile,
    Resend,
    Tally,
    UploadRecord,
    UploadState,
    UploadTrouble,
    announce_retry,
)
from agent.errors import Phase
from agent.interfaces import Finished
from tests.contract.store_values import PLENTY, ROOT, TestedStore, WallClock, accepted, opened, told
from tests.fakes.store import MemoryStore

TROUBLE = UploadTrouble("status_failed", 12.5, 503, "a/b")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestedStore]:
    if request.param == "memory":
        yield MemoryStore(WallClock().now)
        return
    async with opened(tmp_path, WallClock().now) as store:
        yield store


def sent(path: str, size: int = 3) -> JournalFile:
    return JournalFile(path, FileState.SENT, size, 1_700_000_000_123_456_789, 0o644, 2, 5.5, "ab" * 32)


def failed(path: str) -> JournalFile:
    return JournalFile(path, FileState.FAILED, 3, 7, 0o600, 1, 6.5, trouble=TROUBLE)


async def begun(store: TestedStore, job_id: str = "a") -> UploadRecord:
    record = await store.begin_upload(job_id, 100.0)
    assert record is not None
    return record


async def finished(store: TestedStore, job: Job) -> Job:
    done = replace(job, phase=Phase.FINISHED, outcome=Outcome.SUCCEEDED, finished_at=20.0)
    return await store.save(done, [phase_event(done, came_from=job.phase)])


async def test_an_upload_begins_once_however_often_it_is_begun(store: TestedStore) -> None:
    job = await accepted(store)
    assert await begun(store) == UploadRecord(job.seq, 100.0)
    assert await store.begin_upload("a", 200.0) == UploadRecord(job.seq, 100.0)
    assert await store.begin_upload("nobody", 200.0) is None
    await accepted(store, "b")
    assert await store.upload_records(["a", "b", "nobody"]) == {"a": UploadRecord(job.seq, 100.0)}


async def test_a_record_is_read_as_it_was_written_and_tells_its_events(store: TestedStore) -> None:
    job = await accepted(store)
    everything = UploadRecord(
        job.seq, 100.0, UploadState.PARTIAL, Tally(7, 2**40), Tally(5, 2**39), 2, TROUBLE
    )
    await begun(store)
    await store.keep_upload(everything, [told("upload.ended")])
    assert await store.upload_records(["a"]) == {"a": everything}
    assert [event.data for event in await store.events(ROOT, 0, "a", PLENTY)][-1] == told("upload.ended").data
    await store.keep_upload(replace(everything, row=99), [told("upload.ended")])  # a job that is gone
    assert len(await store.upload_records(["a"])) == 1


async def test_the_journal_says_of_each_path_what_was_written_last(store: TestedStore) -> None:
    record = await begun_of(store)
    await store.keep_files(record.row, [failed("b"), sent("a")])
    await store.keep_files(record.row, [sent("b", 4)])
    assert await store.journal(record.row, "", PLENTY) == [sent("a"), sent("b", 4)]
    assert await store.journal_of(record.row, ["b", "nothing"]) == {"b": sent("b", 4)}
    await store.keep_files(99, [sent("a")])
    assert await store.journal(99, "", PLENTY) == []


async def test_the_journal_is_read_in_pages_by_the_bytes_of_the_paths(store: TestedStore) -> None:
    record = await begun_of(store)
    paths = sorted(["a", "b/c", "b", "ä", "\uffee", "\U00010000", "%FF", "Z"], key=str.encode)
    await store.keep_files(record.row, [sent(path) for path in reversed(paths)])
    seen: list[str] = []
    while page := await store.journal(record.row, seen[-1] if seen else "", 3):
        assert len(page) <= 3
        seen += [file.path for file in page]
    assert seen == paths


PLACE = "put url=https://b/{path}"


@pytest.mark.parametrize(("resend", "left"), [(Resend.FAILED, ["a"]), (Resend.EVERYTHING, [])])
async def test_an_upload_that_is_over_is_opened_again_without_what_is_to_be_sent_again(
    store: TestedStore, resend: Resend, left: list[str]
) -> None:
    record = await begun_of(store)
    assert await store.begin_upload_again("a", 300.0, PLACE, resend) is None
    await store.keep_files(record.row, [sent("a"), failed("b")])
    over = replace(
        record,
        state=UploadState.PARTIAL,
        failed=1,
        trouble=TROUBLE,
        sent=Tally(1, 3),
        verdict=UploadState.PARTIAL,
    )
    await store.keep_upload(over)
    assert await store.begin_upload_again("a", 300.0, PLACE, resend) is None  # nobody asked
    await store.keep_upload(announce_retry(over))
    opened_again = UploadRecord(record.row, 300.0, sent=Tally(1, 3), place=PLACE)
    assert await store.begin_upload_again("a", 300.0, PLACE, resend) == opened_again
    assert await store.upload_records(["a"]) == {"a": opened_again}
    assert [file.path for file in await store.journal(record.row, "", PLENTY)] == left
    assert await store.begin_upload_again("a", 400.0, PLACE, resend) is None
    assert await store.begin_upload_again("nobody", 400.0, PLACE, resend) is None


async def test_what_goes_on_beside_a_finished_job_is_found_after_a_restart(store: TestedStore) -> None:
    job = await accepted(store)
    record = await begun(store)
    await accepted(store, "b")
    await begun(store, "b")
    assert await store.retried_uploads() == []  # the tasks of these jobs go on with them
    await finished(store, job)
    assert await store.retried_uploads() == ["a"]
    await store.keep_upload(replace(record, state=UploadState.COMPLETE))
    assert await store.retried_uploads() == []


async def test_a_job_is_kept_while_its_outputs_leave(store: TestedStore) -> None:
    await finished(store, await accepted(store))
    record = await begun(store)
    assert await store.finished_before(1_000.0, PLENTY) == []
    await store.keep_upload(replace(record, state=UploadState.FAILED))
    assert await store.finished_before(1_000.0, PLENTY) == ["a"]


async def test_an_upload_goes_with_its_job(store: TestedStore) -> None:
    await finished(store, await accepted(store))
    record = await begun(store)
    await store.keep_files(record.row, [sent("a")])
    assert await store.forget("a", ROOT) is Finished.FORGOTTEN
    assert await store.upload_records(["a"]) == {}
    assert await store.journal(record.row, "", PLENTY) == []
    again = await accepted(store)
    assert await store.upload_records(["a"]) == {}
    assert (await begun(store)).row == again.seq


async def begun_of(store: TestedStore) -> UploadRecord:
    await accepted(store)
    return await begun(store)
