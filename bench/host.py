"""bench/host — a private engine, agents on it, and connections to both. Measures nothing."""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure, as_text
from bench.sightings import Sightings, phase_of_job, reading
from tests import private_engine
from tests.e2e.daemon import REPOSITORY, Daemon, Settings
from tests.private_engine import PrivateEngine, busybox_image

Json = dict[str, Any]
LOOK_SECONDS = 0.01
ENGINE_API = "http://engine/v1.44"
# The words of a spec; the second is our bridge.
NONE, BRIDGE = "none", "egress"


@dataclass(frozen=True, slots=True)
class Bench:
    """What a bench works on. `share`: which part of the full size is measured; 1.0 is what the bars are for."""

    folder: Path
    engine: PrivateEngine
    image: str
    raw: "RawEngine"
    share: float

    def size(self, full: int, least: int) -> int:
        return max(least, round(full * self.share))

    @asynccontextmanager
    async def agent(
        self,
        settings: Settings | None = None,
        environment: dict[str, str] | None = None,
        program: str = "agent",
    ) -> AsyncIterator["Agent"]:
        """A daemon with a state folder of its own, started; its containers are gone afterwards. `program`: the module to run."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        daemon = LoggedDaemon(folder, self.engine, self.image, {"log": {"level": "info"}, **(settings or {})})
        daemon.environment, daemon.program = environment or {}, program
        try:
            await asyncio.to_thread(daemon.start)
            async with session(str(daemon.socket)) as api:
                yield Agent(daemon, api)
        finally:
            await asyncio.to_thread(daemon.clean_up)
            shutil.rmtree(folder, ignore_errors=True)


class LoggedDaemon(Daemon):
    """Its log is a file and not a pipe: nobody who reads it holds it up."""

    program = "agent"

    def launch(self, kill_at: object = None) -> None:
        assert kill_at is None, "its lines are not read"
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.engine.prefix,
                    sys.executable,
                    "-m",
                    self.program,
                    "serve",
                    "--config",
                    str(self.config_file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=REPOSITORY,
                # As in tests/e2e/daemon: its children are of this working tree, too.
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": "/root",
                    "PYTHONPATH": str(REPOSITORY),
                    **self.environment,
                },
            )

    def tail(self, count: int = 40) -> str:
        return "\n".join((self.folder / "agent.log").read_text(errors="replace").splitlines()[-count:])


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent, and a connection to its Unix socket."""

    daemon: LoggedDaemon
    api: aiohttp.ClientSession

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def spec(self, *command: str, **fields: object) -> Json:
        return {"image": self.daemon.image, "command": list(command), "network": NONE, "grace": 0, **fields}

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        async with self.api.request(method, f"http://agent{path}", json=body) as reply:
            if reply.status >= 400:
                raise RuntimeError(f"{method} {path}: {reply.status} {await reply.text()}")
            return await reply.json()

    async def submit(self, spec: Json) -> str:
        return str((await self.call("POST", "/v1/jobs", spec))["id"])

    async def cancel(self, job: str) -> None:
        await self.call("POST", f"/v1/jobs/{job}/cancel")

    @asynccontextmanager
    async def phases(self) -> AsyncIterator[Sightings]:
        """When each (job, phase) is told of on the event stream."""
        async with reading(self.api, "http://agent/v1/events", phase_of_job) as sightings:
            yield sightings


class RawEngine:
    """The engine's own API, with one connection for each call that is under way."""

    def __init__(self, api: aiohttp.ClientSession) -> None:
        self.session = api

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        async with self.session.request(method, ENGINE_API + path, json=body) as reply:
            text = await reply.text()
            if reply.status >= 400:
                raise RuntimeError(f"{method} {path}: {reply.status} {text}")
            return json.loads(text) if text else None

    async def create(self, body: Json) -> str:
        return str((await self.call("POST", "/containers/create", body))["Id"])

    async def start(self, container: str) -> None:
        await self.call("POST", f"/containers/{container}/start")

    async def wait(self, container: str) -> None:
        await self.call("POST", f"/containers/{container}/wait")

    async def remove(self, container: str) -> None:
        await self.call("DELETE", f"/containers/{container}?force=1&v=1")

    async def twin(self, agent: Agent, job: str) -> Json:
        """What creates a container like that of `job`: same image, command, network, mounts and limits; none of its labels."""
        (found,) = agent.daemon.containers(job)
        seen = await self.call("GET", f"/containers/{found['Id']}/json")
        kept = ("Image", "Cmd", "Entrypoint", "Env", "User", "WorkingDir", "StopSignal")
        return {**{name: seen["Config"].get(name) for name in kept}, "HostConfig": seen["HostConfig"]}


Measure = Callable[[Bench], Awaitable[list[Figure]]]


async def until(condition: Callable[[], object], seconds: float) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - no event tells of another process
            await asyncio.sleep(LOOK_SECONDS)


def session(socket: str) -> "aiohttp.ClientSession":
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(socket, limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )


@asynccontextmanager
async def opened(share: float) -> AsyncIterator[Bench]:
    # A short path: sockets lie below it.
    folder = Path(tempfile.mkdtemp(prefix="gab-", dir="/tmp"))
    engine = await asyncio.to_thread(private_engine.start, folder / "e")
    try:
        async with session(engine.socket) as raw:
            yield Bench(folder, engine, busybox_image(engine), RawEngine(raw), share)
    finally:
        await asyncio.to_thread(engine.tear_down)
        shutil.rmtree(folder, ignore_errors=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument(
        "--share", type=float, default=1.0, help="which part of the full size to measure, as 0.1"
    )
    return made


def run_alone(measure: Measure) -> None:
    """`python -m bench.NAME`: this bench on an engine of its own."""

    async def run(share: float) -> list[Figure]:
        async with opened(share) as bench:
            return await measure(bench)

    figures = asyncio.run(run(parser().parse_args().share))
    print(as_text(figures))
    sys.exit(not all(figure.holds for figure in figures))
