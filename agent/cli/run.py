"""cli/run — `run`: its options, and the job from its submit to its exit code. What Ctrl-C does is cli/interrupts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from agent.cli.argv import Known, split_words
from agent.cli.landing import Overwrite
from agent.cli.retrying import read_upload
from agent.cli.spec import Wanted, build_spec

if TYPE_CHECKING:
    from agent.cli.session import Call

ASKS = "What the job gets"
ENDS = "How it ends"


class RunCommand(TyperCommand):
    """Takes its options before and behind image and command: see cli/argv."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the parser's own type is private
        options = [param for param in self.params if param.param_type_name == "option"]
        valued = {name for param in options if not getattr(param, "is_flag", False) for name in param.opts}
        alone = {name for param in options if getattr(param, "is_flag", False) for name in param.opts}
        return super().parse_args(ctx, split_words(args, Known(valued, alone | {"--help"})))


async def run(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A reference, such as python:3.12-slim.")],
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", help="The program and its arguments; default: the image's. Put -- before it where its options look like ours.")] = None,
    *,
    gpus: Annotated[str | None, typer.Option(metavar="COUNT", help="GPUs; or the spec's field as JSON.", rich_help_panel=ASKS)] = None,
    port: Annotated[list[str] | None, typer.Option("--port", "-p", metavar="NAME:PORT/PROTO", help="Publish a port, as in web:8080/http.", rich_help_panel=ASKS)] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="A variable; K alone takes it from here.", rich_help_panel=ASKS)] = None,
    secret: Annotated[list[str] | None, typer.Option(metavar="NAME=@FILE", help="A file at /run/secrets/NAME; or NAME=VALUE, or NAME from here.", rich_help_panel=ASKS)] = None,
    cpus: Annotated[float | None, typer.Option(help="CPU cores.", rich_help_panel=ASKS)] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory, as in 8GiB.", rich_help_panel=ASKS)] = None,
    shm: Annotated[str | None, typer.Option(metavar="SIZE", help="Shared memory.", rich_help_panel=ASKS)] = None,
    disk: Annotated[str | None, typer.Option(metavar="SIZE", help="A quota for the outputs.", rich_help_panel=ASKS)] = None,
    pids: Annotated[int | None, typer.Option(help="Processes and threads.", rich_help_panel=ASKS)] = None,
    network: Annotated[str | None, typer.Option(metavar="egress|none", help="What it may reach.", rich_help_panel=ASKS)] = None,
    user: Annotated[str | None, typer.Option(help="User, and :group.", rich_help_panel=ASKS)] = None,
    workdir: Annotated[str | None, typer.Option(help="Where the program starts.", rich_help_panel=ASKS)] = None,
    entrypoint: Annotated[str | None, typer.Option(help="Instead of the image's; empty: none.", rich_help_panel=ASKS)] = None,
    ssh: Annotated[Path | None, typer.Option(metavar="KEYFILE", help="Public keys that may log in.", rich_help_panel=ASKS)] = None,
    name: Annotated[str | None, typer.Option(help="A name for lists.", rich_help_panel=ASKS)] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label; may be repeated.", rich_help_panel=ASKS)] = None,
    queue: Annotated[str | None, typer.Option(help="The queue.", rich_help_panel=ASKS)] = None,
    priority: Annotated[int | None, typer.Option(help="-100 to 100, higher first.", rich_help_panel=ASKS)] = None,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="The most an attempt may take, as in 1h.", rich_help_panel=ENDS)] = None,  # noqa: ASYNC109 - the job's, by its name on the command line
    grace: Annotated[str | None, typer.Option(metavar="SPAN", help="Between the stop signal and the kill.", rich_help_panel=ENDS)] = None,
    retry: Annotated[int | None, typer.Option(min=0, help="Attempts after the first.", rich_help_panel=ENDS)] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", "-o", metavar="DIR", help="Fetch the job's outputs to here.", rich_help_panel=ENDS)] = None,
    outputs_path: Annotated[str | None, typer.Option(metavar="PATH", help="The outputs' folder in the job; default /outputs.", rich_help_panel=ENDS)] = None,
    force: Annotated[bool, typer.Option("--force", help="With -o: replace files that differ.", rich_help_panel=ENDS)] = False,
    upload: Annotated[str | None, typer.Option(metavar="FILE.json", help="Have the outputs sent: a file with the spec's outputs.upload.", rich_help_panel=ENDS)] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and leave; the job goes on.", rich_help_panel=ENDS)] = False,
) -> int:  # fmt: skip
    """Run a job: submit it, follow it, fetch its outputs, and exit with its code.

    Exit codes: the job's own; 124 timed out, 125 it could not be run or was lost, or its outputs did not get where they should, 126 and 127 its command can't be run or is
    not there, 130 cancelled.
    """
    from agent.cli.attended import Attended, attend, submit_only  # noqa: PLC0415 - takes the event loop with it
    from agent.cli.submission import Submission  # noqa: PLC0415 - likewise

    plain = {
        "name": name, "cpus": cpus, "memory": memory, "shm": shm, "disk": disk, "pids": pids, "network": network, "user": user,
        "workdir": workdir, "queue": queue, "priority": priority,
        "outputs": outputs_of(outputs_path, upload),
    }  # fmt: skip
    wanted = Wanted(
        image, tuple(command or ()), plain, gpus, tuple(port or ()), tuple(env or ()), tuple(secret or ()),
        tuple(label or ()), entrypoint, timeout, grace, retry, ssh,
    )  # fmt: skip
    asked = Submission(build_spec(wanted, call.environ))
    if detach:
        return await submit_only(call, asked)
    return await attend(call, asked, Attended(outputs, Overwrite.REPLACE if force else Overwrite.REFUSE))


def outputs_of(path: str | None, upload: str | None) -> dict[str, object] | None:
    """The spec's field, where anything of it was asked for."""
    where = {} if path is None else {"path": path}
    there = {} if upload is None else {"upload": read_upload(upload)["upload"]}
    return {**where, **there} or None
