"""The API on fakes, served for real: a TCP port and a Unix socket, and a client that speaks to them."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from agent import aio
from agent.adapters.folders.folders import DiskFolders, open_folders
from agent.adapters.job_ports import LocalPorts
from agent.aio import Threads
from agent.api.app import ApiParts, build_app
from agent.api.limits import ApiLimits
from agent.api.proxy.pages import PageDomain
from agent.api.sites import Listen, Sites, open_sites
from agent.api.tokens import Scope, new_token
from agent.api.views import Addresses
from agent.core.container import LogBounds, PullProgress
from agent.core.firewall import Egress, NetworkSettings, make_rules
from agent.core.gpu_health import HealthPolicy
from agent.core.job import Job, NewEvent, Outcome
from agent.core.policy import ImageRules, Limits, Policy
from agent.core.ports import NatMap, PortRange
from agent.core.xids import XidTable
from agent.errors import Phase
from agent.interfaces import OutputLimits, StaleError
from agent.jobs.assembly import Outside, Settings, Shell, assemble
from agent.jobs.avoided import Avoided
from agent.jobs.bell import Bell
from agent.jobs.capacity import HostCapacity, HostNames
from agent.jobs.chutes import Chutes, Deploys, Describing
from agent.jobs.cords import Cords, Hosts
from agent.jobs.cords.replays import Replays
from agent.jobs.current import Current
from agent.jobs.execs import Execs
from agent.jobs.gpu_accounts import GpuAccounts
from agent.jobs.gpu_care import CareSettings, GpuCare, Wakes
from agent.jobs.gpu_samples import GpuSamples
from agent.jobs.health import CheckState, Finding, Health
from agent.jobs.images import PullTimes
from agent.jobs.intake import Intake
from agent.jobs.logs import Logs, Sources
from agent.jobs.outputs import Outputs
from agent.jobs.schedules import Firings, Schedules, Submitting, Timetable
from agent.jobs.stats import Stats
from agent.jobs.uploads import Uploads
from agent.log import Redactor
from tests.fakes.clock import FakeClock
from tests.fakes.deliveries import FakeDeliveries
from tests.fakes.engine import FakeEngine
from tests.fakes.firewall import FakeFirewall
from tests.fakes.gpus import FakeGpus
from tests.fakes.host_keys import FakeHostKeys
from tests.fakes.job_sockets import FakeJobSockets
from tests.fakes.kernel_log import FakeKernelLog
from tests.fakes.outgoing import FakeOutgoing
from tests.fakes.ssh_kits import FakeSshKits
from tests.fakes.store import MemoryStore

BODY = {"image": "busybox", "command": ["true"]}
EVERY_SCOPE = tuple(Scope)
# A stream that should have been refused would otherwise be read until aiohttp gives up, after five minutes.
CALL_TIMEOUT = aiohttp.ClientTimeout(total=30)
ID = "0190aaaa-0000-7000-8000-{:012d}"


@dataclass(slots=True)
class Reply:
    status: int
    headers: Any
    raw: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any
        return json.loads(self.raw)


LONG = ApiLimits(stream_seconds=5.0)


async def ok() -> Finding:
    return Finding(CheckState.OK, "fine")


@dataclass(slots=True)
class ApiWorld:
    store: MemoryStore
    engine: FakeEngine
    gpus: FakeGpus
    care: GpuCare
    accounts: GpuAccounts
    clock: FakeClock
    folders: DiskFolders
    intake: Intake
    app: web.Application
    state: Path
    socket: Path
    woken: list[str]
    probes: dict[str, Any]
    pulls: list[Any]
    uploads: Uploads
    deliveries: FakeDeliveries
    shell: Shell
    kits: FakeSshKits
    host_keys: FakeHostKeys
    chutes: Chutes
    deploys: Deploys
    sockets: FakeJobSockets
    schedules: Schedules
    cords: Cords
    settings: Settings
    sites: Sites | None = None
    http: aiohttp.ClientSession | None = None
    token: str = ""

    @property
    def url(self) -> str:
        assert self.sites is not None
        return f"http://127.0.0.1:{self.sites.port}"

    async def new_token(
        self, principal: str, scopes: tuple[Scope, ...] = EVERY_SCOPE[:2], expires_in: float | None = None
    ) -> str:
        expires = None if expires_in is None else self.clock.now() + expires_in
        made = new_token(f"{principal}'s", principal, scopes, self.clock.now(), expires)
        await self.store.add_token(made.record)
        return made.secret

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        data: bytes | io.BytesIO | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """`token` "" sends none."""
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"} if token != "" else {}
        payload = json.dumps(body).encode() if body is not None else data
        assert self.http is not None
        async with self.http.request(
            method, URL(self.url + path, encoded=True), data=payload, headers={**sent, **(headers or {})}
        ) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def submit(self, **changes: object) -> str:
        reply = await self.call("POST", "/v1/jobs", {**BODY, **changes})
        assert reply.status == 201, reply.raw
        return str(reply.json["id"])

    async def finish(self, job_id: str) -> Job:
        while True:
            job = await self.store.read(job_id)
            assert job is not None
            done = replace(job, phase=Phase.FINISHED, outcome=Outcome.SUCCEEDED, finished_at=self.clock.now())
            with suppress(StaleError):  # the supervisor wrote what it waits for: read again
                return await self.store.save(done, [NewEvent("job.finished", {"outcome": "succeeded"})])


@asynccontextmanager
async def api_world(
    tmp: Path,
    *,
    limits: Limits | None = None,
    images: ImageRules | None = None,
    dns: tuple[str, ...] = ("192.0.2.1",),
    api_limits: ApiLimits = LONG,
    tls: ssl.SSLContext | None = None,
    page_domain: PageDomain | None = None,
    has_dashboard: bool = True,
) -> AsyncIterator[ApiWorld]:
    clock = FakeClock()
    store, engine, gpus = MemoryStore(clock.now), FakeEngine(clock), FakeGpus()
    threads = Threads("test", 2)
    folders = await open_folders(tmp / "state", tmp / "run", threads)
    ids = iter(ID.format(number) for number in range(1, 10**6))
    policy = Policy(
        "agent-1",
        "gpuagent0",
        dns,
        ("0.0.0.0",),
        LogBounds(10**8, 10),
        limits or Limits(),
        images or ImageRules(),
        sdk="/run/sdk/1",
    )
    woken: list[str] = []
    current, settings = Current(policy), CareSettings(HealthPolicy(600, XidTable()), ("*",), 30)
    deliveries = FakeDeliveries()
    kits, host_keys, sockets = FakeSshKits(), FakeHostKeys(), FakeJobSockets()
    outside = Outside(
        store,
        engine,
        FakeFirewall(bridges=engine.bridges),
        folders,
        folders,
        folders.quotas,
        gpus,
        FakeKernelLog(clock),
        clock,
        lambda: 0.0,
        Redactor(),
        FakeOutgoing(),
        deliveries,
        kits,
        host_keys,
        sockets,
    )
    settings_of_shell = shell_settings(settings)
    shell = assemble(outside, current, settings_of_shell)
    hiding, uploads = shell.tools.hiding, shell.tools.uploads
    intake = Intake(
        store,
        folders,
        gpus.inventory,
        clock,
        current,
        hiding,
        lambda: next(ids),
        woken.append,
        kits,
        host_keys,
        shell.janitor.given_ids,
    )
    hosts = Hosts(intake, folders.chutes, lambda: settings_of_shell.cord_times)
    describing = Describing(folders.chutes, intake, hosts.note_deployed)
    deploys = Deploys(intake, folders.chutes, describing, lambda: next(ids))
    chutes = Chutes(intake, folders.chutes, hosts.close)
    cords = Cords(chutes, hosts, Replays(store, clock, lambda: next(ids)), lambda: next(ids))
    submitting = Submitting(folders.schedules, chutes)
    timetable = Timetable(store, Firings(intake, submitting), clock)
    describing.on_deployed.append(lambda _: timetable.look())
    schedules = Schedules(intake, submitting, timetable, lambda: next(ids))
    care = GpuCare(gpus, store, clock, settings, Wakes(lambda: None, woken.append))
    samples = GpuSamples(gpus, clock)
    accounts = GpuAccounts(samples, store, clock)
    probes: dict[str, Any] = {"engine": ok, "store": ok}
    pulls: list[Any] = []

    async def pull(reference: str) -> AsyncIterator[PullProgress]:
        for step in pulls:
            if isinstance(step, Exception):
                raise step
            yield step

    bell = Bell()
    store.on_events(bell.ring)
    parts = ApiParts(
        store=store,
        folders=folders,
        intake=intake,
        chutes=chutes,
        deploys=deploys,
        schedules=schedules,
        cords=cords,
        logs=Logs(Sources(engine, folders, store, clock, bell)),
        bell=bell,
        outputs=Outputs(folders, OutputLimits(1000, 10**12, 60)),
        uploads=uploads,
        ssh=shell.tools.ssh,
        gpu_care=care,
        gpu_samples=samples,
        stats=Stats(engine, samples, accounts, clock),
        execs=Execs(engine, store, clock, map(str, range(1, 10**6)).__next__),
        host=HostCapacity(
            lambda: HostNames("agent-1", "1.2.3", PortRange(20000, 20009), policy.limits, {"default": 8}),
            store,
            engine,
            gpus,
            folders,
            Avoided(clock, 60),
        ),
        health=Health(clock, probes, frozenset({"engine", "store"})),
        disk_guard=shell.disk_guard,
        notifier=shell.notifier,
        clock=clock,
        addresses=Addresses(("0.0.0.0",), NatMap("gpu.example.org", ((20000, 20009, 40000),))),
        pull=pull,
        version="1.2.3",
        limits=api_limits,
        job_ports=LocalPorts("127.0.0.1"),
        page_domain=page_domain,
        page_key=folders.page_key.read,
        has_dashboard=has_dashboard,
    )
    app = build_app(parts)
    world = ApiWorld(
        store,
        engine,
        gpus,
        care,
        accounts,
        clock,
        folders,
        intake,
        app,
        tmp / "state",
        tmp / "api.sock",
        woken,
        probes,
        pulls,
        uploads,
        deliveries,
        shell,
        kits,
        host_keys,
        chutes,
        deploys,
        sockets,
        schedules,
        cords,
        settings_of_shell,
    )
    world.sites = await open_sites(app, Listen("127.0.0.1", 0, tls, world.socket, "no-such-group"))
    world.token = await world.new_token("alice")
    try:
        async with aiohttp.ClientSession(auto_decompress=False, timeout=CALL_TIMEOUT) as http:
            world.http = http
            yield world
    finally:
        await world.sites.close()
        threads.close()
        folders.close()


def shell_settings(care: CareSettings) -> Settings:
    ports, limits = PortRange(20000, 20009), OutputLimits(1000, 10**12, 60)
    rules = make_rules(NetworkSettings("gpuagent0", Egress.INTERNET, (), (), ()))
    return Settings(ports, {"default": 8}, 1.0, PullTimes(60, 60), 10**6, care, limits, 8, rules)


@asynccontextmanager
async def running(world: ApiWorld) -> AsyncIterator[None]:
    """The jobs shell, which runs what is submitted while the block does."""
    world.intake.wake = world.shell.wake
    world.engine.images.clear()
    world.engine.add_image("busybox")
    world.shell.tools.functions.call_cords_by(world.cords.hosts)
    standing = asyncio.ensure_future(stand(world.shell, world.deploys, world.cords))
    try:
        yield
    finally:
        standing.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup):
            await standing


async def stand(shell: Shell, deploys: Deploys, cords: Cords) -> None:
    async with asyncio.TaskGroup() as group:
        shell.start(group)
        aio.stand(group, deploys.describing.watch(), "chutes")
        aio.stand(group, cords.hosts.watch(), "cords")
        aio.stand(group, cords.replays.tidy_up(), "answers of cords")


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition of the server, which is in this very loop but rings no bell for tests."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)
