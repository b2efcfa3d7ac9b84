"""The jobs shell on fakes, as a daemon that can be killed and started again. The store, the engine and the folders survive."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agent.core.container import ContainerState, LogBounds
from agent.core.firewall import Egress, NetworkSettings, make_rules
from agent.core.function import FunctionCall
from agent.core.gpu_health import HealthPolicy
from agent.core.job import BootTime, Job, Kind, Outcome, StopCause, Verdict, Viewer
from agent.core.policy import ImageRules, Limits, Policy
from agent.core.ports import PortRange
from agent.core.state import EDGES
from agent.core.stop_requests import request_job_stop
from agent.core.xids import XidTable
from agent.errors import Phase
from agent.interfaces import Gpus, NewJob, OutputLimits
from agent.jobs.assembly import Outside, Settings, Shell, assemble
from agent.jobs.current import Current
from agent.jobs.gpu_care import CareSettings
from agent.jobs.images import PullTimes
from agent.jobs.intake import secret_files
from agent.log import Redactor
from agent.spec import JobSpec, parse_spec
from tests.fakes.clock import FakeClock
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.engine import FakeEngine
from tests.fakes.firewall import FakeFirewall
from tests.fakes.folders import FakeFolders
from tests.fakes.gpus import FakeGpus
from tests.fakes.host_keys import FakeHostKeys, host_key
from tests.fakes.job_sockets import FakeJobSockets
from tests.fakes.kernel_log import FakeKernelLog
from tests.fakes.neighbours import FakeNeighbours
from tests.fakes.outgoing import FakeOutgoing
from tests.fakes.quotas import FakeQuotas
from tests.fakes.ssh_kits import FakeSshKits
from tests.fakes.ssh_server import FakeSshServers
from tests.fakes.store import MemoryStore

OWNER = "alice"
ME = Viewer(OWNER)
AGENT = "agent-1"
IMAGE = "docker.io/library/busybox:latest"


class World:
    def __init__(self, first_port: int = 20000, last_port: int = 20099, concurrency: int = 8) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock.now)
        self.engine = FakeEngine(self.clock, AGENT)
        self.engine.add_image("busybox")
        self.firewall = FakeFirewall(bridges=self.engine.bridges)
        self.folders = FakeFolders()
        self.sockets = FakeJobSockets()
        self.neighbours: FakeNeighbours | None = FakeNeighbours()
        self.quotas = FakeQuotas()
        self.gpus = FakeGpus()
        self.kernel_log = FakeKernelLog(self.clock)
        self.seen_gpus: Gpus = self.gpus  # or what a test puts between the two
        self.outgoing = FakeOutgoing()
        self.deliveries = FakeDeliveries()
        self.ssh_kits = FakeSshKits()
        self.ssh_servers: FakeSshServers | None = None  # what runs where a job's SSH server is asked for
        self.node_cpus: dict[int, str] = {}
        self.jitter = 0.5
        self.redactor = Redactor()
        self.settings = Settings(
            ports=PortRange(first_port, last_port),
            queue_limits={"default": concurrency},
            ageing=1.0,
            pull_times=PullTimes(whole_seconds=1800, stall_seconds=120),
            retention_seconds=604_800,
            gpu_care=CareSettings(HealthPolicy(600, XidTable()), ("*",), 30),
            output_limits=OutputLimits(files=10_000, total_bytes=1 << 40, seconds=60),
            parallel_uploads=8,
            network_rules=make_rules(NetworkSettings("gpuagent0", Egress.INTERNET, (), (), ())),
        )
        self.shell: Shell | None = None
        self._task: asyncio.Task[None] | None = None
        self.store.after = self._check_leases
        self.count = 0
        # What the daemon itself would take for a bug of one job's task: told at the end.
        self.violations: list[str] = []

    # ── the daemon ──

    async def start(self) -> None:
        policy = Policy(
            agent_id=AGENT,
            bridge="gpuagent0",
            dns=("192.0.2.1",),
            bind=("127.0.0.1",),
            logs=LogBounds(100_000_000, 10),
            limits=Limits(),
            images=ImageRules(),
            node_cpus=self.node_cpus,
            sdk="/run/sdk/1",
        )
        self.shell = assemble(self.outside(), Current(policy), self.settings)
        if self.neighbours is not None:
            self.shell.tools.functions.answer_by(self.neighbours)
        self._task = asyncio.get_running_loop().create_task(self._run(self.shell))

    def outside(self) -> Outside:
        return Outside(
            self.store,
            self.engine,
            self.firewall,
            self.folders,
            self.folders,
            self.quotas,
            self.seen_gpus,
            self.kernel_log,
            self.clock,
            lambda: self.jitter,
            self.redactor,
            self.outgoing,
            self.deliveries,
            self.ssh_kits,
            FakeHostKeys(),
            self.sockets,
        )

    async def _run(self, shell: Shell) -> None:
        async with asyncio.TaskGroup() as group:
            shell.start(group)

    async def crash(self) -> None:
        """All of the daemon's memory is gone at once. What was seen to be wrong until now fails the test."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, BaseExceptionGroup):
                await self._task
        self._task = self.shell = None
        self.sockets.calls.clear()  # a connection goes with the process
        assert self.violations == []

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    @property
    def is_dead(self) -> bool:
        return self._task is not None and self._task.done()

    async def _check_leases(self, _step: str) -> None:
        """After each transaction: what runs holds its lease, and holds it alone (I2, and traces 1 and 4)."""
        rows = {job.id: job for job in self.store.jobs()}
        seen: set[int] = set()
        gpus: set[str] = set()
        leased = {uuid for job in rows.values() if job.lease is not None for uuid in job.lease.gpus}
        if self.gpus.under_reset & leased:
            self.violations.append("a GPU is leased while it is reset")
        for box in self.engine.boxes.values():
            job = rows.get(box.seen.job or "")
            if box.seen.state is not ContainerState.RUNNING or job is None or box.plan is None:
                continue
            if box.seen.attempt != job.attempt or job.phase in {
                Phase.QUEUED,
                Phase.UPLOADING,
                Phase.FINISHED,
            }:
                continue  # a stray on its way to the janitor
            ports = {port.host_port for port in box.plan.ports}
            held = {port.host_port for port in job.lease.ports} if job.lease else set()
            if not ports <= held:
                self.violations.append(f"{job.phase}: runs on ports that are free already")
            if not set(box.plan.gpus) <= set(job.lease.gpus if job.lease else ()):
                self.violations.append(f"{job.phase}: runs on GPUs that are free already")
            if ports & seen:
                self.violations.append(f"{job.phase}: runs on ports of another")
            if gpus & set(box.plan.gpus):
                self.violations.append(f"{job.phase}: runs on GPUs of another")
            seen |= ports
            gpus |= set(box.plan.gpus)

    # ── what a caller does ──

    async def submit(
        self,
        owner: str = OWNER,
        *,
        call: FunctionCall | None = None,
        payload: bytes = b"{}",
        **fields: object,
    ) -> str:
        self.count += 1
        job_id = f"00000000-0000-7000-8000-{self.count:012d}"
        spec: JobSpec = parse_spec({"image": "busybox", **fields})
        key = None if spec.ssh is None else host_key(self.count)
        await self.folders.claim(job_id, "{}", secret_files(spec, key), None if call is None else payload)
        public = None if key is None else key.public.line
        kind = Kind.CONTAINER if call is None else Kind.FUNCTION
        new = NewJob(job_id, owner, kind, spec, self.clock.now(), None, job_id, public, call)
        await self.store.accept(new, 1000)
        self.wake(job_id)
        return job_id

    async def cancel(self, job_id: str, grace: float = 30) -> None:
        kill_at = BootTime(self.clock.boot_id, self.clock.boot_seconds() + grace)
        await self.store.change(
            job_id, ME, lambda job: request_job_stop(job, StopCause.CANCEL, self.clock.now(), kill_at)
        )
        self.wake(job_id)

    def wake(self, job_id: str) -> None:
        if self.shell is not None:
            self.shell.wake(job_id)

    # ── what a test asks ──

    async def job(self, job_id: str) -> Job:
        job = await self.store.read(job_id)
        assert job is not None
        return job

    async def until(self, job_id: str, wanted: Callable[[Job], bool], seconds: float = 600) -> Job:
        async with asyncio.timeout(seconds):
            while not wanted(job := await self.job(job_id)):
                await asyncio.sleep(0.05)
        return job

    async def until_phase(self, job_id: str, phase: Phase, seconds: float = 600) -> Job:
        return await self.until(job_id, lambda job: job.phase is phase, seconds)

    async def finish(self, job_id: str, seconds: float = 600) -> Job:
        return await self.until_phase(job_id, Phase.FINISHED, seconds)

    async def quiesce(self, seconds: float = 40) -> None:
        """Long enough for a settle, a sweep of the janitor and a grant."""
        await asyncio.sleep(seconds)

    async def assert_all_is_well(self) -> None:
        """I2 to I4, I7, I9 of the design, once nothing moves any more."""
        assert self.engine.started_twice == []
        unfinished = {job.id: job for job in await self.store.unfinished()}
        for box in self.engine.boxes.values():
            if box.seen.agent == AGENT:
                job = unfinished.get(box.seen.job or "")
                assert job is not None, f"orphan: {box.seen}"
                assert job.attempt == box.seen.attempt
        ports = [port.host_port for job in unfinished.values() if job.lease for port in job.lease.ports]
        assert len(ports) == len(set(ports))
        for job_id in await self.store.job_ids():
            await self._assert_events_are_a_path(job_id)

    async def _assert_events_are_a_path(self, job_id: str) -> None:
        events = await self.store.events(ME, 0, job_id, 10_000)
        assert [event.n for event in events] == list(range(1, len(events) + 1))
        phases = [event.data for event in events if event.type == "job.phase"]
        at = Phase.QUEUED
        for data in phases:
            assert Phase(str(data["from"])) is at
            assert (at, Phase(str(data["to"]))) in EDGES
            at = Phase(str(data["to"]))
        job = self.store.peek(job_id)  # no wait since the events were read
        assert job is not None
        assert at is job.phase
        if job.phase is Phase.FINISHED:
            assert job.outcome is not None
            assert not self.folders.holds_secrets(job_id)


__all__ = ["ME", "Outcome", "Phase", "Verdict", "World"]
