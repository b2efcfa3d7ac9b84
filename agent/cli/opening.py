"""cli/opening — `open`: a one-time URL of a job's web page. Starts no browser: this program mostly runs where there is none."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.request import Request, job_path

if TYPE_CHECKING:
    from agent.cli.session import Call


async def open_page(
    call: "Call",
    job: JobArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="The name of one of its http ports.")],
    *,
    path: Annotated[str, typer.Option(help="Where to begin, such as /lab?token=… of a notebook.")] = "/",
) -> int:
    """Print an URL that shows a job's web page in a browser. It is good once, for 60 s; the browser then stays let in for a day.

    Needs `[proxy] domain`. Whoever opens the URL acts as you, on this port of this job alone.
    """
    job_id = await find_job(call.api, job)
    opened = await call.api.ask(Request("POST", job_path(job_id, "/open"), body={"port": port, "path": path}))
    call.screen.answer_line(opened, str(opened["url"]))
    return 0
