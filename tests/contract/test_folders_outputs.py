"""Outputs of hostile jobs: what is listed and read, and what never is."""

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, JobFolderMissingError, OutputChangedError
from agent.adapters.folders.openat2 import open_beneath
from agent.adapters.folders.streams import BLOCK_BYTES, Descriptor
from agent.interfaces import OutputLimits, OutputRefusedError
from tests.contract.folders_on_disk import (
    JOB,
    NO_SECRETS,
    OTHER,
    PLENTY,
    RECORD,
    mounted,
    opened,
    outputs,
    whole,
)

MANY = 20_000


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


@pytest.fixture
def root(folders: DiskFolders, tmp_path: Path) -> Path:
    return outputs(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that the job must not get at, with a file of the same name as one of the job's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("PRECIOUS")
    return folder


async def listed(folders: DiskFolders) -> dict[str, int]:
    return {file.path: file.size_bytes for file in (await folders.list_outputs(JOB, PLENTY)).files}


async def skipped(folders: DiskFolders) -> dict[str, str]:
    return {entry.path: entry.why for entry in (await folders.list_outputs(JOB, PLENTY)).skipped}


async def test_regular_files_are_listed_by_path_with_their_facts(folders: DiskFolders, root: Path) -> None:
    (root / "model" / "deep").mkdir(parents=True)
    (root / "model" / "deep" / "weights").write_bytes(b"x" * 1000)
    (root / "a.txt").write_text("hello")
    os.chown(root / "a.txt", 4711, 4711)
    (root / "a.txt").chmod(0o4755)  # setuid is a number like any other: nothing here is ever run
    os.utime(root / "a.txt", ns=(0, 1_700_000_000_000_000_001))
    listing = await folders.list_outputs(JOB, PLENTY)
    assert [file.path for file in listing.files] == ["a.txt", "model/deep/weights"]
    first = listing.files[0]
    assert (first.size_bytes, first.modified_ns, first.mode) == (5, 1_700_000_000_000_000_001, 0o4755)
    assert (listing.skipped, listing.truncated) == ((), None)


async def test_a_job_without_a_folder_has_no_outputs_to_list(folders: DiskFolders) -> None:
    with pytest.raises(JobFolderMissingError):
        await folders.list_outputs(OTHER, PLENTY)
    with pytest.raises(JobFolderMissingError):
        await folders.open_output(OTHER, "a")


async def test_what_is_no_plain_file_is_skipped_and_refused_at_once(
    folders: DiskFolders, root: Path, outside: Path
) -> None:
    (root / "to-folder").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "file")
    (root / "loop").symlink_to("loop")
    os.link(outside / "file", root / "hard")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(root / "block", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    os.mknod(root / "socket", 0o600 | stat.S_IFSOCK)
    expected = {
        "to-folder": "symlink",
        "to-file": "symlink",
        "loop": "symlink",
        "hard": "hard_link",
        "fifo": "fifo",
        "device": "device",
        "block": "device",
        "socket": "socket",
    }
    async with asyncio.timeout(5):
        assert (await listed(folders), await skipped(folders)) == ({}, expected)
        for path in (*expected, "to-folder/file", "missing", "../spec.json", "/etc/passwd", "."):
            with pytest.raises(OutputRefusedError):
                await folders.open_output(JOB, path)


async def test_a_file_has_one_name_whatever_links_to_its_folder_are_there(
    folders: DiskFolders, root: Path
) -> None:
    (root / "real").mkdir()
    (root / "real" / "file").write_text("x")
    (root / "link").symlink_to("real")
    assert (await listed(folders), await skipped(folders)) == ({"real/file": 1}, {"link": "symlink"})
    with pytest.raises(OutputRefusedError):
        await folders.open_output(JOB, "link/file")


async def test_a_fifo_that_is_refused_was_not_opened_either(folders: DiskFolders, root: Path) -> None:
    os.mkfifo(root / "fifo")

    def open_for_writing() -> None:
        os.close(os.open(root / "fifo", os.O_WRONLY))  # waits for a reader, however short its stay

    writer = asyncio.ensure_future(asyncio.to_thread(open_for_writing))
    await asyncio.wait({writer}, timeout=0.2)
    with pytest.raises(OutputRefusedError):
        await folders.open_output(JOB, "fifo")
    assert await skipped(folders) == {"fifo": "fifo"}
    await asyncio.wait({writer}, timeout=0.2)
    assert not writer.done()
    os.close(os.open(root / "fifo", os.O_RDONLY | os.O_NONBLOCK))
    async with asyncio.timeout(5):
        await writer


async def test_opening_a_fifo_holds_no_thread_even_if_the_look_saw_a_file(root: Path) -> None:
    os.mkfifo(root / "fifo")
    folder = os.open(root, os.O_DIRECTORY)
    opening = asyncio.ensure_future(asyncio.to_thread(open_beneath, folder, b"fifo", os.O_RDONLY))
    done, _ = await asyncio.wait({opening}, timeout=5)
    writer = os.open(root / "fifo", os.O_RDWR)  # lets go of a thread that hangs
    for descriptor in (await opening, writer, folder):
        os.close(descriptor)
    assert done


async def test_a_mount_in_the_folder_is_no_way_out(folders: DiskFolders, root: Path, outside: Path) -> None:
    with mounted(root / "mount", "--bind", str(outside)):
        assert await skipped(folders) == {"mount": "other_file_system"}
        with pytest.raises(OutputRefusedError, match="other_file_system"):
            await folders.open_output(JOB, "mount/file")


@pytest.mark.parametrize(
    "name", [b"two\nlines", b"\xff\xfe", b"100%", "größe".encode(), b"\x1b[31m", b"a b?#&+;"]
)
async def test_a_file_of_any_name_can_be_fetched_by_the_path_listed(
    folders: DiskFolders, root: Path, name: bytes
) -> None:
    (root / os.fsdecode(name)).mkdir()
    (root / os.fsdecode(name) / os.fsdecode(name)).write_bytes(name)
    (path,) = await listed(folders)
    assert path.isprintable()
    assert await whole(await folders.open_output(JOB, path)) == name


@pytest.mark.slow
async def test_many_files_are_listed_fast_and_each_cap_ends_with_a_partial_result(
    folders: DiskFolders, root: Path
) -> None:
    for number in range(MANY):
        (root / f"{number:05d}").write_bytes(b"xx")
    started = time.monotonic()
    assert len(await listed(folders)) == MANY
    assert time.monotonic() - started < 5
    by_count = await folders.list_outputs(JOB, OutputLimits(100, 1 << 40, 60))
    assert (len(by_count.files), by_count.truncated) == (100, "stopped after 100 entries")
    by_size = await folders.list_outputs(JOB, OutputLimits(MANY, 1001, 60))
    assert (len(by_size.files), by_size.truncated) == (500, "left out what goes over 1001 bytes")
    assert {entry.why for entry in by_size.skipped} == {"too_large"}
    by_time = await folders.list_outputs(JOB, OutputLimits(MANY, 1 << 40, 0))
    assert (by_time.files, by_time.truncated) == ((), "stopped after 0 s")


async def test_exactly_as_many_files_as_allowed_is_a_whole_result(folders: DiskFolders, root: Path) -> None:
    for number in range(3):
        (root / str(number)).touch()
    assert (await folders.list_outputs(JOB, OutputLimits(3, 0, 60))).truncated is None


async def test_a_bomb_of_folders_ends_at_the_count_as_well(folders: DiskFolders, root: Path) -> None:
    for number in range(50):
        (root / str(number)).mkdir()
    assert (await folders.list_outputs(JOB, OutputLimits(10, 0, 60))).truncated == "stopped after 10 entries"


async def test_what_lies_too_deep_is_skipped_and_all_that_is_listed_can_be_opened(
    folders: DiskFolders, root: Path
) -> None:
    folder = root
    for level in range(70):
        (folder / f"file{level}").write_text("x")
        folder /= "d"
        folder.mkdir()
    for name in ("long" * 60, "longer" * 40):
        (root / name / name / name / name).mkdir(parents=True)
        (root / name / name / name / name / name).touch()
    listing = await folders.list_outputs(JOB, PLENTY)
    assert {entry.why for entry in listing.skipped} == {"too_deep", "name_too_long"}
    assert len(listing.files) == 64
    for file in listing.files:
        assert await whole(await folders.open_output(JOB, file.path)) == b"x"


async def test_a_reader_gives_ranges_of_the_file_as_it_was_at_open(folders: DiskFolders, root: Path) -> None:
    data = os.urandom(3 * BLOCK_BYTES + 17)
    (root / "big").write_bytes(data)
    reader = await folders.open_output(JOB, "big")
    with (root / "big").open("ab") as file:
        file.write(b"appended later")
    assert await reader.read(BLOCK_BYTES - 5, 10) == data[BLOCK_BYTES - 5 : BLOCK_BYTES + 5]
    assert await reader.read(0, 1 << 40) == data[:BLOCK_BYTES]
    assert await reader.read(len(data), 1) == b""
    assert await reader.sha256() == hashlib.sha256(data).hexdigest()
    assert await whole(reader) == data


async def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(
    folders: DiskFolders, root: Path
) -> None:
    (root / "file").write_bytes(b"x" * 100)
    reader = await folders.open_output(JOB, "file")
    os.truncate(root / "file", 50)
    assert await reader.read(0, 50) == b"x" * 50
    for act in (reader.read(0, 100), reader.sha256()):
        with pytest.raises(OutputChangedError):
            await act
    await reader.close()


async def test_a_hash_is_never_that_of_an_earlier_text_of_the_file(folders: DiskFolders, root: Path) -> None:
    for text in (
        b"one",
        b"two",
        b"six",
    ) * 20:  # same size, same inode, within one step of the file system's clock
        (root / "file").write_bytes(text)
        reader = await folders.open_output(JOB, "file")
        assert await reader.sha256() == hashlib.sha256(text).hexdigest()
        await reader.close()


async def test_a_reader_that_nobody_waited_for_leaves_no_descriptor(folders: DiskFolders, root: Path) -> None:
    (root / "file").write_text("x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number of entries, without a list of paths
    for _ in range(50):
        opening = asyncio.ensure_future(folders.open_output(JOB, "file"))
        await asyncio.sleep(0)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
    await asyncio.gather(
        *(folders.free_bytes() for _ in range(50))
    )  # the threads are through with what was asked before
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208 - as above


def test_a_descriptor_lives_until_its_last_use_ends(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    descriptor = Descriptor(number)
    with descriptor.use():
        descriptor.close()
        os.fstat(number)
        with pytest.raises(ValueError, match="closed"), descriptor.use():
            pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    descriptor.close()
