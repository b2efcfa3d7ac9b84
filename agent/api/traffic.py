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
# Of a client's own making; no route has it; and nobody was there any more to be answered.
OTHER, UNMATCHED, NO_ANSWER = "other", "unmatched", "none"


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
            resource = request.match_info.route.resource
            template = None if resource is None else resource.canonical
            # What was sent already is a stream, which takes as long as its client likes; and who asks to wait is kept waiting.
            is_prompt = answer is not None and not answer.prepared and "wait" not in request.query
            seconds = clock() - began if is_prompt else None
            self.note(request.method, template, None if answer is None else answer.status, seconds)

    def note(self, method: str, template: str | None, status: int | None, seconds: float | None) -> None:
        """`template` None: no route has the path. `status` None: nobody was answered. `seconds` None: they say nothing of this host."""
        labels = (method if method in METHODS else OTHER, template or UNMATCHED)
        self.answers[*labels, NO_ANSWER if status is None else f"{status // 100}xx"] += 1
        # What the caller got wrong may have been held back (api/slowdown).
        if seconds is not None and status is not None and status // 100 != 4:
            self.times.setdefault(labels, Times()).note(seconds)
