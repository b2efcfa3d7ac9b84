"""The watch of a folder whose job does its worst: links, swaps, floods, and a host that has no watch left."""

import asyncio
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import pytest
import structlog.testing

from agent.adapters.folders import DiskFolders
from agent.adapters.folders.inotify import open_inotify
from agent.adapters.folders.watch import MOST_WATCHES, PAUSE_SECONDS, OutputWatching, Watched, open_eye
from agent.core.globs import EVERY_OUTPUT, compile_choice
from agent.core.quiet import Noticed, Sighting
from agent.interfaces import OutputLimits
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs
from tests.contract.noticing import noticing, paths, reading
from tests.contract.nvml_world import until

MANY = 100_000
KERNELS_QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


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


def watched_inodes() -> set[int]:
    """What all inotify instances of this process watch, as the kernel says."""
    inodes: set[int] = set()
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except OSError:
            continue  # closed meanwhile
        for line in lines:
            if line.startswith("inotify"):
                fields = dict(field.split(":") for field in line.split()[1:] if ":" in field)
                inodes.add(int(fields["ino"], 16))
    return inodes


def inode(path: Path) -> int:
    return path.stat().st_ino


def how(seen: list[Sighting], path: str) -> Noticed:
    """The last time that it was told."""
    return [sighting.noticed for sighting in seen if sighting.path == path][-1]


async def until_told(seen: list[Sighting], path: str) -> None:
    await until(lambda: path in paths(seen))


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


