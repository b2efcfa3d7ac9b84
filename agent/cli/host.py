"""cli/host — `host show` and `images pull`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.refusals import ApiRefusedError
from agent.cli.request import Pace, Request, get
from agent.cli.show.host import host_view

if TYPE_CHECKING:
    from agent.cli.session import Call


async def show(call: "Call") -> int:
    """Show what the host has, and what of it is taken."""
    host = await call.api.ask(get("/v1/host"))
    call.screen.answer(host, lambda: host_view(host))
    return 0


async def pull(
    call: "Call",
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A reference, such as alpine:3.20.")],
) -> int:
    """Pull an image ahead of the jobs that need it."""
    from agent.cli.bars import Bar  # noqa: PLC0415 - rich's progress takes a while to import

    last: dict[str, Any] = {}
    request = Request("POST", "/v1/images/pull", body={"image": image}, pace=Pace.PATIENT)
    async with call.api.open(request) as answer:
        with Bar(call.screen) as bar:
            bar.tell(f"pulling {image}")
            async for line in answer.content:
                last = json.loads(line)
                if last["state"] == "pulling":
                    bar.tell(f"pulling {image}", last["done_bytes"], last["total_bytes"])
    if last.get("state") != "done":
        told = {"code": "pull_broke_off", "message": "the agent ended the pull without a word", **last}
        raise ApiRefusedError(200, {**told, "detail": told["message"]})
    call.screen.answer_line(last, f"{image} is here")
    return 0
