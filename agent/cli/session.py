"""cli/session — one run of a client command: the agent found, the session opened, the error shown, the exit code. Knows no command."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from agent.cli.client import Api, connect
from agent.cli.refusals import ApiRefusedError
from agent.cli.screen import Form, Screen
from agent.cli.target import Given, choose_target
from agent.errors import AgentError

INTERRUPTED = 130
# What a shell says of a program that wrote into a closed pipe.
PIPE_CLOSED = 141


@dataclass(frozen=True, slots=True)
class Call:
    """What a client command works with. `now` gives UTC seconds."""

    api: Api
    screen: Screen
    environ: Mapping[str, str]
    now: Callable[[], float] = time.time


Command = Callable[[Call], Awaitable[int]]


def run_call(given: Given, form: Form, command: Command, exit_if_refused: int) -> int:
    """Run one command to its exit code. `exit_if_refused`: the code where the API, or the way to it, refuses."""
    screen = Screen(form)
    try:
        return asyncio.run(_with_api(given, screen, command))
    except (AgentError, ApiRefusedError) as error:
        screen.refuse(error)
        return exit_if_refused
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        abandon_stdout()
        return PIPE_CLOSED


async def _with_api(given: Given, screen: Screen, command: Command) -> int:
    async with connect(choose_target(given, os.environ)) as api:
        return await command(Call(api, screen, os.environ))


def abandon_stdout() -> None:
    """Whoever read it has gone: what is still buffered must not fail once more when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
