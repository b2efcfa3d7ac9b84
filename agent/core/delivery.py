"""core/delivery — what an endpoint's answer means to an upload: taken, not now, or never. Pure; speaks no protocol."""

from dataclasses import dataclass

from agent.core.outgoing import Reply, SendTrouble, Unsent

# Refusals that may pass: timed out, too early, too many (TRANSFER: 408, 425, 429). Of the others a repetition makes nothing better.
PASSING = frozenset({408, 425, 429})
# Nothing that the endpoint or the network does can lift these, so nothing is tried again.
CLOSED = frozenset({SendTrouble.HTTP_REFUSED, SendTrouble.ADDRESS_REFUSED})


@dataclass(frozen=True, slots=True)
class Sent:
    """The endpoint has it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """It has not. `code` is out of core/upload_troubles. `is_passing`: the same again may go well, not before `retry_after`
    (the header as it came). `detail` is for the operator's log: it may name what the user need not know.
    """

    code: str
    is_passing: bool
    status: int | None = None
    retry_after: str | None = None
    detail: str = ""


Answer = Sent | Failure


def read_answer(outcome: Reply | Unsent) -> Answer:
    """What a protocol without an opinion of its own makes of an answer. A redirect is never followed, since it would lead where
    nobody looked.
    """
    if isinstance(outcome, Unsent):
        return Failure(outcome.trouble.value, outcome.trouble not in CLOSED, detail=outcome.detail)
    status = outcome.status
    if 200 <= status < 300:
        return Sent()
    if 300 <= status < 400:
        return Failure("redirected", is_passing=False, status=status)
    if 400 <= status < 500 and status not in PASSING:
        return Failure("status_refused", is_passing=False, status=status)
    return Failure("status_failed", is_passing=True, status=status, retry_after=outcome.retry_after)
