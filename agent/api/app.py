"""api/app — the application: every endpoint behind its guard. Listens nowhere."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from aiohttp import web

from agent.aio import Threads
from agent.api.auth import Auth
from agent.api.body import MAX_BODY_BYTES
from agent.api.dashboard.files import DashboardFiles
from agent.api.dashboard.signing import SessionHandlers
from agent.api.endpoints import Endpoint
from agent.api.handlers.chutes import ChuteHandlers
from agent.api.handlers.cords import CordHandlers
from agent.api.handlers.events import EventHandlers
from agent.api.handlers.exec import ExecHandlers
from agent.api.handlers.families import FamilyHandlers
from agent.api.handlers.gpus import GpuHandlers
from agent.api.handlers.health import HealthHandlers
from agent.api.handlers.host import HostHandlers
from agent.api.handlers.jobs import JobHandlers
from agent.api.handlers.logs import LogHandlers
from agent.api.handlers.metrics import MetricsHandlers
from agent.api.handlers.outputs import OutputHandlers
from agent.api.handlers.ports import PortHandlers
from agent.api.handlers.results import ResultHandlers
from agent.api.handlers.schedules import ScheduleHandlers
from agent.api.handlers.ssh import SshHandlers
from agent.api.handlers.stats import StatsHandlers
from agent.api.handlers.uploads import UploadHandlers
from agent.api.limits import LIMITS, ApiLimits
from agent.api.metrics.counting import Counting
from agent.api.metrics.sources import Sources
from agent.api.openapi import with_description
from agent.api.problems import answer_problems
from agent.api.proxy.exchange import Exchanges
from agent.api.proxy.pages import PageDomain, Pages
from agent.api.proxy.targets import Targets
from agent.api.proxy.visits import Key, Visits
from agent.api.sessions import Sessions
from agent.api.showing import JobShowing
from agent.api.streams import Streams
from agent.api.traffic import Traffic
from agent.api.views import Addresses
from agent.core.container import PullProgress
from agent.interfaces import Clock, Folders, Store
from agent.interfaces.job_ports import JobPorts
from agent.jobs.bell import Bell
from agent.jobs.capacity import HostCapacity
from agent.jobs.chutes import Chutes, Deploys
from agent.jobs.cords import Cords
from agent.jobs.disk_guard import DiskGuard
from agent.jobs.execs import Execs
from agent.jobs.gpu_care import GpuCare
from agent.jobs.gpu_samples import GpuSamples
from agent.jobs.health import Health
from agent.jobs.intake import Intake
from agent.jobs.logs import Logs
from agent.jobs.notifier import Notifier
from agent.jobs.outputs import Outputs
from agent.jobs.schedules import Schedules
from agent.jobs.ssh import SshServers
from agent.jobs.ssh_keys import SshKeys
from agent.jobs.stats import Stats
from agent.jobs.upload_retry import UploadRetry
from agent.jobs.uploads import Uploads

# Where the daemon finds how many requests failed to authenticate.
AUTH = web.AppKey("auth", Auth)
# Who sees each request first, where it listens.
PAGES = web.AppKey("pages", Pages)
# Those that are answered at once, and as many as may wait; what one chute has more of is refused as busy.
CORDS_PER_TOKEN = 512
# Until those who called cords have their answers, where the daemon leaves.
ANSWER_SECONDS = 1.0
# 256 bits.
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API speaks for. `bell` is rung by the store's `on_events`."""

    store: Store
    folders: Folders
    intake: Intake
    chutes: Chutes
    deploys: Deploys
    schedules: Schedules
    cords: Cords
    logs: Logs
    outputs: Outputs
    uploads: Uploads
    ssh: SshServers
    host: HostCapacity
    gpu_care: GpuCare
    gpu_samples: GpuSamples
    stats: Stats
    execs: Execs
    health: Health
    disk_guard: DiskGuard
    notifier: Notifier
    clock: Clock
    bell: Bell
    addresses: Addresses
    pull: Callable[[str], AsyncIterator[PullProgress]]
    version: str
    limits: ApiLimits
    job_ports: JobPorts
    page_domain: PageDomain | None
    page_key: Key
    has_dashboard: bool


