"""interfaces/exec — one command that runs beside a job's own, and the promises on each method. No implementation."""

from typing import Protocol

from agent.core.exec import ExecOutput, WindowSize
from agent.errors import AgentError, Blame


class ContainerNotRunningError(AgentError):
    """The container is there, and does not run (any more): nothing can be run in it."""

    code, blame = "container_not_running", Blame.USER
    remedy = "See what became of the job with `gpu-agent show`; only a running one can be looked into."


class ExecSession(Protocol):
    """What was started by `Engine.open_exec`, until its block is left.

    Reading and writing are two directions: do both at once, each in one task at a time. Memory is bounded: whoever does not
    read holds the program up, and a program that does not read holds up `write`. All may be cancelled at any time.
    """

    async def read(self) -> ExecOutput | None:
        """What it wrote next, never empty. None: there is no more, for whatever reason; `exit_code` tells which.

        A program that can't be started says so here, in the engine's words, and has the exit code 126 or 127.
        Raises EngineUnavailableError where the engine broke off.
        """
        ...

    async def write(self, data: bytes) -> None:
        """To its stdin or terminal. Where it has ended, or its stdin was closed, nothing happens."""
        ...

    async def end_input(self) -> None:
        """The end of its stdin. On a terminal ^D is typed, as a person would: its program decides what that means."""
        ...

    async def resize(self, size: WindowSize) -> None:
        """Of its terminal. Where there is none or it has ended, nothing happens. Raises EngineUnavailableError."""
        ...

    async def exit_code(self) -> int:
        """Waits until it has ended, which may be long after the end of its output: bound it.

        Raises ContainerGoneError, and EngineUnavailableError where the engine ended meanwhile and knows it no more.
        """
        ...

    async def hang_up(self) -> None:
        """Send it SIGHUP, as a terminal does that is closed. Else it runs on after the block: an engine ends none.

        Where it has ended, or can't be found from here, nothing happens. Raises EngineUnavailableError.
        """
        ...
