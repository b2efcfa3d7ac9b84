-- A row for each job that asks for notifications, for as long as the job is kept.
CREATE TABLE notify (
    job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    notified_n INTEGER NOT NULL,  -- the last of the job's events that was delivered or given up
    delivered INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    ended TEXT,  -- why no more is sent; NULL: more may come
    trouble TEXT  -- JSON: the last failure
) STRICT;

CREATE INDEX notify_open ON notify (job) WHERE ended IS NULL;
