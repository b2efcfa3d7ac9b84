"""cli/jobs — submit, ps, show, stop, rm: one request each, or few. Follows nothing."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.console import Group

from agent.cli.families import family_drawn, read_whole_tree, see_family_end
from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.pages import read_pages
from agent.cli.request import QueryValue, Request, get, job_path
from agent.cli.show.families import family_stopped_text, family_text
from agent.cli.show.jobs import job_view, jobs_table, state_of
from agent.cli.show.uploads import stopped_text
from agent.cli.specfile import read_json

if TYPE_CHECKING:
    from agent.cli.session import Call

BAR = 24
UNFINISHED = "queued,starting,running,stopping,uploading"

JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB", help="Ids, or unique beginnings of them.")]


async def submit(
    call: "Call",
    spec: Annotated[str, typer.Argument(metavar="SPEC.json|-", help="A job spec; - reads it from stdin.")],
    *,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="Idempotency key: the same key and spec make one job, however often sent."
        ),
    ] = None,
) -> int:
    """Submit a job spec, and print the job's id."""
    from agent.cli.submission import Submission, submit_body  # noqa: PLC0415 - takes the event loop with it

    job = await submit_body(call, Submission(read_json(spec)), key or str(uuid4()))
    call.screen.answer_line(job, str(job["id"]))
    return 0


async def ps(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Finished jobs too.")] = False,
    phase: Annotated[str | None, typer.Option(help="Only these phases, set off by commas.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only with this label; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most that are listed.")] = 50,
) -> int:
    """List jobs, the newest first; without -a those that are not finished."""
    query: dict[str, Any] = {}
    if phase or not every:
        query["phase"] = phase or UNFINISHED
    if queue is not None:
        query["queue"] = queue
    if label:
        query["label"] = label
    page = await read_pages(call.api, "/v1/jobs", query, limit)
    call.screen.answer(page, lambda: jobs_table(page["items"], call.now(), call.screen.out.width))
    if page["next"] is not None:
        call.screen.say(f"there are more than {limit}; -n shows them")
    elif not page["items"] and not every and phase is None:
        call.screen.say("no unfinished jobs; -a shows the finished ones")
    return 0


async def show(
    call: "Call",
    job: JobArgument,
    *,
    tree: Annotated[
        bool, typer.Option("--tree", help="Only the jobs that it belongs to, from the first one down.")
    ] = False,
) -> int:
    """Show all that is known of a job."""
    job_id = await find_job(call.api, job)
    if tree:
        family = await read_whole_tree(call.api, job_id)
        width = call.screen.out.width
        call.screen.answer(family, lambda: family_text(family, job_id, call.now(), width))
        return 0
    found = await call.api.ask(get(job_path(job_id)))
    bar = BAR if call.screen.out.is_terminal else 0
    drawn = await family_drawn(call, found)
    call.screen.answer(found, lambda: Group(job_view(found, call.now(), bar), *drawn))
    return 0


async def stop(
    call: "Call",
    jobs: JobsArgument,
    *,
    grace: Annotated[
        int | None,
        typer.Option(min=0, help="Seconds between the stop signal and the kill; default: the job's own."),
    ] = None,
    children: Annotated[
        bool,
        typer.Option("--children", help="Also all jobs that they have started, and those that these have."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Come back when they are finished.")] = False,
) -> int:
    """Stop jobs: the stop signal, then after the grace the kill. They end as cancelled.

    Of a job that has ended, and whose outputs leave, only that is stopped, and its outcome stays.
    """
    from agent.cli.leaving import see_end  # noqa: PLC0415 - takes the event loop with it

    query: dict[str, QueryValue] = {} if grace is None else {"grace": grace}
    if children:
        query["children"] = "true"
    for job_id in [await find_job(call.api, given) for given in jobs]:
        job = await call.api.ask(Request("POST", job_path(job_id, "/cancel"), query))
        asked, stopped = job.get("asked", 1), stopped_text(job)
        if wait:
            job = await see_end(call, job_id)
            if children:
                await see_family_end(call, job_id)
        told = stopped or (state_of(job) if wait else "stopping")
        call.screen.answer_line(job, f"{job_id} {family_stopped_text(job, asked) if children else told}")
    return 0


async def remove(call: "Call", jobs: JobsArgument) -> int:
    """Forget finished jobs, with their logs and outputs."""
    for job_id in [await find_job(call.api, given) for given in jobs]:
        await call.api.ask(Request("DELETE", job_path(job_id)))
        call.screen.answer_line({"id": job_id, "removed": True}, job_id)
    return 0
