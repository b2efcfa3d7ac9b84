"""api/handlers/ports — a job's http ports by path, and one-time URLs for browsers. Passes nothing on itself: that is `api/proxy`."""

from aiohttp import web

from agent.api.auth import Caller, ScopeMissingError
from agent.api.body import read_json
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.problems import BadRequestError
from agent.api.proxy.exchange import Asked, Exchanges, expect_nothing
from agent.api.proxy.pages import Pages, is_page_path
from agent.api.tokens import Scope
from agent.core.event_form import show_time
from agent.core.proxy_headers import ByPath
from agent.core.proxy_heads import check_target, tokens_of
from agent.spec import Fault

PASSED = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # GET's route takes HEAD, too
PATH_PARTS = 7  # "", v1, jobs, id, ports, name, and the rest is the job's
FIELDS = ("port", "path")


class PortHandlers:
    def __init__(self, exchanges: Exchanges, pages: Pages) -> None:
        self._exchanges = exchanges
        self._pages = pages

    def endpoints(self) -> tuple[Endpoint, ...]:
        opened = {201: Answer("an URL that is good once, for 60 s", "OpenedPage")}
        return (
            Endpoint("POST", "/jobs/{id}/open", Scope.JOBS_WRITE, self.open, "A one-time URL of a job's page, for a browser", opened, (JOB_ID,), "OpenRequest"),
            *(self._passing(method) for method in PASSED),
        )  # fmt: skip

    def _passing(self, method: str) -> Endpoint:
        # Whoever may write to a job may say anything to it; who may read, what HTTP calls reading.
        return Endpoint(
            method,
            "/jobs/{id}/ports/{name}/{path:(?s:.*)}",
            Scope.JOBS_READ if method == "GET" else Scope.JOBS_WRITE,
            self.pass_on,
            "Passed on to an http port of a running job, and its answer back; GET also as a WebSocket (jobs:write)",
            {200: Answer("whatever the job answers")},
            (JOB_ID, NAME, PATH),
            expect=expect_nothing,
        )

    async def pass_on(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        check_target(request.raw_path)
        parts = request.raw_path.split("/", PATH_PARTS - 1)
        job_id, name = request.match_info["id"], request.match_info["name"]
        if (parts[3], parts[5]) != (job_id, name):
            # Percent-encoded, it is read in two ways: by the router, and by whoever stands before us.
            raise web.HTTPNotFound
        if tokens_of(list(request.headers.items()), "upgrade") and Scope.JOBS_WRITE not in caller.scopes:
            raise ScopeMissingError(Scope.JOBS_WRITE)
        target = await self._exchanges.targets.find(job_id, name, caller.viewer)
        prefix = f"/v1/jobs/{target.job.id}/ports/{name}"
        way = ByPath(prefix, f"localhost:{target.lease.port}")
        return await self._exchanges.pass_on(
            request, caller, Asked(target, way, f"/{parts[6]}", request.scheme)
        )

    async def open(self, request: web.Request, caller: Caller) -> web.Response:
        targets, job_id = self._exchanges.targets, request.match_info["id"]
        # First, so that what is wrong with a body tells nobody of a job that he can't see.
        await targets.find_job(job_id, caller.viewer)
        port, path = read_open(await read_json(request))
        target = await targets.find(job_id, port, caller.viewer)
        opened = self._pages.open(target, caller, path)
        shown = {"url": opened.url, "expires_at": show_time(opened.expires_at)}
        return web.json_response(shown, status=201)


def read_open(body: object) -> tuple[str, str]:
    """The port's name, and the path at which the page opens. Raises BadRequestError with every fault."""
    if not isinstance(body, dict):
        raise BadRequestError([Fault("body", "wrong_type", "must be an object", 'Send {"port": "web"}.')])
    faults = [
        Fault(name[:64], "unknown_field", "is no field here", "The fields are port and path.")
        for name in body
        if name not in FIELDS
    ]
    port, path = body.get("port"), body.get("path", "/")
    if not isinstance(port, str):
        faults.append(Fault("port", "wrong_type", "must be the name of a port", 'Send {"port": "web"}.'))
    if not isinstance(path, str) or not is_page_path(path):
        told = "must be a path of the page, printable and of 2000 characters at most"
        faults.append(Fault("path", "bad_path", told, "Begin with one /, and percent-encode what has to be."))
    if faults:
        raise BadRequestError(faults)
    return str(port), str(path)


NAME = Parameter("name", "the port's name", "path")
PATH = Parameter("path", "the path and query that the job gets, as they are", "path")
