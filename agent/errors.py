"""errors — the base error, the phases of a job, and who is to blame. Imports nothing of ours; leaf errors live beside their code."""

from enum import StrEnum
from typing import ClassVar


class Phase(StrEnum):
    """Where a job stands. The edges between phases are `core.state.EDGES`."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    UPLOADING = "uploading"
    FINISHED = "finished"


class Blame(StrEnum):
    """Whose fault an error is: the job's author or caller, this host, or this program."""

    USER = "user"
    HOST = "host"
    PLATFORM = "platform"


class AgentError(Exception):
    """Something that a user can see: what happened (the message), whose fault it is, and what to do next.

    Subclasses set `code` (stable, snake_case, in docs/errors.md), `blame` and `remedy`; their constructors take facts.
    `phase` is the job's phase that failed, None where no job is concerned.
    """

    code: ClassVar[str]
    phase: ClassVar[Phase | None] = None
    blame: ClassVar[Blame]
    remedy: ClassVar[str]
