"""Reading outputs for who sends them: what holds in memory and on disk alike, and what only a disk can do."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.adapters.folders.outputs import open_output
from agent.adapters.folders.streams import BLOCK_BYTES, read_small
from agent.core.globs import compile_choice
from agent.interfaces import (
    JobFolderMissingError,
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputRefusedError,
    SmallOutput,
)
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, PLENTY, RECORD, opened, outputs
from tests.contract.job_folder import Job, OpenWorld, World, fake, real


@pytest.fixture(params=[fake, real], ids=["fake", "disk"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    open_world: OpenWorld = request.param
    async with open_world(tmp_path) as world:
        yield world


async def test_what_was_written_is_listed_and_read(world: World) -> None:
    folders, job = world
    job.write("b/deep", b"second")
    job.write("a", b"one")
    listing = await folders.list_outputs(JOB, PLENTY)
    assert [(file.path, file.size_bytes) for file in listing.files] == [("a", 3), ("b/deep", 6)]
    assert (listing.skipped, listing.truncated) == ((), None)
    reader = await folders.open_output(JOB, "b/deep")
    assert reader.file == listing.files[1]
    assert (await reader.read(1, 3), await reader.read(0, 99), await reader.read(6, 1)) == (
        b"eco",
        b"second",
        b"",
    )
    assert await reader.sha256() == hashlib.sha256(b"second").hexdigest()
    await reader.close()


async def test_caps_of_count_and_size_are_told(world: World) -> None:
    folders, job = world
    for name in "abc":
        job.write(name, b"xx")
    by_count = await folders.list_outputs(JOB, OutputLimits(2, 100, 60))
    assert (len(by_count.files), by_count.truncated) == (2, "stopped after 2 entries")
    by_size = await folders.list_outputs(JOB, OutputLimits(9, 5, 60))
    assert (len(by_size.files), by_size.truncated) == (2, "left out what goes over 5 bytes")
    assert [entry.why for entry in by_size.skipped] == ["too_large"]


async def test_only_what_is_chosen_is_listed_and_counts(world: World) -> None:
    folders, job = world
    for name in ("a.pt", "a.tmp", "cache/a.pt", "deep/er/a.pt", "deep/er/a.txt"):
        job.write(name, b"xx")
    choice = compile_choice(("*.pt",), ("cache/",))
    listing = await folders.list_outputs(JOB, OutputLimits(99, 4, 60), choice)
    assert [file.path for file in listing.files] == ["a.pt", "deep/er/a.pt"]
    assert (listing.skipped, listing.truncated) == ((), None)


async def test_a_job_without_a_folder_is_told_in_every_way_of_reading(world: World) -> None:
    folders, _ = world
    for act in (
        folders.list_outputs(OTHER, PLENTY),
        folders.open_output(OTHER, "a"),
        folders.read_small(OTHER, "a", 9),
        folders.read_ahead(OTHER, ["a"], 9),
    ):
        with pytest.raises(JobFolderMissingError):
            await act


async def test_a_file_that_is_not_there_is_refused_in_every_way_of_reading(world: World) -> None:
    folders, job = world
    job.write("a", b"x")
    job.unlink("a")
    with pytest.raises(OutputRefusedError):
        await folders.open_output(JOB, "a")
    with pytest.raises(OutputRefusedError):
        await folders.read_small(JOB, "a", 9)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * BLOCK_BYTES])
async def test_a_small_file_comes_whole_with_its_digest_and_its_facts(world: World, data: bytes) -> None:
    folders, job = world
    job.write("a", data)
    (file,) = (await folders.list_outputs(JOB, PLENTY)).files
    small = await folders.read_small(JOB, "a", BLOCK_BYTES)
    assert small == SmallOutput(file, data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(("size", "most"), [(6, 5), (1, 0), (BLOCK_BYTES + 1, 1 << 40)])
async def test_of_a_larger_file_only_the_facts_come(world: World, size: int, most: int) -> None:
    folders, job = world
    job.write("a", b"x" * size)
    (file,) = (await folders.list_outputs(JOB, PLENTY)).files
    assert await folders.read_small(JOB, "a", most) == file


async def test_of_many_files_the_small_ones_come_as_each_would_alone_and_others_are_passed_over(
    world: World,
) -> None:
    folders, job = world
    for name, data in {"a": b"one", "b": b"", "d/e": b"deep", "large": b"x" * 10}.items():
        job.write(name, data)
    found = await folders.read_ahead(JOB, ["a", "b", "gone", "large", "../a", "d/e"], 9)
    assert found == {path: await folders.read_small(JOB, path, 9) for path in ("a", "b", "d/e")}


async def test_a_small_file_is_not_shown_where_the_object_is(world: World) -> None:
    folders, job = world
    job.write("a", b"PRECIOUS")
    assert "PRECIOUS" not in repr(await folders.read_small(JOB, "a", 99))


async def test_blocks_and_the_digest_they_were_read_with_are_of_the_same_bytes(world: World) -> None:
    folders, job = world
    data = os.urandom(2 * BLOCK_BYTES + 17)
    job.write("big", data)
    reader = await folders.open_output(JOB, "big")
    job.append("big", b"appended later")
    digest, got = hashlib.sha256(), b""
    while block := await reader.read_hashing(digest, len(got), 1 << 40):
        assert len(block) <= BLOCK_BYTES
        got += block
    assert got == data
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    await reader.close()


async def test_a_file_cut_short_is_an_error_and_no_short_block(world: World) -> None:
    folders, job = world
    job.write("a", b"x" * 100)
    reader = await folders.open_output(JOB, "a")
    job.truncate("a", 50)
    assert await reader.read_hashing(hashlib.sha256(), 0, 50) == b"x" * 50
    for act in (reader.read(0, 100), reader.read_hashing(hashlib.sha256(), 0, 100), reader.sha256()):
        with pytest.raises(OutputChangedError):
            await act
    await reader.close()


CHANGES: dict[str, Callable[[Job], object]] = {
    "grown": lambda job: job.append("a", b"more"),
    "cut": lambda job: job.truncate("a", 1),
    "written anew, as long": lambda job: job.write("a", b"HELLO"),
    "renamed": lambda job: job.rename("a", "b"),
    "gone": lambda job: job.unlink("a"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changed_after_it_was_opened_is_known_to_have(world: World, change: str) -> None:
    folders, job = world
    job.write("a", b"hello")
    await rest()
    reader = await folders.open_output(JOB, "a")
    assert await reader.is_unchanged()
    await reader.read_hashing(hashlib.sha256(), 0, 5)
    job.write("other", b"no change of this one")
    assert await reader.is_unchanged()
    CHANGES[change](job)
    assert not await reader.is_unchanged()
    await reader.close()


async def rest() -> None:
    """Until the file system's clock, which moves in steps on older kernels, has moved: only then a change shows."""
    await asyncio.sleep(0.02)


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


