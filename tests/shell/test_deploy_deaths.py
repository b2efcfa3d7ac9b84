"""A deploy whose daemon dies at each boundary in turn: the client sends it again, and there is one version, one describe job, one folder."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import structlog

from agent.core.chute import Version, VersionState
from agent.core.job import Kind
from agent.interfaces import Receiving, Unpacked
from agent.jobs.chutes import Deploys, Describing
from agent.jobs.cords import Hosts
from agent.jobs.current import Current
from agent.jobs.intake import Intake
from tests.fakes.chute_folders import FakeChuteFolders
from tests.fakes.engine import Program
from tests.fakes.host_keys import FakeHostKeys
from tests.fakes.tars import MAIN, tar_of
from tests.shell.boundaries import Boundaries, DeathOfTheDaemon
from tests.shell.world import ME, Phase, World
from tests.unit.chute_values import a_job, a_manifest, encoded

pytestmark = pytest.mark.looptime(noop_cycles=2)  # nothing here waits for anything but this loop

GOOD = encoded(a_manifest())
REFUSED = encoded(a_manifest(a_job("slow", timeout=5)))
LIVES = 8


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class _Folders(FakeChuteFolders):
    def __init__(self, step: Callable[[str], None]) -> None:
        super().__init__()
        self._step = step

    async def unpack(self, received: Receiving, version_id: str, deploy: str) -> Unpacked:
        self._step("before unpack")
        unpacked = await super().unpack(received, version_id, deploy)
        self._step("after unpack")
        return unpacked

    async def remove(self, version_id: str) -> None:
        self._step("before remove version")
        await super().remove(version_id)
        self._step("after remove version")


class DeployTrial:
    """`report`: what the describe container says that the file declares."""

    def __init__(self, report: bytes) -> None:
        self.world = World()
        self.world.engine.program = Program(seconds=None)
        self.boundaries = Boundaries(self.world)
        self.folders = _Folders(self.boundaries.step)
        self.report = report
        self.deploys: Deploys | None = None
        self._ids = iter(f"0190cccc-0000-7000-8000-{number:012d}" for number in range(1, 99))
        self._standing: asyncio.Task[None] | None = None
        self._containers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """As the daemon starts: what no row knows is swept, then everything stands."""
        world = self.world
        world.store.listeners.clear()
        await world.folders.sweep(await world.store.job_ids())
        await self.folders.sweep(await self.folders.names(), await world.store.version_ids())
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
            lambda: next(self._ids),
            world.wake,
            world.ssh_kits,
            FakeHostKeys(),
            world.shell.janitor.given_ids,
        )
        hosts = Hosts(intake, self.folders, lambda: world.settings.cord_times)
        describing = Describing(self.folders, intake, hosts.note_deployed)
        self.deploys = Deploys(intake, self.folders, describing, lambda: next(self._ids))
        self._standing = asyncio.get_running_loop().create_task(describing.watch())

    async def stop(self) -> None:
        if self._standing is not None:
            self._standing.cancel()
            with suppress(asyncio.CancelledError, DeathOfTheDaemon):
                await self._standing
        await self.world.crash()
        self.boundaries.is_dead = False

    async def deploy(self) -> Version:
        """As a client that asks again until it is answered."""
        for _ in range(LIVES):
            trying = asyncio.get_running_loop().create_task(self._try())
            await asyncio.wait({trying})
            error = trying.exception()
            if error is None:
                return trying.result()
            assert isinstance(error, DeathOfTheDaemon), error
            await self.stop()
            await self.start()
        raise AssertionError("no answer in all these lives")

    async def _try(self) -> Version:
        assert self.deploys is not None
        received = await self.deploys.receive()
        await received.write(tar_of({"main.py": MAIN}))
        deployed = await self.deploys.deploy(ME, {"image": "busybox"}, received)
        return await self.deploys.wait(ME, deployed.version.id, 600)

    async def run_containers(self) -> None:
        """Each that runs says what its file declares, as often as it takes to be heard, and exits."""
        heard: set[str] = set()
        while True:
            for container in self.world.engine.running():
                job_id = str(container.job)
                if job_id not in self.world.sockets.calls or self.boundaries.is_dead:
                    continue
                with suppress(DeathOfTheDaemon):
                    if job_id not in heard:
                        await self.world.sockets.succeed(job_id, self.report)
                        heard.add(job_id)
                    self.world.engine.exit_now(container.id, 0)
            await asyncio.sleep(0.05)


async def run(report: bytes, death: int | None) -> DeployTrial:
    trial = DeployTrial(report)
    if death is not None:
        trial.boundaries.at[death] = trial.boundaries.die
    await trial.start()
    containers = asyncio.get_running_loop().create_task(trial.run_containers())
    try:
        version = await trial.deploy()
        await trial.world.quiesce(60)
        if trial.boundaries.is_dead:  # it died behind the answer
            await trial.stop()
            await trial.start()
            await trial.world.quiesce(60)
        await judge(trial, version)
    finally:
        containers.cancel()
        await trial.stop()
    return trial


async def judge(trial: DeployTrial, version: Version) -> None:
    store, where = trial.world.store, trial.boundaries.passed[-3:]
    (row,) = [found for found in store._versions.values() if found.state is not VersionState.REFUSED] or [
        version
    ]
    assert row.state is version.state, where
    assert await store.describing() == [], where
    describes = [job for job in store.jobs() if job.kind is Kind.DESCRIBE]
    assert {job.phase for job in describes} == {Phase.FINISHED}, where
    assert trial.world.engine.boxes == {}, where
    assert trial.world.engine.started_twice == [], where
    if version.state is VersionState.ACTIVE:
        assert (set(trial.folders.kept), len(describes)) == ({row.id}, 1), where
        assert (row.number, len(store._versions)) == (1, 1), where
    else:
        assert trial.folders.kept == {}, where


async def test_a_deploy_is_described_and_is_the_chute() -> None:
    trial = await run(GOOD, None)
    assert trial.boundaries.count > 10
    assert {"after unpack", "after add_version", "after accept", "after settle_version"} <= set(
        trial.boundaries.passed
    )


@pytest.mark.slow
@pytest.mark.parametrize("report", [GOOD, REFUSED], ids=["good", "refused"])
async def test_whatever_the_boundary_at_which_the_daemon_dies_a_deploy_comes_to_its_one_end(
    report: bytes,
) -> None:
    whole = await run(report, None)
    deaths = range(1, whole.boundaries.count + 1)
    seen = set()
    for death in deaths:
        trial = await run(report, death)
        seen.add(trial.boundaries.passed[death - 1])
    assert {"before add_version", "after settle_version", "after accept"} <= seen
