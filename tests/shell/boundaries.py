"""The places at which a daemon may die: around each write, each act of the engine and of the folders. Counts them; acts at one."""

import asyncio
from collections.abc import Callable

from agent.interfaces import LogWriter, Prepared, Shortage
from tests.fakes.engine import Fate
from tests.fakes.folders import FakeFolders
from tests.fakes.quotas import FakeQuotas
from tests.shell.world import World

# A death before a look is the same as one after the write that came before it.
WRITES = frozenset({"save", "change", "grant", "append_event"})
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

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        self._step("before drain")
        return await super().log_part(job_id, attempt)

    async def drop_used_secrets(self, job_id: str) -> None:
        self._step("before drop_used_secrets")
        await super().drop_used_secrets(job_id)
        self._step("after drop_used_secrets")


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
