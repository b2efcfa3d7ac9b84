"""The database file: made, checked, migrated, refused, moved aside; and what its rows tolerate."""

import hashlib
import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from agent.adapters.sqlite import DatabaseDamagedError, DatabaseNewerError, SqliteStore, move_aside
from agent.adapters.sqlite.migrate import MIGRATIONS, Migration, migrate, version_of
from agent.adapters.sqlite.rows import REST_FIELDS
from agent.core.job import Job, NewEvent, Reason
from agent.errors import Blame, Phase
from agent.interfaces import JobQuery, StoreUnavailableError
from tests.contract.store_values import (
    ANN,
    ROOT,
    accepted,
    finished,
    opened,
    request,
    stopped,
    told,
    with_everything,
)

KEPT_IN_COLUMNS = {
    "id", "owner", "kind", "spec", "created_at", "seq", "version", "phase", "attempt", "outcome", "finished_at",
}  # fmt: skip
LARGE = 64 << 10


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def make_database(folder: Path) -> Path:
    async with opened(folder) as store:
        await accepted(store, "a")
        await finished(store, "b")
    return folder / "agent.db"


async def rows(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    """What the store's own connection answers to a question."""
    return await store._read(lambda db: db.execute(sql).fetchall())


def edit(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql, values)


# made and opened


async def test_a_new_database_is_roots_alone_and_leaves_no_litter(tmp_path: Path) -> None:
    async with opened(tmp_path):
        assert stat.S_IMODE((tmp_path / "agent.db").stat().st_mode) == 0o600
        assert names(tmp_path) == ["agent.db", "agent.db-shm", "agent.db-wal"]
    assert names(tmp_path) == ["agent.db"]


async def test_what_is_answered_is_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for pragma, wanted in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
            assert await rows(store, f"PRAGMA {pragma}") == [(wanted,)]


async def test_a_folder_name_with_signs_of_a_uri_is_a_folder_name(tmp_path: Path) -> None:
    folder = tmp_path / "a?mode=memory&b#c%41 d"
    folder.mkdir()
    path = await make_database(folder)
    assert path.stat().st_size > 0
    assert names(tmp_path) == [folder.name]


async def test_a_missing_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        async with opened(tmp_path / "missing"):
            pass


# versions


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


async def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = await make_database(tmp_path)
    edit(path, "PRAGMA user_version = 99")
    before = digest(path)
    with pytest.raises(DatabaseNewerError, match="version 99") as refusal:
        async with opened(tmp_path):
            pass
    assert refusal.value.code == "database_newer"
    assert digest(path) == before
    assert names(tmp_path) == ["agent.db"]


KNOWN = MIGRATIONS[-1].number
NEXT = Migration(
    KNOWN + 1, "ALTER TABLE meta ADD COLUMN note TEXT;\n-- and; one more\nCREATE TABLE other (a TEXT);\n"
)
BROKEN = Migration(KNOWN + 2, "CREATE TABLE third (a TEXT);\nCREATE TABLE other (a TEXT);\n")


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


async def test_before_a_migration_a_copy_is_kept_that_can_be_opened(tmp_path: Path) -> None:
    path = await make_database(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, [*MIGRATIONS, NEXT])
        assert version_of(connection) == NEXT.number
        assert connection.execute("SELECT count(note) FROM meta").fetchone() == (0,)
        migrate(connection, path, [*MIGRATIONS, NEXT])
    assert names(tmp_path) == ["agent.db", f"agent.db.before-{NEXT.number}"]
    copy = tmp_path / f"agent.db.before-{NEXT.number}"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    path.unlink()
    copy.rename(path)
    async with opened(tmp_path) as store:
        assert await store.job_ids() == {"a", "b"}


async def test_a_migration_that_fails_changes_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    path = await make_database(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, path, [*MIGRATIONS, NEXT])
        before = schema(connection)
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="already exists"):
                migrate(connection, path, [*MIGRATIONS, NEXT, BROKEN])
            assert schema(connection) == before
            assert version_of(connection) == NEXT.number
    copies = {f"agent.db.before-{number}" for number in (NEXT.number, BROKEN.number)}
    assert set(names(tmp_path)) == {"agent.db", *copies}


