"""cli/exits — a finished job as an exit code: the job's own, where it has one. Pure."""

from collections.abc import Mapping
from typing import Any

TIMED_OUT, NOT_THE_JOBS, NOT_EXECUTABLE, NOT_FOUND, CANCELLED = 124, 125, 126, 127, 130

# As shells have it, for a job whose program never ran.
NEVER_RAN = {"command_not_found": NOT_FOUND, "command_not_executable": NOT_EXECUTABLE}


def exit_code_of(job: Mapping[str, Any]) -> int:
    """0 where it succeeded, else never 0."""
    outcome, reason, facts = job["outcome"], job.get("reason") or {}, job.get("exit") or {}
    if outcome == "succeeded":
        return 0
    if outcome == "timed_out":
        return TIMED_OUT
    if outcome == "cancelled":
        return CANCELLED
    if outcome == "failed" and reason.get("phase") == "running" and facts.get("code"):
        return int(facts["code"])
    return NEVER_RAN.get(str(reason.get("code")), NOT_THE_JOBS)
