"""cli/chutes — `chute run`: the options of it. What runs a job on this machine is cli/chute_local, what starts one by name cli/chute_start."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.chute_code import DEFAULT_ATTRIBUTE
from agent.cli.chute_deploy import read_object
from agent.cli.chute_start import Start, start, start_only
from agent.cli.durations import read_duration
from agent.cli.landing import Overwrite
from agent.cli.payload import read_payload
from agent.cli.refusals import BadArgumentError

if TYPE_CHECKING:
    from agent.cli.session import Call

HERE, THERE = "On this machine, with --local", "By the agent"
GRACE = "30s"


async def run(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    target: Annotated[str, typer.Argument(metavar="NAME/JOB|FILE:JOB", help="A deployed chute and a job of it; with --local a file and a job in it, FILE alone where there is but one.")],
    *,
    local: Annotated[bool, typer.Option("--local", help="Run it on this machine, in a process of its own, without any agent.")] = False,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="What the job is given; default: nothing.")] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", "--output", "-o", metavar="DIR", help="Where its output files go; default: nowhere, the agent keeps its own.")] = None,
    spec: Annotated[str | None, typer.Option(metavar="FILE.json|-", help="Fields of the job's spec, over the deploy's.", rich_help_panel=THERE)] = None,
    force: Annotated[bool, typer.Option("--force", help="With -o: replace files that differ.", rich_help_panel=THERE)] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and leave; the job goes on.", rich_help_panel=THERE)] = False,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Instead of the decorator's, as in 90s.", rich_help_panel=HERE)] = None,  # noqa: ASYNC109 - the job's, by its name on the command line
    grace: Annotated[str | None, typer.Option(metavar="SPAN", help="Between the request to stop and the kill; default: 30s.", rich_help_panel=HERE)] = None,
    chute: Annotated[str | None, typer.Option(metavar="NAME", help="What the file calls its chute; default: chute.", rich_help_panel=HERE)] = None,
    python: Annotated[str | None, typer.Option(metavar="PROGRAM", help="The Python that has what the file imports; default: this program's own.", rich_help_panel=HERE)] = None,
) -> int:  # fmt: skip
    """Run a job of a chute. Its result goes to stdout, all that it says to stderr; exits with its code.

    Exit codes: 0 it succeeded, 1 it failed, or what it gave to sys.exit; 124 timed out, 125 it could not be run, 130 cancelled.
    """
    from agent.cli.chute_local import LocalJob, run_local  # noqa: PLC0415 - takes the event loop with it

    if not local:
        refuse_given(
            {"--timeout": timeout, "--grace": grace, "--chute": chute, "--python": python},
            "with --local only",
        )
        fields = None if spec is None else read_object(spec)
        asked = Start(
            target, read_payload(payload), fields, outputs, Overwrite.REPLACE if force else Overwrite.REFUSE
        )
        return await (start_only if detach else start)(call, asked)
    refuse_given(
        {"--spec": spec, "--force": force, "--detach": detach}, "for a deployed chute, and not with --local"
    )
    file, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    job = LocalJob(
        file=file,
        chute=chute or DEFAULT_ATTRIBUTE,
        name=name or None,
        payload=read_payload(payload),
        output=outputs,
        timeout_seconds=None if timeout is None else read_duration("--timeout", timeout),
        grace_seconds=read_duration("--grace", grace or GRACE),
        python=python or sys.executable,
    )
    return await run_local(call.screen, job)


def refuse_given(options: dict[str, object], where: str) -> None:
    """What would be taken and change nothing. Raises BadArgumentError."""
    given = [name for name, value in options.items() if value not in {None, False}]
    if given:
        raise BadArgumentError(f"{', '.join(given)}: {where}")
