"""cli/chutes — `chute run`: the options of it. What runs a job on this machine is cli/chute_local, what starts one by name cli/chute_start."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.chute_deploy import read_object
from agent.cli.chute_start import Start, start, start_only
from agent.cli.durations import read_duration
from agent.cli.landing import Overwrite
from agent.cli.payload import read_payload

if TYPE_CHECKING:
    from agent.cli.session import Call

HERE, THERE = "On this machine", "By the agent"


async def run(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    target: Annotated[str, typer.Argument(metavar="NAME/JOB|FILE:JOB", help="A deployed chute and a job of it; with --local a file and a job in it, FILE alone where there is but one.")],
    *,
    local: Annotated[bool, typer.Option("--local", help="Run it on this machine, in a process of its own, without any agent.")] = False,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="What the job is given; default: nothing.")] = None,
    spec: Annotated[str | None, typer.Option(metavar="FILE.json|-", help="Fields of the job's spec, over the deploy's.", rich_help_panel=THERE)] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", "-o", metavar="DIR", help="Fetch the job's outputs to here.", rich_help_panel=THERE)] = None,
    force: Annotated[bool, typer.Option("--force", help="With -o: replace files that differ.", rich_help_panel=THERE)] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and leave; the job goes on.", rich_help_panel=THERE)] = False,
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
        fields = None if spec is None else read_object(spec)
        asked = Start(
            target, read_payload(payload), fields, outputs, Overwrite.REPLACE if force else Overwrite.REFUSE
        )
        return await (start_only if detach else start)(call, asked)
    file, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    seconds = None if timeout is None else read_duration("--timeout", timeout)
    job = LocalJob(
        file, chute, name or None, read_payload(payload), output, seconds, read_duration("--grace", grace), python
    )  # fmt: skip
    return await run_local(call.screen, job)
