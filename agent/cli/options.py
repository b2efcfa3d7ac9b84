"""cli/options — the options that all client commands share, given to each by one decorator. Runs nothing until it is called.

Commands are coroutines over a `Call`, so that tests call them as they are; only `client_command` makes them the parser's.
Libraries that take long to import (HTTP, the event loop) are imported when a command runs, not when help is shown.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.target import Given

SHARED = "Where the agent is"
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The config that names the socket; default: GPU_AGENT_CONFIG, else /etc/gpu-agent/config.toml.",
        rich_help_panel=SHARED,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The agent's address instead of the socket; or GPU_AGENT_URL.", rich_help_panel=SHARED
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token", help="The token for the address; better: GPU_AGENT_TOKEN.", rich_help_panel=SHARED
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Answer for scripts: JSON on stdout, errors too, on stderr.")
]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, or any beginning of it that is unique.")
]

CONFIG_OPTIONS: dict[str, tuple[Any, object]] = {
    "as_json": (JsonOption, False),
    "config": (ConfigOption, None),
}
CLIENT_OPTIONS: dict[str, tuple[Any, object]] = {
    **CONFIG_OPTIONS,
    "url": (UrlOption, None),
    "token": (TokenOption, None),
}


def client_command(command: Callable[..., Awaitable[int]], exit_if_refused: int = 1) -> Callable[..., None]:
    """What the parser calls: `command`, whose first parameter is a `Call`, made out of the shared options. It leaves with the
    exit code.
    """

    def run(ctx: typer.Context, **options: Any) -> None:  # noqa: ANN401 - what the parser made of the signature below
        from agent.cli.screen import Form  # noqa: PLC0415 - see the module's docstring
        from agent.cli.session import run_call  # noqa: PLC0415 - see the module's docstring

        form = Form.JSON if options.pop("as_json") else Form.PEOPLE
        given = Given(options.pop("config"), options.pop("url"), options.pop("token")).over(given_before(ctx))
        raise typer.Exit(run_call(given, form, lambda call: command(call, **options), exit_if_refused))

    return parsed_as(run, command, CLIENT_OPTIONS)


def given_before(ctx: typer.Context) -> Given:
    """The shared options that stand before the command: `gpu-agent --url … ps`."""
    return ctx.obj if isinstance(ctx.obj, Given) else Given()


def parsed_as(
    run: Callable[..., None], command: Callable[..., object], added: Mapping[str, tuple[Any, object]]
) -> Callable[..., None]:
    """`run` with the parameters and the help of `command`, less its first, and with the added options."""
    _, *own = inspect.signature(command).parameters.values()
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *own,
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in added.items()
        ),
    ]
    run.__doc__ = command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010 - functions have it, their type does not
    return run
