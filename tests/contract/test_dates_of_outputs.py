"""A job may give its files any date that the file system holds: past the year 2262 no 64 bits have it in nanoseconds."""

import os
from pathlib import Path

import pytest

from agent.core.upload import FileState, JournalFile
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs
from tests.contract.store_values import accepted
from tests.contract.store_values import opened as opened_store

YEAR_2400 = 13_569_465_600


@pytest.mark.parametrize("how", ["listed", "opened", "small"])
async def test_a_file_of_the_year_2400_can_be_kept_in_the_journal_of_its_upload(
    how: str, tmp_path: Path
) -> None:
    async with opened(tmp_path) as folders, opened_store(tmp_path, lambda: 1.0) as store:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        (outputs(tmp_path) / "late").write_text("x")
        os.utime(outputs(tmp_path) / "late", (YEAR_2400, YEAR_2400))
        match how:
            case "listed":
                (file,) = (await folders.list_outputs(JOB, PLENTY)).files
            case "opened":
                reader = await folders.open_output(JOB, "late")
                file = reader.file
                assert await reader.is_unchanged()
                await reader.close()
            case _:
                file = (await folders.read_ahead(JOB, ["late"], 100))["late"].file
        job = await accepted(store)
        await store.begin_upload(job.id, 1.0)
        kept = JournalFile("late", FileState.SENT, 1, file.modified_ns, 0o644, 1, 1.0, "digest")
        await store.keep_files(job.seq, [kept])
        assert await store.journal(job.seq, "", 10) == [kept]
