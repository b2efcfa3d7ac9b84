"""cli/interrupts — Ctrl-C while a job is watched: the first asks whether to stop the job, the second leaves it running."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from agent.cli.refusals import ApiRefusedError
from agent.cli.request import Request, job_path
from agent.cli.session import Call
from agent.cli.show.uploads import stopped_text
from agent.errors import AgentError


class Answer(Enum):
    STOP = "stop"
    GO_ON = "go on"
    LEAVE = "leave"


class Interrupts:
    """`gate` is closed while the question stands, so that the job's log does not push it away."""

    def __init__(self, call: Call, job_id: str, gate: asyncio.Event) -> None:
        self._call = call
        self._job_id = job_id
        self._gate = gate
        # None: Ctrl-C; else what was typed.
        self._inputs: asyncio.Queue[bytes | None] = asyncio.Queue()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Ctrl-C in this block means what `watch` makes of it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._inputs.put_nowait, None)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def watch(self) -> None:
        """Returns when the user leaves."""
        await self._inputs.get()
        answer = await self._ask() if self._can_ask() else Answer.STOP
        if answer is Answer.STOP:
            await self._stop()
        if answer is not Answer.LEAVE:
            await self._inputs.get()
        self._say_how_to_come_back()

    def _can_ask(self) -> bool:
        # Without a terminal (a build server, a script) there is nobody to ask: an interrupt means the job, as anywhere else.
        return sys.stdin.isatty() and self._call.screen.err.is_terminal

    async def _ask(self) -> Answer:
        self._gate.clear()
        self._call.screen.err.print("\nStop the job? y: stop it, Enter: go on, Ctrl-C: leave, and let it run")
        loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
        loop.add_reader(stdin, lambda: self._inputs.put_nowait(os.read(stdin, 1024)))
        try:
            typed = await self._inputs.get()
        finally:
            loop.remove_reader(stdin)
            self._gate.set()
        if typed is None:
            return Answer.LEAVE
        return Answer.STOP if typed.strip().lower() in {b"y", b"yes"} else Answer.GO_ON

    async def _stop(self) -> None:
        try:
            job = await self._call.api.ask(Request("POST", job_path(self._job_id, "/cancel")))
            told = stopped_text(job) or "stopping the job; Ctrl-C leaves without waiting for it"
            self._call.screen.note(told)
        except (AgentError, ApiRefusedError) as error:
            self._call.screen.refuse(error)

    def _say_how_to_come_back(self) -> None:
        told = f"left the job to itself. Its log: gpu-agent logs -f {self._job_id}; its end: gpu-agent stop {self._job_id}"
        self._call.screen.note(told)