# damage


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_the_start(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def overwrite_the_middle(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))


def put_anothers_there(path: Path) -> None:
    path.unlink()
    edit(path, "CREATE TABLE theirs (a TEXT)")


@pytest.mark.parametrize(
    "damage", [cut_to_nothing, cut_in_half, overwrite_the_start, overwrite_the_middle, put_anothers_there]
)
async def test_a_damaged_database_is_refused_with_the_way_out_and_never_replaced(
    tmp_path: Path, damage: object
) -> None:
    path = await make_database(tmp_path)
    damage(path)  # type: ignore[operator] # a parameter
    before = digest(path)
    for _ in range(2):
        with pytest.raises(DatabaseDamagedError) as refusal:
            async with opened(tmp_path):
                pass
        assert refusal.value.code == "database_damaged"
        assert "gpu-agent doctor --repair" in refusal.value.remedy
        assert str(path) in str(refusal.value)
        assert digest(path) == before
    assert names(tmp_path) == ["agent.db"]


async def test_a_log_without_its_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / "agent.db-wal").write_bytes(b"rows that were accepted")
    with pytest.raises(DatabaseDamagedError, match="write-ahead log"):
        async with opened(tmp_path):
            pass
    assert names(tmp_path) == ["agent.db-wal"]


async def put_large_rows(store: SqliteStore) -> None:
    for number in range(600):
        await store.accept(request(f"j{number}", env={"A": "x" * LARGE}), 10_000)


@pytest.mark.slow
async def test_damage_found_at_work_says_so_and_a_full_check_finds_what_nobody_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_large_rows(store)
    overwrite_the_middle(tmp_path / "agent.db")
    async with opened(tmp_path) as store:
        for ask in (lambda: store.page(JobQuery(limit=600), ROOT), store.check, store.unfinished):
            with pytest.raises(DatabaseDamagedError):
                await ask()
        # What is sound is still answered.
        assert (await store.page(JobQuery(limit=1), ROOT))[0].id == "j599"


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal"), ("", "-wal", "-shm"), ("-wal",)])
def test_a_damaged_database_is_moved_aside_with_all_that_belongs_to_it(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    path = tmp_path / "agent.db"
    (tmp_path / "agent-id").write_text("other")
    for suffix in suffixes:
        path.with_name(path.name + suffix).write_text(f"data{suffix}")
    for _ in range(2):
        moved = move_aside(path, "20260102T030405Z")
        assert moved == tmp_path / "agent.db.damaged-20260102T030405Z"
        assert names(tmp_path) == sorted(["agent-id", *(moved.name + suffix for suffix in suffixes)])
    assert all(moved.with_name(moved.name + suffix).read_text() == f"data{suffix}" for suffix in suffixes)


async def test_after_a_repair_a_new_database_opens_in_its_place(tmp_path: Path) -> None:
    path = await make_database(tmp_path)
    cut_in_half(path)
    move_aside(path, "now")
    async with opened(tmp_path) as store:
        assert await store.job_ids() == set()


# rows


def test_every_field_of_a_job_is_kept() -> None:
    # A field that is added to Job and not to the row would be lost at each restart.
    assert {item.name for item in fields(Job)} == KEPT_IN_COLUMNS | set(REST_FIELDS)


async def test_a_row_of_an_earlier_or_later_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await accepted(store, "a")
        full = await store.save(with_everything(job))
    path = tmp_path / "agent.db"
    rest = json.loads(read_rest(path))
    rest["of_tomorrow"] = {"a": [1]}
    rest["run"]["of_tomorrow"] = True
    edit(path, "UPDATE jobs SET rest = ?", json.dumps(rest))
    async with opened(tmp_path) as store:
        assert await store.read("a") == full
    edit(
        path, "UPDATE jobs SET rest = '{}', phase = 'queued', attempt = 1, outcome = NULL, finished_at = NULL"
    )
    async with opened(tmp_path) as store:
        assert await store.read("a") == replace(job, version=1, queued_at=0.0)


def read_rest(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT rest FROM jobs").fetchone()[0])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE jobs SET phase = 'dancing' WHERE id = 'a'",
        "UPDATE jobs SET rest = '{\"run\": 7}' WHERE id = 'a'",
        "UPDATE jobs SET rest = 'no JSON' WHERE id = 'a'",
        "UPDATE jobs SET spec = '{}' WHERE id = 'a'",
    ],
)
async def test_a_row_that_can_not_be_understood_is_damage_and_names_its_job(tmp_path: Path, sql: str) -> None:
    edit(await make_database(tmp_path), sql)
    async with opened(tmp_path) as store:
        with pytest.raises(DatabaseDamagedError, match="job a "):
            await store.read("a")
        assert await store.read("b") is not None


