"""api/handlers/host — what the host has, and pulling an image ahead of a job. Leases nothing."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.body import read_json
from agent.api.endpoints import Answer, Endpoint
from agent.api.problems import BadRequestError, facts_of_error
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.api.views import Json
from agent.core.container import EngineFacts, PullProgress
from agent.core.policy import Policy
from agent.errors import AgentError, Phase
from agent.jobs.capacity import Capacity, HostCapacity
from agent.jobs.host_limits import find_image_faults
from agent.spec import Fault, SpecRefusedError, parse_reference

Pull = Callable[[str], AsyncIterator[PullProgress]]
NDJSON = "application/x-ndjson"
MAX_REFERENCE_CHARACTERS = 512


class HostHandlers:
    """`pull` is an async generator that ends when the image is there; `policy` reads what the host allows now."""

    def __init__(
        self, host: HostCapacity, policy: Callable[[], Policy], pull: Pull, streams: Streams
    ) -> None:
        self._host = host
        self._policy = policy
        self._pull = pull
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        lines = {
            200: Answer(
                "one line of progress after the other; the last says done or failed", "PullLine", NDJSON
            )
        }
        return (
            Endpoint("GET", "/host", Access.ANY_TOKEN, self.show, "What the host has, and what is taken", {200: Answer("capacity", "Host")}),
            Endpoint("POST", "/images/pull", Scope.HOST_ADMIN, self.pull, "Pull an image", lines, body="PullRequest"),
        )  # fmt: skip

    async def show(self, _request: web.Request, _caller: Caller) -> web.Response:
        return web.json_response(show_capacity(await self._host.look()))

    async def pull(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        image = read_pull(await read_json(request))
        faults = list(find_image_faults(image, self._policy()))
        if faults:
            raise SpecRefusedError(faults)
        response = web.StreamResponse(headers={"Content-Type": NDJSON})
        with self._streams.open(request, caller) as stream:
            await stream.send_all(response, pull_lines(image, self._pull(image)))
        return response


async def pull_lines(image: str, progress: AsyncIterator[PullProgress]) -> AsyncIterator[bytes]:
    """NDJSON. A refusal before the first line is raised, a later one is the last line: the status is out by then."""
    has_begun = False
    try:
        async for step in progress:
            has_begun = True
            yield line({"state": "pulling", "image": image, **asdict(step)})
    except AgentError as error:
        if not has_begun:
            raise
        _, facts = facts_of_error(error)
        yield line({"state": "failed", "image": image, "message": str(error), **facts})
        return
    yield line({"state": "done", "image": image})


def line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"


def read_pull(body: object) -> str:
    """Read `{"image": reference}`. Raises BadRequestError."""
    if not isinstance(body, dict):
        raise BadRequestError([Fault("body", "wrong_type", "must be an object", 'Send {"image": "NAME"}.')])
    faults = [
        Fault(str(name)[:64], "unknown_field", "is no field here", "The only field is image.")
        for name in body
        if name != "image"
    ]
    image = body.get("image")
    if not isinstance(image, str) or len(image) > MAX_REFERENCE_CHARACTERS:
        faults.append(
            Fault("image", "wrong_type", "must be an image reference", "Write it as in alpine:3.20.")
        )
        raise BadRequestError(faults)
    try:
        parse_reference(image)
    except ValueError as unread:
        faults.append(Fault("image", "image_unparsable", str(unread), "Write it as in alpine:3.20."))
    if faults:
        raise BadRequestError(faults)
    return image


def show_capacity(capacity: Capacity) -> Json:
    names, limits = capacity.names, capacity.names.limits
    return {
        "agent": names.agent_id,
        "version": names.version,
        "engine": show_engine(capacity.engine),
        "cpus": None if capacity.engine is None else capacity.engine.cpus,
        "memory": None if capacity.engine is None else capacity.engine.memory_bytes,
        "state_free": capacity.free_bytes,
        "gpus": [
            {"uuid": gpu.uuid, "model": gpu.model, "memory": gpu.memory_bytes, "leased": is_leased}
            for gpu, is_leased in capacity.gpus
        ],
        "ports": {
            "first": names.ports.first,
            "last": names.ports.last,
            "held": capacity.ports_held,
            "bad": capacity.ports_bad,
            "free": len(names.ports) - capacity.ports_held - capacity.ports_bad,
        },
        "queues": {name: asdict(use) for name, use in capacity.queues.items()},
        "jobs": {
            phase.value: capacity.phases.get(phase, 0) for phase in Phase if phase is not Phase.FINISHED
        },
        "limits": {
            "cpus": limits.cpus,
            "memory": limits.memory_bytes,
            "shm": limits.shm_bytes,
            "pids": limits.pids,
            "disk": limits.disk_bytes,
            "job_ports": limits.job_ports,
            "queued_jobs": limits.queued_jobs,
        },
    }


def show_engine(facts: EngineFacts | None) -> Json | None:
    if facts is None:
        return None
    return {
        "version": facts.version,
        "api_version": facts.api_version,
        "live_restore": facts.live_restore,
        "cgroup_version": facts.cgroup_version,
        "architecture": facts.architecture,
        "storage_driver": facts.storage_driver,
        "userns": facts.userns,
    }
