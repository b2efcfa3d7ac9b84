"""The real API on fakes, with a jobs shell that runs what is submitted, and the command line's calls into it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path

from rich.console import Console

from agent.api.proxy.pages import PageDomain
from agent.cli.client import connect
from agent.cli.refusals import ApiRefusedError
from agent.cli.screen import Form, Screen
from agent.cli.session import Call
from agent.cli.target import Target
from agent.core.frames import stamp_text
from agent.errors import AgentError
from tests.fakes.cutting_proxy import CuttingProxy
from tests.fakes.engine import FakeEngine
from tests.shell.api_world import ApiWorld, api_world, running

BUSYBOX = "docker.io/library/busybox:latest"


def console(file: StringIO) -> Console:
    return Console(file=file, width=80, highlight=False, markup=False, emoji=False)


@dataclass(slots=True)
class Seen:
    """A screen of 80 columns without colours, and what came onto it. `terminal`: takes what would go to `err`."""

    form: Form = Form.PEOPLE
    out: StringIO = field(default_factory=StringIO)
    err: StringIO = field(default_factory=StringIO)
    raw_out: BytesIO = field(default_factory=BytesIO)
    raw_err: BytesIO = field(default_factory=BytesIO)
    terminal: Console | None = None

    @property
    def screen(self) -> Screen:
        return Screen(
            self.form, console(self.out), self.terminal or console(self.err), self.raw_out, self.raw_err
        )


@dataclass(slots=True)
class CliWorld:
    api: ApiWorld
    proxy: CuttingProxy

    @property
    def engine(self) -> FakeEngine:
        return self.api.engine

    async def run(
        self,
        command: Callable[..., Awaitable[int]],
        *args: object,
        form: Form = Form.PEOPLE,
        **options: object,
    ) -> tuple[int, Seen]:
        """Run a command against the API, by the proxy; an error is shown as the program would show it, and gives -1."""
        seen = Seen(form)
        return await self.run_on(seen, command, *args, **options), seen

    async def run_on(
        self, seen: Seen, command: Callable[..., Awaitable[int]], *args: object, **options: object
    ) -> int:
        async with connect(Target("http://gpu-agent", str(self.proxy.path))) as api:
            call = Call(api, seen.screen, {"HERE": "there"}, self.api.clock.now)
            try:
                return await command(call, *args, **options)
            except (AgentError, ApiRefusedError) as error:
                call.screen.refuse(error)
                return -1

    def write_log(self, job_id: str, lines: list[tuple[int, bytes]], attempt: int = 1) -> None:
        """Replace a drained log: stream and text of each line."""
        frames = []
        for number, (stream, line) in enumerate(lines):
            text = f"{stamp_text(1_893_456_000_000_000_000 + number)} ".encode() + line
            frames.append(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text)
        (self.api.state / "jobs" / job_id / f"log.{attempt}").write_bytes(b"".join(frames))


@asynccontextmanager
async def cli_world(tmp: Path, page_domain: PageDomain | None = None) -> AsyncIterator[CliWorld]:
    async with api_world(tmp, page_domain=page_domain) as world:
        proxy = CuttingProxy(tmp / "proxy.sock", world.socket)
        await proxy.open()
        try:
            async with running(world):
                yield CliWorld(world, proxy)
        finally:
            await proxy.close()
