"""A database that is not the one of the job folders beside it: refused by all who would open it, and mended by a repair."""

from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, open_folders
from agent.adapters.sqlite import SqliteStore
from agent.aio import Threads
from agent.config import Config
from agent.daemon import DatabaseMissingError, create_token, list_tokens, revoke_token
from agent.daemon.database import begin_repair, end_repair, is_another, note_served, open_database
from agent.daemon.repair import drop_schedules, is_sound
from agent.interfaces import SecretFiles
from tests.fakes.clock import FakeClock
from tests.unit.core_values import make_job

JOB = "0190aaaa-0000-7000-8000-000000000001"


def config_of(tmp_path: Path) -> Config:
    return Config.model_validate({"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")})


async def leave_a_folder(tmp_path: Path) -> None:
    threads = Threads("test", 1)
    folders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    await folders.claim(JOB, "{}", SecretFiles({}))
    threads.close()
    folders.close()


async def make_empty(tmp_path: Path) -> None:
    store = await SqliteStore.open_store(tmp_path / "state/agent.db", FakeClock().now)
    await store.close()


async def test_no_token_is_made_where_the_database_is_gone_and_jobs_are_there(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    await leave_a_folder(tmp_path)
    with pytest.raises(DatabaseMissingError):
        await create_token(config, "mine", "alice", ["jobs:read"], None)
    with pytest.raises(DatabaseMissingError):
        await list_tokens(config)
    with pytest.raises(DatabaseMissingError):
        await revoke_token(config, "none")
    assert not (tmp_path / "state/agent.db").exists()


async def test_chutes_without_their_database_are_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / "state/chutes" / JOB).mkdir(parents=True)
    (tmp_path / "state").chmod(0o700)
    with pytest.raises(DatabaseMissingError, match="jobs, chutes or schedules"):
        await open_database(tmp_path / "state")


async def test_schedules_without_their_database_are_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / "state/schedules").mkdir(parents=True)
    (tmp_path / "state/schedules" / JOB).write_text("{}")
    (tmp_path / "state").chmod(0o700)
    with pytest.raises(DatabaseMissingError, match="jobs, chutes or schedules"):
        await open_database(tmp_path / "state")


async def test_a_repair_leaves_no_secrets_of_schedules_that_nobody_knows(tmp_path: Path) -> None:
    threads = Threads("test", 1)
    folders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    await folders.schedules.keep(JOB, '{"secrets": {"A": "tell-nobody"}}')
    await make_empty(tmp_path)
    assert not await is_sound(tmp_path / "state/agent.db", folders)
    (told,) = await drop_schedules(folders)
    assert JOB in told
    assert "make it again" in told
    assert await folders.schedules.ids() == set()
    threads.close()
    folders.close()


async def test_a_new_and_empty_database_beside_job_folders_is_refused(tmp_path: Path) -> None:
    await leave_a_folder(tmp_path)
    await make_empty(tmp_path)
    with pytest.raises(DatabaseMissingError, match="new and empty"):
        await open_database(tmp_path / "state")


async def test_a_folder_that_the_very_first_submit_left_half_made_does_not_keep_the_daemon_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    store = await open_database(tmp_path / "state")
    await note_served(store)
    await store.close()
    await leave_a_folder(tmp_path)
    store = await open_database(tmp_path / "state")
    await store.close()


async def test_tokens_may_be_made_before_the_first_start(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    await create_token(config, "mine", "alice", ["jobs:read"], None)
    store = await open_database(tmp_path / "state")
    assert await is_another(store)  # nothing of it was ever served: only folders make it so
    await store.close()
    assert [token.name for token in await list_tokens(config)] == ["mine"]


@pytest.mark.parametrize("has_folder", [True, False])
async def test_a_repair_takes_an_empty_database_for_damage_only_beside_job_folders(
    tmp_path: Path, *, has_folder: bool
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    if has_folder:
        await leave_a_folder(tmp_path)
    await make_empty(tmp_path)
    threads = Threads("test", 1)
    folders: DiskFolders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    try:
        assert await is_sound(tmp_path / "state/agent.db", folders) is not has_folder
    finally:
        threads.close()
        folders.close()


async def test_a_repair_that_is_cut_off_between_two_rows_is_begun_anew_and_nothing_is_served_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    await leave_a_folder(tmp_path)
    path = tmp_path / "state/agent.db"
    store = await SqliteStore.open_store(path, FakeClock().now)
    await begin_repair(store)
    await store.import_job(make_job({}, id="0190aaaa-0000-7000-8000-000000000002"))
    await store.close()
    with pytest.raises(DatabaseMissingError, match="repair was cut off"):
        await open_database(tmp_path / "state")
    threads = Threads("test", 1)
    folders: DiskFolders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    try:
        assert not await is_sound(path, folders)
        store = await SqliteStore.open_store(path, FakeClock().now)
        await end_repair(store)
        await store.close()
        assert await is_sound(path, folders)
    finally:
        folders.close()
        threads.close()
    await (await open_database(tmp_path / "state")).close()


async def test_what_is_served_is_no_repair_any_more(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    await make_empty(tmp_path)
    store = await open_database(tmp_path / "state")
    await begin_repair(store)  # and cut off once all is set aside
    await note_served(store)
    await store.close()
    await leave_a_folder(tmp_path)
    await (await open_database(tmp_path / "state")).close()


@pytest.mark.parametrize("is_log_left", [True, False])
async def test_a_repair_takes_a_log_without_its_database_for_damage(
    tmp_path: Path, *, is_log_left: bool
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    threads = Threads("test", 1)
    folders: DiskFolders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    if is_log_left:
        (tmp_path / "state/agent.db-wal").write_bytes(b"what was written last")
    try:
        assert await is_sound(tmp_path / "state/agent.db", folders) is not is_log_left
    finally:
        folders.close()
        threads.close()


async def test_a_scope_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(
        ValueError, match="there is no 'job:read'; there are jobs:read, jobs:write, jobs:all, exec,"
    ):
        await create_token(config, "mine", "alice", ["jobs:write", "job:read"], None)
    assert await list_tokens(config) == []
