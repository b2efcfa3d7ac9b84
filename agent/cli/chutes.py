"""cli/chutes — `chute run`: the options of it. What runs a job on this machine is cli/chute_local."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.durations import read_duration
from agent.cli.payload import read_payload
from agent.cli.refusals import BadArgumentError

if TYPE_CHECKING:
    from agent.cli.session import Call

HERE = "On this machine"


async def run(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    target: Annotated[str, typer.Argument(metavar="FILE:JOB", help="The author's file, and a job in it; FILE alone where there is but one.")],
    *,
    local: Annotated[bool, typer.Option("--local", help="Run it on this machine, in a process of its own, without any agent.")] = False,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="What the job is given; default: nothing.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of the decorator's, as in 90s.", rich_help_panel=HERE)] = None,  # noqa: ASYNC109 - the job's, by its name on the command line
    grace: Annotated[str, typer.Option(metavar="SPAN", help="Between the request to stop and the kill.", rich_help_panel=HERE)] = "30s",
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where its output files go, and stay; default: nowhere.", rich_help_panel=HERE)] = None,
    chute: Annotated[str, typer.Option(metavar="NAME", help="What the file calls its chute.", rich_help_panel=HERE)] = "chute",
    python: Annotated[str, typer.Option(metavar="PROGRAM", help="The Python that has what the file imports; default: this program's own.", rich_help_panel=HERE)] = sys.executable,
) -> int:  # fmt: skip
    """Run a job of a chute. Its result goes to stdout, all that it says to stderr; exits with its code.

    Exit codes: 0 it succeeded, 1 it failed, or what it gave to sys.exit; 124 timed out, 125 it could not be run, 130 cancelled.
    """
    from agent.cli.chute_local import LocalJob, run_local  # noqa: PLC0415 - takes the event loop with it

    if not local:
        raise BadArgumentError(
            "chute run works with --local only: jobs of deployed chutes can't be started yet"
        )
    file, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    seconds = None if timeout is None else read_duration("--timeout", timeout)
    job = LocalJob(
        file, chute, name or None, read_payload(payload), output, seconds, read_duration("--grace", grace), python
    )  # fmt: skip
    return await run_local(call.screen, job)
