"""api/handlers/uploads — that outputs which did not leave be sent again. Sends none."""

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.endpoints import JOB_ID, Answer, Endpoint
from agent.api.tokens import Scope
from agent.jobs.upload_retry import UploadRetry


class UploadHandlers:
    def __init__(self, retry: UploadRetry) -> None:
        self._retry = retry

    def endpoints(self) -> tuple[Endpoint, ...]:
        begun = {202: Answer("it goes on from here", "State")}
        return (
            Endpoint("POST", "/jobs/{id}/outputs/retry", Scope.JOBS_WRITE, self.retry, "Send what did not leave", begun, (JOB_ID,), "UploadRequest"),
        )  # fmt: skip

    async def retry(self, request: web.Request, caller: Caller) -> web.Response:
        has_body = request.body_exists and request.content_length != 0
        body = await read_json(request) if has_body else None
        job = await self._retry.ask(caller.viewer, request.match_info["id"].lower(), body)
        return web.json_response({"job": job.id, "state": "sending"}, status=202)
