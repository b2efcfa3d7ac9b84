"""api/handlers/stats — what a running job uses, once or each second as a stream (SSE). Measures nothing: `jobs/stats` does."""

import asyncio
import json

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from agent.api.auth import Caller
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.gpu_figures import Json, rounded, show_sample, show_usage
from agent.api.query import Query
from agent.api.streams import Stream, Streams
from agent.api.tokens import Scope
from agent.core.container_stats import ContainerStats
from agent.core.event_form import show_time
from agent.core.job import Job
from agent.errors import Phase
from agent.interfaces import Store
from agent.jobs.intake import unknown_job
from agent.jobs.stats import JobStats, Stats

PACE_SECONDS = 1.0


class StatsHandlers:
    def __init__(self, store: Store, stats: Stats, streams: Streams) -> None:
        self._store = store
        self._stats = stats
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        answers = {
            200: Answer("`stats` each second, then `end` with what became of the job; with `once` or Accept: application/json one document", "Stats", "text/event-stream")
        }  # fmt: skip
        return (
            Endpoint("GET", "/jobs/{id}/stats", Scope.JOBS_READ, self.read, "What a running job uses", answers, (JOB_ID, ONCE)),
        )  # fmt: skip

    async def read(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        is_once = read_once(request)
        given = request.match_info["id"]
        job = await self._find(given, caller)
        if job is None:
            raise unknown_job(given)
        with self._streams.open(request, caller) as stream:
            first = await self._stats.look(job)
            if is_once:
                return web.json_response(show_stats(job, await self._with_rate(job, first)))
            # Its own pings are off for good: they would write beside us, past the slow reader's limit.
            response = EventSourceResponse(ping_interval=1e9, send_timeout=None, sep="\n")
            await response.prepare(request)
            async with response:
                await self._send_all(stream, response, (job, first), caller)
        return response

    async def _with_rate(self, job: Job, first: JobStats) -> JobStats:
        """Processor time is told between two readings. The first one is of who comes when nobody else looks."""
        if first.container is None or first.cpu_percent is not None:
            return first
        await asyncio.sleep(PACE_SECONDS)
        return await self._stats.look(job)

    async def _send_all(
        self, stream: Stream, response: EventSourceResponse, begun: tuple[Job, JobStats], caller: Caller
    ) -> None:
        """The stream is of one attempt: it ends with the job's running, also where another attempt follows."""
        job, stats = begun
        attempt = job.attempt
        found: Job | None = job
        while found is not None and found.phase is Phase.RUNNING and found.attempt == attempt:
            await stream.send(response, as_sse("stats", show_stats(found, stats)))
            await asyncio.sleep(PACE_SECONDS)
            found = await self._find(job.id, caller)
            if found is not None and found.phase is Phase.RUNNING:
                stats = await self._stats.look(found)
        await stream.send(response, as_sse("end", show_end(found)))

    async def _find(self, given: str, caller: Caller) -> Job | None:
        return await self._store.get(given.lower(), caller.viewer)


def read_once(request: web.Request) -> bool:
    """A HEAD is answered by headers alone, which the stream of a job would never end."""
    query = Query(request)
    is_asked = query.is_set("once")
    query.refuse_faults()
    return is_asked or request.method == "HEAD" or "application/json" in request.headers.get("Accept", "")


def as_sse(kind: str, data: Json) -> bytes:
    # JSON without indentation has no line ends, so one data line holds it whole.
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def show_end(job: Job | None) -> Json:
    """None: it was forgotten meanwhile."""
    outcome = None if job is None or job.outcome is None else job.outcome.value
    return {"phase": None if job is None else job.phase.value, "outcome": outcome}


def show_stats(job: Job, stats: JobStats) -> Json:
    return {
        "job": job.id,
        "attempt": job.attempt,
        "at": show_time(stats.at),
        "started_at": show_time(job.run.started_at),
        "container": show_container(stats.container, stats.cpu_percent),
        "gpus": [{"uuid": uuid, **show_sample(sample)} for uuid, sample in stats.gpus.items()],
        "gpu_usage": None if stats.usage is None else show_usage(stats.usage, stats.gpu_seconds),
    }


def show_container(stats: ContainerStats | None, cpu: float | None) -> Json | None:
    if stats is None:
        return None
    return {
        "cpu_percent": rounded(cpu, 1),
        "cpu_seconds": rounded(stats.cpu_seconds, 3),
        "memory": stats.memory_bytes,
        "memory_limit": stats.memory_limit_bytes,
        "pids": stats.pids,
        "network_received": stats.received_bytes,
        "network_sent": stats.sent_bytes,
        "disk_read": stats.read_bytes,
        "disk_written": stats.written_bytes,
    }


ONCE = Parameter("once", "true: one document (application/json), and no stream")
