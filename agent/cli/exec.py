"""cli/exec — `exec`: its options, and whether it is a terminal's. What then goes back and forth is cli/exec_talk."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.argv import behind_dashes
from agent.cli.exec_input import Flag, choose_input, side_of
from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.spec import read_pairs

if TYPE_CHECKING:
    from agent.cli.session import Call

# Options stand before JOB: behind it all is the command's.
SETTINGS = {"allow_interspersed_args": False}


async def exec_(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    job: JobArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", help="The program and its arguments; default: a shell.")] = None,
    *,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Send stdin to the command.")] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give the command a terminal: this one.")] = False,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="A variable; K alone takes it from here.")] = None,
    workdir: Annotated[str | None, typer.Option("--workdir", "-w", metavar="DIR", help="Where it starts; default: where the job did.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="NAME[:GROUP]", help="As whom; default: as the job.")] = None,
) -> int:  # fmt: skip
    """Run a command in a running job, beside its own; without one, a shell.

    Options stand before JOB, as docker has it; and at a terminal, -i and -t are understood where neither is given. On a
    terminal `~.` at the start of a line leaves. Exit codes: the command's own; 125 it could not be run or was lost, 126 and 127
    it can't be executed or is not there.
    """
    from agent.cli.exec_talk import Wanted, run_in_job  # noqa: PLC0415 - takes the event loop with it
    from agent.cli.terminal import Ends, is_terminal  # noqa: PLC0415 - not there on every system

    ends, words = Ends(), behind_dashes(command or ())
    side = side_of(is_in=is_terminal(ends.stdin), is_out=is_terminal(ends.stdout))
    start = {
        "command": words or None,
        "env": read_pairs("-e", tuple(env or ()), call.environ) or None,
        "workdir": workdir,
        "user": user,
    }
    flags = ((Flag.INTERACTIVE, interactive), (Flag.TTY, tty))
    given = frozenset(flag for flag, is_given in flags if is_given)
    wanted = Wanted(start, choose_input(given, side, tuple(words)))
    return await run_in_job(call, await find_job(call.api, job), wanted, ends)
