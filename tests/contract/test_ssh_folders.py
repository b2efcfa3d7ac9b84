"""A job's folder of SSH, in memory and on a disk: its host key, who may log in, and nothing of either once it is over."""

import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.core.notify import NotifyTarget
from agent.interfaces import Folders, JobFolderMissingError, SecretFiles, StateFullError
from tests.contract.folders_on_disk import JOB, OTHER, RECORD, SECRETS, mounted, opened, texts_below
from tests.fakes.folders import FakeFolders
from tests.fakes.host_keys import host_key

HOST_KEY = host_key(7)
WITH_SSH = SecretFiles({}, host_key=HOST_KEY.private)


@asynccontextmanager
async def in_memory(_path: Path) -> AsyncIterator[Folders]:
    yield FakeFolders()


def on_disk(path: Path) -> AbstractAsyncContextManager[Folders]:
    return opened(path)


@pytest.fixture(params=[in_memory, on_disk])
async def folders(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Folders]:
    async with request.param(tmp_path) as made:
        yield made


async def test_a_job_with_a_host_key_has_a_folder_to_mount_and_others_have_none(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, WITH_SSH)
    await folders.claim(OTHER, RECORD, SECRETS)
    first = await folders.prepare(JOB)
    assert str(first.ssh).endswith(f"jobs/{JOB}/ssh")
    assert await folders.prepare(JOB) == first
    assert (await folders.prepare(OTHER)).ssh is None


async def test_who_may_log_in_is_kept_for_jobs_with_a_host_key_alone(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, WITH_SSH)
    await folders.claim(OTHER, RECORD, SECRETS)
    await folders.keep_authorized_keys(JOB, "one\n")
    await folders.keep_authorized_keys(JOB, "two\n")
    with pytest.raises(JobFolderMissingError):
        await folders.keep_authorized_keys(OTHER, "one\n")


async def test_once_dropped_nothing_is_kept_any_more(folders: Folders) -> None:
    await folders.claim(JOB, RECORD, replace(WITH_SSH, notify=NotifyTarget("https://a/", "hush")))
    await folders.keep_authorized_keys(JOB, "one\n")
    await folders.drop_notify_target(JOB)
    await folders.keep_authorized_keys(JOB, "two\n")
    await folders.drop_used_secrets(JOB)
    await folders.drop_used_secrets(JOB)
    with pytest.raises(JobFolderMissingError):
        await folders.keep_authorized_keys(JOB, "three\n")


# ── on a disk ──


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as made:
        yield made


async def test_any_user_of_an_image_reads_the_folder_and_only_root_gets_to_it(
    disk: DiskFolders, tmp_path: Path
) -> None:
    await disk.claim(JOB, RECORD, WITH_SSH)
    await disk.keep_authorized_keys(JOB, "one\n")
    job = tmp_path / "state" / "jobs" / JOB
    modes = {
        path: stat.S_IMODE((job / path).stat().st_mode)
        for path in (".", "ssh", "ssh/host_key", "ssh/authorized_keys")
    }
    assert modes == {".": 0o700, "ssh": 0o755, "ssh/host_key": 0o444, "ssh/authorized_keys": 0o444}
    assert (job / "ssh" / "host_key").read_bytes() == HOST_KEY.private


async def test_who_has_the_folder_open_reads_the_new_keys_in_the_same_folder(
    disk: DiskFolders, tmp_path: Path
) -> None:
    await disk.claim(JOB, RECORD, WITH_SSH)
    await disk.keep_authorized_keys(JOB, "one\n")
    folder = tmp_path / "state" / "jobs" / JOB / "ssh"
    before = folder.stat().st_ino
    old = (folder / "authorized_keys").open()
    (folder.parent / "ssh.part").write_text("left by a crash")
    await disk.keep_authorized_keys(JOB, "two\n")
    assert folder.stat().st_ino == before
    assert sorted(path.name for path in folder.iterdir()) == ["authorized_keys", "host_key"]
    assert (folder / "authorized_keys").read_text() == "two\n"
    with old:
        assert old.read() == "one\n"  # who has begun to read, reads all of what was there


@pytest.mark.parametrize(
    "rest", [SecretFiles({}), SECRETS, SecretFiles({}, notify=NotifyTarget("https://a/", "hush"))]
)
async def test_the_host_key_goes_with_the_jobs_secrets_whatever_else_there_is(
    disk: DiskFolders, tmp_path: Path, rest: SecretFiles
) -> None:
    await disk.claim(JOB, RECORD, replace(rest, host_key=HOST_KEY.private))
    assert replace(await disk.secrets(JOB), host_key=None) == rest
    await disk.keep_authorized_keys(JOB, "one\n")
    await disk.drop_used_secrets(JOB)
    assert not (tmp_path / "state" / "jobs" / JOB / "ssh").exists()
    assert HOST_KEY.private.decode() not in texts_below(tmp_path)


async def test_on_a_full_disk_the_old_keys_stay_whole(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        async with opened(tmp_path / "small") as disk:
            await disk.claim(JOB, RECORD, WITH_SSH)
            await disk.keep_authorized_keys(JOB, "one\n")
            with pytest.raises(StateFullError):
                await disk.keep_authorized_keys(JOB, "x" * 400_000)
            folder = tmp_path / "small" / "state" / "jobs" / JOB / "ssh"
            assert (folder / "authorized_keys").read_text() == "one\n"
            assert not (folder.parent / "ssh.part").exists()
            await disk.drop_used_secrets(JOB)


async def test_a_repair_reads_who_may_log_in_and_that_nobody_was_ever_named(disk: DiskFolders) -> None:
    await disk.claim(JOB, RECORD, WITH_SSH)
    assert await disk.authorized_keys(JOB) is None
    await disk.keep_authorized_keys(JOB, "one\n")
    assert await disk.authorized_keys(JOB) == "one\n"
    assert await disk.authorized_keys(OTHER) is None
