"""What of a function lies in its job's folder: the payload, the place of the socket; and where its chute's files are."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.core.finish import Fault, Finish, dump_header
from agent.core.function import FaultKind, ReportStatus
from agent.interfaces import (
    ChuteFilesMissingError,
    Claimed,
    Folders,
    JobFolderMissingError,
    ResultReader,
    StoredReport,
)
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, RECORD, opened
from tests.fakes.folders import FakeFolders

VERSION = "0190b6a0-0000-7000-8000-00000000000a"
PAYLOAD = b'{"epochs":3}'


@pytest.fixture(params=["fake", "disk"])
async def folders(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Folders]:
    if request.param == "fake":
        yield FakeFolders()
        return
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as made:
        yield made


async def test_the_payload_is_kept_with_the_folder_and_the_first_one_stays(folders: Folders) -> None:
    assert await folders.claim(JOB, RECORD, NO_SECRETS, PAYLOAD) is Claimed.MADE
    assert await folders.claim(JOB, RECORD, NO_SECRETS, b'"another"') is Claimed.EXISTS
    assert await folders.payload(JOB) == PAYLOAD


async def test_a_job_that_calls_nothing_has_neither_payload_nor_place_for_a_socket(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS)
    with pytest.raises(JobFolderMissingError):
        await folders.payload(JOB)
    with pytest.raises(JobFolderMissingError):
        await folders.payload(OTHER)
    assert (await folders.prepare(JOB)).socket is None


async def test_any_user_may_enter_the_place_of_the_socket_and_nobody_the_payload(
    disk: DiskFolders, tmp_path: Path
) -> None:
    await disk.claim(JOB, RECORD, NO_SECRETS, PAYLOAD)
    place = Path(str((await disk.prepare(JOB)).socket))
    assert place == tmp_path / "state" / "jobs" / JOB / "sock"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (place, place.parent / "payload.json")]
    assert modes == [0o755, 0o600]


async def test_the_files_of_a_version_are_found_until_somebody_removes_them(
    disk: DiskFolders, tmp_path: Path
) -> None:
    files = tmp_path / "state" / "chutes" / VERSION / "files"
    files.mkdir(parents=True)
    assert await disk.chute_files(VERSION) == str(files)
    files.rmdir()
    with pytest.raises(ChuteFilesMissingError):
        await disk.chute_files(VERSION)


@pytest.mark.parametrize("version", ["", ".", "..", "../../etc", f"{VERSION}/files"])
async def test_no_other_name_than_a_versions_id_leads_anywhere(disk: DiskFolders, version: str) -> None:
    with pytest.raises(ValueError, match="not a version's id"):
        await disk.chute_files(version)


RETURNED = Finish(ReportStatus.SUCCEEDED, "a note")
RAISED = Finish(
    ReportStatus.FAILED, None, Fault(FaultKind.RAISED, "ValueError", "ünd\n", "Traceback…", 404, "d")
)


async def write(folders: Folders, finish: Finish, result: bytes, attempt: int = 1) -> None:
    part = await folders.report_part(JOB, attempt)
    await part.write(dump_header(finish) + b"\n")
    await part.write(result)
    await part.commit()


async def read_all(reader: ResultReader) -> bytes:
    data = b""
    while block := await reader.read(5):
        data += block
    await reader.close()
    return data


async def test_a_report_is_read_as_it_was_written_and_its_result_where_it_is_small(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS, PAYLOAD)
    await write(folders, RETURNED, b'{"a":\n1}')
    assert await folders.report(JOB, 1) == StoredReport(RETURNED, 8, None)
    assert await folders.report(JOB, 1, 7) == StoredReport(RETURNED, 8, None)
    assert await folders.report(JOB, 1, 8) == StoredReport(RETURNED, 8, b'{"a":\n1}')
    reader = await folders.open_result(JOB, 1)
    assert reader is not None
    assert (reader.size_bytes, await read_all(reader)) == (8, b'{"a":\n1}')


async def test_what_is_not_committed_is_no_report_and_each_attempt_has_its_own(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS, PAYLOAD)
    part = await folders.report_part(JOB, 1)
    await part.write(dump_header(RETURNED) + b"\n1")
    assert await folders.report(JOB, 1) is None
    await part.discard()
    await write(folders, RAISED, b"", attempt=2)
    assert (await folders.report(JOB, 1), await folders.report(JOB, 2, 9)) == (
        None,
        StoredReport(RAISED, 0, b""),
    )
    assert await folders.open_result(JOB, 2) is None


async def test_the_first_report_of_an_attempt_stays(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS, PAYLOAD)
    await write(folders, RETURNED, b"1")
    await write(folders, RAISED, b"")
    assert await folders.report(JOB, 1, 9) == StoredReport(RETURNED, 1, b"1")


async def test_a_report_goes_with_its_folder(folders: Folders) -> None:
    with pytest.raises(JobFolderMissingError):
        await folders.report_part(JOB, 1)
    assert (await folders.report(JOB, 1), await folders.open_result(JOB, 1)) == (None, None)


async def test_a_report_that_is_damaged_is_none(disk: DiskFolders, tmp_path: Path) -> None:
    await disk.claim(JOB, RECORD, NO_SECRETS, PAYLOAD)
    for damaged in (b"", b"{}", b"{}\n", b"[]\n1", b'{"status":"sideways","note":null,"fault":null}\n1'):
        (tmp_path / "state" / "jobs" / JOB / "report.1").write_bytes(damaged)
        assert (await disk.report(JOB, 1, 9), await disk.open_result(JOB, 1)) == (None, None)
