"""api/handlers/ssh — who may log in to a job, said anew while it is there. Decides nothing."""

from aiohttp import web

from agent.api.auth import Caller
from agent.api.body import read_json
from agent.api.endpoints import JOB_ID, Answer, Endpoint
from agent.api.showing import JobShowing
from agent.api.ssh_views import show_keys
from agent.api.tokens import Scope
from agent.core.job import Job
from agent.jobs.ssh_keys import SshKeys


class SshHandlers:
    def __init__(self, keys: SshKeys, showing: JobShowing) -> None:
        self._keys = keys
        self._showing = showing

    def endpoints(self) -> tuple[Endpoint, ...]:
        valid = {200: Answer("who may log in from the next connection on", "SshAccess")}
        return (
            Endpoint("PUT", "/jobs/{id}/ssh-keys", Scope.JOBS_WRITE, self.replace, "Replace the keys that may log in", valid, (JOB_ID,), "SshKeys"),
            Endpoint("POST", "/jobs/{id}/ssh-keys", Scope.JOBS_WRITE, self.add, "Let one key more log in, for a while", valid, (JOB_ID,), "SshKey"),
        )  # fmt: skip

    async def replace(self, request: web.Request, caller: Caller) -> web.Response:
        job_id = request.match_info["id"].lower()
        return self._answer(await self._keys.replace(caller.viewer, job_id, await read_json(request)))

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        job_id = request.match_info["id"].lower()
        return self._answer(await self._keys.add(caller.viewer, job_id, await read_json(request)))

    def _answer(self, job: Job) -> web.Response:
        shown = {"ssh": self._showing.show_ssh(job), "keys": show_keys(self._keys.keys_of(job))}
        return web.json_response(shown)
