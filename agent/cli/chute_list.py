"""cli/chute_list — `chute ls`, `chute show`, `chute rm`: one request each. Deploys nothing."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.request import Request, chute_path, get
from agent.cli.show.chutes import chute_view, chutes_table

if TYPE_CHECKING:
    from agent.cli.session import Call

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The chute's name.")]


async def ls(call: "Call") -> int:
    """List chutes, each with its jobs."""
    page = await call.api.ask(get("/v1/chutes"))
    call.screen.answer(page, lambda: chutes_table(page["items"], call.now(), call.screen.out.width))
    if not page["items"]:
        call.screen.say("no chutes; `gpu-agent chute deploy` makes one")
    return 0


async def show(call: "Call", name: NameArgument) -> int:
    """Show a chute: its jobs and cords and how they are called, its defaults, its versions."""
    chute = await call.api.ask(get(chute_path(name)))
    call.screen.answer(chute, lambda: chute_view(chute, call.now()))
    return 0


async def remove(
    call: "Call", names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of chutes.")]
) -> int:
    """Remove chutes, with all their versions and files. Refused while jobs of theirs are not finished."""
    for name in names:
        await call.api.ask(Request("DELETE", chute_path(name)))
        call.screen.answer_line({"name": name, "removed": True}, name)
    return 0
