"""Who answers what functions ask of other jobs: always the same."""

import json

from agent.core.job import Job
from agent.interfaces.job_socket import Call


class FakeNeighbours:
    async def start(self, job: Job, call: Call) -> str:
        return "child"

    async def status(self, job: Job, job_id: object) -> bytes | None:
        return json.dumps({"id": job_id}, indent=1).encode()

    async def cancel(self, job: Job, job_id: object) -> bool:
        return True

    def ports(self, job: Job) -> list[dict[str, object]]:
        return [{"name": "web"}]
