-- A row for each job whose outputs began to leave, and the journal of its files.
CREATE TABLE upload_states (
    job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    state TEXT NOT NULL,
    begun_at REAL NOT NULL,
    rest TEXT NOT NULL  -- JSON
) STRICT;

CREATE INDEX upload_states_sending ON upload_states (job) WHERE state = 'sending';

CREATE TABLE uploads (
    job INTEGER NOT NULL REFERENCES upload_states (job) ON DELETE CASCADE,
    path TEXT NOT NULL,
    state TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at REAL NOT NULL,
    sha256 TEXT,
    trouble TEXT,  -- JSON
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;
