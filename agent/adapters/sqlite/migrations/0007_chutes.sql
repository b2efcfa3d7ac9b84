-- A row for each deploy. A chute is its active version: of one owner and name there is at most one.
CREATE TABLE versions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    chute TEXT,  -- null until it was described
    number INTEGER,
    created_at REAL NOT NULL,
    image TEXT NOT NULL,
    entry TEXT NOT NULL,
    bytes INTEGER NOT NULL,  -- of its files
    jobs TEXT NOT NULL,  -- JSON: the names of its jobs
    rest TEXT NOT NULL  -- JSON, secrets masked; the largest last, so that a list does not read it
) STRICT;

CREATE UNIQUE INDEX versions_active ON versions (owner, chute) WHERE state = 'active';
CREATE INDEX versions_describing ON versions (owner, seq) WHERE state = 'describing';
CREATE INDEX versions_by_digest ON versions (owner, digest) WHERE state IN ('describing', 'active');
CREATE INDEX versions_of_chute ON versions (owner, chute, seq);
CREATE INDEX versions_kept ON versions (seq) WHERE state IN ('superseded', 'refused');
