"""api/handlers/events — the events of jobs as a stream (SSE) that resumes without a gap. Writes no event."""

import asyncio
import json

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from agent.api.auth import Caller
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.query import Query
from agent.api.streams import Stream, Streams
from agent.api.tokens import Scope
from agent.core.event_form import show_event
from agent.core.job import Event
from agent.interfaces import Store
from agent.jobs.bell import Bell, wait_for_ring
from agent.jobs.intake import unknown_job

PAGE = 500
# A comment, once: what follows has happened since. For clients that want the past alone.
CAUGHT_UP = b": caught up\n\n"
MAX_SEQ = 10**18 - 1


class EventHandlers:
    def __init__(self, store: Store, bell: Bell, streams: Streams) -> None:
        self._store = store
        self._bell = bell
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        parameters = (
            Parameter("after", "events after this `seq`; 0: all there are; default: those that come"),
            Parameter("job", "of this job only"),
            Parameter("Last-Event-ID", "as `after`, and stronger: what a client sends when it connects again", "header"),
        )  # fmt: skip
        answers = {
            200: Answer("events: `id` is seq, `event` the type, `data` JSON", "Event", "text/event-stream")
        }
        return (
            Endpoint("GET", "/events", Scope.JOBS_READ, self.follow, "Follow events", answers, parameters),
        )

    async def follow(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        after, job_id = read_query(request)
        if job_id is not None and await self._store.get(job_id, caller.viewer) is None:
            raise unknown_job(job_id)
        if after is None:
            after = await self._store.last_event_seq()
        with self._streams.open(request, caller) as stream:
            # Its own pings are off for good: they would write beside us, past the slow reader's limit.
            response = EventSourceResponse(ping_interval=1e9, send_timeout=None, sep="\n")
            async with await prepared(response, request):
                await stream.send(response, b": from here on\n\n")
                await self._send_all(stream, response, caller, (after, job_id))
        return response

    async def _send_all(
        self, stream: Stream, response: EventSourceResponse, caller: Caller, place: tuple[int, str | None]
    ) -> None:
        after, job_id = place
        loop = asyncio.get_running_loop()
        sent_at, is_past = loop.time(), True
        while True:
            ring = self._bell.listen()
            events = await self._store.events(caller.viewer, after, job_id, PAGE)
            if events:
                await stream.send(response, b"".join(map(as_sse, events)))
                after, sent_at = events[-1].seq, loop.time()
                continue
            if is_past:
                await stream.send(response, CAUGHT_UP)
                is_past = False
            left = sent_at + self._streams.limits.keep_alive_seconds - loop.time()
            if left <= 0:
                await stream.send(response, b": still here\n\n")
                sent_at = loop.time()
            else:
                await wait_for_ring(ring, left)


async def prepared(response: EventSourceResponse, request: web.Request) -> EventSourceResponse:
    await response.prepare(request)
    return response


def as_sse(event: Event) -> bytes:
    # JSON without indentation has no line ends, so one data line holds it whole.
    data = json.dumps(show_event(event))
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()


def read_query(request: web.Request) -> tuple[int | None, str | None]:
    query = Query(request)
    after = query.number("after", None, 0, MAX_SEQ)
    job_id = query.text("job")
    last = request.headers.get("Last-Event-ID", "")
    if last:
        if last.isascii() and last.isdigit() and int(last[:19]) <= MAX_SEQ:
            after = int(last[:19])
        else:
            query.refuse("Last-Event-ID", "is no id of an event of ours", "Send the last `id` as it was.")
    query.refuse_faults()
    return after, None if job_id is None else job_id.lower()
