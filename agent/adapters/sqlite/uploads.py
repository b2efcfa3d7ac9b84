"""adapters/sqlite/uploads — each job's upload and the journal of its files. Decides nothing of them."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from agent.adapters.sqlite import events
from agent.adapters.sqlite.rows import dump_data
from agent.core.job import NewEvent
from agent.core.upload import FileState, JournalFile, Resend, UploadRecord, UploadTrouble, reopen

RECORD: TypeAdapter[UploadRecord] = TypeAdapter(UploadRecord)
TROUBLE: TypeAdapter[UploadTrouble] = TypeAdapter(UploadTrouble)
FAILED = FileState.FAILED

JOB = "SELECT seq, owner FROM jobs WHERE id = ?"
INSERT = "INSERT INTO upload_states (job, state, begun_at, rest) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
ONE = (
    "SELECT upload_states.rest FROM upload_states JOIN jobs ON jobs.seq = upload_states.job WHERE jobs.id = ?"
)
UPDATE = "UPDATE upload_states SET state = ?, begun_at = ?, rest = ? WHERE job = ?"
RETRIED = """
    SELECT jobs.id FROM upload_states INDEXED BY upload_states_sending JOIN jobs ON jobs.seq = upload_states.job
    WHERE upload_states.state = 'sending' AND jobs.phase = 'finished' ORDER BY jobs.seq
"""
COLUMNS = "path, state, size, modified_ns, mode, attempt, at, sha256, trouble"
KEEP_FILE = f"""
    INSERT INTO uploads (job, {COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
    WHERE EXISTS (SELECT 1 FROM upload_states WHERE job = ?)
    ON CONFLICT (job, path) DO UPDATE SET state = excluded.state, size = excluded.size, modified_ns = excluded.modified_ns,
        mode = excluded.mode, attempt = excluded.attempt, at = excluded.at, sha256 = excluded.sha256, trouble = excluded.trouble
"""  # noqa: S608 - constants alone
PAGE = f"SELECT {COLUMNS} FROM uploads WHERE job = ? AND path > ? ORDER BY path LIMIT ?"  # noqa: S608 - constants alone
OF_PATH = f"SELECT {COLUMNS} FROM uploads WHERE job = ? AND path = ?"  # noqa: S608 - constants alone
DROP_FAILED = "DELETE FROM uploads WHERE job = ? AND state = ?"
DROP_ALL = "DELETE FROM uploads WHERE job = ?"


def begin(connection: sqlite3.Connection, job_id: str, at: float) -> UploadRecord | None:
    job = connection.execute(JOB, (job_id,)).fetchone()
    if job is None:
        return None
    made = UploadRecord(job[0], at)
    connection.execute(INSERT, (made.row, made.state, made.begun_at, _dump(made)))
    return read_one(connection, job_id)


def begin_again(
    connection: sqlite3.Connection, job_id: str, at: float, place: str, resend: Resend
) -> UploadRecord | None:
    known = read_one(connection, job_id)
    if known is None or not known.is_retry_asked:
        return None
    opened = reopen(known, at, place)
    keep(connection, opened, at)
    if resend is Resend.EVERYTHING:
        connection.execute(DROP_ALL, (opened.row,))
    else:
        connection.execute(DROP_FAILED, (opened.row, FAILED))
    return opened


def read_one(connection: sqlite3.Connection, job_id: str) -> UploadRecord | None:
    found = connection.execute(ONE, (job_id,)).fetchone()
    return None if found is None else RECORD.validate_json(found[0])


def read_records(connection: sqlite3.Connection, job_ids: Sequence[str]) -> dict[str, UploadRecord]:
    found = {job_id: read_one(connection, job_id) for job_id in job_ids}
    return {job_id: record for job_id, record in found.items() if record is not None}


def keep(
    connection: sqlite3.Connection, record: UploadRecord, at: float, told: Sequence[NewEvent] = ()
) -> None:
    connection.execute(UPDATE, (record.state, record.begun_at, _dump(record), record.row))
    owner = connection.execute("SELECT owner FROM jobs WHERE seq = ?", (record.row,)).fetchone()
    if owner is not None:
        events.append(connection, record.row, owner[0], at, told)


def keep_files(connection: sqlite3.Connection, row: int, files: Sequence[JournalFile]) -> None:
    connection.executemany(KEEP_FILE, [(row, *_columns(file), row) for file in files])


def read_page(connection: sqlite3.Connection, row: int, after: str, limit: int) -> list[JournalFile]:
    return [_file(columns) for columns in connection.execute(PAGE, (row, after, limit))]


def read_of(connection: sqlite3.Connection, row: int, paths: Sequence[str]) -> dict[str, JournalFile]:
    return {file.path: file for file in _files_of(connection, row, paths)}


def read_retried(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute(RETRIED)]


def _files_of(connection: sqlite3.Connection, row: int, paths: Sequence[str]) -> Iterator[JournalFile]:
    for path in paths:
        found = connection.execute(OF_PATH, (row, path)).fetchone()
        if found is not None:
            yield _file(found)


def _dump(record: UploadRecord) -> str:
    return dump_data(RECORD.dump_python(record, mode="json"))


def _columns(file: JournalFile) -> tuple[object, ...]:
    trouble = None if file.trouble is None else dump_data(TROUBLE.dump_python(file.trouble, mode="json"))
    sizes = (file.size_bytes, file.modified_ns, file.mode, file.attempt)
    return (file.path, file.state, *sizes, file.at, file.sha256, trouble)


def _file(columns: Sequence[Any]) -> JournalFile:
    path, state, size, modified_ns, mode, attempt, at, sha256, trouble = columns
    read = None if trouble is None else TROUBLE.validate_json(trouble)
    return JournalFile(path, FileState(state), size, modified_ns, mode, attempt, at, sha256, read)
