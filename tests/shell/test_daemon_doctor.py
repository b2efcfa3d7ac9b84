"""The doctor changes nothing: not even a database that the next start will migrate."""

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from agent.adapters.linux import read_dns_servers, read_fs_type
from agent.adapters.sqlite import DatabaseDamagedError, DatabaseNewerError, SqliteStore, is_older
from agent.adapters.sqlite.migrate import MIGRATIONS, Migration
from agent.config import Config
from agent.daemon import doctor
from agent.daemon.doctor import database_probe, examine, runtime_probe, tls_probe
from agent.jobs.health import Check, CheckState
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


# The checks that the daemon's own health has not. The host's and the engine's are tests/shell/test_api_host.py's.


async def check(config: Config, name: str) -> Check:
    (found,) = [check for check in await examine(config) if check.name == name]
    return found


def config_in(tmp_path: Path, **sections: object) -> Config:
    engine = {"socket": f"unix://{tmp_path}/no-docker.sock"}
    return Config.model_validate({"state_dir": str(tmp_path / "state"), "engine": engine, **sections})


async def test_a_state_folder_that_is_not_there_yet_is_told_and_not_made(tmp_path: Path) -> None:
    found = await check(config_in(tmp_path), "state_folder")
    assert (found.state, found.evidence) == (CheckState.WARN, f"{tmp_path}/state is not there yet")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("mode", "state"), [(0o700, "ok"), (0o750, "fail"), (0o701, "fail"), (0o777, "fail")]
)
async def test_a_state_folder_that_others_can_enter_fails(tmp_path: Path, mode: int, state: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    found = await check(config_in(tmp_path), "state_folder")
    assert found.state.value == state
    assert f"{mode:o}" in found.evidence
    assert ("chmod 0700" in found.remedy) == (state == "fail")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
async def test_a_state_folder_of_another_user_fails(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 12345, -1)
    found = await check(config_in(tmp_path), "state_folder")
    assert found.state is CheckState.FAIL
    assert "12345" in found.evidence
    assert "chown" in found.remedy


async def test_a_host_whose_name_servers_no_job_can_reach_fails_and_the_configs_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolv = tmp_path / "resolv.conf"
    monkeypatch.setattr(doctor, "read_dns_servers", partial(read_dns_servers, resolv))
    resolv.write_text("nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\noptions edns0\n")
    none = await check(config_in(tmp_path), "dns")
    assert none.state is CheckState.FAIL
    assert "[network]" in none.remedy
    resolv.write_text("# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.7\n")
    assert (await check(config_in(tmp_path), "dns")).evidence == "jobs ask 192.0.2.7"
    ours = await check(config_in(tmp_path, network={"dns": ["192.0.2.1", "192.0.2.2"]}), "dns")
    assert (ours.state, ours.evidence) == (CheckState.OK, "jobs ask 192.0.2.1, 192.0.2.2")


async def test_a_clock_that_nobody_keeps_in_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "synchronized"
    monkeypatch.setattr(doctor, "_TIMESYNC", kept)
    found = await check(config_in(tmp_path), "clock")
    assert found.state is CheckState.WARN
    assert "NTP" in found.remedy
    kept.touch()
    assert (await check(config_in(tmp_path), "clock")).state is CheckState.OK


async def test_the_database_and_the_disk_are_of_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "agent.db").write_bytes(b"no database")
    found = await check(config_in(tmp_path), "database")
    assert found.state is CheckState.FAIL
    assert "--repair" in found.remedy
    assert (await check(config_in(tmp_path), "disk")).evidence.endswith("GiB free")


async def test_tls_files_are_looked_at_before_a_start_needs_them(tmp_path: Path) -> None:
    missing = {"tls_cert": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key"}
    finding = await tls_probe(Config.model_validate({"api": missing}))()
    assert finding.state is CheckState.FAIL
    assert f"tls_cert = {tmp_path / 'tls.crt'} can't be read" in finding.evidence
    assert (await tls_probe(Config())()).state is CheckState.OK


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:5 / /run rw,nosuid - tmpfs tmpfs rw
24 23 8:2 / /run/on\\040disk rw shared:7 - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("folder", "state"),
    [
        ("/run/gpu-agent", CheckState.OK),
        ("/run/on disk/gpu-agent", CheckState.WARN),
        ("/runtime/gpu-agent", CheckState.WARN),
    ],
)
async def test_secrets_that_would_reach_a_disk_are_told(
    tmp_path: Path, folder: str, state: CheckState
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    finding = await runtime_probe(Path(folder), partial(read_fs_type, mounts=mounts))()
    assert finding.state is state
