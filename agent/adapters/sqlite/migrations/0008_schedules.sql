CREATE TABLE schedules (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    chute TEXT,  -- null: of a container job
    cron TEXT NOT NULL,
    since REAL NOT NULL,  -- the last minute that was dealt with
    paused INTEGER NOT NULL,
    rest TEXT NOT NULL,  -- JSON: all of the schedule that is no column
    spec TEXT  -- JSON, secrets masked; the largest last
) STRICT;

CREATE UNIQUE INDEX schedules_by_name ON schedules (owner, name);
CREATE INDEX schedules_of_owner ON schedules (owner, seq, id);
CREATE INDEX schedules_of_chute ON schedules (owner, chute) WHERE chute IS NOT NULL;
CREATE INDEX schedules_timed ON schedules (id, owner, cron, since) WHERE paused = 0;

-- Which jobs a schedule has started, for lists; the job says itself for which minute.
CREATE TABLE scheduled_jobs (
    schedule TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    PRIMARY KEY (schedule, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX scheduled_jobs_of_job ON scheduled_jobs (job);
