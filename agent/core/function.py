"""core/function — what makes a job the call of a function, and how such a call ended. Values; calls nothing."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`version`: the id of the chute's version whose files the job sees. `function`: the registered name; None: its chute is
    described, or its cords are answered.

    `file` and `attribute` lead to the chute within these files. `parent`: the job that asked for it, `depth` steps below the
    first one; None: nobody's.
    """

    chute: str
    version: str
    function: str | None
    file: str
    attribute: str = "chute"
    parent: str | None = None
    depth: int = 0


class ReportStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class FaultKind(StrEnum):
    """What of a call failed. The words are the job socket's."""

    RAISED = "raised"  # any exception
    PERMANENT = "permanent"  # one that says that another attempt is of no use
    PAYLOAD = "payload"  # it does not bind to the parameters
    IMPORT = "import"  # the file, the chute or the function is not there, or raises as it is imported
    STARTUP = "startup"
    EXIT = "exit"  # sys.exit with a code other than 0
    CANCELLED = "cancelled"  # it let our stop through
    RESULT_TOO_LARGE = "result_too_large"


@dataclass(frozen=True, slots=True)
class Report:
    """How the function says that it ended; what it returned and the traceback lie in the job's folder.

    `kind`, `type` and `message` are of the error, None where there is none.
    """

    status: ReportStatus
    kind: FaultKind | None = None
    type: str | None = None
    message: str | None = None
