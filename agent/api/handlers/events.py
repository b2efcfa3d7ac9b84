"""api/handlers/events — the events of jobs and of the host as a stream (SSE) that resumes without a gap. Writes no event."""

import asyncio
import json
import re
from dataclasses import dataclass

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from agent.api.auth import Caller
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.query import Query
from agent.api.streams import Stream, Streams
from agent.api.tokens import Scope
from agent.core.event_form import show_event
from agent.core.job import Event, Viewer
from agent.interfaces import Store
from agent.jobs.bell import Bell, wait_for_ring
from agent.jobs.intake import unknown_job

PAGE = 500
# A comment, once: what follows has happened since. For clients that want the past alone.
CAUGHT_UP = b": caught up\n\n"
MAX_SEQ = 10**18 - 1
TYPE = re.compile(r"[a-z_]{1,32}\.[a-z_]{1,32}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for, and who he is. `after` None: only what comes; no `types`: all of them."""

    viewer: Viewer
    after: int | None
    job_id: str | None
    types: frozenset[str]

    def shows(self, event: Event) -> bool:
        return not self.types or event.type in self.types


class EventHandlers:
    def __init__(self, store: Store, bell: Bell, streams: Streams) -> None:
        self._store = store
        self._bell = bell
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        parameters = (
            Parameter("after", "events after this `seq`; 0: all there are; default: those that come"),
            Parameter("job", "of this job only"),
            Parameter("type", "of these types only, set off by commas: job.phase, gpu.state, …"),
            Parameter("Last-Event-ID", "as `after`, and stronger: what a client sends when it connects again", "header"),
        )  # fmt: skip
        answers = {
            200: Answer("events: `id` is seq, `event` the type, `data` JSON", "Event", "text/event-stream")
        }
        return (
            Endpoint("GET", "/events", Scope.JOBS_READ, self.follow, "Follow events", answers, parameters),
        )

    async def follow(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        wanted = read_query(request, caller.viewer)
        if wanted.job_id is not None and await self._store.get(wanted.job_id, wanted.viewer) is None:
            raise unknown_job(wanted.job_id)
        after = await self._store.last_event_seq() if wanted.after is None else wanted.after
        with self._streams.open(request, caller) as stream:
            # Its own pings are off for good: they would write beside us, past the slow reader's limit.
            response = EventSourceResponse(ping_interval=1e9, send_timeout=None, sep="\n")
            async with await prepared(response, request):
                await stream.send(response, b": from here on\n\n")
                await self._send_all(stream, response, wanted, after)
        return response

    async def _send_all(
        self, stream: Stream, response: EventSourceResponse, wanted: Wanted, after: int
    ) -> None:
        loop = asyncio.get_running_loop()
        sent_at, is_past = loop.time(), True
        while True:
            ring = self._bell.listen()
            events = await self._store.events(wanted.viewer, after, wanted.job_id, PAGE)
            if shown := b"".join(as_sse(event) for event in events if wanted.shows(event)):
                await stream.send(response, shown)
                sent_at = loop.time()
            if events:
                after = events[-1].seq
            elif is_past:
                await stream.send(response, CAUGHT_UP)
                is_past = False
            left = sent_at + self._streams.limits.keep_alive_seconds - loop.time()
            if left <= 0:
                await stream.send(response, b": still here\n\n")
                sent_at = loop.time()
            elif not events:
                await wait_for_ring(ring, left)


async def prepared(response: EventSourceResponse, request: web.Request) -> EventSourceResponse:
    await response.prepare(request)
    return response


def as_sse(event: Event) -> bytes:
    # JSON without indentation has no line ends, so one data line holds it whole.
    data = json.dumps(show_event(event))
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()


def read_query(request: web.Request, viewer: Viewer) -> Wanted:
    query = Query(request)
    after = query.number("after", None, 0, MAX_SEQ)
    job_id = query.text("job")
    types = frozenset(part for value in query.texts("type") for part in value.split(",") if part)
    if not all(map(TYPE.fullmatch, types)):
        query.refuse("type", "is no type of an event", "Write it as events show it, such as job.phase.")
    last = request.headers.get("Last-Event-ID", "")
    if last:
        if last.isascii() and last.isdigit() and int(last[:19]) <= MAX_SEQ:
            after = int(last[:19])
        else:
            query.refuse("Last-Event-ID", "is no id of an event of ours", "Send the last `id` as it was.")
    query.refuse_faults()
    return Wanted(viewer, after, None if job_id is None else job_id.lower(), types)
