"""bench/functions — a chute deployed to an agent, its functions started, and what they returned. Measures nothing."""

import asyncio
from dataclasses import dataclass
from typing import Any

from bench.host import NONE, Agent, Bench, Json
from bench.sightings import Sightings
from tests.e2e.python_image import make_python_image
from tests.fakes.forms import FORM, deploy_form
from tests.fakes.tars import tar_of

HEAD = 'from chutes.chute import Chute\nchute = Chute(username="ann", name="{chute}")\n'
DEPLOYED_WITHIN_SECONDS = 60
GRACE_SECONDS = 1


async def python_image(bench: Bench) -> str:
    """The Python of this machine, with the compiled files of its library."""
    return await asyncio.to_thread(
        make_python_image, bench.engine, "gpu-agent-bench/python:1", [], bench.folder
    )


@dataclass(frozen=True, slots=True)
class Functions:
    agent: Agent
    phases: Sightings

    async def deploy(self, chute: str, image: str, functions: str) -> None:
        asked = {"image": image, "spec": {"network": NONE, "grace": GRACE_SECONDS}}
        form = deploy_form(asked, tar_of({"main.py": (HEAD.format(chute=chute) + functions).encode()}))
        url = f"http://agent/v1/chutes?wait={DEPLOYED_WITHIN_SECONDS}"
        async with self.agent.api.post(url, data=form, headers={"Content-Type": FORM}) as reply:
            if reply.status not in {200, 201}:
                raise RuntimeError(f"not deployed: {reply.status} {await reply.text()}")

    async def start(self, chute: str, function: str, payload: Json | None = None) -> str:
        path = f"/v1/chutes/{chute}/jobs/{function}"
        return str((await self.agent.call("POST", path, {"payload": payload or {}}))["id"])

    async def result(self, job: str) -> Any:  # noqa: ANN401 - JSON
        """Once it has finished."""
        await self.phases.at((job, "finished"))
        seen = await self.agent.call("GET", f"/v1/jobs/{job}")
        if seen["outcome"] != "succeeded":
            raise RuntimeError(f"{seen['outcome']}: {seen['reason']}, {seen['error']}")
        return seen["result"]
