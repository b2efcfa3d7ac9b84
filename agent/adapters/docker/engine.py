"""adapters/docker/engine — the Docker engine behind the `Engine` protocol. Carries calls out; decides nothing about jobs."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent.adapters.docker import bridge_removal, bridges, cdi, creates, failures, inside, views, volumes
from agent.adapters.docker.arguments import AGENT_LABEL
from agent.adapters.docker.client import Calls, Deadlines
from agent.adapters.docker.execs import Execs
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.layers import Layers
from agent.adapters.docker.logs import Logs
from agent.adapters.docker.memory import read_peak
from agent.adapters.docker.pulls import PullTally, auth_header, pull_query
from agent.adapters.docker.stats import stats_of
from agent.adapters.docker.strangers import Strangers
from agent.adapters.docker.streams import Proof, Streams, lines
from agent.core.bridge import Bridge
from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerPlan,
    Credentials,
    EngineFacts,
    EventKind,
    Image,
    InsideFile,
    MemorySeen,
    PullProgress,
    QuotaVolume,
    StreamOpened,
)
from agent.core.container_stats import ContainerStats
from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.exec import ExecPlan
from agent.core.gpu_strangers import GpuStrangers
from agent.interfaces import (
    ContainerGoneError,
    EngineUnavailableError,
    ExecSession,
    PullFailedError,
)
from agent.interfaces.engine import Trouble
from agent.spec.image import parse_reference

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# A float of today's seconds has steps of 0.24 µs: rather an event twice than not at all.
CLOCK_STEP_SECONDS = 1e-6


class DockerEngine:
    """One engine at one Unix socket, for one agent. Opening asks the engine nothing: it may be down at that time."""

    def __init__(self, socket: str, agent: str, deadlines: Deadlines) -> None:
        """Only in a running loop. `socket`: the path. `agent`: the value of our agent label."""
        self._socket = socket
        self._agent = agent
        self._deadlines = deadlines
        self._calls = Calls(socket, deadlines)
        self._streams = Streams(socket, deadlines.quick_seconds)
        self._execs = Execs(socket, self._streams, self._calls, deadlines.quick_seconds)
        self._logs = Logs(socket, self._streams, deadlines.quick_seconds)
        self._strangers = Strangers(self._calls, agent)
        self._creates = creates.Creates(self._calls)
        self._layers = Layers(self._calls)

    @classmethod
    async def open(cls, socket: str, agent_id: str, deadlines: Deadlines | None = None) -> "DockerEngine":
        return cls(socket.removeprefix("unix://"), agent_id, deadlines or Deadlines())

    async def close(self) -> None:
        """Breaks off what is in flight, as an end of the process would."""
        await self._streams.close()
        self._calls.close()

    async def facts(self) -> EngineFacts:
        try:
            info = await self._calls.quick(lambda client: client.info())
            version = await self._calls.quick(lambda client: client.version())
        except Refusal as refusal:
            raise failures.refused(refusal) from refusal
        self._layers.tell(info["DockerRootDir"])
        # The engines of our releases tell where they look for specs, and not what they found there.
        named = partial(cdi.read_gpu_names, views.cdi_dirs(info))
        return views.facts(info, version, await self._calls.outside_engine(named))

    async def renew_specs(self, facts: EngineFacts) -> EngineFacts:
        named = partial(cdi.read_gpu_names, facts.cdi_dirs)
        return replace(facts, cdi_gpus=await self._calls.outside_engine(named))

    async def find(self, name: str) -> Container | None:
        found = await self.inspect(name)
        # The engine also takes the beginning of an id for a name.
        return found if found is not None and found.name == name else None

    async def inspect(self, container: str) -> Container | None:
        try:
            return views.inspected(
                await self._calls.quick(lambda client: client.inspect_container(container))
            )
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise failures.refused(refusal) from refusal

    async def ours(self) -> list[Container]:
        label = {"label": [f"{AGENT_LABEL}={self._agent}"]}
        try:
            answer = await self._calls.quick(lambda client: client.containers(all=True, filters=label))
        except Refusal as refusal:
            raise failures.refused(refusal) from refusal
        return [views.listed(item) for item in answer]

    async def gpu_strangers(self) -> GpuStrangers:
        return await self._strangers.look()

    async def create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        return await self._creates.create(plan, secrets)

    async def start(self, container: str) -> None:
        try:
            await self._calls.slow(lambda client: client.start(container))
        except Refusal as refusal:
            if failures.is_container_gone(refusal):
                raise ContainerGoneError(refusal.text) from refusal
            raise failures.refused_start(refusal) from refusal

    async def look_inside(self, container: str, path: str, most_bytes: int) -> InsideFile | None:
        return await inside.look(self._streams, container, path, most_bytes)

    async def kill(self, container: str, signal: str) -> None:
        try:
            await self._calls.quick(lambda client: client.kill(container, signal))
        except Refusal as refusal:
            if refusal.status in (404, 409):  # gone; not running
                return
            raise failures.refused(refusal) from refusal

    async def remove(self, container: str) -> bool:
        try:
            await self._calls.slow(lambda client: client.remove_container(container, v=True))
        except Refusal as refusal:
            if failures.is_removal_under_way(refusal):
                return False
            if refusal.status != 404:
                raise failures.refused(refusal) from refusal
        return True

    async def peak_memory(self, container: Container) -> MemorySeen | None:
        if container.pid is None:
            return None
        return await self._calls.outside_engine(
            partial(read_peak, container.id, container.pid, PROC, CGROUPS)
        )

    async def stats(self, container: str) -> ContainerStats | None:
        # One reading: the engine would else read for a second to tell a rate, for each who asks.
        query = {"stream": "false", "one-shot": "true"}
        try:
            answer = await self._streams.read(f"/containers/{container}/stats", query)
        except Refusal as refusal:
            if failures.is_container_gone(refusal):
                return None
            raise failures.refused(refusal) from refusal
        return stats_of(json.loads(answer))

    async def space(self) -> DiskSpace | None:
        return await self._layers.space()

    async def held(self, container: str, limits: CountLimits) -> Held:
        return await self._layers.held(container, limits)

    async def events(self, since: float) -> AsyncGenerator[ContainerEvent | StreamOpened]:
        filters = {
            "type": ["container"],
            "label": [f"{AGENT_LABEL}={self._agent}"],
            "event": [kind.value for kind in EventKind],
        }
        query = {"since": f"{max(0.0, since - CLOCK_STEP_SECONDS):.9f}", "filters": json.dumps(filters)}
        try:
            async with self._streams.get("/events", query) as chunks:
                # The engine answers just before it subscribes us. What falls between the two is in its ring, and newer
                # than `since`: it is replayed.
                yield StreamOpened()
                async for line in lines(chunks):
                    event = views.event(json.loads(line))
                    if event is not None:
                        yield event
        except Refusal as refusal:
            raise failures.refused(refusal) from refusal
        raise EngineUnavailableError("the engine ended its stream of events", Trouble.BROKEN)

    def read_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        return self._logs.read(container, since_ns)

    def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        return self._logs.follow(container, since_ns)

    def open_exec(self, container: str, plan: ExecPlan) -> AbstractAsyncContextManager[ExecSession]:
        return self._execs.open(container, plan)

    async def image(self, reference: str) -> Image | None:
        try:
            answer = await self._calls.quick(lambda client: client.inspect_image(reference))  # type: ignore[no-untyped-call] # no stub
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise failures.refused(refusal) from refusal
        return views.image(reference, answer)

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        try:
            parsed = parse_reference(reference)
        except ValueError as error:
            raise PullFailedError("image_not_found", f"{reference}: {error}") from error
        tally = PullTally()
        try:
            async with (
                # A hang at the outset is told here; a later one looks like a registry that says nothing more.
                Proof.taken(self._socket, self._deadlines.quick_seconds),
                self._streams.post(
                    "/images/create", pull_query(parsed), auth_header(parsed, credentials)
                ) as chunks,
            ):
                async for line in lines(chunks):
                    told = json.loads(line)
                    if "error" in told:
                        raise failures.refused_pull(str(told["error"]))
                    progress = tally.take(told)
                    if progress is not None:
                        yield progress
        except Refusal as refusal:
            if failures.is_engine_away(refusal):
                raise failures.unavailable(refusal) from refusal
            raise failures.refused_pull(refusal.text) from refusal
        # An engine that dies ends this stream as a success does.
        if await self.image(reference) is None:
            raise EngineUnavailableError("the engine ended the pull without the image", Trouble.BROKEN)

    async def ensure_bridge(self, name: str, subnet6: str | None) -> None:
        await bridges.ensure(self._calls, name, subnet6, self._agent)

    async def find_bridge(self, name: str) -> Bridge | None:
        return await bridges.find(self._calls, name)

    async def remove_bridge(self, name: str) -> bool:
        """For an uninstall. False: there was none. Raises EngineRefusedError (not ours, or in use), EngineUnavailableError."""
        return await bridge_removal.remove(self._calls, name)

    async def ensure_volume(self, volume: QuotaVolume) -> None:
        await volumes.ensure(self._calls, self._agent, volume)

    async def find_volume(self, name: str) -> QuotaVolume | None:
        return await volumes.find(self._calls, self._agent, name)

    async def volumes(self) -> list[QuotaVolume]:
        return await volumes.listed(self._calls, self._agent)

    async def remove_volume(self, name: str) -> bool:
        return await volumes.remove(self._calls, name)
