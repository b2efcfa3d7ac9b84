"""The walk of a hostile folder with a choice, and the caps that end it."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.adapters.folders.outputs import MEAN_PATH_CHARACTERS
from agent.core.globs import compile_choice
from agent.interfaces import OutputLimits, OutputRefusedError
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, mounted, opened, outputs, whole


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


@pytest.fixture
def root(folders: DiskFolders, tmp_path: Path) -> Path:
    return outputs(tmp_path)


async def test_a_folder_with_nothing_to_choose_from_uses_up_no_cap(folders: DiskFolders, root: Path) -> None:
    for name in ("cache", "data"):
        (root / name).mkdir()
        for number in range(50):
            (root / name / str(number)).touch()
    (root / "runs" / "1").mkdir(parents=True)
    (root / "runs" / "1" / "best.pt").touch()
    few = OutputLimits(6, 1 << 40, 60)
    for choice in (compile_choice(("runs/**",), ()), compile_choice(("**",), ("cache/", "./data/**"))):
        listing = await folders.list_outputs(JOB, few, choice)
        assert [file.path for file in listing.files] == ["runs/1/best.pt"]
        assert listing.truncated is None
    assert (await folders.list_outputs(JOB, few)).truncated == "stopped after 6 entries"


async def test_of_what_is_skipped_only_the_chosen_is_told(folders: DiskFolders, root: Path) -> None:
    for name in ("a.pt", "a.tmp"):
        (root / name).symlink_to("nowhere")
        os.mkfifo(root / f"fifo.{name}")
    (root / ("n" * 250)).mkdir()
    with mounted(root / "mount", "-t", "tmpfs", "none"):
        below = await folders.list_outputs(JOB, PLENTY, compile_choice(("runs/*.pt",), ()))
    assert below.skipped == ()
    listing = await folders.list_outputs(JOB, PLENTY, compile_choice(("*.pt",), ()))
    assert [(entry.path, entry.why) for entry in listing.skipped] == [
        ("a.pt", "symlink"),
        ("fifo.a.pt", "fifo"),
    ]


async def test_a_pattern_means_the_name_as_listed(folders: DiskFolders, root: Path) -> None:
    for name in (b"100%", b"\xff.bin", b"two\nlines"):
        (root / os.fsdecode(name)).touch()
    for glob, path in (("*%", "100%25"), ("%FF*", "%FF.bin"), ("two?lines", "two%0Alines")):
        listing = await folders.list_outputs(JOB, PLENTY, compile_choice((glob,), ()))
        assert [file.path for file in listing.files] == [path]


async def test_a_bomb_of_long_names_ends_before_memory_does(folders: DiskFolders, root: Path) -> None:
    deep = root / os.fsdecode(b"\xfe" * 250) / os.fsdecode(b"\xfe" * 250)
    deep.mkdir(parents=True)
    for number in range(200):
        (deep / (os.fsdecode(b"\xff" * 240) + str(number))).touch()
    most = 150 * MEAN_PATH_CHARACTERS
    listing = await folders.list_outputs(JOB, OutputLimits(150, 1 << 40, 60))
    assert listing.truncated == f"stopped after {most} characters of paths"
    assert most / 2 < sum(len(file.path) for file in listing.files) < most + 3_000


@pytest.mark.slow
@pytest.mark.parametrize("count", [60_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_a_bomb_of_files_ends_within_the_caps_and_says_so(
    folders: DiskFolders, root: Path, count: int
) -> None:
    for start in range(0, count, 20_000):
        (root / str(start)).mkdir()
        folder = os.open(root / str(start), os.O_DIRECTORY)
        for number in range(start, start + 20_000):
            os.mknod(str(number), dir_fd=folder)
        os.close(folder)
    began = time.monotonic()
    listing = await folders.list_outputs(JOB, OutputLimits(50_000, 1 << 40, 60))
    print(f"{count} files: the walk ended after {time.monotonic() - began:.2f} s")  # noqa: T201 - a figure to read
    assert listing.truncated == "stopped after 50000 entries"
    assert 49_000 < len(listing.files) <= 50_000
    brief = await folders.list_outputs(JOB, OutputLimits(count * 2, 1 << 40, 0.2))
    assert brief.truncated == "stopped after 0.2 s"
    assert 0 < len(brief.files) < count
    await folders.remove(JOB)


async def test_what_is_mounted_on_a_file_is_no_way_out(
    folders: DiskFolders, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("PRECIOUS")
    (root / "file").touch()
    with mounted(root / "file", "--bind", str(tmp_path / "outside")):
        listing = await folders.list_outputs(JOB, PLENTY)
        assert [(entry.path, entry.why) for entry in listing.skipped] == [("file", "other_file_system")]
        assert listing.files == ()
        for read in (folders.open_output(JOB, "file"), folders.read_small(JOB, "file", 99)):
            with pytest.raises(OutputRefusedError, match="other_file_system"):
                await read


async def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(
    folders: DiskFolders, root: Path
) -> None:
    (root / "file").write_bytes(b"x" * 100)
    reader = await folders.open_output(JOB, "file")
    (root / "file").unlink()
    assert not await reader.is_unchanged()
    assert await whole(reader) == b"x" * 100
