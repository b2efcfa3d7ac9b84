"""jobs/uploads — the outputs of jobs on their way to where their specs want them: one drive a job, one budget for the host.

Speaks no protocol (adapters/uploads does) and decides no outcome: a job's upload ends by itself, and its job with it.
"""

from agent.jobs.uploads.uploads import (
    FilesLeft,
    NothingToRetryError,
    NotOverError,
    TargetNeededError,
    Uploads,
)

__all__ = ["FilesLeft", "NotOverError", "NothingToRetryError", "TargetNeededError", "Uploads"]
