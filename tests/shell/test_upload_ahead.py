"""Small files read before their turn: each once, in few calls, and never so many that memory would notice."""

import asyncio
from collections.abc import Sequence

import pytest

from agent.interfaces import JobFolderMissingError, Offered, SecretFiles, SmallOutput
from agent.jobs.uploads.ahead import BYTES, BYTES_OF_ONE, FILES, ReadAhead
from tests.fakes.folders import FakeFolders

JOB = "0198b2c4-0000-7000-8000-000000000001"


class CountedFolders(FakeFolders):
    """Remembers what was read in each call, and gives way before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    async def read_ahead(self, job_id: str, paths: Sequence[str], most_bytes: int) -> dict[str, SmallOutput]:
        self.calls.append(list(paths))
        await asyncio.sleep(0)
        return await super().read_ahead(job_id, paths, most_bytes)


async def written(files: dict[str, bytes]) -> CountedFolders:
    folders = CountedFolders()
    await folders.claim(JOB, "{}", SecretFiles({}))
    for path, data in files.items():
        folders.outputs(JOB).write(path, data)
    return folders


def ahead_of(folders: FakeFolders, files: dict[str, bytes]) -> ReadAhead:
    return ReadAhead(folders, JOB, [Offered(path, len(data)) for path, data in files.items()])


def numbered(count: int, data: bytes = b"x") -> dict[str, bytes]:
    return {f"{number:04}": data for number in range(count)}


async def test_files_that_are_asked_for_at_once_are_read_in_one_call_and_given_to_who_asked() -> None:
    files = {f"{number}": b"%d" % number for number in range(8)}
    folders = await written(files)
    ahead = ahead_of(folders, files)
    found = await asyncio.gather(*map(ahead.take, files))
    assert [small.data for small in found if small is not None] == list(files.values())
    assert folders.calls == [list(files)]


async def test_the_next_files_are_read_with_the_first_and_each_once() -> None:
    files = numbered(2 * FILES + 1)
    folders = await written(files)
    ahead = ahead_of(folders, files)
    for path in files:
        assert await ahead.take(path) is not None
    assert [len(call) for call in folders.calls] == [FILES, FILES, 1]


async def test_a_file_that_is_asked_for_again_is_the_askers_to_read_and_holds_up_none() -> None:
    files = numbered(FILES + 1)
    folders = await written(files)
    ahead = ahead_of(folders, files)
    assert await ahead.take("0000") is not None
    assert await ahead.take("0000") is None
    for path in list(files)[1:]:
        assert await ahead.take(path) is not None
    assert len(folders.calls) == 2


@pytest.mark.parametrize("size", [BYTES_OF_ONE // 2, BYTES_OF_ONE])
async def test_no_more_bytes_are_read_ahead_than_may_wait_in_memory(size: int) -> None:
    files = numbered(20, b"x" * size)
    folders = await written(files)
    ahead = ahead_of(folders, files)
    for path in files:
        assert await ahead.take(path) is not None
    assert {len(call) for call in folders.calls[:-1]} == {BYTES // size}


async def test_a_large_file_is_not_read_ahead_and_those_behind_it_are() -> None:
    files = {"a": b"a", "large": b"x" * (BYTES_OF_ONE + 1), "z": b"z"}
    folders = await written(files)
    ahead = ahead_of(folders, files)
    found = [await ahead.take(path) for path in files]
    assert [small and small.data for small in found] == [b"a", None, b"z"]
    assert folders.calls == [["a"], ["z"]]


async def test_a_file_that_has_grown_since_it_was_listed_is_not_held() -> None:
    files = {"a": b"a"}
    folders = await written(files)
    ahead = ahead_of(folders, files)
    folders.outputs(JOB).write("a", b"x" * (BYTES_OF_ONE + 1))
    assert await ahead.take("a") is None


async def test_who_is_cancelled_while_files_are_read_leaves_the_others_theirs_to_read() -> None:
    files = numbered(3)
    folders = await written(files)
    ahead = ahead_of(folders, files)
    first, second = (asyncio.ensure_future(ahead.take(path)) for path in list(files)[:2])
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None
    assert await ahead.take("0002") is None


async def test_a_job_without_a_folder_is_told() -> None:
    with pytest.raises(JobFolderMissingError):
        await ahead_of(CountedFolders(), {"a": b"a"}).take("a")
