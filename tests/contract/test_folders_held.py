"""What a job's outputs hold of the disk: allocated bytes, each once, and only its own, whatever it makes of its folder."""

import os
import stat
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.disk_use import held_below, space
from agent.adapters.folders import DiskFolders
from agent.core.disk_space import CountLimits, Held
from agent.interfaces import JobFolderMissingError
from tests.contract import job_folder
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, RECORD, mounted, opened, outputs
from tests.loops import needs_loops

KIB, MIB = 1 << 10, 1 << 20
PLENTY = CountLimits(entries=1_000_000, seconds=60, fresh_since=0)
A_FOLDER = 4 * KIB


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


@pytest.fixture
def root(folders: DiskFolders, tmp_path: Path) -> Path:
    return outputs(tmp_path)


@pytest.mark.parametrize("world", [job_folder.fake, job_folder.real])
async def test_what_a_job_writes_is_held_until_it_is_removed(
    world: job_folder.OpenWorld, tmp_path: Path
) -> None:
    async with world(tmp_path) as (folders, job):
        assert await folders.held(JOB, PLENTY) == Held()
        job.write("one", bytes(3 * MIB))
        job.write("two", b"x")
        held = await folders.held(JOB, PLENTY)
        assert (held.entries, held.files, held.is_whole) == (2, 2, True)
        assert 3 * MIB + 4 * KIB <= held.bytes < 4 * MIB, (
            "a file in pieces has a block that says where they are"
        )
        cut_short = await folders.held(JOB, replace(PLENTY, entries=1))
        assert (cut_short.entries, cut_short.files, cut_short.is_whole) == (1, 1, False)
        job.unlink("one")
        assert 4 * KIB <= (await folders.held(JOB, PLENTY)).bytes < MIB
        with pytest.raises(JobFolderMissingError):
            await folders.held(OTHER, PLENTY)
        space, free = await folders.space(), await folders.free_bytes()
        assert free > 0
        assert space.free_bytes == pytest.approx(free, rel=0.05)  # others write to this disk, too


async def test_a_sparse_file_holds_what_is_allocated_and_not_its_length(
    folders: DiskFolders, root: Path
) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(bytes(MIB))
    assert MIB <= (await folders.held(JOB, PLENTY)).bytes < 2 * MIB


def take_room(file: Path, mebibytes: int) -> None:
    """Beyond its end: its length says nothing of it."""
    file.touch()
    subprocess.run(["fallocate", "--keep-size", "-l", f"{mebibytes}M", str(file)], check=True)


async def test_what_is_allocated_and_not_written_is_held(folders: DiskFolders, root: Path) -> None:
    take_room(root / "taken", 96)
    assert 96 * MIB <= (await folders.held(JOB, PLENTY)).bytes < 97 * MIB


async def test_hard_links_are_counted_once(folders: DiskFolders, root: Path) -> None:
    (root / "file").write_bytes(bytes(MIB))
    (root / "folder").mkdir()
    for number in range(10):
        os.link(root / "file", root / "folder" / str(number))
    held = await folders.held(JOB, PLENTY)
    assert MIB <= held.bytes < 2 * MIB
    assert (held.entries, held.files, held.fresh_files) == (12, 2, 2)


async def test_nothing_outside_is_counted_and_nothing_is_opened(
    folders: DiskFolders, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(bytes(8 * MIB))
    (root / "to-folder").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "file")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(root / "block", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    (root / "locked").mkdir(mode=0)
    began = time.monotonic()
    held = await folders.held(JOB, PLENTY)
    assert time.monotonic() - began < 2
    assert held.is_whole
    assert held.bytes <= 3 * A_FOLDER, "the folder, and two links with long targets"


async def test_another_file_system_that_is_mounted_there_is_not_counted(
    folders: DiskFolders, root: Path
) -> None:
    with mounted(root / "mount", "-t", "tmpfs", "none"):
        (root / "mount" / "file").write_bytes(bytes(8 * MIB))
        held = await folders.held(JOB, PLENTY)
        assert held.bytes < MIB
        assert held.is_whole


async def test_what_lies_deeper_than_any_path_reaches_is_counted(folders: DiskFolders, root: Path) -> None:
    """The kernel takes paths of 4096 bytes; who changes into each folder makes longer ones."""
    depth, name = 200, "d" * 200
    number = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=number)
        below = os.open(name, os.O_RDONLY, dir_fd=number)
        os.close(number)
        number = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=number)
    os.write(file, bytes(MIB))
    os.close(file)
    os.close(number)
    held = await folders.held(JOB, PLENTY)
    assert (held.entries, held.is_whole) == (depth + 1, True)
    assert MIB + depth * A_FOLDER <= held.bytes < 2 * MIB + depth * A_FOLDER


