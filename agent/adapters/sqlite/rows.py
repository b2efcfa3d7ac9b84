"""adapters/sqlite/rows — between a job and its row: which field is a column, and JSON for the rest. Finds and writes no row."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from agent.adapters.sqlite.faults import DatabaseDamagedError
from agent.core.function import FunctionCall
from agent.core.job import BootTime, ClosedAttempt, FiredBy, Job, Kind, Outcome, Reason, Run, Stop
from agent.core.lease import Lease
from agent.core.ssh_key import SshKey
from agent.errors import Phase
from agent.spec import load_spec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rest:
    """The fields of a job that are no column, as one JSON object. A missing key is the default, an unknown one is ignored.

    So a field that is added to Job needs a line here and no migration.
    """

    call: FunctionCall | None = None
    fired_by: FiredBy | None = None
    queued_at: float = 0.0
    not_before: float | None = None
    waiting_for: str | None = None
    waiting_words: str | None = None
    lease: Lease | None = None
    run: Run = field(default_factory=Run)
    port_moves: int = 0
    gpu_moves: int = 0
    start_moves: int = 0
    attempt_stop: Stop | None = None
    job_stop: Stop | None = None
    kill_at: BootTime | None = None
    starts_no_more: bool = False
    upload_stopped_at: float | None = None
    image_digest: str | None = None
    has_disk: bool = False
    ssh_host_key: str | None = None
    ssh_keys: tuple[SshKey, ...] | None = None
    reason: Reason | None = None
    started_at: float | None = None


REST_FIELDS = tuple(item.name for item in fields(Rest))
REST: TypeAdapter[Rest] = TypeAdapter(Rest)
CLOSED: TypeAdapter[ClosedAttempt] = TypeAdapter(ClosedAttempt)

FETCH = """
    SELECT id, version, owner, kind, phase, attempt, outcome, created_at, finished_at, rest
    FROM jobs WHERE seq = ?
"""


def dump_rest(job: Job) -> str:
    return _dump(REST, Rest(**{name: getattr(job, name) for name in REST_FIELDS}))


def dump_closed(closed: ClosedAttempt) -> str:
    return _dump(CLOSED, closed)


def load_closed(text: str) -> ClosedAttempt:
    return CLOSED.validate_json(text)


def dump_data(data: object) -> str:
    # Half a surrogate pair out of an engine's message has no UTF-8: a `?` in a message beats a row that can't be written.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode("utf-8")


def load_data(text: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(text)
    return loaded


class Rows:
    """Makes jobs of rows. Remembers those of unfinished rows: the grant reads all of them each time, few have changed.

    A remembered job is used only where the row has its version still, and no two states of a row share one: what a transaction read of
    what it had written itself is forgotten where it fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remembered: dict[int, Job] = {}
        self._read_in_this_write: set[int] = set()

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """To be held around each transaction that writes."""
        self._read_in_this_write.clear()
        try:
            yield
        except BaseException:
            for seq in self._read_in_this_write:
                self.drop(seq)
            raise

    def fetch(self, connection: sqlite3.Connection, found: Iterable[tuple[int, int]]) -> list[Job]:
        """Jobs of (seq, version) pairs that the same transaction has selected, in their order."""
        return [self._fetch_one(connection, seq, version) for seq, version in found]

    def drop(self, seq: int) -> None:
        """Forget a job that is finished or gone."""
        self._remembered.pop(seq, None)

    def _fetch_one(self, connection: sqlite3.Connection, seq: int, version: int) -> Job:
        known = self._remembered.get(seq)
        if known is not None and known.version == version:
            return known
        row = connection.execute(FETCH, (seq,)).fetchone()
        try:
            job = _load(connection, seq, row, known)
        except ValueError as error:
            raise DatabaseDamagedError(self._path, f"the row of job {row[0]} can't be understood") from error
        if job.phase is Phase.FINISHED:
            self.drop(seq)
        else:
            self._remembered[seq] = job
            self._read_in_this_write.add(seq)
        return job


def _load(connection: sqlite3.Connection, seq: int, row: tuple[Any, ...], known: Job | None) -> Job:
    job_id, version, owner, kind, phase, attempt, outcome, created_at, finished_at, rest = row
    # A spec never changes, so the one of an earlier version of the row is good.
    spec = known.spec if known else load_spec(_spec_text(connection, seq))
    read = REST.validate_json(rest)
    return Job(
        id=job_id,
        owner=owner,
        kind=Kind(kind),
        spec=spec,
        created_at=created_at,
        seq=seq,
        version=version,
        phase=Phase(phase),
        attempt=attempt,
        outcome=None if outcome is None else Outcome(outcome),
        finished_at=finished_at,
        **{name: getattr(read, name) for name in REST_FIELDS},
    )


def _spec_text(connection: sqlite3.Connection, seq: int) -> str:
    text: str = connection.execute("SELECT spec FROM jobs WHERE seq = ?", (seq,)).fetchone()[0]
    return text


def _dump(adapter: TypeAdapter[T], value: T) -> str:
    return dump_data(adapter.dump_python(value, mode="json"))