def build_app(parts: ApiParts) -> web.Application:
    """The whole API. Call it in the loop that will serve it."""
    sessions = Sessions(parts.clock, draw_secret) if parts.has_dashboard else None
    auth = Auth(parts.store, parts.clock, sessions)
    streams = Streams(auth.is_live, parts.limits)
    # Counted apart: who waits for a job's slow answers must still be able to read its log.
    exchanges = Exchanges(parts.job_ports, Targets(parts.store), Streams(auth.is_live, parts.limits))
    visits = Visits(parts.page_key, parts.clock, draw_secret)
    pages = Pages(parts.page_domain, visits, auth, exchanges)
    traffic = Traffic()
    app = web.Application(middlewares=[traffic.measure, answer_problems], client_max_size=MAX_BODY_BYTES)
    app[AUTH] = auth
    app[LIMITS] = parts.limits
    app[PAGES] = pages
    cords = Streams(auth.is_live, replace(parts.limits, streams_per_token=CORDS_PER_TOKEN))
    open_streams = {"stream": streams, "port": exchanges.streams, "cord": cords}
    scraped = sources_of(parts, auth, traffic, open_streams)
    endpoints = (
        *list_endpoints(parts, streams),
        *PortHandlers(exchanges, pages).endpoints(),
        *CordHandlers(parts.cords, cords).endpoints(),
        *MetricsHandlers(scraped).endpoints(),
        *([] if sessions is None else list_dashboard(auth, sessions)),
    )
    for endpoint in with_description(endpoints, parts.version):
        for base in endpoint.bases:
            add_route(app, base, endpoint, guard(auth, endpoint))

    async def end_streams(_app: web.Application) -> None:
        streams.close()
        exchanges.streams.close()
        await parts.cords.hosts.hang_up()
        await cords.wait_for_ends(ANSWER_SECONDS)
        cords.close()

    async def end_threads(_app: web.Application) -> None:
        scraped.threads.close()

    app.on_shutdown.append(end_streams)
    app.on_cleanup.append(end_threads)
    app.on_response_prepare.append(set_headers)
    return app


def list_endpoints(parts: ApiParts, streams: Streams) -> tuple[Endpoint, ...]:
    intake, store, bell = parts.intake, parts.store, parts.bell
    showing = JobShowing(store, parts.folders, parts.uploads, parts.ssh, parts.addresses)
    return (
        *JobHandlers(intake, store, bell, showing, streams).endpoints(),
        *FamilyHandlers(intake, store, showing).endpoints(),
        *ChuteHandlers(parts.chutes, parts.deploys, store, showing, streams).endpoints(),
        *ScheduleHandlers(parts.schedules, showing, parts.clock).endpoints(),
        *LogHandlers(store, parts.logs, streams).endpoints(),
        *EventHandlers(store, bell, streams).endpoints(),
        *OutputHandlers(store, parts.outputs, parts.uploads, streams).endpoints(),
        *ResultHandlers(store, parts.folders, streams).endpoints(),
        *SshHandlers(SshKeys(store, parts.ssh, parts.clock), showing).endpoints(),
        *UploadHandlers(UploadRetry(store, parts.uploads, intake.current, intake.given_ids)).endpoints(),
        *HostHandlers(parts.host, lambda: intake.current.policy, parts.pull, streams).endpoints(),
        *GpuHandlers(parts.gpu_care, parts.gpu_samples).endpoints(),
        *StatsHandlers(store, parts.stats, streams).endpoints(),
        *ExecHandlers(store, parts.execs, streams).endpoints(),
        *HealthHandlers(parts.health).endpoints(),
    )


def sources_of(parts: ApiParts, auth: Auth, traffic: Traffic, streams: Mapping[str, Streams]) -> Sources:
    return Sources(
        version=parts.version,
        started_at=parts.clock.now(),
        clock=parts.clock,
        counting=Counting(parts.store),
        host=parts.host,
        health=parts.health,
        disk_guard=parts.disk_guard,
        gpu_care=parts.gpu_care,
        gpu_samples=parts.gpu_samples,
        uploads=parts.uploads,
        notifier=parts.notifier,
        cords=parts.cords,
        timetable=parts.schedules.timetable,
        auth=auth,
        traffic=traffic,
        streams=streams,
        threads=Threads("metrics", 1),
    )


def list_dashboard(auth: Auth, sessions: Sessions) -> tuple[Endpoint, ...]:
    return (*DashboardFiles().endpoints(), *SessionHandlers(auth, sessions).endpoints())


def draw_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def guard(auth: Auth, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler, reached only by who may."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        return await endpoint.handle(request, await auth.admit(request, endpoint.access, endpoint.cookie))

    return guarded


def add_route(
    app: web.Application,
    base: str,
    endpoint: Endpoint,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> None:
    if endpoint.method == "GET":
        app.router.add_get(base + endpoint.path, handler, allow_head=True, expect_handler=endpoint.expect)
    else:
        app.router.add_route(endpoint.method, base + endpoint.path, handler, expect_handler=endpoint.expect)


async def set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    # aiohttp tells its version and Python's to everyone who asks.
    response.headers["Server"] = "gpu-agent"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if not isinstance(response, web.Response):
        # It comes in pieces, which nginx would gather before it passes them on.
        response.headers.setdefault("X-Accel-Buffering", "no")
