"""jobs/cords/errors — why the agent itself answers a call of a cord, each in words. What the author answers is no error of ours."""

from collections.abc import Sequence

from agent.errors import AgentError, Blame


class NoSuchCordError(AgentError):
    """The chute has no cord at this path."""

    code, blame = "cord_not_found", Blame.USER
    remedy = "Check the path; `gpu-agent chute show NAME` lists the chute's cords."

    def __init__(self, chute: str, path: str, near: str | None) -> None:
        meant = "" if near is None else f"; did you mean {near}?"
        super().__init__(f"the chute {chute} has no cord at {path[:200]!a}{meant}")


class CordMethodError(AgentError):
    """The cord at this path takes other methods."""

    code, blame = "cord_method_not_allowed", Blame.USER
    remedy = "Use a method that the Allow header names."

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(f"{path[:200]!a} takes {', '.join(allowed)}, not {method[:20]!a}")


class CordArgumentsInvalidError(AgentError):
    """What was sent does not fit the cord's parameters; nothing of it ran."""

    code, blame = "cord_arguments_invalid", Blame.USER
    remedy = "Send what the signature in the message names: in the path, the JSON body or the query."


class CordFailedError(AgentError):
    """The cord raised an exception that is no HTTPException."""

    code, blame = "cord_failed", Blame.USER
    remedy = "The log of the job that the message names has the traceback: `gpu-agent logs JOB`."

    def __init__(self, told: str, job_id: str) -> None:
        super().__init__(f"{told} (in the log of the job {job_id})")


class CordAnswerInvalidError(AgentError):
    """The cord returned what can't be sent: no JSON, more than 8 MiB, or an HTTPException of a status outside of 400 to 599."""

    code, blame = "cord_answer_invalid", Blame.USER
    remedy = "Let the cord return JSON, bytes or a generator; what is large is streamed by a generator."

    def __init__(self, told: str, job_id: str) -> None:
        super().__init__(f"{told} (in the job {job_id})")


class CordHostEndedError(AgentError):
    """The job that answered the call ended, or lost its connection, before the answer came."""

    code, blame = "cord_host_ended", Blame.USER
    remedy = "Call again: another job is started for it. With an Idempotency-Key, what the first call had started is not started twice."

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(f"no answer came from the job {job_id}: {why}")


class CordHostNotReadyError(AgentError):
    """No job could be started in time to answer the call; the message says why."""

    code, blame = "cord_host_not_ready", Blame.HOST
    remedy = "See what the message names, then call again; `gpu-agent show JOB` and `gpu-agent logs JOB` tell more."


class CordBusyError(AgentError):
    """As much of one's own is under way as may be: of this chute, of all of them together, or of the same call."""

    code, blame = "cord_busy", Blame.USER
    remedy = (
        "Call again later, with fewer or smaller calls at once; how many a chute runs is its `concurrency`."
    )


class CordRoomFullError(AgentError):
    """Calls of all principals together hold the memory that the host has for them."""

    code, blame = "cord_room_full", Blame.HOST
    remedy = "Call again later; large input is a job's rather than a cord's."


class CordTimedOutError(AgentError):
    """The cord gave no answer, or no further piece of one, within `[chutes] cord_timeout`, or not all of one within an hour."""

    code, blame = "cord_timed_out", Blame.USER
    remedy = "Let the cord answer sooner: what takes long is a job, which a cord can start."

    def __init__(self, seconds: float, job_id: str) -> None:
        super().__init__(
            f"no answer came, or not all of it, within {seconds:g} s, and the call was given up (job {job_id})"
        )
