"""The promises of interfaces.ScheduleFiles, on disk and in memory; and how they lie on the disk."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from agent.adapters.folders import open_folders
from agent.adapters.folders.schedules import DiskSchedules
from agent.aio import Threads
from agent.interfaces import ScheduleFileMissingError
from tests.fakes.schedule_files import FakeScheduleFiles

ID, OTHER = (f"0190b6a0-0000-7000-8000-{number:012d}" for number in (1, 2))
Tested = FakeScheduleFiles | DiskSchedules


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskSchedules]:
    threads = Threads("test", 1)
    folders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    yield folders.schedules
    folders.close()
    threads.close()


@pytest.fixture(params=["memory", "disk"])
def files(request: pytest.FixtureRequest, disk: DiskSchedules) -> Tested:
    return FakeScheduleFiles() if request.param == "memory" else disk


async def test_what_is_kept_is_read_and_once_removed_it_is_missing(files: Tested) -> None:
    await files.keep(ID, '{"ä": 1}')
    assert await files.read(ID) == '{"ä": 1}'
    await files.keep(ID, "2")
    assert await files.read(ID) == "2"
    for _ in range(2):
        await files.remove(ID)
    with pytest.raises(ScheduleFileMissingError):
        await files.read(ID)


async def test_a_sweep_leaves_what_a_row_knows(files: Tested) -> None:
    await files.keep(ID, "1")
    await files.keep(OTHER, "2")
    assert await files.sweep({OTHER}) == [ID]
    assert await files.read(OTHER) == "2"
    with pytest.raises(ScheduleFileMissingError):
        await files.read(ID)


async def test_a_file_is_private_and_what_a_crash_left_half_made_is_swept(
    disk: DiskSchedules, tmp_path: Path
) -> None:
    await disk.keep(ID, "1")
    folder = tmp_path / "state" / "schedules"
    assert (folder / ID).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / f"{OTHER}.part").write_text("half")
    (folder / "notes").write_text("an operator's")
    assert await disk.ids() == {ID}
    assert await disk.sweep({ID, OTHER}) == [f"{OTHER}.part"]
    assert {entry.name for entry in folder.iterdir()} == {ID, "notes"}


async def test_an_id_that_leads_elsewhere_is_refused(disk: DiskSchedules, tmp_path: Path) -> None:
    other = tmp_path / "state" / "other"
    other.write_text("not ours")
    for hostile in ("../other", "", ".", "a/b"):
        for use in (disk.read, partial(disk.keep, text="x"), disk.remove):
            with pytest.raises(ValueError, match="not a job id"):
                await use(hostile)
    assert other.read_text() == "not ours"


async def test_a_file_that_is_no_text_is_as_missing(disk: DiskSchedules, tmp_path: Path) -> None:
    (tmp_path / "state" / "schedules" / ID).write_bytes(b"\xff")
    with pytest.raises(ScheduleFileMissingError):
        await disk.read(ID)
