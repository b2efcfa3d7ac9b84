-- What cords answered to calls that their callers named by an Idempotency-Key, for a day: the same call gets the same answer.
CREATE TABLE cord_calls (
    owner TEXT NOT NULL,
    chute TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,  -- of the request: another one of the same key is refused
    at REAL NOT NULL,
    status INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,  -- a JSON list of pairs
    body BLOB NOT NULL,
    PRIMARY KEY (owner, chute, key)
);

CREATE INDEX cord_calls_by_time ON cord_calls (at);
