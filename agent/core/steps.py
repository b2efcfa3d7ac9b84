"""core/steps — the steps of a job's line, one value each. Which comes next is core/next_step's; the runner does it."""

from dataclasses import dataclass

from agent.core.container import Container
from agent.core.job import ExitFacts, StartFailure


@dataclass(frozen=True, slots=True)
class Wait:
    """Until poked, or for so long. None: only a poke."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FindImage:
    """Look whether the engine has the image. It costs nothing, so it needs no turn."""


@dataclass(frozen=True, slots=True)
class PullImage:
    """Only the job's turn and its resources are still wanting."""


@dataclass(frozen=True, slots=True)
class ReserveDisk:
    """As with the image: only the job's turn and its resources are still wanting, and nothing is granted before."""


@dataclass(frozen=True, slots=True)
class BeginStopping:
    """Write *stopping*, with what is known in the same write: a crash must not forget why."""

    failure: StartFailure | None = None
    facts: ExitFacts | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """Gate, prepare, write the plan's hash, create."""


@dataclass(frozen=True, slots=True)
class Intend:
    """Write the start intent: from then on this container alone is the attempt's (traces 6, 10)."""

    container: Container


@dataclass(frozen=True, slots=True)
class Start:
    container: Container


@dataclass(frozen=True, slots=True)
class BeginRunning:
    container: Container


@dataclass(frozen=True, slots=True)
class NoteEngine:
    """Write whether all engines that had the container leave it alone when they stop: another may answer by its end."""

    live_restore: bool


@dataclass(frozen=True, slots=True)
class RequestTimeout:
    """The deadline has passed: write the attempt_stop."""


@dataclass(frozen=True, slots=True)
class Judge:
    """It has exited: decide whose death it was, write the facts."""

    container: Container


@dataclass(frozen=True, slots=True)
class WriteFacts:
    facts: ExitFacts


@dataclass(frozen=True, slots=True)
class WriteSignalled:
    """Before the signal leaves, so that a death is never taken for a stranger's doing."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the image's stop signal."""

    container: Container


@dataclass(frozen=True, slots=True)
class Kill:
    container: Container


@dataclass(frozen=True, slots=True)
class ReportUnkillable:
    container: Container


@dataclass(frozen=True, slots=True)
class Remove:
    container: Container


@dataclass(frozen=True, slots=True)
class DrainAndRemove:
    container: Container


@dataclass(frozen=True, slots=True)
class Free:
    """Gate, then clear the lease in a transaction of its own: no GPU waits for a log to be drained."""


@dataclass(frozen=True, slots=True)
class Close:
    """The closing transaction: retry, another lease, or the outcome."""


@dataclass(frozen=True, slots=True)
class SendOutputs:
    """Begin the upload, or go on with it, and wait for its end."""


@dataclass(frozen=True, slots=True)
class StopUpload:
    """Somebody asked for that: what was sent stays sent, and the outcome stays."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Secrets first, then the write (trace 16)."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for this job."""


Step = (
    Wait
    | FindImage
    | PullImage
    | ReserveDisk
    | BeginStopping
    | Create
    | Intend
    | Start
    | BeginRunning
    | NoteEngine
    | RequestTimeout
    | Judge
    | WriteFacts
    | WriteSignalled
    | Signal
    | Kill
    | ReportUnkillable
    | Remove
    | DrainAndRemove
    | Free
    | Close
    | SendOutputs
    | StopUpload
    | Finish
    | Done
)
