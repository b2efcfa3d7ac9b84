"""Jobs whose outputs leave, in the API's test world: submitted, filled with files, ended; and endpoints that hold files back."""

import asyncio
from collections.abc import Mapping
from typing import Any

from agent.core.delivery import Answer, Failure, Sent
from tests.fakes.engine import Program
from tests.shell.api_world import ApiWorld, until

# Whatever is secret of an upload says so: no answer, event or log line may hold the word.
SECRET = "hush"
PUT = {
    "to": "put",
    "url": f"https://store.example.org/{{job}}/{{path}}?sig={SECRET}-query",
    "headers": {"Authorization": f"Bearer {SECRET}-header"},
}
OPEN_PUT = {"to": "put", "url": "https://store.example.org/{job}/{path}"}
REFUSED = Failure("status_refused", is_passing=False, status=403)


async def begun(world: ApiWorld, files: Mapping[str, bytes], upload: object = PUT, **outputs: object) -> str:
    """A job that runs until it is ended, and has written these files."""
    world.engine.program = Program()
    given = outputs if upload is None else {"upload": upload, **outputs}
    job_id = await world.submit(outputs=given)
    await until(lambda: container_of(world, job_id) is not None)
    root = world.state / "jobs" / job_id / "outputs"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return job_id


def container_of(world: ApiWorld, job_id: str) -> str | None:
    found = [box.id for box in world.engine.running() if box.job == job_id]
    return found[0] if found else None


def end(world: ApiWorld, job_id: str, code: int = 0) -> None:
    container = container_of(world, job_id)
    assert container is not None
    world.engine.exit_now(container, code)


async def finished(
    world: ApiWorld, files: Mapping[str, bytes], upload: object = PUT, code: int = 0, **outputs: object
) -> str:
    """Of a job that is over, with its upload."""
    job_id = await begun(world, files, upload, **outputs)
    end(world, job_id, code)
    assert (await world.call("GET", f"/v1/jobs/{job_id}?wait=finished")).json["phase"] == "finished"
    return job_id


async def upload_of(world: ApiWorld, job_id: str) -> Any:  # noqa: ANN401 - JSON is any
    """As the job's own answer has it, and a list as well."""
    one = (await world.call("GET", f"/v1/jobs/{job_id}")).json
    listed = {item["id"]: item for item in (await world.call("GET", "/v1/jobs")).json["items"]}
    if one["upload"] is None or one["upload"]["state"] != "sending":
        assert listed[job_id]["upload"] == one["upload"]
    return one["upload"]


async def files_of(world: ApiWorld, job_id: str) -> dict[str, Any]:
    """Each file's `upload`."""
    page = (await world.call("GET", f"/v1/jobs/{job_id}/outputs")).json
    return {file["path"]: file["upload"] for file in page["items"]}


class Held:
    """Files that the endpoint takes in and does not answer for. `refused`: those that it will have none of."""

    def __init__(self, world: ApiWorld, *held: str, refused: tuple[str, ...] = ()) -> None:
        self.free = asyncio.Event()
        self.met: set[str] = set()
        self._held, self.refused = held, refused
        world.deliveries.behave = self._behave

    async def _behave(self, path: str) -> Answer:
        if path in self._held:
            self.met.add(path)
            await self.free.wait()
        return REFUSED if path in self.refused else Sent()
