-- A row beside each job that calls a function: whose it is, and what it tells of itself while it runs. What it tells, it tells
-- often: the job's own row, with its version, is left alone by it.
CREATE TABLE functions (
    job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    parent TEXT,  -- the id of the job that asked for it, which may be forgotten before it
    owner TEXT NOT NULL,
    chute TEXT NOT NULL,
    version TEXT NOT NULL,
    attempt INTEGER NOT NULL,  -- of the last report that is kept
    seq INTEGER NOT NULL,  -- its number within the attempt; 0: there was none
    progress TEXT,  -- JSON
    statuses TEXT  -- JSON
) STRICT;

CREATE INDEX functions_by_parent ON functions (parent, job) WHERE parent IS NOT NULL;

-- One row a name, so that a report writes what it changes, and a list reads no series.
CREATE TABLE function_metrics (
    job INTEGER NOT NULL REFERENCES functions (job) ON DELETE CASCADE,
    name TEXT NOT NULL,
    summary TEXT NOT NULL,  -- JSON
    points TEXT NOT NULL,  -- JSON
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;
