"""The watch of a folder whose job does its worst: links, swaps and floods."""

import asyncio
import os
import resource
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.adapters.folders.watch import MOST_WATCHES, Watched, open_eye
from agent.core.globs import EVERY_OUTPUT, compile_choice
from agent.core.quiet import Noticed
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs
from tests.contract.noticing import how, inode, noticing, over_and_over, paths, until_told, watched_inodes
from tests.contract.nvml_world import until

MANY = 100_000


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
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


class Swapping:
    """A folder of the job that is a link to the outside for a moment, over and over."""

    def __init__(self, root: Path, outside: Path) -> None:
        (outside / "secret").write_text("PRECIOUS")
        (root / "folder").mkdir()
        (root / "folder" / "mine").write_text("x")
        self._outside = str(outside)
        self._folder, self._link, self._held = (str(root / name) for name in ("folder", "link", "held"))
        self.swaps = 0

    def swap(self) -> None:
        os.symlink(self._outside, self._link)  # noqa: PTH211 - as fast as can be
        os.rename(self._folder, self._held)  # noqa: PTH104 - as above
        os.rename(self._link, self._folder)  # noqa: PTH104 - as above
        os.unlink(self._folder)  # noqa: PTH108 - as above
        os.rename(self._held, self._folder)  # noqa: PTH104 - as above
        self.swaps += 1


async def test_a_folder_that_was_filled_before_it_was_watched_is_read(
    folders: DiskFolders, root: Path
) -> None:
    expected = set()
    async with noticing(folders) as seen:
        for number in range(200):
            folder = root / f"step{number}" / "deep"
            folder.mkdir(parents=True)
            (folder / "weights").write_text("x")
            expected.add(f"step{number}/deep/weights")
        await until(lambda: paths(seen) == expected)


async def test_a_folder_that_is_renamed_into_place_brings_its_files_and_goes_on_by_its_new_name(
    folders: DiskFolders, root: Path
) -> None:
    (root / "tmp" / "deep").mkdir(parents=True)
    (root / "tmp" / "deep" / "a").write_text("x")
    async with noticing(folders) as seen:
        await until(lambda: paths(seen) == {"tmp/deep/a"})
        (root / "tmp").rename(root / "checkpoint")
        await until(lambda: "checkpoint/deep/a" in paths(seen))
        assert how(seen, "checkpoint/deep/a") is Noticed.MOVED_IN
        (root / "checkpoint" / "deep" / "b").write_text("later")
        await until(lambda: "checkpoint/deep/b" in paths(seen))
        assert how(seen, "checkpoint/deep/b") is Noticed.CLOSED
    assert paths(seen) == {"tmp/deep/a", "checkpoint/deep/a", "checkpoint/deep/b"}


async def test_links_are_not_followed_and_only_plain_files_are_told(
    folders: DiskFolders, root: Path, outside: Path
) -> None:
    (outside / "there").touch()
    (root / "early").symlink_to(outside)
    async with noticing(folders) as seen:
        (root / "plain").touch()
        await until(lambda: paths(seen) == {"plain"})
        (root / "late").symlink_to(outside)
        (root / "made").symlink_to(outside)
        (root / "made").rename(root / "moved")
        (root / "file").symlink_to(outside / "there")
        os.link(outside / "there", root / "hard")
        os.mkfifo(root / "fifo.tmp")
        (root / "fifo.tmp").rename(root / "fifo")
        os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        with (root / "hard").open("w") as file:
            file.write("written through the job's name")
        for name in ("early", "late", "moved"):
            (root / name / f"through-{name}").write_text("x")
        (outside / "new").write_text("x")
        (root / "last").touch()
        await until(lambda: "last" in paths(seen))
        assert inode(outside) not in watched_inodes()
        assert inode(root) in watched_inodes()
    assert paths(seen) == {"plain", "last"}


