"""api/handlers/families — a job with all that came of it: drawn, and cancelled, alone or together. Decides nothing: the intake does."""

import json
from dataclasses import dataclass

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.family_views import show_family
from agent.api.problems import BadRequestError
from agent.api.query import Query
from agent.api.showing import JobShowing
from agent.api.tokens import Scope
from agent.core.family import MOST_RELATIVES
from agent.core.job import Job
from agent.interfaces import Store
from agent.jobs.intake import Intake, JobFinishedError, Stopped, unknown_job
from agent.spec import Fault
from agent.spec.limits import MAX_GRACE_SECONDS

FIELDS = ("grace", "children")


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """`grace`: seconds; None: the spec's. `with_children`: all that came of the job, too."""

    grace: int | None
    with_children: bool


class FamilyHandlers:
    def __init__(self, intake: Intake, store: Store, showing: JobShowing) -> None:
        self._intake = intake
        self._store = store
        self._showing = showing

    def endpoints(self) -> tuple[Endpoint, ...]:
        tree = {200: Answer(f"the job and what is below it, at most {MOST_RELATIVES}", "JobTree")}
        stopped = {202: Answer("the job, and how many were asked to stop", "StoppedJob")}
        return (
            Endpoint("GET", "/jobs/{id}/tree", Scope.JOBS_READ, self.tree, "Read what came of a job", tree, (JOB_ID,)),
            Endpoint("POST", "/jobs/{id}/cancel", Scope.JOBS_WRITE, self.cancel, "Ask for the job's end", stopped, (JOB_ID, GRACE, CHILDREN)),
        )  # fmt: skip

    async def tree(self, request: web.Request, caller: Caller) -> web.Response:
        Query(request).refuse_faults()
        given = request.match_info["id"]
        family = await self._store.family(given.lower(), caller.viewer, MOST_RELATIVES)
        if family is None:
            raise unknown_job(given)
        return web.json_response(show_family(family))

    async def cancel(self, request: web.Request, caller: Caller) -> web.Response:
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        asked = await read_cancel(request)
        stopped = await (self._cancel_family if asked.with_children else self._cancel)(
            caller, job, asked.grace
        )
        shown = await self._showing.show(stopped.job)
        return web.json_response({**shown, "asked": stopped.asked}, status=202)

    async def _cancel(self, caller: Caller, job: Job, grace: int | None) -> Stopped:
        if await self._showing.uploads.stop_retry(job):
            return Stopped(job, 1)
        return Stopped(await self._intake.cancel(caller.viewer, job.id, grace), 1)

    async def _cancel_family(self, caller: Caller, job: Job, grace: int | None) -> Stopped:
        had_retry = await self._showing.uploads.stop_retry(job)
        try:
            stopped = await self._intake.cancel_family(caller.viewer, job.id, grace)
        except JobFinishedError:
            if had_retry:
                return Stopped(job, 1)
            raise
        return Stopped(stopped.job, stopped.asked + had_retry)


async def read_cancel(request: web.Request) -> CancelRequest:
    """From the query, or from a body `{"grace": 5, "children": true}`, which counts for what it has."""
    query = Query(request)
    grace = query.number("grace", None, 0, MAX_GRACE_SECONDS)
    with_children = query.is_set("children")
    query.refuse_faults()
    if not request.body_exists or request.content_length == 0:
        return CancelRequest(grace, with_children)
    body = await read_json(request)
    faults = find_cancel_faults(body)
    if faults or not isinstance(body, dict):
        raise BadRequestError(faults)
    said_grace, said_children = body.get("grace"), body.get("children")
    return CancelRequest(
        grace if said_grace is None else said_grace, with_children if said_children is None else said_children
    )


def find_cancel_faults(body: object) -> list[Fault]:
    if not isinstance(body, dict):
        return [Fault("body", "wrong_type", "must be an object", 'Send {"grace": 30}, or nothing.')]
    faults = [
        Fault(name[:64], "unknown_field", "is no field here", f"The fields are: {', '.join(FIELDS)}.")
        for name in body
        if name not in FIELDS
    ]
    grace, children = body.get("grace"), body.get("children")
    is_number = isinstance(grace, int) and not isinstance(grace, bool)
    if grace is not None and not (is_number and 0 <= grace <= MAX_GRACE_SECONDS):
        told = f"must be a whole number from 0 to {MAX_GRACE_SECONDS}, not {json.dumps(grace)[:32]}"
        faults.append(Fault("grace", "out_of_range", told, "Write seconds."))
    if not isinstance(children, bool | None):
        told = f"must be true or false, not {json.dumps(children)[:32]}"
        faults.append(Fault("children", "wrong_type", told, "Write true or false."))
    return faults


GRACE = Parameter(
    "grace",
    "seconds between the stop signal and the kill; default: the spec's",
    schema={"type": "integer", "minimum": 0},
)
CHILDREN = Parameter(
    "children",
    "`true`: also all unfinished jobs that it has started, and those that these have; none of them starts another any more",
    schema={"type": "boolean"},
)
