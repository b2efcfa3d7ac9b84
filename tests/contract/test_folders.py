"""Job folders on a real disk: the state folder, claim, secrets, sweep, logs, and what a full disk does."""

import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.folders import (
    AgentIdUnreadableError,
    DiskFolders,
    FoundRecord,
    JobFolderMissingError,
    StateInUseError,
    StateUnsafeError,
)
from agent.core.notify import NotifyTarget
from agent.interfaces import Claimed, Folders, SecretFiles
from agent.interfaces.folders import StateReadOnlyError
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
    texts_below,
)


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        yield folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def jobs(path: Path) -> list[str]:
    return names(path / "state" / "jobs")


async def test_the_disk_is_one_implementation_of_the_port(folders: DiskFolders) -> None:
    port: Folders = folders
    assert await port.free_bytes() > 0


async def test_a_second_daemon_on_the_state_folder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StateInUseError, match=f"process {os.getpid()}"):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):
        pass


async def test_the_agent_id_outlives_the_daemon(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        first = folders.agent_id
    async with opened(tmp_path) as folders:
        assert folders.agent_id == first


async def test_a_damaged_agent_id_is_an_error_and_not_a_new_id(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "state" / "agent-id").write_text("")
    with pytest.raises(AgentIdUnreadableError):
        async with opened(tmp_path):
            pass


async def test_the_state_folder_is_private_and_so_is_what_the_runtime_folder_has_of_jobs(
    folders: DiskFolders, tmp_path: Path
) -> None:
    assert mode(tmp_path / "state") == 0o700
    assert mode(tmp_path / "state" / "jobs") == 0o700
    assert mode(tmp_path / "run" / "jobs") == 0o700


@pytest.mark.parametrize("name", ["state", "run"])
async def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(0o770)
    with pytest.raises(StateUnsafeError, match="0770"):
        async with opened(tmp_path):
            pass
    (tmp_path / name).chmod(0o700)
    async with opened(tmp_path):  # the failure left no lock behind
        pass


async def test_a_runtime_folder_on_a_read_only_disk_is_named_and_not_the_state_folder(tmp_path: Path) -> None:
    is_named = pytest.raises(StateReadOnlyError, match=f"the file system of {tmp_path}/run is read-only")
    with mounted(tmp_path / "run", "-t", "tmpfs", "-o", "ro,mode=755", "none"), is_named:
        async with opened(tmp_path):
            pass
    async with opened(tmp_path):  # the failure left no lock behind
        pass


async def test_a_state_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, 12345)
    with pytest.raises(StateUnsafeError, match="12345"):
        async with opened(tmp_path):
            pass


@pytest.mark.parametrize("name", ["state", "run"])
async def test_a_linked_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateUnsafeError, match="link"):
        async with opened(tmp_path):
            pass
    assert names(tmp_path / "elsewhere") == []


async def test_a_claim_makes_a_private_folder_with_record_secrets_and_outputs(
    folders: DiskFolders, tmp_path: Path
) -> None:
    assert await folders.claim(JOB, RECORD, SECRETS) is Claimed.MADE
    job = tmp_path / "state" / "jobs" / JOB
    assert (job / "spec.json").read_text() == RECORD
    assert [mode(job), mode(job / "secrets"), mode(job / "secrets" / "env" / "TOKEN")] == [
        0o700,
        0o700,
        0o600,
    ]
    assert mode(job / "outputs") == 0o1777
    assert await folders.secrets(JOB) == SECRETS


