"""cli/ssh — `ssh`: the system's own client into a running job, with a key of this moment and the job's host key pinned."""

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.argv import behind_dashes
from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.refusals import SshNotReadyError
from agent.cli.request import Request, get, job_path
from agent.cli.ssh_place import Place, read_place

if TYPE_CHECKING:
    from agent.cli.session import Call
    from agent.cli.ssh_files import SshFolder

# What follows JOB is ssh's.
SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}
# The key is for the one login that follows at once; and for a server that has yet to be started.
SESSION_KEY_SECONDS = 120
READY_SECONDS, LOOK_AGAIN_SECONDS = 30.0, 0.2
NO_SUCH_STATE = "ended"


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


async def let_in(call: "Call", job_id: str, folder: "SshFolder", seconds: int) -> Place:
    """A new key may log in for so long. Raises SshNotReadyError, and what the API refuses."""
    key = await folder.make_key()
    told = await call.api.ask(
        Request("POST", job_path(job_id, "/ssh-keys"), body={"key": key, "expires_in": seconds})
    )
    ready = await wait_ready(call, job_id, told["ssh"])
    return read_place(job_id, ready, call.api.host)


async def wait_ready(call: "Call", job_id: str, ssh: dict[str, Any]) -> dict[str, Any]:
    """A server that was down is tried again as soon as somebody is let in."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while ssh["state"] != "ready" or ssh["command"] is None:
                if ssh["state"] == NO_SUCH_STATE:
                    raise SshNotReadyError("the job has ended")
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                ssh = (await call.api.ask(get(job_path(job_id))))["ssh"]
    except TimeoutError:
        raise SshNotReadyError(
            f"the job's SSH is {ssh['state']} and was not ready in {READY_SECONDS:g} s"
        ) from None
    return ssh


async def run_ssh(command: Sequence[str]) -> int:
    """With this program's own terminal, to its exit code. A signal that ends us ends it first, so that no key is left behind."""
    process = await asyncio.create_subprocess_exec(*command)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, process.send_signal, number)
    # On pipes Ctrl-C reaches ssh by itself, as it reaches us.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        code = await process.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.remove_signal_handler(number)
    return code if code >= 0 else 128 - code
