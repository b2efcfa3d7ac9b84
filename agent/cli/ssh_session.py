"""cli/ssh_session — a key let in to a job, its server awaited, the system's ssh run to its end. Knows no options."""

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.cli.refusals import SshNotReadyError
from agent.cli.request import Request, get, job_path
from agent.cli.ssh_files import SshFolder
from agent.cli.ssh_place import Place, read_place

if TYPE_CHECKING:
    from agent.cli.session import Call

READY_SECONDS, LOOK_AGAIN_SECONDS = 30.0, 0.2
ENDED = "ended"


async def let_in(call: "Call", job_id: str, folder: SshFolder, seconds: int) -> Place:
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
                if ssh["state"] == ENDED:
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
