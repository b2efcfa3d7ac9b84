"""Fixtures of a real engine: one private engine for the session, one adapter and agent id for each test."""

import asyncio
import json
import shutil
import sys
import tempfile
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.docker.client import Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.core.container import ContainerPlan
from agent.core.job import FailureKind
from agent.interfaces import StartFailedError
from tests.contract.engine_contract import Program, bare_plan
from tests.private_engine import PrivateEngine, busybox_image, running

HELD = """
import socket, sys
transport, address, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
held = socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
held.bind((address, int(port)))
if transport == "tcp":
    held.listen()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def private_engine() -> Iterator[PrivateEngine]:
    # Not pytest's own folder: its path is too long for the sockets below it.
    root = Path(tempfile.mkdtemp(prefix="ga-engine-"))
    try:
        with running(root) as engine:
            yield engine
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def image(private_engine: PrivateEngine) -> str:
    return busybox_image(private_engine)


class DockerStage:
    """The contract's stage on a real engine."""

    def __init__(self, private: PrivateEngine, engine: DockerEngine, agent: str, image: str) -> None:
        self.private = private
        self.engine = engine
        self.agent = agent
        self.image = image

    def plan(self, job: str, program: Program) -> ContainerPlan:
        trap = f"trap '{'' if program.on_term is None else f'exit {program.on_term}'}' TERM"
        rest = (
            "while :; do sleep 0.02; done"
            if program.seconds is None
            else f"sleep {program.seconds}; exit {program.code}"
        )
        return self.shell(job, f"{trap}; echo ready; {rest}")

    def shell(self, job: str, script: str) -> ContainerPlan:
        return replace(bare_plan(self.agent, job, self.image), command=("sh", "-c", script))

    async def run(self, plan: ContainerPlan) -> str:
        """As a job is: what the engine refuses for reasons of its own (runc's init that dies beside others) is begun anew, once."""
        container = await self.engine.create(plan, {})
        try:
            await self.engine.start(container)
        except StartFailedError as failed:
            if failed.failure.kind is not FailureKind.ENGINE:
                raise
            await self.engine.remove(container)
            container = await self.engine.create(plan, {})
            await self.engine.start(container)
        return container

    async def until_ready(self, container: str) -> None:
        async with asyncio.timeout(20):
            async for chunk in self.engine.follow_logs(container, 0):
                if b"ready" in chunk:
                    return

    async def run_writer(self, job: str, size: int) -> str:
        write = f"head -c {size} /dev/zero > /written; sync; echo ready; while :; do sleep 0.1; done"
        container = await self.run(self.shell(job, write))
        await self.until_ready(container)
        return container

    async def make_stranger(self, name: str) -> None:
        await self.request("POST", f"/containers/create?name={name}", {"Image": self.image})

    async def run_gpu_stranger(self, name: str, gpu: str) -> None:
        await self.run_as_stranger(name, {"HostConfig": {"DeviceRequests": [self.write_gpu(gpu)]}})

    async def run_as_stranger(self, name: str, settings: dict[str, object]) -> None:
        body = {"Image": self.image, "Cmd": ["sleep", "600"], **settings}
        await self.request("POST", f"/containers/create?name={name}", body)
        await self.request("POST", f"/containers/{name}/start")

    def write_gpu(self, gpu: str) -> dict[str, object]:
        """Have the engine know a GPU of that name, which is a harmless node. Returns how a container is given it."""
        edits = {"deviceNodes": [{"path": "/dev/nvidia9", "hostPath": "/dev/full"}]}
        spec = {
            "cdiVersion": "0.5.0",
            "kind": "nvidia.com/gpu",
            "devices": [{"name": gpu, "containerEdits": edits}],
        }
        (self.private.root / "cdi" / "stranger.json").write_text(json.dumps(spec))
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={gpu}"]}

    async def request(self, method: str, path: str, body: object = None) -> bytes:
        status, reply = await asyncio.to_thread(self.private.request, method, path, body)
        assert status < 400, reply
        return reply

    async def make_strangers_volume(self, name: str) -> None:
        await self.request("POST", "/volumes/create", {"Name": name})

    @asynccontextmanager
    async def hold_port(self, transport: str, address: str, port: int) -> AsyncIterator[None]:
        """In the engine's network."""
        command = [*self.private.prefix, sys.executable, "-c", HELD, transport, address, str(port)]
        pipe = asyncio.subprocess.PIPE
        holder = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            await holder.communicate(b"")  # at the end of its input it ends

    async def make_strangers_network(self, name: str) -> None:
        await self.request("POST", "/networks/create", {"Name": name})

    async def go_down(self) -> None:
        await asyncio.to_thread(self.private.kill)

    async def come_up(self) -> None:
        await asyncio.to_thread(self.private.launch)


@pytest.fixture
async def stage(private_engine: PrivateEngine, image: str) -> AsyncIterator[DockerStage]:
    agent = uuid.uuid4().hex
    engine = await DockerEngine.open(private_engine.socket, agent, Deadlines(5.0, 20.0))
    stage = DockerStage(private_engine, engine, agent, image)
    yield stage
    if not private_engine.is_alive():
        await stage.come_up()
    every = urllib.parse.quote(json.dumps({"label": [], "name": ["gpu-agent-"]}))
    for container in json.loads(await stage.request("GET", f"/containers/json?all=1&filters={every}")):
        await asyncio.to_thread(
            private_engine.request, "DELETE", f"/containers/{container['Id']}?force=1&v=1"
        )
    for volume in json.loads(await stage.request("GET", "/volumes"))["Volumes"] or ():
        await asyncio.to_thread(private_engine.request, "DELETE", f"/volumes/{volume['Name']}")
    for network in json.loads(await stage.request("GET", "/networks")):
        if network["Name"].startswith("gatest"):
            await asyncio.to_thread(private_engine.request, "DELETE", f"/networks/{network['Id']}")
    (private_engine.root / "cdi" / "stranger.json").unlink(missing_ok=True)
    await engine.close()
