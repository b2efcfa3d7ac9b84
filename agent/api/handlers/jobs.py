"""api/handlers/jobs — submit, list, read, forget. Decides nothing: the rules are the intake's, the filter is the store's."""

import asyncio

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.cursors import read_cursor, write_cursor
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.keys import IDEMPOTENCY_KEY, read_key
from agent.api.query import Query
from agent.api.showing import JobShowing
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.core.job import Job, Kind
from agent.errors import Phase
from agent.interfaces import Accepted, JobQuery, Store
from agent.jobs.bell import Bell, wait_for_ring
from agent.jobs.intake import Intake, read_job_id, unknown_job
from agent.spec import limits

DEFAULT_PAGE, MAX_PAGE = 50, 200
DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS = 30, 300
# A missed ring (there is none, but a wait has a deadline) costs a waiting client this much.
LOOK_AGAIN_SECONDS = 5.0
JOB = Answer("the job", "Job")


class JobHandlers:
    def __init__(
        self, intake: Intake, store: Store, bell: Bell, showing: JobShowing, streams: Streams
    ) -> None:
        self._intake = intake
        self._store = store
        self._bell = bell
        self._showing = showing
        self._uploads = showing.uploads
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        accepted = {
            201: Answer("accepted, and on disk", "Job"),
            200: Answer("a replay of an earlier one", "Job"),
        }
        return (
            Endpoint("POST", "/jobs", Scope.JOBS_WRITE, self.submit, "Submit a job", accepted, (IDEMPOTENCY_KEY,), "JobSpec"),
            Endpoint("PUT", "/jobs/{id}", Scope.JOBS_WRITE, self.put, "Submit under an id of your own", accepted, (JOB_ID,), "JobSpec"),
            Endpoint("GET", "/jobs", Scope.JOBS_READ, self.list, "List jobs, newest first", {200: Answer("a page", "JobPage")}, LIST_PARAMETERS),
            Endpoint("GET", "/jobs/{id}", Scope.JOBS_READ, self.show, "Read a job, or wait for its end", {200: JOB}, (JOB_ID, *WAIT_PARAMETERS)),
            Endpoint("DELETE", "/jobs/{id}", Scope.JOBS_WRITE, self.forget, "Forget a finished job and its files", {204: Answer("forgotten")}, (JOB_ID,)),
        )  # fmt: skip

    async def submit(self, request: web.Request, caller: Caller) -> web.Response:
        key = read_key(request)
        accepted = await self._intake.submit(caller.viewer, await read_json(request), key=key)
        return await self._answer_accepted(accepted)

    async def put(self, request: web.Request, caller: Caller) -> web.Response:
        job_id = read_job_id(request.match_info["id"])
        accepted = await self._intake.submit(caller.viewer, await read_json(request), job_id=job_id)
        return await self._answer_accepted(accepted)

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        query = read_list_query(request)
        jobs = await self._store.page(query, caller.viewer)
        items = await self._showing.show_all(jobs)
        following = write_cursor(jobs[-1].seq) if len(jobs) == query.limit else None
        return web.json_response({"items": items, "next": following})

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        seconds = read_wait(request)
        job = await self._find(request, caller)
        if seconds is not None:
            with self._streams.open(request, caller) as stream:
                async with stream.watched():
                    job = await self._wait_for_end(job, caller, seconds)
        written = await self._showing.write(job)
        return web.Response(body=written, content_type="application/json", charset="utf-8")

    async def forget(self, request: web.Request, caller: Caller) -> web.Response:
        job = await self._find(request, caller)
        await self._intake.forget(caller.viewer, job.id)
        await self._uploads.forget(job.id)
        return web.Response(status=204)

    async def _answer_accepted(self, accepted: Accepted) -> web.Response:
        headers = {"Location": f"/v1/jobs/{accepted.job.id}"}
        status = 200 if accepted.is_replay else 201
        return web.json_response(await self._showing.show(accepted.job), status=status, headers=headers)

    async def _find(self, request: web.Request, caller: Caller) -> Job:
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        return job

    async def _wait_for_end(self, job: Job, caller: Caller, seconds: float) -> Job:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            ring = self._bell.listen()
            found = await self._store.get(job.id, caller.viewer)
            if found is None:
                raise unknown_job(job.id)
            left = deadline - loop.time()
            if found.phase is Phase.FINISHED or left <= 0:
                return found
            await wait_for_ring(ring, min(left, LOOK_AGAIN_SECONDS))


def read_list_query(request: web.Request) -> JobQuery:
    query = Query(request)
    phases = query.choices("phase", Phase)
    kind = query.choice("kind", Kind)
    queue = query.text("queue")
    id_prefix, schedule = query.id_prefix("id"), query.text("schedule")
    limit = query.number("limit", DEFAULT_PAGE, 1, MAX_PAGE)
    read = JobQuery(
        phases=phases,
        queue=queue,
        labels=read_labels(query),
        kind=kind,
        id_prefix=id_prefix,
        schedule=None if schedule is None else schedule.lower(),
        before_seq=read_cursor(query),
        limit=limit or DEFAULT_PAGE,
    )
    query.refuse_faults()
    return read


def read_labels(query: Query) -> tuple[tuple[str, str], ...]:
    pairs = [label.partition("=") for label in query.texts("label")]
    if any(not name or not sign for name, sign, _ in pairs):
        query.refuse("label", "must be NAME=VALUE", "Write label=NAME=VALUE, once for each label.")
    labels = dict.fromkeys((name, value) for name, _, value in pairs)
    if len(labels) > limits.MAX_LABELS:  # each is looked for, in the one thread that is everybody's
        query.refuse("label", f"is given for more than {limits.MAX_LABELS} labels", "No job has so many.")
        return ()
    return tuple(labels)


def read_wait(request: web.Request) -> float | None:
    query = Query(request)
    wait = query.text("wait")
    if wait not in {None, "finished"}:
        query.refuse("wait", "must be finished", "Write wait=finished.")
    seconds = query.number("timeout", DEFAULT_WAIT_SECONDS, 0, MAX_WAIT_SECONDS)
    query.refuse_faults()
    return None if wait is None else float(seconds or 0)


SECONDS = {"type": "integer", "minimum": 0}
WAIT_PARAMETERS = (
    Parameter("wait", "`finished`: answer when the job is finished, or at the timeout with what is then so"),
    Parameter("timeout", f"seconds to wait, at most {MAX_WAIT_SECONDS}; default {DEFAULT_WAIT_SECONDS}", schema=SECONDS),
)  # fmt: skip
LIST_PARAMETERS = (
    Parameter("phase", "phases, set off by commas"),
    Parameter("queue", "the queue's name"),
    Parameter("label", "NAME=VALUE; more than once: all must hold"),
    Parameter(
        "kind", "container, function or describe; default: all but describe, which the agent runs for itself"
    ),
    Parameter("id", "the beginning of an id"),
    Parameter("schedule", "the id of the schedule that started them"),
    Parameter("cursor", "`next` of the page before"),
    Parameter("limit", f"items a page, at most {MAX_PAGE}; default {DEFAULT_PAGE}", schema=SECONDS),
)
