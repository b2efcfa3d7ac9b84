"""The doctor changes nothing: not even a database that the next start will migrate."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.sqlite import DatabaseDamagedError, DatabaseNewerError, SqliteStore, is_older
from agent.adapters.sqlite.migrate import MIGRATIONS, Migration
from agent.config import Config
from agent.daemon.doctor import database_probe
from agent.jobs.health import CheckState
from tests.fakes.clock import FakeClock


def config_of(tmp_path: Path) -> Config:
    return Config.model_validate({"state_dir": str(tmp_path)})


async def make(tmp_path: Path) -> SqliteStore:
    return await SqliteStore.open_store(tmp_path / "agent.db", FakeClock().now)


def set_version(tmp_path: Path, version: int) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def bytes_of(tmp_path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}


async def test_where_there_is_no_database_none_is_made(tmp_path: Path) -> None:
    assert (await database_probe(config_of(tmp_path))()).state is CheckState.OK
    assert bytes_of(tmp_path) == {}


async def test_a_sound_database_is_read_and_left_to_the_byte(tmp_path: Path) -> None:
    await (await make(tmp_path)).close()
    before = bytes_of(tmp_path)
    found = await database_probe(config_of(tmp_path))()
    assert (found.state, found.evidence) == (CheckState.OK, f"{tmp_path}/agent.db is sound")
    assert bytes_of(tmp_path) == before


async def test_a_database_that_a_daemon_has_open_is_read_with_what_is_still_in_its_log(
    tmp_path: Path,
) -> None:
    store = await make(tmp_path)
    await store.set_meta("mine", "1")
    assert (await database_probe(config_of(tmp_path))()).state is CheckState.OK
    assert await store.meta("mine") == "1"
    await store.close()


async def test_an_older_database_is_not_migrated(tmp_path: Path) -> None:
    await (await make(tmp_path)).close()
    before = bytes_of(tmp_path)
    next_one = Migration(MIGRATIONS[-1].number + 1, "CREATE TABLE more (x);")
    assert is_older(tmp_path / "agent.db", (*MIGRATIONS, next_one))
    assert bytes_of(tmp_path) == before


async def test_a_newer_a_strange_or_a_damaged_database_is_told(tmp_path: Path) -> None:
    probe = database_probe(config_of(tmp_path))
    await (await make(tmp_path)).close()
    set_version(tmp_path, 9999)
    with pytest.raises(DatabaseNewerError):
        await probe()
    set_version(tmp_path, 0)
    with pytest.raises(DatabaseDamagedError):
        await probe()
    (tmp_path / "agent.db").write_bytes(b"\xff" * 8192)
    with pytest.raises(DatabaseDamagedError):
        await probe()
