"""cli/events — `events`: what happened, and what happens, a line each. Resuming is cli/feed's."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.ids import find_job
from agent.cli.screen import Form
from agent.cli.show.events import event_line

if TYPE_CHECKING:
    from agent.cli.session import Call

# How often the feed looks whether the agent is still there.
QUIET_SECONDS = 5.0


async def events(
    call: "Call",
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job's.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come.")] = False,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Those after this seq; default: all, or with -f those that come."),
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="TYPE", help="Of this type only, such as gpu.state; may be given again."
        ),
    ] = None,
) -> int:
    """Show events: of jobs (accepted, started, ended, pulled), and of the host's GPUs. With --json, one a line, with its seq."""
    from agent.cli.feed import Feed  # noqa: PLC0415 - takes the event loop with it

    job_id = None if job is None else await find_job(call.api, job)
    begin = after if after is not None or (follow and job is None) else 0
    feed = Feed(call, job_id, begin, type_ or ())
    async with aclosing(feed.events(QUIET_SECONDS)) as told:
        async for event in told:
            if event is None:
                # The API has no list of events, only the stream, which says where the past ends.
                if feed.is_caught_up and not follow:
                    return 0
            elif call.screen.form is Form.JSON:
                call.screen.write_json(event)
            else:
                call.screen.out.print(event_line(event), soft_wrap=True)
    return 0