@contextmanager
def over_and_over(act: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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
    eye = open_eye(folders._state.jobs, Watched(JOB, PLENTY, EVERY_OUTPUT, MOST_WATCHES))
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


@pytest.mark.slow
async def test_what_a_slow_reader_missed_is_found_by_a_scan(folders: DiskFolders, root: Path) -> None:
    (root / "first").touch()
    (root / "before").mkdir()
    async with aclosing(folders.watch_outputs(JOB, PLENTY, EVERY_OUTPUT)) as sightings:
        assert (await anext(sightings)).path == "first"
        for number in range(KERNELS_QUEUE + 10):
            (root / str(number % 2)).write_text("x")
        (root / "before" / "lost").write_text("x")
        (root / "new").mkdir()
        (root / "new" / "lost").write_text("x")
        async with reading(sightings) as seen:
            await until(lambda: {"before/lost", "new/lost"} <= paths(seen))
            assert "first" not in paths(seen)  # the scan before knew it
            (root / "new" / "after").write_text("x")
            await until(lambda: "new/after" in paths(seen))
            assert how(seen, "new/after") is Noticed.CLOSED


def watching(folders: DiskFolders, most_watches: int = MOST_WATCHES) -> OutputWatching:
    return OutputWatching(folders._disk, most_watches, scan_seconds=0.2)


async def test_past_the_most_watches_the_rest_is_found_by_scans_and_told_once(
    folders: DiskFolders, root: Path
) -> None:
    for number in range(20):
        (root / f"folder{number}").mkdir()
    watch = watching(folders, 5).watch(folders._state.jobs, JOB, PLENTY, EVERY_OUTPUT)
    with structlog.testing.capture_logs() as said:
        async with reading(watch) as seen:
            for number in range(20):
                (root / f"folder{number}" / "file").write_text("x")
            await until(lambda: len(paths(seen)) == 20)
            assert len(watched_inodes()) == 5
            told = len(seen)
            (root / "folder7" / "other").write_text("x")
            await until(lambda: "folder7/other" in paths(seen))
            assert len(seen) <= told + 2  # once, or found and closed; and no file again
    assert [line["event"] for line in said] == ["outputs.scanned"]


async def test_a_folder_that_is_no_longer_chosen_loses_its_watch_with_the_next_scan(
    folders: DiskFolders, root: Path
) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
    watch = watching(folders, 2).watch(folders._state.jobs, JOB, PLENTY, compile_choice(("**",), ("cache*",)))
    async with reading(watch):
        await until(lambda: len(watched_inodes()) == 2)
        (lost,) = [name for name in ("a", "b") if inode(root / name) in watched_inodes()]
        (root / lost).rename(root / "cache")
        await until(lambda: inode(root / "cache") not in watched_inodes() and len(watched_inodes()) == 2)


async def test_folders_that_are_gone_leave_room_for_others(folders: DiskFolders, root: Path) -> None:
    watch = watching(folders, 3).watch(folders._state.jobs, JOB, PLENTY, EVERY_OUTPUT)
    with structlog.testing.capture_logs() as said:
        async with reading(watch) as seen:
            for number in range(9):
                (root / str(number)).mkdir()
                (root / str(number) / "file").touch()
                await until_told(seen, f"{number}/file")
                (root / str(number) / "file").unlink()
                (root / str(number)).rmdir()
    assert said == []


async def test_a_scan_comes_though_events_never_end(folders: DiskFolders, root: Path) -> None:
    (root / "unseen").mkdir()
    watch = watching(folders, 1).watch(folders._state.jobs, JOB, PLENTY, EVERY_OUTPUT)

    def make_noise() -> None:
        (root / "noise").write_text("x")

    async with reading(watch) as seen:
        with over_and_over(make_noise):
            await until(lambda: "noise" in paths(seen))
            (root / "unseen" / "file").write_text("x")
            await until(lambda: "unseen/file" in paths(seen))


async def test_where_no_inotify_is_left_files_are_found_by_scans(folders: DiskFolders, root: Path) -> None:
    taken: list[int] = []
    try:
        with suppress(OSError):  # until none is left
            while True:
                taken.append(open_inotify())
        watch = watching(folders).watch(folders._state.jobs, JOB, PLENTY, EVERY_OUTPUT)
        async with reading(watch) as seen:
            (root / "a").write_text("x")
            await until(lambda: paths(seen) == {"a"})
            (root / "a").write_text("more")
            await until(lambda: seen[-1].size_bytes == 4)
            assert {sighting.noticed for sighting in seen} == {Noticed.FOUND}
    finally:
        for number in taken:
            os.close(number)


WITH_FEW_WATCHES = """
import asyncio, sys
from pathlib import Path
from contextlib import aclosing
from agent.adapters.folders.watch import OutputWatching
from agent.core.globs import EVERY_OUTPUT
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs

async def main():
    path = Path(sys.argv[1])
    async with opened(path) as folders, asyncio.timeout(20):
        await folders.claim(JOB, RECORD, NO_SECRETS)
        root = outputs(path)
        for number in range(9):
            (root / str(number)).mkdir()
        watching = OutputWatching(folders._disk, scan_seconds=0.2)
        missing = {f"{number}/file" for number in range(9)}
        async with aclosing(watching.watch(folders._state.jobs, JOB, PLENTY, EVERY_OUTPUT)) as sightings:
            for number in range(9):
                (root / str(number) / "file").touch()
            async for sighting in sightings:
                missing.discard(sighting.path)
                if not missing:
                    break
    print("all told")

asyncio.run(main())
"""


def test_where_the_kernel_has_no_watch_left_files_are_found_by_scans(tmp_path: Path) -> None:
    """In a user namespace, whose own limit is lowered and nobody else's."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent.parent}"}
    lowered = 'echo 4 > /proc/sys/user/max_inotify_watches && exec "$@"'
    command = [
        "unshare",
        "-Ur",
        "sh",
        "-c",
        lowered,
        "sh",
        sys.executable,
        "-c",
        WITH_FEW_WATCHES,
        str(tmp_path),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "all told" in done.stdout, done.stderr
    assert "No space left on device" in done.stdout + done.stderr


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


async def test_a_watch_that_has_ended_leaves_no_descriptor(folders: DiskFolders, root: Path) -> None:
    (root / "a").touch()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number of entries, without a list of paths
    for _ in range(5):
        async with noticing(folders) as seen:
            await until_told(seen, "a")
            await asyncio.sleep(
                2 * PAUSE_SECONDS
            )  # so that it waits for events, and not for the pause to end
    begun = folders.watch_outputs(JOB, PLENTY, EVERY_OUTPUT)
    await anext(begun)
    await begun.aclose()
    opening = asyncio.ensure_future(anext(folders.watch_outputs(JOB, PLENTY, EVERY_OUTPUT)))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await folders.free_bytes()
    async with asyncio.timeout(5):
        while len(os.listdir("/proc/self/fd")) > before:  # noqa: PTH208 - as above
            await asyncio.sleep(0.01)
    assert watched_inodes() == set()


@pytest.mark.slow
async def test_where_nothing_happens_nobody_wakes(folders: DiskFolders, root: Path) -> None:
    (root / "a").touch()
    async with noticing(folders) as seen:
        await until_told(seen, "a")
        (root / "b").touch()
        await until_told(seen, "b")
        await asyncio.sleep(4 * PAUSE_SECONDS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        await asyncio.sleep(20 * PAUSE_SECONDS)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before < 10


async def test_a_watch_of_many_files_is_bounded_as_their_list_is(folders: DiskFolders, root: Path) -> None:
    for number in range(30):
        (root / str(number)).touch()
    few = OutputLimits(10, 1 << 40, 60)
    async with reading(folders.watch_outputs(JOB, few, EVERY_OUTPUT)) as seen:
        await until(lambda: len(seen) == 10)
        (root / "new").write_text("x")
        await until(lambda: "new" in paths(seen))
        assert len(seen) == 11
