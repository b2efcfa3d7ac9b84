-- Calls of cords that their callers named by an Idempotency-Key, for a day: known before they are made, so that another call of the
-- same key is refused and the same one has the same id, whatever became of it; and what a cord answered, where it could be kept.
CREATE TABLE cord_calls (
    seq INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    chute TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,  -- of the request
    call TEXT NOT NULL,  -- its id
    at REAL NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,  -- of the answer; 0: there is none
    status INTEGER,
    content_type TEXT,
    headers TEXT,  -- a JSON list of pairs
    body BLOB,
    UNIQUE (owner, chute, key)
) STRICT;

CREATE INDEX cord_calls_by_time ON cord_calls (at);
CREATE INDEX cord_calls_of_owner ON cord_calls (owner, at);
CREATE INDEX cord_answers ON cord_calls (owner, at, bytes) WHERE bytes > 0;
