-- How jobs have ended, and how often one was tried again, since this table is here: counters that never go back, whatever retention
-- takes away, and that no SIGKILL makes a wrong one of. By triggers, since a row that is written and not counted must not be, whoever
-- writes it. What the agent runs for itself (a describe, a job that answers cords) is not counted.
CREATE TABLE totals (
    what TEXT NOT NULL,  -- an outcome, or retried
    reason TEXT NOT NULL,  -- its code; empty: none
    jobs INTEGER NOT NULL,
    PRIMARY KEY (what, reason)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_ended AFTER UPDATE OF phase ON jobs
WHEN NEW.phase = 'finished' AND OLD.phase <> 'finished' AND NEW.kind NOT IN ('describe', 'cords')
BEGIN
    INSERT INTO totals (what, reason, jobs)
    VALUES (ifnull(NEW.outcome, ''), ifnull(json_extract(NEW.rest, '$.reason.code'), ''), 1)
    ON CONFLICT (what, reason) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_retried AFTER UPDATE OF attempt ON jobs
WHEN NEW.attempt > OLD.attempt AND NEW.kind NOT IN ('describe', 'cords')
BEGIN
    INSERT INTO totals (what, reason, jobs) VALUES ('retried', '', 1)
    ON CONFLICT (what, reason) DO UPDATE SET jobs = jobs + 1;
END;
