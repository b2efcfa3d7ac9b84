"""core/notify — how far a job's notifications are, and what follows a try: delivered, again, given up, or the end. Pure.

Of a job's events those of its phases are sent, one after the other. One that can't be delivered is tried for a day, then given up.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from agent.core.backoff import endpoint_pause, read_retry_after
from agent.core.job import Event
from agent.core.outgoing import Reply, SendTrouble, Unsent
from agent.errors import Blame

# What is told: each change of phase, the outcome with it.
TOLD = ("job.accepted", "job.phase")
DEADLINE_SECONDS = 86_400.0
# Refusals that may pass: timed out, too early, too many. Of the others a repetition makes nothing better.
PASSING = frozenset({408, 425, 429})
GONE = 410


@dataclass(frozen=True, slots=True)
class NotifyTarget:
    """Where a job's events go, and what they are signed with: as it rests in the job's secrets. Its repr shows none of it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


class NotifyEnd(StrEnum):
    """Why no more is sent for a job."""

    COMPLETE = "complete"  # the job is finished and all was sent, or given up
    GONE = "gone"  # the endpoint said 410
    LOST = "lost"  # the URL and the secret are not on disk any more


@dataclass(frozen=True, slots=True)
class NotifyTrouble:
    """The last failure: of which event, what, and when. `code` is out of TROUBLES."""

    n: int
    code: str
    at: float
    status: int | None = None


@dataclass(frozen=True, slots=True)
class NotifyState:
    """All that is kept: `notified_n` is the last event of the job that was delivered or given up."""

    notified_n: int = 0
    delivered: int = 0
    dropped: int = 0
    end: NotifyEnd | None = None
    trouble: NotifyTrouble | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be done for a job now. `event` None: nothing; then `is_over` says that nothing will be.

    `row` is the job's `seq`, which no other job gets, not even a later one of the same id.
    """

    row: int
    owner: str
    state: NotifyState
    event: Event | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What is shown. `pending`: events that are not delivered yet."""

    state: NotifyState
    pending: int


@dataclass(frozen=True, slots=True)
class TroubleWords:
    blame: Blame
    message: str
    remedy: str


_ENDPOINT = "See to the endpoint; the agent tries again for a day."
TROUBLES: dict[str, TroubleWords] = {
    SendTrouble.HTTP_REFUSED: TroubleWords(
        Blame.USER,
        "the URL is http://, which this host does not allow",
        "Use https://, or ask the operator for [uploads] allow_http.",
    ),
    SendTrouble.ADDRESS_REFUSED: TroubleWords(
        Blame.USER,
        "the URL leads to an address that is not public",
        "Use a public endpoint, or ask the operator to list the host in [uploads] allow_hosts.",
    ),
    SendTrouble.NAME_UNKNOWN: TroubleWords(
        Blame.USER, "the host's name has no address", "Check the name and its DNS."
    ),
    SendTrouble.CONNECT_FAILED: TroubleWords(Blame.USER, "the endpoint took no connection", _ENDPOINT),
    SendTrouble.TLS_FAILED: TroubleWords(
        Blame.USER,
        "the endpoint's TLS or its certificate was refused",
        "Give it a certificate of a public authority for this very name.",
    ),
    SendTrouble.TOO_SLOW: TroubleWords(Blame.USER, "the endpoint did not answer in time", _ENDPOINT),
    SendTrouble.REPLY_BROKEN: TroubleWords(Blame.USER, "the endpoint's answer was no HTTP answer", _ENDPOINT),
    "status_failed": TroubleWords(Blame.USER, "the endpoint answered with a failure", _ENDPOINT),
    "status_refused": TroubleWords(
        Blame.USER,
        "the endpoint refused the event, which was given up",
        "See why it refuses; the next event is tried all the same.",
    ),
    "gone": TroubleWords(
        Blame.USER,
        "the endpoint said 410 Gone, so nothing more is sent for this job",
        "Send the next job with another URL.",
    ),
    "target_lost": TroubleWords(
        Blame.HOST,
        "the URL and the secret are not in the job's folder any more",
        "Ask for the job's events (GET /v1/events) instead; leave the state folder to the agent.",
    ),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """`at`: wall time of the failure or the answer. `failures`: of this event before. `jitter` in [0, 1)."""

    at: float
    failures: int
    jitter: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is kept, and after how many seconds the same event is tried again. None: not again."""

    state: NotifyState
    again_after: float | None = None


def decide(state: NotifyState, event: Event, outcome: Reply | Unsent, tried: Tried) -> Decision:
    """What follows a try.

    A redirect is a failure like any other: it is not followed, since it would lead where nobody looked.
    """
    if isinstance(outcome, Reply) and is_delivered(outcome):
        return Decision(replace(state, notified_n=_number(event), delivered=state.delivered + 1))
    trouble = _trouble(event, outcome, tried.at)
    if trouble.code == "gone":
        return Decision(replace(state, end=NotifyEnd.GONE, trouble=trouble))
    left = event.at + DEADLINE_SECONDS - tried.at
    if trouble.code == "status_refused" or left <= 0:
        return Decision(replace(state, notified_n=_number(event), dropped=state.dropped + 1, trouble=trouble))
    asked = read_retry_after(outcome.retry_after, tried.at) if isinstance(outcome, Reply) else 0.0
    wait = max(asked, endpoint_pause(tried.failures, tried.jitter))
    # The last try is at the deadline, however late the endpoint would like to be asked; by a clock that was not put back.
    return Decision(replace(state, trouble=trouble), min(wait, left, DEADLINE_SECONDS))


def is_delivered(reply: Reply) -> bool:
    return 200 <= reply.status < 300


def end_without_target(state: NotifyState, event: Event, now: float) -> NotifyState:
    """The end of a job whose URL and secret are not on disk, with `event` still to be told."""
    if state.trouble is not None and state.trouble.code == "gone":
        return replace(state, end=NotifyEnd.GONE)  # a crash came between the drop of the secret and the end
    return replace(state, end=NotifyEnd.LOST, trouble=NotifyTrouble(_number(event), "target_lost", now))


def _trouble(event: Event, outcome: Reply | Unsent, now: float) -> NotifyTrouble:
    if isinstance(outcome, Unsent):
        return NotifyTrouble(_number(event), outcome.trouble.value, now)
    return NotifyTrouble(_number(event), _code_of(outcome.status), now, outcome.status)


def _code_of(status: int) -> str:
    if status == GONE:
        return "gone"
    return "status_refused" if 400 <= status < 500 and status not in PASSING else "status_failed"


def _number(event: Event) -> int:
    """Of a job's event. The host's own have none, and are told to no job."""
    if event.n is None:
        raise ValueError(f"{event.type} is an event of the host")
    return event.n
