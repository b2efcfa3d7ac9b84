"""cli/ssh — `ssh`: the system's own client into a running job, with a key of this moment and the job's host key pinned."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.argv import behind_dashes
from agent.cli.ids import find_job
from agent.cli.options import JobArgument

if TYPE_CHECKING:
    from agent.cli.session import Call

# What follows JOB is ssh's.
SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}
# The key is for the one login that follows at once; and for a server that has yet to be started.
SESSION_KEY_SECONDS = 120


async def ssh(
    call: "Call",
    job: JobArgument,
    words: Annotated[list[str] | None, typer.Argument(metavar="[-- SSH ARGUMENTS]", help="Given to ssh: its options, and a command.")] = None,
    *,
    print_config: Annotated[bool, typer.Option("--print-config", help="Log in with nothing: print a block of ssh_config, for ssh -F, scp, sftp, rsync and editors.")] = False,
    expires: Annotated[str, typer.Option(metavar="SPAN", help="With --print-config: how long its key may log in; at most 1d.")] = "8h",
) -> int:  # fmt: skip
    """Open a shell in a running job with the system's ssh, by a key made for it; the job was submitted with `ssh`.

    What stands behind -- is ssh's own: options, such as -L 8888:localhost:8888, and a command. The exit code is ssh's.
    """
    from agent.cli.durations import read_duration  # noqa: PLC0415 - takes long to import
    from agent.cli.ssh_files import find_program, lasting, temporary  # noqa: PLC0415 - takes the event loop with it
    from agent.cli.ssh_session import let_in, run_ssh  # noqa: PLC0415 - as above

    job_id = await find_job(call.api, job)
    if print_config:
        folder = lasting(job_id, call.environ)
        place = await let_in(call, job_id, folder, read_duration("--expires", expires))
        block = folder.write(place)
        call.screen.answer_text({"host": place.alias, "config": str(folder.config), "block": block}, block)
        call.screen.say(f"it is in {folder.config}, too: scp -F {folder.config} FILE {place.alias}:")
        return 0
    program = find_program("ssh")
    with temporary() as folder:
        place = await let_in(call, job_id, folder, SESSION_KEY_SECONDS)
        folder.write(place)
        return await run_ssh([program, "-F", str(folder.config), place.alias, *behind_dashes(words or ())])
