"""api/handlers/cords — a request to a chute's cord, and its answer back as it comes. Decides nothing: `jobs/cords` does."""

from collections.abc import AsyncIterator

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import ContentEncodingRefusedError, parse_json, read_body
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.keys import IDEMPOTENCY_KEY, read_key
from agent.api.streams import Stream, Streams
from agent.api.tokens import Scope
from agent.core.proxy_headers import SANDBOX
from agent.core.proxy_heads import check_target
from agent.errors import AgentError, Blame
from agent.jobs.cords import CordCall, CordMethodError, CordReply, Cords

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # GET's route takes HEAD, too
PATH_PARTS = 6  # "", v1, chutes, name, cords, and the rest is the cord's
JSON_TYPES = ("application/json", "+json")


class CordBodyNotJsonError(AgentError):
    """A cord's body is JSON, and this one says that it is something else."""

    code, blame = "cord_body_not_json", Blame.USER
    remedy = "Send JSON, with `Content-Type: application/json`; a file goes to a job by its URL."


class CordHandlers:
    def __init__(self, cords: Cords, streams: Streams) -> None:
        self._cords = cords
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self._calling(method) for method in METHODS)

    def _calling(self, method: str) -> Endpoint:
        return Endpoint(
            method,
            "/chutes/{name}/cords/{path:(?s:.*)}",
            Scope.JOBS_WRITE,
            self.call,
            "Call a cord of a chute of one's own; a body is JSON. OPTIONS tells which methods a path takes",
            {
                200: Answer("what the cord returned"),
                204: Answer("to OPTIONS: the Allow header names the methods"),
            },
            (NAME, PATH, IDEMPOTENCY_KEY),
        )

    async def call(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        # Held as a stream: it ends with its connection, and with it what it has begun.
        with self._streams.open(request, caller) as stream:
            try:
                call = await read_call(request)
                # A start and an answer may take minutes, in which nothing flows.
                async with (
                    stream.watched(),
                    self._cords.answer(caller.viewer, request.match_info["name"], call) as reply,
                ):
                    return await send_reply(request, stream, reply)
            except CordMethodError as refused:
                if request.method != "OPTIONS":
                    raise
                return web.Response(status=204, headers={"Allow": ", ".join(refused.allowed)})


async def read_call(request: web.Request) -> CordCall:
    """Raises BadRequestHeadError, BadRequestError, CordBodyNotJsonError, and as `read_json` does."""
    check_target(request.raw_path)
    path, _, query = request.raw_path.partition("?")
    parts = path.split("/", PATH_PARTS - 1)
    if len(parts) < PATH_PARTS or parts[4] != "cords":
        # Percent-encoded, it is read in two ways: by the router, and by whoever stands before us.
        raise web.HTTPNotFound
    return CordCall(
        request.method,
        f"/{parts[5]}",
        {name: request.query.getall(name) for name in request.query},
        query,
        await read_json_text(request),
        read_key(request),
    )


async def read_json_text(request: web.Request) -> bytes | None:
    """The body as it was sent, which is JSON; None: there is none."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ContentEncodingRefusedError("the body is encoded, and a small one could unpack to anything")
    text = await read_body(request)
    if not text:
        return None
    if "Content-Type" in request.headers and not request.content_type.endswith(JSON_TYPES):
        raise CordBodyNotJsonError(f"the body is {request.content_type[:80]!a}, and a cord takes JSON")
    parse_json(text)
    return text


async def send_reply(request: web.Request, stream: Stream, reply: CordReply) -> web.StreamResponse:
    headers = [*reply.headers, ("Content-Type", reply.content_type), SANDBOX]
    response = web.StreamResponse(status=reply.status, headers=dict(headers))
    if reply.size is not None:
        response.content_length = reply.size
    if request.method != "HEAD":
        await stream.send_all(response, reply.pieces)
        return response
    if reply.size is not None:
        await _drop(reply.pieces)  # what is not read to its end is taken for given up
    await response.prepare(request)
    return response


async def _drop(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


NAME = Parameter("name", "the chute's name", "path")
PATH = Parameter("path", "the path that the cord declares, with its parameters, percent-encoded", "path")
