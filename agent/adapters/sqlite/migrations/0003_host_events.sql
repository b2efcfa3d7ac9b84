-- Events of the host itself stand among those of jobs, so that one cursor serves both: they have no job, number or owner.
-- SQLite can't take a NOT NULL away, so the table is made anew. What was given out as `seq` is never given out again.
CREATE TABLE events_made_anew (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER REFERENCES jobs (seq) ON DELETE CASCADE,
    n INTEGER,
    owner TEXT,  -- null is nobody: no filter by principal ever finds it
    at REAL NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,  -- JSON
    UNIQUE (job, n),
    CHECK ((job IS NULL) = (n IS NULL) AND (job IS NULL) = (owner IS NULL))
) STRICT;

-- Before the rows: each of them can only raise it, and the last one given out may be of a job that is forgotten.
INSERT INTO sqlite_sequence (name, seq) SELECT 'events_made_anew', seq FROM sqlite_sequence WHERE name = 'events';
INSERT INTO events_made_anew (seq, job, n, owner, at, type, data) SELECT seq, job, n, owner, at, type, data FROM events;
DROP TABLE events;
ALTER TABLE events_made_anew RENAME TO events;

CREATE INDEX events_of_job ON events (job, seq);  -- those of the host too, under null
CREATE INDEX events_by_owner ON events (owner, seq);
