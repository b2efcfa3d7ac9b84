"""api/handlers/chutes — deploy, list, show, start by name, remove. Decides nothing: `jobs/chutes` does."""

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.chute_views import show_chute, show_in_list, show_version
from agent.api.deploy_form import read_deploy_form
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.keys import IDEMPOTENCY_KEY, read_key
from agent.api.query import Query
from agent.api.showing import JobShowing
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.core.chute import Version, VersionState
from agent.interfaces import Store
from agent.jobs.chutes import Chutes, Deploys
from agent.spec import DeployRefusedError

DEPLOY_WAIT_SECONDS, MAX_WAIT_SECONDS = 120, 300


class ChuteHandlers:
    def __init__(
        self, chutes: Chutes, deploys: Deploys, store: Store, showing: JobShowing, streams: Streams
    ) -> None:
        self._chutes = chutes
        self._deploys = deploys
        self._store = store
        self._showing = showing
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        deployed = {
            201: Answer("deployed: the chute's current version", "Chute"),
            200: Answer("the same deploy was the current version already", "Chute"),
            202: Answer("still being described", "ChuteVersion"),
        }
        accepted = {
            201: Answer("accepted, and on disk", "Job"),
            200: Answer("a replay of an earlier one", "Job"),
        }
        return (
            Endpoint("POST", "/chutes", Scope.JOBS_WRITE, self.deploy, "Deploy a chute", deployed, (DEPLOY_WAIT,), "DeployForm", body_media="multipart/form-data"),
            Endpoint("GET", "/chutes", Scope.JOBS_READ, self.list, "List chutes, by name", {200: Answer("all of them", "ChutePage")}),
            Endpoint("GET", "/chutes/versions/{id}", Scope.JOBS_READ, self.show_version, "Read a deploy, or wait for its end", {200: Answer("the version", "ChuteVersion")}, (VERSION_ID, WAIT)),
            Endpoint("GET", "/chutes/{name}", Scope.JOBS_READ, self.show, "Read a chute", {200: Answer("the chute", "Chute")}, (NAME,)),
            Endpoint("DELETE", "/chutes/{name}", Scope.JOBS_WRITE, self.remove, "Remove a chute, with all versions", {204: Answer("removed")}, (NAME,)),
            Endpoint("POST", "/chutes/{name}/jobs/{function}", Scope.JOBS_WRITE, self.start, "Start a job by name", accepted, (NAME, FUNCTION, IDEMPOTENCY_KEY), "StartRequest"),
        )  # fmt: skip

    async def deploy(self, request: web.Request, caller: Caller) -> web.Response:
        seconds = read_seconds(request, DEPLOY_WAIT_SECONDS)
        # Held as a stream: uploads and waits are bounded by token, and end with their connection.
        with self._streams.open(request, caller) as stream:
            received = await self._deploys.receive()
            try:
                body = await read_deploy_form(request, received.write)
                deployed = await self._deploys.deploy(caller.viewer, body, received)
            finally:
                await received.close()
            async with stream.watched():
                version = await self._deploys.wait(caller.viewer, deployed.version.id, seconds)
        if version.state is VersionState.REFUSED:
            raise DeployRefusedError(version.faults)
        if version.state is VersionState.DESCRIBING:
            location = {"Location": f"/v1/chutes/versions/{version.id}"}
            return web.json_response(show_version(version), status=202, headers=location)
        # A later deploy may have overtaken it: what it became itself is the answer all the same.
        return web.json_response(await self._show(version), status=200 if deployed.is_replay else 201)

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        Query(request).refuse_faults()
        chutes = await self._store.chutes(caller.viewer)
        return web.json_response({"items": [show_in_list(chute) for chute in chutes], "next": None})

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        chute = await self._chutes.find(caller.viewer, request.match_info["name"])
        return web.json_response(await self._show(chute))

    async def show_version(self, request: web.Request, caller: Caller) -> web.Response:
        seconds = read_seconds(request, 0)
        with self._streams.open(request, caller) as stream:
            async with stream.watched():
                version_id = request.match_info["id"].lower()
                version = await self._deploys.wait(caller.viewer, version_id, seconds)
        return web.json_response(show_version(version))

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        await self._chutes.remove(caller.viewer, request.match_info["name"])
        return web.Response(status=204)

    async def start(self, request: web.Request, caller: Caller) -> web.Response:
        key = read_key(request)
        name, function = request.match_info["name"], request.match_info["function"]
        body = await read_json(request)
        accepted = await self._chutes.start(caller.viewer, name, function, body, key)
        headers = {"Location": f"/v1/jobs/{accepted.job.id}"}
        status = 200 if accepted.is_replay else 201
        return web.json_response(await self._showing.show(accepted.job), status=status, headers=headers)

    async def _show(self, chute: Version) -> dict[str, object]:
        return show_chute(chute, await self._store.versions_of(chute))


def read_seconds(request: web.Request, default: int) -> float:
    query = Query(request)
    seconds = query.number("wait", default, 0, MAX_WAIT_SECONDS)
    query.refuse_faults()
    return float(seconds or 0)


SECONDS = {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS}
DEPLOY_WAIT = Parameter(
    "wait", f"seconds to wait until it was described; default {DEPLOY_WAIT_SECONDS}", schema=SECONDS
)
WAIT = Parameter("wait", "seconds to wait while it is being described; default 0", schema=SECONDS)
NAME = Parameter("name", "the chute's name, percent-encoded", "path")
FUNCTION = Parameter("function", "the name that the job is registered by", "path")
VERSION_ID = Parameter(
    "id", "the version, as a deploy answered it", "path", {"type": "string", "format": "uuid"}
)