async def test_a_stamp_that_was_set_back_hides_no_change(folders: DiskFolders, tmp_path: Path) -> None:
    path = outputs(tmp_path) / "a"
    path.write_bytes(b"hello")
    os.utime(path, ns=(1, 1))
    await rest()
    reader = await folders.open_output(JOB, "a")
    path.write_bytes(b"HELLO")
    os.utime(path, ns=(1, 1))
    assert not await reader.is_unchanged()
    await reader.close()


async def test_what_is_no_plain_file_is_not_read_whole_either(folders: DiskFolders, tmp_path: Path) -> None:
    root, outside = outputs(tmp_path), tmp_path / "outside"
    outside.write_text("PRECIOUS")
    (root / "link").symlink_to(outside)
    os.link(outside, root / "hard")
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    async with asyncio.timeout(5):
        for path in (
            "link",
            "hard",
            "fifo",
            "folder",
            "folder/missing",
            "../spec.json",
            str(outside),
            ".",
            "",
        ):
            with pytest.raises(OutputRefusedError):
                await folders.read_small(JOB, path, BLOCK_BYTES)


async def test_a_small_file_that_changes_between_its_open_and_its_end_is_an_error(
    folders: DiskFolders, tmp_path: Path
) -> None:
    path = outputs(tmp_path) / "a"
    for change in (lambda: path.write_bytes(b"HELLO"), lambda: os.truncate(path, 2), path.unlink):
        path.write_bytes(b"hello")
        await rest()
        just_opened = open_output(folders._state, JOB, "a")
        change()
        with pytest.raises(OutputChangedError):
            read_small(just_opened, BLOCK_BYTES)


async def test_no_way_through_a_small_file_leaves_a_descriptor(folders: DiskFolders, tmp_path: Path) -> None:
    path = outputs(tmp_path) / "a"
    path.write_bytes(b"hello")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number of entries, without a list of paths
    for most in (9, 1):
        assert isinstance(await folders.read_small(JOB, "a", most), SmallOutput | OutputFile)
    opened_before = open_output(folders._state, JOB, "a")
    os.truncate(path, 2)
    with pytest.raises(OutputChangedError):
        read_small(opened_before, BLOCK_BYTES)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
