"""cli/schedules — `schedule ls`, `show`, `add`, `rm`, `run`, `pause`, `resume`: one request each. Knows no cron."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from agent.cli.ids import BEGINNING, SHOWN_CANDIDATES, WHOLE, candidates_of
from agent.cli.pages import read_pages
from agent.cli.refusals import AmbiguousScheduleError, NoSuchScheduleHereError
from agent.cli.request import Request, get, schedule_path
from agent.cli.show.schedules import schedule_view, schedules_table
from agent.cli.show.words import one_line
from agent.cli.specfile import read_json

if TYPE_CHECKING:
    from agent.cli.client import Api
    from agent.cli.session import Call

Schedule = Annotated[
    str,
    typer.Argument(metavar="SCHEDULE", help="Its name, or any beginning of its id that is unique."),
]
SchedulesArgument = Annotated[
    list[str], typer.Argument(metavar="SCHEDULE", help="Names, or unique beginnings of ids.")
]


async def ls(call: "Call") -> int:
    """List schedules, the newest first."""
    listed = await read_pages(call.api, "/v1/schedules", {})
    items = listed["items"]
    call.screen.answer(listed, lambda: schedules_table(items, call.now(), call.screen.out.width))
    if not items:
        call.screen.say("no schedules; `gpu-agent schedule add` makes one, as does a chute with schedule=…")
    for schedule in items:
        if schedule["trouble"] is not None:
            call.screen.say(f"{one_line(schedule['name'])}: {one_line(schedule['trouble']['message'])}")
    return 0


async def show(call: "Call", schedule: Schedule) -> int:
    """Show a schedule: when it comes next, what it starts, what became of its minutes."""
    found = await call.api.ask(get(schedule_path(await find_schedule(call.api, schedule))))
    call.screen.answer(found, lambda: schedule_view(found, call.now()))
    return 0


async def add(
    call: "Call",
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    cron: Annotated[str, typer.Argument(metavar="CRON", help='Five fields in UTC, as in "0 3 * * *"; or @hourly, @daily, @weekly, @monthly, @yearly.')],
    spec: Annotated[str, typer.Argument(metavar="SPEC.json|-", help="The job that it starts.")],
    *,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Make up for the latest minute that was missed, once.")] = False,
) -> int:  # fmt: skip
    """Make a schedule of a container job. Every fault comes at once."""
    body = {"name": name, "cron": cron, "catch_up": catch_up, "spec": read_json(spec)}
    made = await call.api.ask(Request("POST", "/v1/schedules", body=body))
    call.screen.answer_line(made, f"{made['id']} next {made['next'][0]}")
    return 0


async def remove(call: "Call", schedules: SchedulesArgument) -> int:
    """Remove schedules. Their jobs stay."""
    for schedule_id in [await find_schedule(call.api, given) for given in schedules]:
        await call.api.ask(Request("DELETE", schedule_path(schedule_id)))
        call.screen.answer_line({"id": schedule_id, "removed": True}, schedule_id)
    return 0


async def run(call: "Call", schedule: Schedule) -> int:
    """Start its job now, paused or not; prints the job's id."""
    path = schedule_path(await find_schedule(call.api, schedule), "/run")
    job = await call.api.ask(Request("POST", path, headers={"Idempotency-Key": str(uuid4())}))
    call.screen.answer_line(job, job["id"])
    return 0


async def pause(call: "Call", schedules: SchedulesArgument) -> int:
    """Let nothing be due of them until they are resumed."""
    return await _switch(call, schedules, "pause")


async def resume(call: "Call", schedules: SchedulesArgument) -> int:
    """End their pause. What passed meanwhile is not made up for."""
    return await _switch(call, schedules, "resume")


async def find_schedule(api: "Api", given: str) -> str:
    """The whole id. Raises NoSuchScheduleHereError, AmbiguousScheduleError, and what the API refuses."""
    if WHOLE.fullmatch(given):
        # Before all names: a name may look like an id.
        page = await api.ask(get("/v1/schedules", {"id": given.lower(), "limit": 1}))
        if page["items"]:
            return str(page["items"][0]["id"])
    named = await api.ask(get("/v1/schedules", {"name": given, "limit": SHOWN_CANDIDATES}))
    if named["items"]:
        return _only_one(f"are named {given}", named)
    if not BEGINNING.fullmatch(given):
        raise NoSuchScheduleHereError(f"no schedule is named {given[:64]!a}")
    page = await api.ask(get("/v1/schedules", {"id": given.lower(), "limit": SHOWN_CANDIDATES}))
    if not page["items"]:
        raise NoSuchScheduleHereError(f"no schedule is named {given}, and no schedule's id begins so")
    return _only_one(f"begin with {given}", page)


def _only_one(how: str, page: Any) -> str:  # noqa: ANN401 - decoded JSON
    found = page["items"]
    if len(found) > 1:
        lines = candidates_of(page, lambda each: f"{one_line(each['name'])}, of {one_line(each['owner'])}")
        raise AmbiguousScheduleError(how, lines)
    return str(found[0]["id"])


async def _switch(call: "Call", schedules: list[str], to: str) -> int:
    for schedule_id in [await find_schedule(call.api, given) for given in schedules]:
        changed = await call.api.ask(Request("POST", schedule_path(schedule_id, f"/{to}")))
        # Of a damaged one nobody knows when it comes.
        coming = changed["next"][0] if changed["next"] else "-"
        following = "paused" if changed["paused"] else f"next {coming}"
        call.screen.answer_line(changed, f"{one_line(changed['name'])} {following}")
    return 0
