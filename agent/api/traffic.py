"""api/traffic — how many requests were answered how, and how long answers took, by endpoint. Keeps nothing of a request itself.

Labels are the routes' own templates: what a client may write, as a path, an id or a method of his own, names none of them.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

from agent.api.problems import Handler

# Seconds: from what the store answers out of its cache, to where a person looks at his watch.
BOUNDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# No route has it; and nobody was there any more to be answered.
UNMATCHED, NO_ANSWER = "unmatched", "none"


@dataclass(slots=True)
class Times:
    """`counts`: how many answers took no longer than each of BOUNDS and longer than the one before; the last, longer than all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Traffic:
    """Since the daemon's start. `answers`: by method, endpoint and class of the status; `times`: by method and endpoint."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, ...]] = Counter()
        self.times: dict[tuple[str, ...], Times] = {}

    @web.middleware
    async def measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The outermost middleware, so that it sees the answer that goes out."""
        clock = asyncio.get_running_loop().time
        began, answer = clock(), None
        try:
            answer = await handler(request)
            return answer
        finally:
            self.note(request, answer, clock() - began)

    def note(self, request: web.Request, answer: web.StreamResponse | None, seconds: float) -> None:
        method, endpoint = endpoint_of(request)
        status = NO_ANSWER if answer is None else f"{answer.status // 100}xx"
        self.answers[method, endpoint, status] += 1
        if answer is not None and is_timed(request, answer):
            self.times.setdefault((method, endpoint), Times()).note(seconds)


def endpoint_of(request: web.Request) -> tuple[str, str]:
    resource = request.match_info.route.resource
    method = request.method if request.method in METHODS else "other"
    return method, UNMATCHED if resource is None else resource.canonical


def is_timed(request: web.Request, answer: web.StreamResponse) -> bool:
    """Whether how long it took says something of this host.

    What was sent already is a stream, which takes as long as its client likes; who asks to wait is kept waiting; and what the caller got
    wrong may have been held back (api/slowdown).
    """
    return not answer.prepared and "wait" not in request.query and answer.status // 100 != 4
