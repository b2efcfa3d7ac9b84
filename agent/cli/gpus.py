"""cli/gpus — the host's GPUs: listed, shown, taken out, given back and reset. Judges none."""

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from agent.cli.request import Request, get
from agent.cli.show.gpus import gpu_view, gpus_view, reset_line, state_line, was_reset

if TYPE_CHECKING:
    from agent.cli.session import Call

GpuArgument = Annotated[str, typer.Argument(metavar="GPU", help="Its UUID, as `gpus ls` shows it.")]
WhyOption = Annotated[str, typer.Option("--why", help="For who looks next; kept in the GPU's history.")]


async def ls(call: "Call") -> int:
    """List the GPUs, how they are, and what links them."""
    listed = await call.api.ask(get("/v1/gpus"))
    call.screen.answer(listed, lambda: gpus_view(listed))
    return 0


async def show(call: "Call", gpu: GpuArgument) -> int:
    """Show one GPU, what it waits for, and its history."""
    seen = await call.api.ask(get(gpu_path(gpu)))
    call.screen.answer(seen, lambda: gpu_view(seen))
    return 0


async def quarantine(call: "Call", gpu: GpuArgument, *, why: WhyOption = "") -> int:
    """Keep a GPU from all jobs to come, until it is restored. A job that has it goes on."""
    return await _ask(call, gpu, "quarantine", why)


async def restore(call: "Call", gpu: GpuArgument, *, why: WhyOption = "") -> int:
    """Take a quarantine back, or cut a probation short."""
    return await _ask(call, gpu, "restore", why)


async def reset(call: "Call", gpu: GpuArgument, *, why: WhyOption = "") -> int:
    """Reset a GPU that no job holds, and wait for the end of that. Then it is watched for a while before it is leased."""
    from agent.cli.resetting import wait_for_reset  # noqa: PLC0415 - it takes long to import

    call.screen.say(state_line(await call.api.ask(_request(gpu, "reset", why))))
    seen = await wait_for_reset(call, gpu_path(gpu))
    call.screen.answer_line(seen, reset_line(seen))
    return 0 if was_reset(seen) else 1


async def _ask(call: "Call", gpu: str, wanted: str, why: str) -> int:
    seen = await call.api.ask(_request(gpu, wanted, why))
    call.screen.answer_line(seen, state_line(seen))
    return 0


def _request(gpu: str, wanted: str, why: str) -> Request:
    return Request("POST", f"{gpu_path(gpu)}/{wanted}", body={"words": why})


def gpu_path(uuid: str) -> str:
    return f"/v1/gpus/{quote(uuid, safe='')}"
