"""adapters/sqlite/chutes — the rows of versions: added, settled, found, let go. Decides nothing: `core/chute` does."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from agent.adapters.sqlite import cords, schedules
from agent.adapters.sqlite.rows import dump_data
from agent.core.chute import (
    Brief,
    Described,
    Kept,
    Owned,
    Version,
    VersionState,
    brief_of,
    choose_stale,
    settle,
)
from agent.core.job import Viewer
from agent.interfaces import (
    MOST_CODE_BYTES,
    MOST_DESCRIBING,
    ChuteInUseError,
    Deployed,
    TooManyDeploysError,
    TooMuchCodeError,
)
from agent.spec import Fault, load_manifest, read_entry

COLUMNS = "seq, id, owner, digest, state, chute, number, created_at, image, entry, bytes, rest"
SELECT = f"SELECT {COLUMNS} FROM versions"  # noqa: S608 - constants alone
BY_ID = f"{SELECT} WHERE id = ?"
BY_DIGEST = f"{SELECT} INDEXED BY versions_by_digest WHERE owner = ? AND digest = ? AND state IN ('describing', 'active')"
DESCRIBING = f"{SELECT} WHERE state = 'describing' ORDER BY seq"
ACTIVE = f"{SELECT} WHERE owner = ? AND chute = ? AND state = 'active'"
BRIEF = "SELECT id, owner, chute, number, state, created_at, image, entry, jobs FROM versions"
ALL_ACTIVE = f"{BRIEF} WHERE state = 'active' AND (owner = ? OR ?) ORDER BY chute, owner"
NAMED = f"{SELECT} WHERE state = 'active' AND chute = ? AND (owner = ? OR ?) ORDER BY owner <> ?, seq LIMIT 1"
OF_CHUTE = f"{BRIEF} WHERE owner = ? AND chute = ? ORDER BY seq DESC"
COUNT_DESCRIBING = "SELECT count(*) FROM versions WHERE owner = ? AND state = 'describing'"
CODE_BYTES = "SELECT coalesce(sum(bytes), 0) FROM versions WHERE owner = ? AND state <> 'refused'"
COUNT_ACTIVE = "SELECT count(*) FROM versions WHERE owner = ? AND state = 'active'"
INSERT = """
    INSERT INTO versions (id, owner, digest, state, created_at, image, entry, bytes, jobs, rest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, '[]', ?)
"""
UPDATE = "UPDATE versions SET state = ?, chute = ?, number = ?, jobs = ?, rest = ? WHERE seq = ?"
SUPERSEDE = "UPDATE versions SET state = 'superseded' WHERE seq = ?"
KEPT = "SELECT id, owner, state, chute, seq FROM versions WHERE state IN ('superseded', 'refused')"
# The unfinished jobs come first: they are few.
RUNNING = """
    SELECT jobs.seq, jobs.version FROM jobs INDEXED BY jobs_unfinished CROSS JOIN functions ON functions.job = jobs.seq
    WHERE jobs.phase <> 'finished' AND functions.owner = ? AND functions.chute = ? ORDER BY jobs.seq
"""
IN_USE = """
    SELECT DISTINCT functions.version FROM jobs INDEXED BY jobs_unfinished
    JOIN functions ON functions.job = jobs.seq WHERE jobs.phase <> 'finished'
