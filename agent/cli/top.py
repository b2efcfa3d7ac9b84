"""cli/top — `top` and `stats`: what the host's GPUs do now, and what one job uses, each second or once. Measures nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.refusals import ApiRefusedError
from agent.cli.request import get, job_path
from agent.cli.screen import Form
from agent.cli.show.top import stats_view, top_view

if TYPE_CHECKING:
    from agent.cli.session import Call

OnceOption = Annotated[
    bool,
    typer.Option("--once", help="One look, and no more: also where this is no terminal, or with --json."),
]
# What has GPUs or is about to.
ACTIVE = "starting,running,stopping"
MOST_JOBS = 50
ENDED = frozenset({"job_not_running", "job_not_found"})


async def top(call: "Call", *, once: OnceOption = False) -> int:
    """Show what the GPUs do just now, and the jobs on them. Ctrl-C ends it."""

    async def ask() -> dict[str, Any]:
        gpus = await call.api.ask(get("/v1/gpus", {"sample": "true"}))
        jobs = await call.api.ask(get("/v1/jobs", {"phase": ACTIVE, "limit": MOST_JOBS}))
        return {"gpus": gpus, "jobs": jobs}

    if is_one_look(call, once=once):
        seen = await ask()
        call.screen.answer(seen, lambda: top_view(seen, call.now(), call.screen.out.width))
        return 0
    from agent.cli.watch import watch  # noqa: PLC0415 - rich's live display takes a while to import

    raise await watch(call.screen.out, ask, lambda seen: top_view(seen, call.now(), call.screen.out.width))


async def stats(call: "Call", job: JobArgument, *, once: OnceOption = False) -> int:
    """Show what a running job uses: processors, memory, network, disk, GPUs. It ends with the job."""
    request = get(job_path(await find_job(call.api, job), "/stats"), {"once": "true"})

    async def ask() -> dict[str, Any]:
        answer: dict[str, Any] = await call.api.ask(request)
        return answer

    seen = await ask()
    if is_one_look(call, once=once):
        call.screen.answer(seen, lambda: stats_view(seen, call.now(), call.screen.out.width))
        return 0
    from agent.cli.watch import watch  # noqa: PLC0415 - as above

    ended = await watch(
        call.screen.out, ask, lambda seen: stats_view(seen, call.now(), call.screen.out.width)
    )
    if isinstance(ended, ApiRefusedError) and ended.code in ENDED:
        call.screen.say(f"{ended}; `gpu-agent show` tells what it used")
        return 0
    raise ended


def is_one_look(call: "Call", *, once: bool) -> bool:
    return once or call.screen.form is Form.JSON or not call.screen.out.is_terminal