async def test_half_a_surrogate_pair_in_a_message_does_not_keep_a_job_from_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await accepted(store)
        reason = Reason("start_failed", Phase.STARTING, Blame.HOST, False, "caf\udce9", "")  # noqa: FBT003 - a value
        await store.save(replace(job, reason=reason), [told("caf\udce9")])
    async with opened(tmp_path) as store:
        kept = await store.read("a")
        assert kept is not None
        assert kept.reason == replace(reason, message="caf?")
        assert (await store.events(ROOT, 0, "a", 9))[-1].data == {"what": "caf?"}


# what makes it fast


async def test_no_list_reads_rows_that_it_does_not_show(tmp_path: Path) -> None:
    plans: list[str] = []
    async with opened(tmp_path) as store:
        await finished(store, "a", labels={"team": "x"})
        texts: list[str] = []
        await store._read(lambda db: db.set_trace_callback(texts.append))
        await run_each_query(store)
        await store._read(lambda db: db.set_trace_callback(None))
        for text in texts:
            if text.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
                plans += [str(row[3]) for row in await rows(store, f"EXPLAIN QUERY PLAN {text}")]
    assert len(plans) > 30
    bad = [
        plan for plan in plans if "TEMP B-TREE" in plan or (plan.startswith("SCAN") and "INDEX" not in plan)
    ]
    allowed = ("SCAN (subquery", "SCAN tokens", "SCAN sqlite_sequence")
    assert [plan for plan in bad if not plan.startswith(allowed)] == []


async def run_each_query(store: SqliteStore) -> None:
    for viewer in (ANN, ROOT):
        for query in (
            JobQuery(),
            JobQuery(before_seq=9),
            JobQuery(phases=(Phase.FINISHED,), queue="q", id_prefix="a"),
            JobQuery(phases=(Phase.QUEUED, Phase.RUNNING)),
            JobQuery(labels=(("team", "x"), ("b", "c")), before_seq=9),
            JobQuery(labels=(("team", "x"),), phases=(Phase.QUEUED,)),
        ):
            await store.page(query, viewer)
        await store.events(viewer, 0, None, 9)
        await store.events(viewer, 0, "a", 9)
    await store.accept(request("b", key="k"), 5)
    await store.unfinished()
    await store.unfinished_of("ann", "trainer")
    await store.finished_before(9.0, 9)
    await store.append_event("a", told())
    await store.attempts("a")
    await store.attempts_of(["a", "b"])
    await store.forget("a", ANN)


async def test_rows_that_did_not_change_are_not_parsed_again_and_finished_ones_are_not_remembered(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        job = await accepted(store, "a")
        await accepted(store, "b")
        first, other = await store.unfinished()
        await store.save(replace(job, waiting_for="gpus"))
        changed, same = await store.unfinished()
        assert changed.waiting_for == "gpus"
        assert changed.spec is first.spec
        assert same is other
        for row in (changed, same):
            await store.save(replace(row, phase=Phase.FINISHED, finished_at=1.0))
        assert store._rows._remembered == {}
        await store.page(JobQuery(), ROOT)
        assert store._rows._remembered == {}


async def test_where_a_job_can_not_be_changed_nothing_is_kept_of_the_gpu(tmp_path: Path) -> None:
    def break_off(_job: Job) -> tuple[Job, list[NewEvent]]:
        raise ZeroDivisionError

    async with opened(tmp_path) as store:
        first, second = await accepted(store, "a"), await accepted(store, "b")
        with pytest.raises(ZeroDivisionError):
            await store.keep_gpu_healths({"GPU-1": "{}"}, [(first.id, stopped), (second.id, break_off)])
        assert (await store.gpu_healths(), await store.read("a")) == ({}, first)
