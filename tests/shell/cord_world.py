"""Cords on fakes, under virtual time: chutes that are deployed without a describe, and launchers that answer with a function of the test's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from agent.core.chute import Described, Version
from agent.core.container import ContainerState
from agent.core.job import Job, Kind
from agent.errors import AgentError, Phase
from agent.interfaces.job_socket import CallRefusedError
from agent.jobs.chutes import Chutes
from agent.jobs.cords import CordCall, Cords, CordTimes, Hosts
from agent.jobs.cords.replays import Replays
from agent.jobs.current import Current
from agent.jobs.intake import Intake
from agent.spec import Entry, dump_deploy, read_deploy
from tests.fakes.chute_folders import FakeChuteFolders
from tests.fakes.cord_lines import Author, FakeCordLine, whole
from tests.fakes.engine import Program
from tests.fakes.host_keys import FakeHostKeys
from tests.shell.world import ME, OWNER, World
from tests.unit.chute_values import good

LINES = 2
CORDS = [
    {"function": "ask", "public_api_path": "/ask", "method": "POST"},
    {"function": "look", "public_api_path": "/look/{what}", "method": "GET"},
]


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any
        return json.loads(self.body)


async def echo(request: dict[str, Any]) -> Any:  # noqa: ANN401 - what a launcher says
    return whole(request["body"])


@dataclass
class CordWorld:
    """`author` answers all calls; `starts_in` seconds a launcher connects, None: never."""

    world: World
    author: Author = echo
    starts_in: float | None = 0.3
    times: CordTimes = field(default_factory=lambda: CordTimes(idle_seconds=300, call_seconds=60))
    folders: FakeChuteFolders = field(default_factory=FakeChuteFolders)
    lines: dict[str, list[FakeCordLine]] = field(default_factory=dict)  # by job
    cords: Cords | None = None
    chutes: Chutes | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _launched: set[str] = field(default_factory=set)
    _launchers: set[asyncio.Task[None]] = field(default_factory=set)
    _ids: Any = field(
        default_factory=lambda: iter(f"0190dddd-0000-7000-8000-{number:012d}" for number in range(1, 10**6))
    )
    _version: int = 0

    # ── the daemon ──

    async def start(self) -> None:
        world = self.world
        await world.start()
        assert world.shell is not None
        tools = world.shell.tools
        intake = Intake(
            world.store,
            world.folders,
            world.gpus.inventory,
            world.clock,
            Current(tools.policy),
            tools.hiding,
            lambda: str(next(self._ids)),
            world.wake,
            world.ssh_kits,
            FakeHostKeys(),
            world.shell.janitor.given_ids,
        )
        hosts = Hosts(intake, self.folders, lambda: self.times)
        self.chutes = Chutes(intake, self.folders, hosts.close)
        replays = Replays(world.store, world.clock, lambda: str(next(self._ids)))
        self.cords = Cords(self.chutes, hosts, replays, lambda: str(next(self._ids)))
        tools.functions.call_cords_by(hosts)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(hosts.watch()), loop.create_task(replays.tidy_up())]
        self._launchers.add(loop.create_task(self._launch_all()))

    async def crash(self) -> None:
        """All connections end with the daemon; containers go on, and their launchers dial the next one."""
        for task in (*self._tasks, *self._launchers):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._launchers, return_exceptions=True)
        self._launchers.clear()
        self._launched.clear()
        self.world.store.listeners.clear()
        await self.world.crash()

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    @property
    def hosts(self) -> Hosts:
        assert self.cords is not None
        return self.cords.hosts

    # ── containers ──

    async def _launch_all(self) -> None:
        """A launcher in each container of a host job."""
        loop = asyncio.get_running_loop()
        while True:
            for container in self.world.engine.running():
                job = self.world.store.peek(str(container.job))
                if job is None or job.kind is not Kind.CORDS or container.id in self._launched:
                    continue
                if self.starts_in is None or job.id not in self.world.sockets.calls:
                    continue
                self._launched.add(container.id)
                self._launchers.add(loop.create_task(self._launch(job.id, container.id)))
            await asyncio.sleep(0.1)

    async def _launch(self, job_id: str, container: str) -> None:
        await asyncio.sleep(self.starts_in or 0)
        async with asyncio.TaskGroup() as group:
            for _ in range(LINES):
                group.create_task(self._serve(job_id, container))

    async def _serve(self, job_id: str, container: str) -> None:
        """One place for calls: dialled again as long as the container runs."""
        while self._is_running(container):
            calls = self.world.sockets.calls.get(job_id)
            with suppress(CallRefusedError):
                if calls is not None:
                    line = FakeCordLine(self._answer)
                    self.lines.setdefault(job_id, []).append(line)
                    async with asyncio.TaskGroup() as group:
                        watching = group.create_task(self._close_with(container, line))
                        await calls.serve(line)
                        watching.cancel()
                    line.close()
            await asyncio.sleep(0.1)

    async def _close_with(self, container: str, line: FakeCordLine) -> None:
        while self._is_running(container):
            await asyncio.sleep(0.1)
        line.close()

    async def _answer(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        return await self.author(request)

    def _is_running(self, container: str) -> bool:
        box = self.world.engine.boxes.get(container)
        return box is not None and box.seen.state is ContainerState.RUNNING

    def die(self, code: int = 1) -> None:
        """Of the host job that runs."""
        (container,) = self.world.engine.running()
        self.world.engine.exit_now(container.id, code)

    # ── its author and his callers ──

    async def ready(self) -> None:
        """Within a test: what begins in its fixture begins before virtual time does."""
        if self.cords is None:
            await self.start()
            await self.deploy()

    async def deploy(
        self, concurrency: int = LINES, name: str = "trainer", owner: str = OWNER, **deploy: object
    ) -> Version:
        self._version += 1
        version = Version(
            id=f"0190eeee-0000-7000-8000-{self._version:012d}",
            owner=owner,
            digest=f"digest {self._version}",
            image="busybox",
            entry=Entry("main.py", "chute"),
            created_at=self.world.clock.now(),
        )
        self.folders.kept[version.id] = (dump_deploy(read_deploy({"image": "busybox", **deploy})), {})
        await self.world.store.add_version(version)
        manifest = good(cords=CORDS, chute={"concurrency": concurrency, "name": name})
        settled = await self.world.store.settle_version(version.id, Described(manifest))
        assert settled is not None
        self.hosts.note_deployed(settled)
        return settled

    async def call(self, path: str = "/ask", body: object = None, method: str = "POST", **more: Any) -> Reply:  # noqa: ANN401 - fields of a CordCall
        await self.ready()
        assert self.cords is not None
        text = None if body is None else json.dumps(body).encode()
        chute, viewer = more.pop("chute", "trainer"), more.pop("viewer", ME)
        call = CordCall(method, path, more.pop("query", {}), body=text, **more)
        async with self.cords.answer(viewer, chute, call) as reply:
            pieces = [piece async for piece in reply.pieces]
        return Reply(reply.status, b"".join(pieces))

    async def refusal(self, *args: Any, **more: Any) -> AgentError:  # noqa: ANN401 - as `call`
        try:
            await self.call(*args, **more)
        except AgentError as error:
            return error
        raise AssertionError("it was answered")

    def jobs(self) -> list[Job]:
        """Those that answer, in the order in which they were started."""
        return [job for job in self.world.store.jobs() if job.kind is Kind.CORDS]

    def alive(self) -> list[str]:
        return [job.id for job in self.jobs() if job.phase is not Phase.FINISHED]


@asynccontextmanager
async def cord_world() -> AsyncIterator[CordWorld]:
    world = World()
    world.engine.program = Program(on_term=0)
    made = CordWorld(world)
    try:
        yield made
    finally:
        await made.crash()
