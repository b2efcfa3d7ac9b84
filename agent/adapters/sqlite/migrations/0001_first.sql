-- The first schema. A file that has been released is never edited: what it made is changed by the next number.

-- AUTOINCREMENT: a seq of a forgotten job or event is never given out again, so cursors stay true.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    phase TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    name TEXT,
    attempt INTEGER NOT NULL,
    outcome TEXT,
    created_at REAL NOT NULL,
    finished_at REAL,
    idempotency_key TEXT,
    body_digest TEXT NOT NULL,
    rest TEXT NOT NULL,  -- JSON: all of the job that is no column
    spec TEXT NOT NULL    -- JSON, secrets masked; the largest last, so that reading the rest does not walk over it
) STRICT;

CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_unfinished ON jobs (seq, version, phase) WHERE phase <> 'finished';
CREATE INDEX jobs_queued ON jobs (owner) WHERE phase = 'queued';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE phase = 'finished';

-- The two below cover every filter of a list but labels, so that no list reads a row that it does not show.
CREATE INDEX jobs_listed ON jobs (seq, phase, queue, kind, id);
CREATE INDEX jobs_listed_by_owner ON jobs (owner, seq, phase, queue, kind, id);

-- What a list filters by; the spec has the labels too, for who shows them.
CREATE TABLE labels (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX labels_by_owner ON labels (owner, name, value, job);
CREATE INDEX labels_of_job ON labels (job);

CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    closed TEXT NOT NULL,  -- JSON
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    owner TEXT NOT NULL,
    at REAL NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,  -- JSON
    UNIQUE (job, n)
) STRICT;

CREATE INDEX events_of_job ON events (job, seq);
CREATE INDEX events_by_owner ON events (owner, seq);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    principal TEXT NOT NULL,
    scopes TEXT NOT NULL,  -- JSON
    digest TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    expires_at REAL,
    last_used_at REAL
) STRICT;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
