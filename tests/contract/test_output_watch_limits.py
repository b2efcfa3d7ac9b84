"""The watch where it has an end: a slow reader, too many folders, a host that has no watch left; and what it leaves behind."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
import structlog.testing

from agent.adapters.folders import DiskFolders
from agent.adapters.folders.inotify import open_inotify
from agent.adapters.folders.watch import MOST_WATCHES, PAUSE_SECONDS, OutputWatching
from agent.core.globs import EVERY_OUTPUT, compile_choice
from agent.core.quiet import Noticed
from agent.interfaces import OutputLimits
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs
from tests.contract.noticing import (
    how,
    inode,
    noticing,
    over_and_over,
    paths,
    reading,
    until_told,
    watched_inodes,
)
from tests.contract.nvml_world import until

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow

KERNELS_QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


@pytest.fixture
def root(folders: DiskFolders, tmp_path: Path) -> Path:
    return outputs(tmp_path)


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
    watch = watching(folders, 5).watch(folders._state, JOB, PLENTY, EVERY_OUTPUT)
    with structlog.testing.capture_logs() as said:
        async with reading(watch) as seen:
            for number in range(20):
                (root / f"folder{number}" / "file").write_text("x")
            await until(lambda: len(paths(seen)) == 20)
            assert len(watched_inodes()) == 5
            told = len(seen)
            (root / "folder7" / "other").write_text("x")
            await until(lambda: "folder7/other" in paths(seen))
            assert (
                len(seen) <= told + 4
            )  # found and closed, and one that was just being written; no file again
    assert [line["event"] for line in said] == ["outputs.scanned"]


async def test_a_folder_that_is_no_longer_chosen_loses_its_watch_with_the_next_scan(
    folders: DiskFolders, root: Path
) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
    watch = watching(folders, 2).watch(folders._state, JOB, PLENTY, compile_choice(("**",), ("cache*",)))
    async with reading(watch):
        await until(lambda: len(watched_inodes()) == 2)
        (lost,) = [name for name in ("a", "b") if inode(root / name) in watched_inodes()]
        (root / lost).rename(root / "cache")
        await until(lambda: inode(root / "cache") not in watched_inodes() and len(watched_inodes()) == 2)


async def test_folders_that_are_gone_leave_room_for_others(folders: DiskFolders, root: Path) -> None:
    watch = watching(folders, 3).watch(folders._state, JOB, PLENTY, EVERY_OUTPUT)
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
    watch = watching(folders, 1).watch(folders._state, JOB, PLENTY, EVERY_OUTPUT)

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
        watch = watching(folders).watch(folders._state, JOB, PLENTY, EVERY_OUTPUT)
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
        async with aclosing(watching.watch(folders._state, JOB, PLENTY, EVERY_OUTPUT)) as sightings:
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
        assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before < 20


async def test_a_watch_of_many_files_is_bounded_as_their_list_is(folders: DiskFolders, root: Path) -> None:
    for number in range(30):
        (root / str(number)).touch()
    few = OutputLimits(10, 1 << 40, 60)
    async with reading(folders.watch_outputs(JOB, few, EVERY_OUTPUT)) as seen:
        await until(lambda: len(seen) == 10)
        (root / "new").write_text("x")
        await until(lambda: "new" in paths(seen))
        assert len(seen) == 11