@pytest.mark.slow
async def test_a_folder_that_is_swapped_for_a_link_is_never_watched_through_it(
    folders: DiskFolders, root: Path, outside: Path
) -> None:
    """One scan after the other, each of which puts the watches anew."""
    swapping = Swapping(root, outside)
    eye = open_eye(folders._state, Watched(JOB, PLENTY, EVERY_OUTPUT, MOST_WATCHES))
    watched, told, scans = set[int](), set[str](), 0

    def scan(seconds: float) -> None:
        nonlocal scans
        until_time = time.monotonic() + seconds
        while time.monotonic() < until_time:
            eye.scan_next()
            told.update(paths(eye.look()))
            watched.update(watched_inodes())
            scans += 1

    with over_and_over(swapping.swap):
        await asyncio.to_thread(scan, 4)
    eye.close()
    print(f"{scans} scans beside {swapping.swaps} swaps")  # noqa: T201 - figures
    assert min(scans, swapping.swaps) > 100
    assert inode(outside) not in watched
    assert {inode(root), inode(root / "folder")} <= watched
    assert not [path for path in told if "secret" in path]


@pytest.mark.slow
async def test_nothing_is_told_through_a_folder_that_is_swapped_for_a_link(
    folders: DiskFolders, root: Path, outside: Path
) -> None:
    swapping = Swapping(root, outside)
    watched, until_time = set[int](), time.monotonic() + 2
    with over_and_over(swapping.swap):
        async with noticing(folders) as seen:
            while time.monotonic() < until_time:
                (outside / "secret").write_text("PRECIOUS, and written again")
                watched |= watched_inodes()
                await asyncio.sleep(0.01)
    assert swapping.swaps > 100
    assert inode(outside) not in watched
    assert not [path for path in paths(seen) if "secret" in path]
    assert any(path.endswith("/mine") for path in paths(seen))


@pytest.mark.slow
async def test_a_flood_of_closed_files_is_told_to_its_end_and_holds_nobody_up(
    folders: DiskFolders, root: Path
) -> None:
    longest, last = 0.0, time.perf_counter()

    async def look_at_the_clock() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    flood = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        f"for number in range({MANY}):\n"
        "    with open(str(number % 5_000), 'w') as file: file.write(str(number))\n"
        "os.mknod('made-and-not-closed')\n"
    )
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with noticing(folders) as seen:
        clock = asyncio.ensure_future(look_at_the_clock())
        job = await asyncio.create_subprocess_exec(sys.executable, "-c", flood, str(root))
        assert await job.wait() == 0
        ends = {str(number % 5_000): len(str(number)) for number in range(MANY - 5_000, MANY)}
        async with asyncio.timeout(30):
            while {sighting.path: sighting.size_bytes for sighting in seen} != ends:
                await asyncio.sleep(0.05)
        clock.cancel()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began
    print(f"{MANY} events: told {len(seen)} times; loop held {longest * 1000:.0f} ms; {grown} KiB more")  # noqa: T201 - figures
    assert longest < 1
    assert grown < 64 << 10


async def test_what_is_excluded_takes_no_watch(folders: DiskFolders, root: Path) -> None:
    for name in ("cache", "runs"):
        (root / name / "deep").mkdir(parents=True)
    async with noticing(folders, compile_choice(("**",), ("cache/",))) as seen:
        (root / "first").touch()
        await until_told(seen, "first")
        (root / "late").mkdir()
        (root / "cache" / "late").mkdir()
        (root / "runs" / "cache").mkdir()
        (root / "late" / "file").touch()
        await until(lambda: paths(seen) == {"first", "late/file"})
        assert watched_inodes() == {inode(root / name) for name in (".", "runs", "runs/deep", "late")}


async def test_a_flood_of_nested_folders_ends_where_no_file_could_be_served(
    folders: DiskFolders, root: Path
) -> None:
    async with noticing(folders) as seen:
        folder = os.open(root, os.O_DIRECTORY)
        for _ in range(200):
            os.mkdir("d", dir_fd=folder)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            deeper = os.open("d", os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        os.close(folder)
        (root / "last").touch()
        await until(lambda: len(paths(seen)) == 65)
        assert len(watched_inodes()) == 64
        root.joinpath(*["d"] * 63, "new").mkdir()
        root.joinpath(*["d"] * 63, "last").touch()
        await until(lambda: len(paths(seen)) == 66)
        assert len(watched_inodes()) == 64
