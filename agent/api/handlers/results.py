"""api/handlers/results — what a function returned, as its job sent it. Understands none of it."""

from collections.abc import AsyncIterator

from aiohttp import web

from agent.api.auth import Caller
from agent.api.endpoints import JOB_ID, Answer, Endpoint
from agent.api.query import Query
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.errors import AgentError, Blame
from agent.interfaces import Folders, ResultReader, Store
from agent.jobs.intake import unknown_job

CHUNK_BYTES = 256 << 10


class ResultNotThereError(AgentError):
    """The job calls no function, or its function has not returned."""

    code, blame = "result_not_found", Blame.USER
    remedy = "GET the job: `outcome` says whether it has ended, `error` why it returned nothing."


class ResultHandlers:
    def __init__(self, store: Store, folders: Folders, streams: Streams) -> None:
        self._store = store
        self._folders = folders
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        found = {200: Answer("what the function returned", None, "application/json")}
        return (Endpoint("GET", "/jobs/{id}/result", Scope.JOBS_READ, self.fetch, "Fetch a function's result", found, (JOB_ID,)),)  # fmt: skip

    async def fetch(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        Query(request).refuse_faults()
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        reader = None if job.call is None else await self._folders.open_result(job.id, job.attempt)
        if reader is None:
            raise ResultNotThereError(f"there is no result of job {job.id}")
        try:
            with self._streams.open(request, caller) as stream:
                response = web.StreamResponse(headers=HEADERS)
                response.content_length = reader.size_bytes
                await response.prepare(request)
                if request.method != "HEAD":
                    await stream.send_all(response, _chunks(reader))
                return response
        finally:
            await reader.close()


# The content is a job's: no browser may take it for a page of ours.
HEADERS = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
}


async def _chunks(reader: ResultReader) -> AsyncIterator[bytes]:
    while data := await reader.read(CHUNK_BYTES):
        yield data