"""
WITH_FILES = f"SELECT id FROM versions WHERE state <> 'refused' UNION {IN_USE}"  # noqa: S608 - constants alone
DELETE = "DELETE FROM versions WHERE id = ?"


def add(connection: sqlite3.Connection, version: Version) -> Deployed:
    earlier = _one(connection, BY_DIGEST, version.owner, version.digest)
    if earlier is not None:
        return Deployed(earlier, is_replay=True)
    if connection.execute(COUNT_DESCRIBING, (version.owner,)).fetchone()[0] >= MOST_DESCRIBING:
        raise TooManyDeploysError
    if connection.execute(CODE_BYTES, (version.owner,)).fetchone()[0] + version.size_bytes > MOST_CODE_BYTES:
        raise TooMuchCodeError
    about = (version.created_at, version.image, version.entry.text, version.size_bytes)
    values = (version.id, version.owner, version.digest, version.state, *about, _rest(version))
    connection.execute(INSERT, values)
    added = read(connection, version.id)
    assert added is not None  # noqa: S101 - this transaction has just written it
    return Deployed(added, is_replay=False)


def settle_one(
    connection: sqlite3.Connection, version_id: str, described: Described, at: float
) -> Version | None:
    version = read(connection, version_id)
    if version is None or version.state is not VersionState.DESCRIBING:
        return version
    manifest = described.manifest
    before = None if manifest is None else _one(connection, ACTIVE, version.owner, manifest.chute.name)
    name = None if manifest is None else manifest.chute.name
    chutes = connection.execute(COUNT_ACTIVE, (version.owner,)).fetchone()[0]
    owned = Owned(chutes, schedules.count_others(connection, version.owner, name))
    settled = settle(version, described, before, owned)
    if settled.state is VersionState.ACTIVE and before is not None:
        connection.execute(SUPERSEDE, (before.seq,))
    names = json.dumps(brief_of(settled).jobs)
    values = (settled.state, settled.chute, settled.number, names, _rest(settled), settled.seq)
    connection.execute(UPDATE, values)
    if settled.state is VersionState.ACTIVE:
        schedules.follow(connection, settled, at)
    return settled


def read(connection: sqlite3.Connection, version_id: str) -> Version | None:
    return _one(connection, BY_ID, version_id)


def read_seen(connection: sqlite3.Connection, version_id: str, viewer: Viewer) -> Version | None:
    version = read(connection, version_id)
    return version if version is not None and _sees(viewer, version) else None


def read_describing(connection: sqlite3.Connection) -> list[Version]:
    return _all(connection.execute(DESCRIBING))


def read_active(connection: sqlite3.Connection, viewer: Viewer) -> list[Brief]:
    return _briefs(connection.execute(ALL_ACTIVE, (viewer.principal, viewer.sees_all)))


def read_named(connection: sqlite3.Connection, name: str, viewer: Viewer) -> Version | None:
    return _one(connection, NAMED, name, viewer.principal, viewer.sees_all, viewer.principal)


def read_of_chute(connection: sqlite3.Connection, chute: Version) -> list[Brief]:
    return _briefs(connection.execute(OF_CHUTE, (chute.owner, chute.chute)))


def unfinished_of(connection: sqlite3.Connection, owner: str, chute: str) -> list[tuple[int, int]]:
    """(seq, version) of its jobs, oldest first."""
    return connection.execute(RUNNING, (owner, chute)).fetchall()


def remove(connection: sqlite3.Connection, chute: Version) -> list[str]:
    running = unfinished_of(connection, chute.owner, str(chute.chute))
    if running:
        raise ChuteInUseError(str(chute.chute), len(running))
    schedules.remove_of_chute(connection, chute.owner, str(chute.chute))
    cords.remove_of_chute(connection, chute.owner, str(chute.chute))
    return _delete(connection, [version.id for version in read_of_chute(connection, chute)])


def drop_stale(connection: sqlite3.Connection) -> list[str]:
    kept = [
        Kept(version_id, owner, VersionState(state), chute, seq)
        for version_id, owner, state, chute, seq in connection.execute(KEPT)
    ]
    return _delete(connection, choose_stale(kept, {row[0] for row in connection.execute(IN_USE)}))


def ids(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute(WITH_FILES)}


def _delete(connection: sqlite3.Connection, version_ids: list[str]) -> list[str]:
    connection.executemany(DELETE, [(version_id,) for version_id in version_ids])
    return version_ids


def _sees(viewer: Viewer, version: Version) -> bool:
    return viewer.sees_all or version.owner == viewer.principal


def _one(connection: sqlite3.Connection, query: str, *values: object) -> Version | None:
    found = connection.execute(query, values).fetchone()
    return None if found is None else _load(found)


def _all(rows: Iterable[tuple[Any, ...]]) -> list[Version]:
    return [_load(row) for row in rows]


def _briefs(rows: Iterable[tuple[Any, ...]]) -> list[Brief]:
    return [
        Brief(
            version_id, owner, chute, number, VersionState(state), at, image, entry, tuple(json.loads(jobs))
        )
        for version_id, owner, chute, number, state, at, image, entry, jobs in rows
    ]


def _rest(version: Version) -> str:
    return dump_data(
        {
            "defaults": version.defaults,
            "catch_up": version.catch_up,
            "manifest": None if version.manifest is None else version.manifest.model_dump(mode="json"),
            "faults": [asdict(fault) for fault in version.faults],
        }
    )


def _load(row: tuple[Any, ...]) -> Version:
    seq, version_id, owner, digest, state, chute, number, created_at, image, entry, size_bytes, rest = row
    facts = json.loads(rest)
    return Version(
        id=version_id,
        owner=owner,
        digest=digest,
        image=image,
        entry=read_entry(entry),
        created_at=created_at,
        defaults=facts["defaults"],
        state=VersionState(state),
        chute=chute,
        number=number,
        manifest=None if facts["manifest"] is None else load_manifest(json.dumps(facts["manifest"])),
        faults=tuple(Fault(**fault) for fault in facts["faults"]),
        seq=seq,
        size_bytes=size_bytes,
        catch_up=facts.get("catch_up", False),
    )
