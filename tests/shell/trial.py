"""One life of a job on fakes, with something done at chosen boundaries: the daemon dies there, or somebody cancels. Asserts what must hold then."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from agent.core.function import FunctionCall
from agent.core.job import BootTime, Job, NewEvent, StopCause
from agent.core.stop_requests import request_job_stop
from agent.core.upload import MANIFEST, FileState, Tally, UploadState, may_stop_upload
from tests.fakes.engine import Program
from tests.fakes.launchers import REPORTS, RESULT, FakeLaunchers
from tests.shell.boundaries import Boundaries, DeathOfTheDaemon, Had, bare_url
from tests.shell.world import ME, Outcome, Phase, World

GRACE = 8.0


def nothing(_world: World) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Scenario:
    """`cancels`: a caller cancels as soon as the job runs. `files`: what it leaves in its folder of outputs. `call`: what it calls,
    of which `failures` attempts fail.
    """

    name: str
    outcome: Outcome
    program: Program
    fields: Mapping[str, object] = field(default_factory=dict)
    attempts: int = 1
    cancels: bool = False
    prepare: Callable[[World], None] = nothing
    files: Mapping[str, bytes] = field(default_factory=dict)
    call: FunctionCall | None = None
    failures: int = 0

    def __str__(self) -> str:
        return self.name


class Trial:
    """One run of a scenario, with something done at chosen boundaries."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World()
        # A death of the daemon must be no gap, even where the engine would take its containers with it.
        self.world.engine.live_restore = False
        self.world.engine.program = scenario.program
        scenario.prepare(self.world)
        self.boundaries = Boundaries(self.world)
        self.job_id = ""
        self.cancelled_at: float | None = None

    @property
    def endpoint(self) -> Had:
        """The one that outputs were sent to last."""
        deliveries = self.boundaries.deliveries
        return deliveries.by_url[bare_url(deliveries.opened[-1])] if deliveries.opened else Had()

    def cancel(self) -> None:
        """As the intake does it."""
        world = self.world
        if self.cancelled_at is None:
            self.cancelled_at = world.clock.now()
        kill_at = BootTime(world.clock.boot_id, world.clock.boot_seconds() + GRACE)

        def decide(job: Job) -> tuple[Job, list[NewEvent]]:
            if may_stop_upload(job):
                return replace(job, upload_stopped_at=job.upload_stopped_at or world.clock.now()), []
            return request_job_stop(job, StopCause.CANCEL, world.clock.now(), kill_at)

        world.store._change(self.job_id, ME, decide)
        if not self.boundaries.is_dead and world.shell is not None:
            world.shell.wake(self.job_id)

    async def run(self, at: Mapping[int, Callable[[], None]]) -> Job:
        self.job_id = await self.world.submit(call=self.scenario.call, **self.scenario.fields)
        for path, data in self.scenario.files.items():
            self.world.folders.outputs(self.job_id).write(path, data)
        self.boundaries.at |= at
        await self.world.start()
        async with self._launchers(), asyncio.timeout(200):
            while True:
                await self.boundaries.revive()
                job = self.world.store.peek(self.job_id)
                assert job is not None
                if job.phase is Phase.FINISHED:
                    break
                if self.scenario.cancels and job.phase is Phase.RUNNING and job.job_stop is None:
                    self.cancel()
                await asyncio.sleep(0.05)
        await self.settle_down()
        return self.world.store.peek(self.job_id) or job

    @asynccontextmanager
    async def _launchers(self) -> AsyncIterator[None]:
        if self.scenario.call is None:
            yield
            return
        world = self.world
        launchers = FakeLaunchers(world.engine, world.sockets, DeathOfTheDaemon, self.scenario.failures)
        task = asyncio.get_running_loop().create_task(launchers.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def settle_down(self) -> None:
        await asyncio.sleep(1)
        await self.boundaries.revive()
        await asyncio.sleep(35)
        await self.boundaries.revive()
        await asyncio.sleep(1)

    async def assert_nothing_is_left(self, job: Job) -> None:
        world = self.world
        await world.assert_all_is_well()
        assert world.engine.boxes == {}
        assert (world.engine.volumes_by_name, world.quotas.devices) == ({}, {})
        assert all(image.is_released for image in world.quotas.images.values())
        assert job.lease is None
        assert not world.folders.holds_secrets(self.job_id)
        assert self.job_id not in world.folders.places
        assert self.job_id not in world.folders.authorized_keys
        if world.ssh_servers is not None:
            assert (world.ssh_servers.running, world.ssh_servers.most) in {(0, 0), (0, 1)}
        events = await world.store.events(ME, 0, self.job_id, 1000)
        assert sum(event.data.get("to") == Phase.FINISHED for event in events) == 1
        assert len(world.engine.starts) == len(set(world.engine.starts))
        assert set(world.engine.starts) <= set(world.folders.logs)
        attempts = await world.store.attempts(self.job_id)
        assert [attempt.number for attempt in attempts] == list(range(1, job.attempt + 1))
        assert attempts[-1].outcome is job.outcome
        if self.scenario.files:
            await self._assert_outputs_left(job)
        if self.scenario.call is not None:
            await self._assert_was_heard(job)
        await world.crash()

    async def _assert_was_heard(self, job: Job) -> None:
        """All that was answered is there, once; and nobody listens any more."""
        assert self.world.sockets.calls == {}
        if job.job_stop is not None or job.outcome is not self.scenario.outcome:
            return  # it was ended before it could say all
        told = await self.world.store.told(job.id)
        assert (told.attempt, told.seq, told.statuses) == (job.attempt, REPORTS, {"a": str(REPORTS)})
        assert told.metrics["loss"].count == REPORTS * job.attempt
        stored = await self.world.folders.report(job.id, job.attempt, 99)
        assert stored is not None
        assert job.run.report == stored.finish.report
        assert stored.result == (RESULT if job.outcome is Outcome.SUCCEEDED else b"")

    async def _assert_outputs_left(self, job: Job) -> None:
        """All of them, unless somebody ended that; and of what is told to be there, all is."""
        record = (await self.world.store.upload_records([job.id]))[job.id]
        assert record.is_over
        if job.upload_stopped_at is None:
            assert (record.state, record.trouble, record.failed) == (UploadState.COMPLETE, None, 0)
        await self.assert_journal_tells_the_truth(job)
        if record.state is UploadState.COMPLETE:
            self.assert_endpoint_has_all(job)
        told = [event.type for event in await self.world.store.events(ME, 0, job.id, 1000)]
        assert told.count("upload.ended") == 1
        assert told.count("upload.began") <= 1
        # Once, and once more after the one thing that was done here.
        assert max(Counter(self.world.deliveries.tries).values(), default=0) <= 2

    async def assert_journal_tells_the_truth(self, job: Job) -> None:
        record = (await self.world.store.upload_records([job.id]))[job.id]
        journal = [
            file
            for file in await self.world.store.journal(record.row, "", 1000)
            if file.state is FileState.SENT
        ]
        received = self.endpoint.files
        assert {file.path: file.sha256 for file in journal}.items() <= digests(received).items()
        assert record.sent == Tally(len(journal), sum(file.size_bytes for file in journal))

    def assert_endpoint_has_all(self, job: Job) -> None:
        received = self.endpoint.files
        files = {path: data for path, data in received.items() if not path.startswith("job.")}
        manifest = json.loads(files.pop(MANIFEST))
        assert files == self.scenario.files
        told = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        assert told == {path: digest for path, digest in digests(received).items() if path != MANIFEST}
        assert manifest["outcome"] == job.outcome
        tries = self.endpoint.tries
        assert set(tries[tries.index(MANIFEST) :]) == {MANIFEST}, "a file came behind the manifest"


def digests(files: Mapping[str, bytes]) -> dict[str, str | None]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


async def run_through(scenario: Scenario, at: Mapping[int, Callable[[Trial], None]]) -> tuple[Trial, Job]:
    trial = Trial(scenario)

    def bind(act: Callable[[Trial], None]) -> Callable[[], None]:
        return lambda: act(trial)

    try:
        job = await trial.run({n: bind(act) for n, act in at.items()})
        await trial.assert_nothing_is_left(job)
    except BaseException:
        await trial.world.crash()
        raise
    return trial, job


def die(trial: Trial) -> None:
    trial.boundaries.die()


def cancel(trial: Trial) -> None:
    trial.cancel()


def where(trial: Trial, n: int) -> str:
    return f"{trial.scenario} at {n}: {trial.boundaries.passed[n - 1 : n]}"
