"""api/handlers/logs — a job's log as a stream, text or NDJSON. Reads no log itself: order, cursors and gaps are `jobs/logs`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from agent.api.auth import Caller
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.query import Query
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.core.browser_sessions import CookieUse
from agent.core.cursor import parse_cursor
from agent.core.frames import Stream
from agent.interfaces import Store
from agent.jobs.intake import unknown_job
from agent.jobs.logs import Follow, LogQuery, Logs, Stamps

MAX_ATTEMPT = 10**6 - 1
# Each line of a tail is held until the end of the log is found.
MAX_TAIL = 100_000


class Form(StrEnum):
    TEXT = "text"
    NDJSON = "ndjson"


class StreamName(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


MEDIA = {Form.TEXT: "text/plain; charset=utf-8", Form.NDJSON: "application/x-ndjson"}
STREAMS = {StreamName.STDOUT: Stream.STDOUT, StreamName.STDERR: Stream.STDERR}


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the log, and how it is to look."""

    query: LogQuery
    form: Form
    stamps: Stamps


class LogHandlers:
    def __init__(self, store: Store, logs: Logs, streams: Streams) -> None:
        self._store = store
        self._logs = logs
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        answers = {
            200: Answer("lines; as NDJSON each with the cursor behind it", "LogLine", MEDIA[Form.NDJSON])
        }
        return (
            Endpoint("GET", "/jobs/{id}/logs", Scope.JOBS_READ, self.read, "Read or follow a job's log", answers, (JOB_ID, *PARAMETERS), cookie=CookieUse.ALONE),
        )  # fmt: skip

    async def read(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = read_query(request)
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        await self._logs.check(job.id, asked.query)
        response = web.StreamResponse(headers={"Content-Type": MEDIA[asked.form]})
        with self._streams.open(request, caller) as stream:
            if request.method == "HEAD" or asked.query.follow is Follow.YES:
                # Whoever follows a silent job is to know at once that he is connected.
                await response.prepare(request)
            if request.method != "HEAD":
                await stream.send_all(response, self._chunks(job.id, asked))
        return response

    def _chunks(self, job_id: str, asked: Asked) -> AsyncIterator[bytes]:
        if asked.form is Form.NDJSON:
            return self._logs.ndjson_chunks(job_id, asked.query)
        return self._logs.text_chunks(job_id, asked.query, asked.stamps)


def read_query(request: web.Request) -> Asked:
    query = Query(request)
    cursor = query.text("cursor")
    stream = query.choice("stream", StreamName)
    tail = query.number("tail", None, 0, MAX_TAIL)
    if cursor is not None and tail is not None:
        query.refuse("tail", "can't be had with a cursor", "Leave one of the two out.")
    asked = Asked(
        LogQuery(
            attempt=query.number("attempt", None, 1, MAX_ATTEMPT),
            cursor=None if cursor is None else parse_cursor(cursor),
            since=query.time("since"),
            tail=tail,
            stream=None if stream is None else STREAMS[stream],
            follow=Follow.YES if query.is_set("follow") else Follow.NO,
        ),
        query.choice("format", Form) or Form.TEXT,
        Stamps.SHOWN if query.is_set("timestamps") else Stamps.HIDDEN,
    )
    query.refuse_faults()
    return asked


WHOLE = {"type": "integer", "minimum": 0}
PARAMETERS = (
    Parameter("attempt", "this attempt alone; default: the latest, and on", schema={"type": "integer", "minimum": 1}),
    Parameter("follow", "true: goes on until the job has ended"),
    Parameter("cursor", "what is behind this cursor of an NDJSON line"),
    Parameter("since", "lines since then: RFC 3339, or seconds since the epoch"),
    Parameter("tail", "at most so many of the lines that are there", schema=WHOLE),
    Parameter("stream", "stdout or stderr; default: both"),
    Parameter("timestamps", "true: each line of text begins with its time"),
    Parameter("format", "text (default) or ndjson"),
)  # fmt: skip
