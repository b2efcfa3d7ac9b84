"""Removal of folders that hostile jobs filled."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, FolderNotRemovedError
from tests.contract.folders_on_disk import (
    JOB,
    NO_SECRETS,
    OTHER,
    RECORD,
    SECRETS,
    mounted,
    names,
    opened,
    outputs,
)

DEEP = 2_000
MANY = 20_000


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


def nest(root: Path, levels: int) -> None:
    """A folder in a folder in a folder, with a file in each, deeper than any path can say."""
    folder = os.open(root, os.O_DIRECTORY)
    for _ in range(levels):
        os.close(os.open("file", os.O_CREAT, dir_fd=folder))
        os.mkdir("deeper" * 10, dir_fd=folder)
        deeper = os.open("deeper" * 10, os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)


async def test_folders_deeper_than_a_path_can_say_are_removed(folders: DiskFolders, tmp_path: Path) -> None:
    nest(outputs(tmp_path), DEEP)
    await folders.remove(JOB)
    assert names(tmp_path / "state" / "jobs") == []


@pytest.mark.slow
async def test_many_folders_with_files_are_removed(folders: DiskFolders, tmp_path: Path) -> None:
    for number in range(MANY // 20):
        folder = outputs(tmp_path) / str(number) / "sub"
        folder.mkdir(parents=True)
        for name in range(9):
            (folder / str(name)).touch()
            (folder.parent / str(name)).touch()
    await folders.remove(JOB)
    assert names(tmp_path / "state" / "jobs") == []


async def test_removal_follows_no_link_and_takes_every_kind_of_entry(
    folders: DiskFolders, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    root = outputs(tmp_path)
    (root / "to-folder").symlink_to(precious)
    (root / "to-file").symlink_to(precious / "file")
    (root / "dangling").symlink_to("nowhere")
    os.link(precious / "file", root / "hard")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (root / os.fsdecode(b"\xff\n")).mkdir()
    (root / "closed").mkdir(mode=0)
    os.mknod(root / "socket", 0o600 | stat.S_IFSOCK)
    await folders.remove(JOB)
    assert names(tmp_path / "state" / "jobs") == []
    assert (precious / "file").read_text() == "x"
    await folders.remove(JOB)


async def test_what_is_mounted_in_a_folder_is_not_emptied_but_reported(
    folders: DiskFolders, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (outputs(tmp_path) / "sub").mkdir()
    (outputs(tmp_path) / "other").write_text("")
    inner = outputs(tmp_path) / "sub" / "mount"
    inner.mkdir()
    with mounted(inner, "--bind", str(precious)):
        with pytest.raises(FolderNotRemovedError, match=r"mount.*busy"):
            await folders.remove(JOB)
        assert (precious / "file").read_text() == "x"
        assert await folders.ids() == set()
        assert await folders.sweep(set()) == []  # logged, and no reason not to start
    await folders.remove(JOB)
    assert names(tmp_path / "state" / "jobs") == []


async def test_a_folder_that_the_disk_does_not_let_go_of_keeps_no_other_and_no_start_from_being_swept(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(OTHER, RECORD, NO_SECRETS)
    with mounted(tmp_path / "state" / "jobs" / JOB, "-t", "tmpfs", "tmpfs"):
        assert await folders.sweep(set()) == [OTHER]
    await folders.remove(JOB)


async def test_what_is_no_folder_keeps_no_quota_from_being_found(
    folders: DiskFolders, tmp_path: Path
) -> None:
    (tmp_path / "state" / "jobs" / OTHER).touch()
    assert await folders.quotas.held() == set()


async def test_a_new_job_may_have_the_id_of_one_that_was_removed(folders: DiskFolders) -> None:
    await folders.remove(JOB)
    await folders.claim(JOB, RECORD, SECRETS)
    assert await folders.secrets(JOB) == SECRETS