async def test_a_second_claim_leaves_the_first_ones_secrets_and_nothing_of_its_own(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    assert await folders.claim(JOB, '{"other": 1}', SecretFiles({"TOKEN": "stolen"})) is Claimed.EXISTS
    assert await folders.secrets(JOB) == SECRETS
    assert jobs(tmp_path) == [JOB]
    assert "stolen" not in texts_below(tmp_path)


@pytest.mark.parametrize("job_id", ["../evil", "", ".", JOB.upper() + "x", f"{JOB}/..", f"{JOB}.00"])
async def test_no_other_name_than_a_uuid_gets_a_folder(folders: DiskFolders, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a job id"):
        await folders.claim(job_id, RECORD, NO_SECRETS)
    with pytest.raises(ValueError, match="not a job id"):
        await folders.remove(job_id)


@pytest.mark.parametrize("name", ["../../spec.json", "", "..", "a/b", "nul\0"])
async def test_a_secrets_name_is_no_way_out_of_the_folder(
    folders: DiskFolders, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="not a file name"):
        await folders.claim(JOB, RECORD, SecretFiles({name: "x"}))
    assert jobs(tmp_path) == []


async def test_prepare_shows_any_user_of_the_container_the_secrets_and_not_the_registrys(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    prepared = await folders.prepare(JOB)
    mount = tmp_path / "run" / "jobs" / JOB / "secrets"
    assert (prepared.outputs, prepared.secrets) == (str(outputs(tmp_path)), str(mount))
    assert {file.name: file.read_text() for file in mount.iterdir()} == SECRETS.values
    assert {mode(file) for file in mount.iterdir()} == {0o444}
    assert [mode(mount), mode(mount.parent), mode(mount.parent.parent)] == [0o755, 0o700, 0o700]


async def test_prepare_again_keeps_what_a_running_container_has_mounted(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    prepared = await folders.prepare(JOB)
    mount = Path(str(prepared.secrets))
    inodes = {path: path.stat().st_ino for path in (mount, mount / "TOKEN")}
    (mount / "KEY").unlink()
    outputs(tmp_path).chmod(0)  # root in the container may do that to its mount
    assert await folders.prepare(JOB) == prepared
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert (mount / "KEY").read_text() == "s3cret-two"
    assert mode(outputs(tmp_path)) == 0o1777


async def test_a_job_without_secrets_gets_no_mount_for_them(folders: DiskFolders) -> None:
    await folders.claim(JOB, RECORD, SecretFiles({}, SECRETS.registry))
    assert (await folders.prepare(JOB)).secrets is None


async def test_dropped_secrets_are_nowhere_and_dropping_them_again_is_fine(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    await folders.prepare(JOB)
    for _ in range(2):
        await folders.drop_secrets(JOB)
    await folders.drop_secrets(OTHER)
    assert "s3cret" not in texts_below(tmp_path)
    assert outputs(tmp_path).is_dir()
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)


WITH_TARGET = replace(SECRETS, notify=NotifyTarget("https://a.example/?k=s3cret-four", "s3cret-five"))


async def test_where_to_notify_outlives_the_jobs_own_secrets(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, WITH_TARGET)
    await folders.prepare(JOB)
    assert await folders.secrets(JOB) == WITH_TARGET
    assert mode(tmp_path / "state" / "jobs" / JOB / "secrets" / "notify.json") == 0o600
    assert "s3cret-f" not in texts_below(tmp_path / "run")
    for _ in range(2):
        await folders.drop_used_secrets(JOB)
    assert await folders.notify_target(JOB) == WITH_TARGET.notify
    assert not any(f"s3cret-{one}" in texts_below(tmp_path) for one in ("one", "two", "three"))
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)
    for _ in range(2):
        await folders.drop_notify_target(JOB)
    assert await folders.notify_target(JOB) is None
    assert "s3cret" not in texts_below(tmp_path)
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)


async def test_where_to_notify_may_go_first(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, WITH_TARGET)
    await folders.drop_notify_target(JOB)
    assert await folders.secrets(JOB) == SECRETS
    await folders.drop_used_secrets(JOB)
    assert "s3cret" not in texts_below(tmp_path)
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)


async def test_a_job_may_have_no_other_secret_than_where_to_notify(folders: DiskFolders) -> None:
    only = SecretFiles({}, notify=WITH_TARGET.notify)
    await folders.claim(JOB, RECORD, only)
    assert await folders.secrets(JOB) == only
    assert (await folders.prepare(JOB)).secrets is None
    await folders.drop_notify_target(JOB)
    assert await folders.secrets(JOB) == NO_SECRETS


async def test_a_job_without_notifications_has_no_target(folders: DiskFolders) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    for job_id in (JOB, OTHER):
        assert await folders.notify_target(job_id) is None
        await folders.drop_notify_target(job_id)
    assert await folders.secrets(JOB) == SECRETS
    for job_id in (JOB, OTHER):
        await folders.drop_used_secrets(job_id)
    with pytest.raises(JobFolderMissingError):
        await folders.secrets(JOB)


async def test_a_missing_folder_is_a_clear_error(folders: DiskFolders) -> None:
    with pytest.raises(JobFolderMissingError):
        await folders.prepare(JOB)
    with pytest.raises(JobFolderMissingError):
        await folders.log_part(JOB, 1)


async def test_a_sweep_removes_leftovers_and_unknown_jobs_and_nothing_else(
    folders: DiskFolders, tmp_path: Path
) -> None:
    for job_id in (JOB, OTHER):
        await folders.claim(job_id, RECORD, SECRETS)
        await folders.prepare(job_id)
    half = tmp_path / "state" / "jobs" / f"{JOB}.0123abcd"
    (half / "secrets").mkdir(parents=True)
    (tmp_path / "state" / "jobs" / f"{OTHER}.removed").mkdir()
    (tmp_path / "state" / "jobs" / "lost+found").mkdir()
    removed = await folders.sweep({JOB})
    assert removed == [half.name, OTHER, f"{OTHER}.removed"]
    assert jobs(tmp_path) == [JOB, "lost+found"]
    assert names(tmp_path / "run" / "jobs") == [JOB]
    assert await folders.secrets(JOB) == SECRETS
    assert await folders.ids() == {JOB}


async def test_a_sweep_removes_secrets_laid_out_for_a_job_that_has_no_folder_any_more(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    await folders.prepare(JOB)
    (tmp_path / "state" / "jobs" / JOB).rename(tmp_path / "elsewhere")
    assert await folders.sweep(set()) == []
    assert names(tmp_path / "run" / "jobs") == []


async def test_a_folder_set_aside_is_whole_and_no_job_any_more(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(JOB, RECORD, SECRETS)
    first = await folders.set_aside(JOB)
    assert await folders.set_aside(JOB) is None
    await folders.claim(JOB, '{"second": 2}', SECRETS)
    second = await folders.set_aside(JOB)
    assert first == str(tmp_path / "state" / "aside" / JOB)
    assert [(Path(str(path)) / "spec.json").read_text() for path in (first, second)] == [
        RECORD,
        '{"second": 2}',
    ]
    assert await folders.ids() == set()


async def test_records_are_read_back_for_a_repair_also_past_a_damaged_one(
    folders: DiskFolders, tmp_path: Path
) -> None:
    for job_id in (JOB, OTHER):
        await folders.claim(job_id, RECORD, SECRETS)
    (tmp_path / "state" / "jobs" / OTHER / "spec.json").write_bytes(b'{"own')
    found = [record async for record in folders.records()]
    assert found == [FoundRecord(JOB, json.loads(RECORD)), FoundRecord(OTHER, None)]
