"""api/handlers/schedules — make, list, read, remove, run, pause, resume. Decides nothing: `jobs/schedules` does."""

import asyncio

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.cursors import read_cursor, write_cursor
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.keys import IDEMPOTENCY_KEY, read_key
from agent.api.query import Query
from agent.api.schedule_views import show_schedule
from agent.api.showing import JobShowing
from agent.api.tokens import Scope
from agent.core.schedule import Schedule
from agent.interfaces import Clock, ScheduleQuery
from agent.jobs.schedules import Schedules

DEFAULT_PAGE, MAX_PAGE = 50, 200


class ScheduleHandlers:
    def __init__(self, schedules: Schedules, showing: JobShowing, clock: Clock) -> None:
        self._schedules = schedules
        self._showing = showing
        self._clock = clock

    def endpoints(self) -> tuple[Endpoint, ...]:
        read, write = Scope.JOBS_READ, Scope.JOBS_WRITE
        schedule = Answer("the schedule", "Schedule")
        started = {
            201: Answer("accepted, and on disk", "Job"),
            200: Answer("a replay of an earlier one", "Job"),
        }
        return (
            Endpoint("POST", "/schedules", write, self.add, "Make a schedule of a container job", {201: schedule}, (), "ScheduleRequest"),
            Endpoint("GET", "/schedules", read, self.list, "List schedules, newest first", {200: Answer("a page", "SchedulePage")}, LIST_PARAMETERS),
            Endpoint("GET", "/schedules/{id}", read, self.show, "Read a schedule", {200: schedule}, (ID,)),
            Endpoint("DELETE", "/schedules/{id}", write, self.remove, "Remove a schedule; its jobs stay", {204: Answer("removed")}, (ID,)),
            Endpoint("POST", "/schedules/{id}/run", write, self.run, "Start its job now", started, (ID, IDEMPOTENCY_KEY)),
            Endpoint("POST", "/schedules/{id}/pause", write, self.pause, "Let nothing be due of it", {200: schedule}, (ID,)),
            Endpoint("POST", "/schedules/{id}/resume", write, self.resume, "End its pause", {200: schedule}, (ID,)),
        )  # fmt: skip

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        added = await self._schedules.add(caller.viewer, await read_json(request))
        headers = {"Location": f"/v1/schedules/{added.id}"}
        return web.json_response(self._show(added), status=201, headers=headers)

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        query = read_list_query(request)
        found = await self._schedules.list(caller.viewer, query)
        following = write_cursor(found[-1].seq) if len(found) == query.limit else None
        items = []
        for each in found:
            items.append(self._show(each))
            # What comes next takes a while where it is rare, and the loop is everybody's.
            await asyncio.sleep(0)
        return web.json_response({"items": items, "next": following})

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._show(await self._schedules.find(caller.viewer, id_of(request))))

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        await self._schedules.remove(caller.viewer, id_of(request))
        return web.Response(status=204)

    async def run(self, request: web.Request, caller: Caller) -> web.Response:
        accepted = await self._schedules.run(caller.viewer, id_of(request), read_key(request))
        headers = {"Location": f"/v1/jobs/{accepted.job.id}"}
        status = 200 if accepted.is_replay else 201
        return web.json_response(await self._showing.show(accepted.job), status=status, headers=headers)

    async def pause(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._show(await self._schedules.pause(caller.viewer, id_of(request))))

    async def resume(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._show(await self._schedules.resume(caller.viewer, id_of(request))))

    def _show(self, schedule: Schedule) -> dict[str, object]:
        return show_schedule(schedule, self._clock.now())


def id_of(request: web.Request) -> str:
    return request.match_info["id"].lower()


def read_list_query(request: web.Request) -> ScheduleQuery:
    query = Query(request)
    limit = query.number("limit", DEFAULT_PAGE, 1, MAX_PAGE)
    read = ScheduleQuery(
        name=query.text("name"),
        id_prefix=query.id_prefix("id"),
        before_seq=read_cursor(query),
        limit=limit or DEFAULT_PAGE,
    )
    query.refuse_faults()
    return read


ID = Parameter("id", "the schedule's id", "path", {"type": "string", "format": "uuid"})
LIST_PARAMETERS = (
    Parameter(
        "name", "only your own one of this name; where you have none, those of others that you may see"
    ),
    Parameter("id", "the beginning of an id"),
    Parameter(
        "limit",
        f"the most a page has; default {DEFAULT_PAGE}",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
    ),
    Parameter("cursor", "`next` of the page before"),
)
