"""Drained logs in job folders, and what a full or a read-only disk does."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.interfaces import Claimed, LogReader, SecretFiles, StateFullError, StateReadOnlyError
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, RECORD, SECRETS, mounted, names, opened


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        yield folders


def jobs(path: Path) -> list[str]:
    return names(path / "state" / "jobs")


async def test_a_log_is_there_only_once_it_was_committed(folders: DiskFolders) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS)
    writer = await folders.log_part(JOB, 1)
    await writer.write(b"one\n")
    assert await folders.open_log(JOB, 1) is None
    writer = await folders.log_part(JOB, 1)  # as after a crash: from the start again
    await writer.write(b"two\n" * 100_000)
    await writer.commit()
    reader = await folders.open_log(JOB, 1)
    assert reader is not None
    parts = [part async for part in _parts(reader)]
    await reader.close()
    assert b"".join(parts) == b"two\n" * 100_000
    assert await folders.open_log(JOB, 2) is None
    assert await folders.open_log(OTHER, 1) is None


async def _parts(reader: LogReader) -> AsyncIterator[bytes]:
    while part := await reader.read(1 << 16):
        yield part


async def test_a_committed_log_is_never_replaced(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS)
    for text in (b"the whole log", b""):  # the second drain finds the container gone
        writer = await folders.log_part(JOB, 1)
        await writer.write(text)
        await writer.commit()
        await writer.discard()
    job = tmp_path / "state" / "jobs" / JOB
    assert (job / "log.1").read_bytes() == b"the whole log"
    assert not (job / "log.1.part").exists()


async def test_a_discarded_log_leaves_nothing(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS)
    writer = await folders.log_part(JOB, 1)
    await writer.discard()
    await writer.discard()
    assert not list((tmp_path / "state" / "jobs" / JOB).glob("log*"))


async def test_a_log_that_is_a_link_is_not_followed(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, NO_SECRETS)
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "state" / "jobs" / JOB / "log.1.part").symlink_to(tmp_path / "outside")
    writer = await folders.log_part(JOB, 1)
    await writer.write(b"mine")
    await writer.commit()
    assert (tmp_path / "outside").read_text() == "precious"


async def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none"):
        async with opened(tmp_path) as folders:
            with pytest.raises(StateFullError) as caught:
                await folders.claim(JOB, RECORD, SecretFiles({"BIG": "x" * 200_000}))
            assert jobs(tmp_path) == []
            assert "x" * 1000 not in str(caught.value)
            assert await folders.claim(JOB, RECORD, SECRETS) is Claimed.MADE
            writer = await folders.log_part(JOB, 1)
            with pytest.raises(StateFullError):
                await writer.write(b"x" * 200_000)
            assert await folders.free_bytes() == 0
            await writer.discard()
            assert await folders.free_bytes() > 0


async def test_a_read_only_disk_is_said_and_heals_by_itself(tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none"):
        async with opened(tmp_path) as folders:
            _remount(tmp_path / "state", "ro")
            with pytest.raises(StateReadOnlyError):
                await folders.claim(JOB, RECORD, SECRETS)
            _remount(tmp_path / "state", "rw")
            assert await folders.claim(JOB, RECORD, SECRETS) is Claimed.MADE
            assert jobs(tmp_path) == [JOB]


def _remount(target: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(target)], check=True)