async def test_a_bomb_of_files_ends_at_its_entries_or_at_its_time_and_says_so(
    folders: DiskFolders, root: Path
) -> None:
    for folder in range(20):
        (root / str(folder)).mkdir()
        for file in range(250):
            (root / str(folder) / str(file)).touch()
    held = await folders.held(JOB, replace(PLENTY, entries=1000))
    assert (held.entries, held.is_whole) == (1000, False)
    out_of_time = await folders.held(JOB, replace(PLENTY, seconds=0))
    assert not out_of_time.is_whole
    assert (await folders.held(JOB, PLENTY)).entries == 20 * 251


async def test_only_what_changed_since_is_fresh(folders: DiskFolders, root: Path) -> None:
    (root / "old").write_bytes(bytes(8 * MIB))
    time.sleep(0.05)  # noqa: ASYNC251 - the kernel's own clock of stamps has to go on
    since = time.time()
    time.sleep(0.05)  # noqa: ASYNC251 - as above
    (root / "new").write_bytes(bytes(MIB))
    held = await folders.held(JOB, replace(PLENTY, fresh_since=since))
    assert MIB <= held.fresh_bytes < 2 * MIB
    assert 9 * MIB <= held.bytes < 10 * MIB
    assert (held.files, held.fresh_files) == (2, 1)


def now_and_later() -> float:
    """A moment that everything until now is older than, and everything from now on younger."""
    time.sleep(0.05)  # the kernel's own clock of stamps has to go on
    since = time.time()
    time.sleep(0.05)
    return since


def fill(folder: Path, files: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        (folder / f"{number}").touch()


def count(root: Path, entries: int, since: float) -> Held:
    number = os.open(root, os.O_RDONLY)
    try:
        return held_below(number, CountLimits(entries, 60, since))
    finally:
        os.close(number)


@pytest.mark.parametrize("hot", range(0, 40, 8))
def test_what_is_new_is_seen_wherever_it_is_though_the_rest_is_beyond_reach(tmp_path: Path, hot: int) -> None:
    for number in range(40):
        fill(tmp_path / f"{number}", 50)
    since = now_and_later()
    for number in range(100):
        (tmp_path / f"{hot}" / f"new-{number}").touch()
    held = count(tmp_path, 400, since)
    assert (held.fresh_files, held.is_whole, held.is_fresh_whole) == (101, False, True), "with its folder"


def test_a_large_folder_in_which_something_was_made_is_told_to_be_seen_in_part(tmp_path: Path) -> None:
    fill(tmp_path / "large", 2000)
    since = now_and_later()
    assert count(tmp_path, 400, since).is_fresh_whole
    for number in range(1000):
        (tmp_path / "large" / f"new-{number}").touch()
    held = count(tmp_path, 400, since)
    assert (held.files, held.is_whole, held.is_fresh_whole) == (400, False, False)
    assert not count(tmp_path, 1, since).is_fresh_whole, "it has not even begun with it"
    assert count(tmp_path, 4000, since).is_fresh_whole


def test_the_space_of_a_disk_says_how_many_files_may_still_be_made(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1M,nr_inodes=100", "none"):
        number = os.open(tmp_path / "disk", os.O_RDONLY)
        before = space(number)
        fill(tmp_path / "disk", 30)
        after = space(number)
        os.close(number)
    assert before.free_files is not None
    assert after.free_files == before.free_files - 30
    assert after.used_files == before.used_files + 30
    assert after.used_files + after.free_files == 100


def test_a_file_system_that_counts_no_inodes_has_as_many_as_its_bytes_are_good_for() -> None:
    number = os.open("/proc", os.O_RDONLY)
    assert space(number).free_files is None
    assert space(number).used_files == 0
    os.close(number)


async def test_a_folder_that_is_swapped_for_a_link_all_the_time_leads_nowhere(
    folders: DiskFolders, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(bytes(8 * MIB))
    (root / "folder").mkdir()
    (root / "link").symlink_to(outside)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for one, other in [
                ("folder", "kept"),
                ("link", "folder"),
                ("folder", "link"),
                ("kept", "folder"),
            ]:
                with suppress(OSError):
                    (root / one).rename(root / other)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(200):
            assert (await folders.held(JOB, PLENTY)).bytes < MIB
    finally:
        is_over.set()
        swapping.join()


@needs_loops
async def test_a_job_with_a_quota_holds_nothing_of_the_disk(folders: DiskFolders) -> None:
    assert await folders.quotas.reserve(JOB, 16 * MIB) is None
    assert await folders.held(JOB, PLENTY) == Held()
    await folders.quotas.release(JOB)


def test_counting_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "gone").mkdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names alone
    root = os.open(tmp_path, os.O_RDONLY)
    for limits in (PLENTY, replace(PLENTY, entries=1), replace(PLENTY, seconds=0)):
        held_below(root, limits)
    os.close(root)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the names alone
