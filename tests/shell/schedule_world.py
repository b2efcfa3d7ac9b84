"""Schedules on fakes, under a virtual clock, as a daemon that can be killed and started again. Their jobs stay queued until a test ends them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from agent.core.container import LogBounds
from agent.core.function import FunctionCall
from agent.core.job import EVERYONE, Job, Outcome, Viewer
from agent.core.policy import ImageRules, Limits, Policy
from agent.core.schedule import OfFunction, Schedule
from agent.errors import Phase
from agent.interfaces import Claimed, NoSuchChuteError, SecretFiles
from agent.interfaces.chutes import CallSpec
from agent.jobs.current import Current
from agent.jobs.given_ids import GivenIds
from agent.jobs.hiding import Hiding
from agent.jobs.intake import Intake
from agent.jobs.schedules import Firings, Schedules, Submitting, Timetable
from agent.log import Redactor
from tests.fakes.clock import FakeClock
from tests.fakes.folders import FakeFolders
from tests.fakes.gpus import FakeGpus
from tests.fakes.host_keys import FakeHostKeys
from tests.fakes.schedule_files import FakeScheduleFiles
from tests.fakes.ssh_kits import FakeSshKits
from tests.fakes.store import MemoryStore
from tests.shell.boundaries import DeathOfTheDaemon

ANN = Viewer("ann")
# 8:00 UTC of a day in 2027.
BEGIN = 1_800_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
BODY = {"image": "busybox", "secrets": {"TOKEN": "tell-nobody"}}


class FakeFunctions:
    """`known`: chute and function."""

    def __init__(self) -> None:
        self.known = {("trainer", "nightly")}

    async def compose_call(self, owner: str, chute: str, function: str) -> CallSpec:
        if (chute, function) not in self.known:
            raise NoSuchChuteError(f"there is no {chute}/{function}")
        return CallSpec({"image": "python"}, FunctionCall(chute, "v1", function, "main.py"))


class _Folders(FakeFolders):
    def __init__(self, step: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self._step = step

    async def claim(
        self, job_id: str, record: str, secrets: SecretFiles, payload: bytes | None = None
    ) -> Claimed:
        await self._step("before claim")
        claimed = await super().claim(job_id, record, secrets, payload)
        await self._step("after claim")
        return claimed


class _Files(FakeScheduleFiles):
    def __init__(self, step: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self._step = step

    async def keep(self, schedule_id: str, text: str) -> None:
        await self._step("before keep")
        await super().keep(schedule_id, text)
        await self._step("after keep")

    async def remove(self, schedule_id: str) -> None:
        await self._step("before remove")
        await super().remove(schedule_id)
        await self._step("after remove")


class ScheduleWorld:
    """`die_at`: the number of the boundary (from 1) at which the daemon is killed; `passed`: those it came to."""

    def __init__(self) -> None:
        self.clock = FakeClock(started=BEGIN)
        self.store = MemoryStore(self.clock.now)
        self.store.before, self.store.after = self._before, self._after
        self.folders, self.files = _Folders(self._step), _Files(self._step)
        self.functions = FakeFunctions()
        self.limits, self.images = Limits(), ImageRules()
        self.woken: list[str] = []
        self.calls: list[str] = []
        self.passed: list[str] = []
        self.die_at: int | None = None
        self.is_dead = False
        self.fault: Callable[[str], Exception | None] = lambda _step: None
        self.schedules: Schedules | None = None
        self._task: asyncio.Task[None] | None = None
        self._count = 0

    # ── the daemon ──

    async def start(self) -> None:
        self.is_dead = False
        await self.folders.sweep(await self.store.job_ids())
        await self.files.sweep(await self.store.schedule_ids())
        policy = Policy(
            "agent-1",
            "gpuagent0",
            ("192.0.2.1",),
            ("127.0.0.1",),
            LogBounds(10**8, 10),
            self.limits,
            self.images,
        )
        intake = Intake(
            self.store,
            self.folders,
            FakeGpus().inventory,
            self.clock,
            Current(policy),
            Hiding(Redactor()),
            self.new_id,
            self.woken.append,
            FakeSshKits(),
            FakeHostKeys(),
            GivenIds(),
        )
        submitting = Submitting(self.files, self.functions)
        timetable = Timetable(self.store, Firings(intake, submitting), self.clock)
        self.schedules = Schedules(intake, submitting, timetable, self.new_id)
        self._task = asyncio.get_running_loop().create_task(timetable.watch())

    async def crash(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, DeathOfTheDaemon, BaseExceptionGroup):
                await self._task
        self._task = self.schedules = None

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    def new_id(self) -> str:
        self._count += 1
        return f"0190dddd-0000-7000-8000-{self._count:012d}"

    async def _before(self, step: str) -> None:
        await asyncio.sleep(0)
        self.calls.append(step)
        fault = self.fault(step)
        if fault is not None:
            raise fault
        if step in {"accept", "change_schedule", "add_schedule", "remove_schedule"}:
            await self._step(f"before {step}")
        elif self.is_dead:
            raise DeathOfTheDaemon

    async def _after(self, step: str) -> None:
        if step in {"accept", "change_schedule", "add_schedule", "remove_schedule"}:
            await self._step(f"after {step}")

    async def _step(self, name: str) -> None:
        if self.is_dead:
            raise DeathOfTheDaemon
        self.passed.append(name)
        if len(self.passed) == self.die_at:
            self.is_dead = True
            raise DeathOfTheDaemon

    # ── what a test does ──

    @property
    def all(self) -> Schedules:
        assert self.schedules is not None
        return self.schedules

    async def add(
        self, cron: str = "0 * * * *", name: str = "s", *, catch_up: bool = False, viewer: Viewer = ANN
    ) -> str:
        body = {"name": name, "cron": cron, "catch_up": catch_up, "spec": BODY}
        return (await self.all.add(viewer, body)).id

    async def add_function(self, cron: str = "0 * * * *", name: str = "trainer/nightly") -> str:
        """As a deploy leaves it."""
        schedule_id, now = self.new_id(), self.clock.now()
        what = OfFunction("trainer", "nightly")
        row = Schedule(schedule_id, "ann", name, what, cron, now, now, schedule_id)
        await self.store.add_schedule(row)
        self.all.timetable.look()
        return schedule_id

    async def read(self, schedule_id: str) -> Schedule:
        found = await self.store.schedule(schedule_id, EVERYONE)
        assert found is not None
        return found

    async def counts(self, schedule_id: str) -> tuple[int, int, int]:
        row = await self.read(schedule_id)
        return row.fired, row.skipped, row.missed

    def jobs(self) -> list[Job]:
        return self.store.jobs()

    def minutes(self) -> list[float]:
        """Of all jobs that were started by a minute, from the begin, in minutes."""
        fired = [job.fired_by for job in self.jobs() if job.fired_by is not None]
        return [(each.due - BEGIN) / 60 for each in fired if each.due is not None]

    async def finish_all(self) -> None:
        for job in self.jobs():
            if job.phase is not Phase.FINISHED:
                ended = replace(
                    job, phase=Phase.FINISHED, outcome=Outcome.SUCCEEDED, finished_at=self.clock.now()
                )
                await self.store.save(ended)

    async def sleep_until(self, minutes: float) -> None:
        """By the wall clock, from the begin."""
        await asyncio.sleep(max(0.0, BEGIN + minutes * 60 - self.clock.now()))
