"""The places at which a daemon may die: around each write, each act of the engine, of the folders and of an endpoint. Counts them; acts at one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.core.delivery import Answer, Sent
from agent.core.job import Job
from agent.core.upload import FileState
from agent.interfaces import Content, LogWriter, Offered, Places, Prepared, Shortage
from agent.spec import Upload
from tests.fakes.deliveries import FakeDeliveries, FakeDelivery
from tests.fakes.engine import Fate
from tests.fakes.folders import FakeFolders
from tests.fakes.quotas import FakeQuotas
from tests.shell.world import World

# A death before a look is the same as one after the write that came before it.
WRITES = frozenset(
    {
        *("save", "change", "grant", "append_event"),
        *("begin_upload", "begin_upload_again", "keep_upload", "keep_files"),
        "keep_told",
        *("accept", "add_version", "settle_version", "remove_chute"),
    }
)
ACTS = frozenset({"create", "start", "kill", "remove", "pull", "ensure_volume", "remove_volume"})


class DeathOfTheDaemon(BaseException):
    """SIGKILL, in process: nothing catches it."""


class Boundaries:
    """Calls `at[n]` at the n-th boundary (from 1) that the daemon comes to. A daemon that was killed takes no more steps."""

    def __init__(self, world: World) -> None:
        self.count = 0
        self.at: dict[int, Callable[[], None]] = {}
        self.passed: list[str] = []
        self.is_dead = False
        self.revivals = 0
        self._world = world
        self.test = asyncio.current_task()  # what a test does itself is no step of the daemon
        self._check = world.store.after
        self.fate: Callable[[str, str], Fate] = lambda _name, _target: Fate.WORKS
        world.store.before, world.store.after = self._before_store, self._after_store
        world.engine.fates, world.engine.after = self._before_act, self._after_act
        world.folders = _Folders(self.step)
        world.deliveries = self.deliveries = _Endpoints(world, self.step)
        world.quotas = _Quotas(self.step)

    def step(self, name: str) -> None:
        if asyncio.current_task() is self.test:
            return
        if self.is_dead:
            raise DeathOfTheDaemon
        self.count += 1
        self.passed.append(name)
        act = self.at.get(self.count)
        if act is not None:
            act()

    def die(self) -> None:
        self.is_dead = True
        raise DeathOfTheDaemon

    async def revive(self) -> None:
        """Start the next daemon, if this one is dead."""
        if self.is_dead or self._world.is_dead:
            await self._world.crash()
            self.is_dead = False
            self.revivals += 1
            await self._world.start()

    def _look(self) -> None:
        if self.is_dead and asyncio.current_task() is not self.test:
            raise DeathOfTheDaemon

    async def _before_store(self, step: str) -> None:
        await asyncio.sleep(0)
        self._look()
        if step in WRITES:
            self.step(f"before {step}")

    async def _after_store(self, step: str) -> None:
        await self._check(step)
        if step in WRITES:
            self.step(f"after {step}")

    def _before_act(self, name: str, target: str) -> Fate:
        self._look()
        fate = self.fate(name, target)
        if name in ACTS:
            self.step(f"before {name}")
        return fate

    def _after_act(self, name: str, _target: str) -> None:
        self.step(f"after {name}")


class _Folders(FakeFolders):
    def __init__(self, step: Callable[[str], None]) -> None:
        super().__init__()
        self._step = step

    async def prepare(self, job_id: str) -> Prepared:
        self._step("before prepare")
        prepared = await super().prepare(job_id)
        self._step("after prepare")
        return prepared

    async def report_part(self, job_id: str, attempt: int) -> LogWriter:
        return _Report(await super().report_part(job_id, attempt), self._step)

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        self._step("before drain")
        return await super().log_part(job_id, attempt)

    async def drop_used_secrets(self, job_id: str) -> None:
        self._step("before drop_used_secrets")
        await super().drop_used_secrets(job_id)
        self._step("after drop_used_secrets")

    async def keep_upload_target(self, job_id: str, upload: Upload) -> None:
        self._step("before keep_upload_target")
        await super().keep_upload_target(job_id, upload)
        self._step("after keep_upload_target")

    async def keep_upload_place(self, job_id: str, path: str, place: str) -> None:
        self._step("before keep_upload_place")
        await super().keep_upload_place(job_id, path, place)
        self._step("after keep_upload_place")

    async def drop_upload_secrets(self, job_id: str) -> None:
        self._step("before drop_upload_secrets")
        await super().drop_upload_secrets(job_id)
        self._step("after drop_upload_secrets")


@dataclass
class _Report:
    """Of a function."""

    part: LogWriter
    step: Callable[[str], None]

    async def write(self, data: bytes) -> None:
        await self.part.write(data)

    async def commit(self, last: bytes = b"") -> None:
        self.step("before report")
        await self.part.commit(last)
        self.step("after report")

    async def discard(self) -> None:
        await self.part.discard()


class _Quotas(FakeQuotas):
    def __init__(self, step: Callable[[str], None]) -> None:
        super().__init__()
        self._step = step

    async def reserve(self, job_id: str, size_bytes: int) -> Shortage | None:
        self._step("before reserve")
        shortage = await super().reserve(job_id, size_bytes)
        self._step("after reserve")
        return shortage

    async def attach(self, job_id: str) -> str:
        self._step("before attach")
        device = await super().attach(job_id)
        self._step("after attach")
        return device

    async def release(self, job_id: str) -> None:
        self._step("before release")
        await super().release(job_id)
        self._step("after release")


@dataclass(slots=True)
class Had:
    """What an endpoint has, and in which order it was tried."""

    files: dict[str, bytes] = field(default_factory=dict)
    tries: list[str] = field(default_factory=list)


class _Endpoints(FakeDeliveries):
    """For one job. Each URL is an endpoint of its own. As by tus, a place is kept for a file before it is sent."""

    def __init__(self, world: World, step: Callable[[str], None]) -> None:
        super().__init__()
        self.world = world
        self.step = step
        self.by_url: dict[str, Had] = {}

    @asynccontextmanager
    async def open(self, job: Job, upload: Upload, places: Places) -> AsyncIterator["_Delivery"]:
        self.opened.append(upload)
        yield _Delivery(self, job.id, places, self.by_url.setdefault(bare_url(upload), Had()))


@dataclass
class _Delivery(FakeDelivery):
    endpoint: _Endpoints
    had: Had

    async def begin(self, files: Sequence[Offered]) -> Answer:
        self.endpoint.step("before begin")
        answer = await super().begin(files)
        self.endpoint.step("after begin")
        return answer

    async def send(self, content: Content) -> Answer:
        if self._journal_has(content):
            self.endpoint.world.violations.append(f"{content.path} is sent, and the journal has it as sent")
        if await self.places.find(content.path) is None:
            await self.places.keep(content.path, f"https://store.example.org/half/{content.path}")
        self.endpoint.step("before send")
        answer = await self._take(content)
        self.endpoint.step("after send")
        return answer

    async def end(self, manifest: Content) -> Answer:
        self.endpoint.step("before end")
        answer = await self._take(manifest)
        self.endpoint.step("after end")
        return answer

    def _journal_has(self, content: Content) -> bool:
        store = self.endpoint.world.store
        job = store.peek(self.job_id)
        known = None if job is None else store._journals.get(job.seq, {}).get(content.path)
        # What a job writes does not change here any more.
        return known is not None and known.state is FileState.SENT

    async def _take(self, content: Content) -> Answer:
        self.had.tries.append(content.path)
        answer = await super()._take(content)
        if isinstance(answer, Sent):
            self.had.files[content.path] = self.endpoint.received[self.job_id][content.path]
        return answer


def bare_url(upload: Upload) -> str:
    return (upload.url or "").partition("?")[0]
