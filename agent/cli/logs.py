"""cli/logs — `logs`: its options as a query. How a log is read and resumed is cli/follow."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.durations import read_since
from agent.cli.ids import find_job
from agent.cli.logtext import Stamps
from agent.cli.options import JobArgument
from agent.cli.request import QueryValue

if TYPE_CHECKING:
    from agent.cli.session import Call


async def logs(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Begin with so many of the last lines.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Lines since then: 10m, 2030-01-31T08:00:00Z, or seconds since the epoch."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="This attempt alone; default: the latest, and on.")
    ] = None,
    stream: Annotated[str | None, typer.Option(metavar="stdout|stderr", help="This stream alone.")] = None,
) -> int:
    """Show a job's log: its stdout on stdout, its stderr on stderr. With --json, a record a line, each with its cursor."""
    from agent.cli.follow import Pen, follow_log  # noqa: PLC0415 - takes the event loop with it

    query: dict[str, QueryValue] = {"follow": "true"} if follow else {}
    if since is not None:
        query["since"] = read_since(since, call.now())
    asked: dict[str, QueryValue | None] = {"tail": tail, "attempt": attempt, "stream": stream}
    query |= {name: value for name, value in asked.items() if value is not None}
    pen = Pen(call.screen, Stamps.SHOWN if timestamps else Stamps.HIDDEN)
    await follow_log(call, await find_job(call.api, job), query, pen)
    return 0
